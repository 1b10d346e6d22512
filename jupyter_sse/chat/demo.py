"""The embedded demo model: no model at all, and it says so. It streams a fixed answer, so that everything else can be
seen working without a key or a network.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator

from . import Question

__all__ = ["MODEL", "answer", "provider"]

MODEL = "demo"
WORD_SECONDS = 0.015
QUESTION = 200

_ARABIC = re.compile(r"[\u0600-\u06FF]")
_WORD = re.compile(r"\s*\S+|\s+$")

_ENGLISH = """\
**I am the demo model built into jupyter_sse, not a real language model.** Whatever you ask, I stream this text.
You asked: {question}

What you are looking at:

1. the words come through the server's log, not through the notebook's messages;
2. the server keeps them: `curl` can read along, and after a lost connection the view goes on where it was;
3. press *Cancel*: it works although the cell is busy.

| part | what it does |
| --- | --- |
| kernel | writes events, and never waits for the network |
| server | keeps them, and serves them to every view |
| browser | shows them, and passes your *Cancel* on |

To hear from a real model, stop Jupyter, and start it again with the library and a key:

```shell
pip install "jupyter-sse[chat]"
export OPENAI_API_KEY=...
jupyter lab
```

Other providers, local servers and whole agents: see *Connect a model* in the documentation.

That is all I know.
"""

_ARABIC_TEXT = """\
**أنا النموذج التجريبي المدمج في jupyter_sse، ولستُ نموذجًا لغويًا حقيقيًا.** مهما سألت، أبثّ لك هذا النص.
سؤالك: {question}

ما الذي تراه الآن:

1. تمرّ الكلمات عبر سجلّ الخادم، لا عبر رسائل الدفتر؛
2. يحفظها الخادم: يمكن لـ `curl` أن يتابعها، وإذا انقطع الاتصال تكمل الصفحة من حيث كانت؛
3. اضغط زر *الإلغاء*: يعمل حتى والخلية مشغولة.

| الجزء | ما يفعله |
| --- | --- |
| النواة | تكتب الأحداث ولا تنتظر الشبكة أبدًا |
| الخادم | يحفظها ويقدّمها لكل عرض |
| المتصفح | يعرضها وينقل إليها *الإلغاء* |

لتسمع من نموذج حقيقي، أوقف Jupyter ثم شغّله من جديد مع المكتبة والمفتاح:

```shell
pip install "jupyter-sse[chat]"
export OPENAI_API_KEY=...
jupyter lab
```

المزوّدون الآخرون والخوادم المحلية والوكلاء الكاملون: انظر *Connect a model* في الوثائق.

هذا كل ما أعرفه.
"""


def _words(question: str) -> list[str]:
    text = _ARABIC_TEXT if _ARABIC.search(question) else _ENGLISH
    shown = " ".join(question.split())[:QUESTION].replace("`", "'") or "…"
    return [match[0] for match in _WORD.finditer(text.format(question=f"`{shown}`"))]


def answer(question: str) -> Iterator[str]:
    """A fixed answer in words, at the pace of a fast model; in Arabic to a question in Arabic."""
    for word in _words(question):
        yield word
        time.sleep(WORD_SECONDS)


async def provider(question: Question) -> AsyncIterator[str]:
    """The same for a server."""
    for word in _words(question.message):
        yield word
        await asyncio.sleep(WORD_SECONDS)
