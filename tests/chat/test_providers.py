"""From a question to its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from jupyter_sse.chat import Question, title_of
from jupyter_sse.chat.providers import Providers


def test_a_cancel_that_comes_with_an_event_is_not_lost() -> None:
    """Before Python 3.12 `asyncio.wait_for` returns the event, and forgets the cancel."""

    async def main() -> bool:
        async def talking(question: Question) -> AsyncIterator[str]:
            yield "one "
            yield "two "
            consumer.cancel()
            while True:
                await asyncio.sleep(0.01)
                yield "more "

        async def consume() -> None:
            async for _ in Providers({"talking": talking}).generate(Question(message="x", model="talking")):
                pass

        consumer = asyncio.ensure_future(consume())
        await asyncio.wait({consumer}, timeout=5)
        ended = consumer.cancelled()
        consumer.cancel()
        return ended

    assert asyncio.run(main())


def test_an_answer_is_called_by_the_beginning_of_its_question() -> None:
    assert title_of("  Why\n is the sky blue? ") == "Why is the sky blue?"
    assert title_of("word " * 30) == "word " * 15 + "word…"
