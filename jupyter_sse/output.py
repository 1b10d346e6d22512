"""A snapshot as a notebook's output: what a saved notebook, GitHub, nbconvert and a terminal show. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .events import Event, Reset, encode

if TYPE_CHECKING:
    from .events import Log, Preview, Progress, Step
    from .state import Snapshot

__all__ = [
    "MIME",
    "TEXT",
    "bar_text",
    "bounded",
    "cut",
    "escaped",
    "headline",
    "mimebundle",
    "one_line",
    "safe_markdown",
    "to_markdown",
    "to_text",
]

MIME = "application/vnd.jupyter-sse.v1+json"

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=msgspec.Struct)

TEXT = 512 << 10
PLAIN_TEXT = 64 << 10
REASONING = 64 << 10
LINE = 2000
VALUE = 64 << 10
"""Bounds of a saved output, in characters: an answer, the same in plain text, the thinking, any short text, a value."""
DEPTH = 20
"""Lists in lists of a value: a notebook indents each of its lines by it, and readers of deeper ones fail."""
PREVIEWS_ROOM = 4 << 20
LOG_ROOM = 512 << 10
ROOM = 128 << 10
"""Bytes of JSON for the newest previews and log lines; for the newest steps, for bars, for tool calls."""
OPEN_LINES = 40
"""Log lines that Markdown does not fold away: where it is shown, they do not scroll in a box of their own."""
BAR = 10

_STATUS = {"running": "running", "done": "done", "error": "failed", "cancelled": "cancelled"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&])")
_FENCE = re.compile(r"( {0,3})(`{3,}|~{3,})(.*)")
_MATH = re.compile(r"\$\$|\\\[|\\begin\{")
_TAG = re.compile(r"<(?!https?://[^\s<>`]*>)(?=[A-Za-z/!?])")
# A link, a table's cell or a formula may end in the middle of what looks like a code span.
_CODE_OR_TAG = re.compile(r"(?<!`)(`+)(?!`)[^`|\[\]$]+(?<!`)\1(?!`)|" + _TAG.pattern)


def mimebundle(snapshot: Snapshot) -> dict[str, Any]:
    """The data of an output: that of a stream that has ended needs neither this package nor a server."""
    state = bounded(snapshot)
    shown: dict[str, Any] = {"stream": snapshot.stream, "v": 1}
    if state.status != "running":
        reset = Reset(reason="final", snapshot=state, seq=state.seq)
        shown["snapshot"] = msgspec.json.decode(encode(reset))["snapshot"]
    plain = msgspec.structs.replace(state, text=cut(snapshot.text, PLAIN_TEXT))
    return {MIME: shown, "text/markdown": to_markdown(state), "text/plain": to_text(plain)}


def bounded(snapshot: Snapshot) -> Snapshot:
    """The same state in a size that a notebook can hold, and with text that UTF-8 can."""
    tools = [
        msgspec.structs.replace(tool, args=_small(tool.args), result=_small(tool.result)) for tool in snapshot.tools
    ]
    return msgspec.structs.replace(
        _short(snapshot, "text", "reasoning", "result"),
        text=cut(snapshot.text, TEXT),
        reasoning=cut(snapshot.reasoning, REASONING),
        log=msgspec.structs.replace(snapshot.log, lines=_newest(snapshot.log.lines, LOG_ROOM)),
        steps=_newest(snapshot.steps, ROOM),
        bars=_newest(snapshot.bars, ROOM),
        previews=_newest(snapshot.previews, PREVIEWS_ROOM, "data", "url"),
        tools=_newest(tools, ROOM, "args", "result"),
        result=_small(snapshot.result),
        error=None if snapshot.error is None else _short(snapshot.error),
        origin=None if snapshot.origin is None else _short(snapshot.origin),
    )


def _clean(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def cut(text: str, limit: int) -> str:
    """At most so many characters of a text, and how many are missing; such as UTF-8 can have."""
    if len(text) > limit:
        text = f"{text[:limit]}\n… ({len(text) - limit} more characters)"
    return _clean(text)


def _short(struct: S, *others: str) -> S:
    """The same with short texts, but for these fields."""
    fields = {name: getattr(struct, name) for name in struct.__struct_fields__ if name not in others}
    texts = {name: cut(value, LINE) for name, value in fields.items() if isinstance(value, str)}
    return msgspec.structs.replace(struct, **texts)


def _newest(events: list[E], room: int, *others: str) -> list[E]:
    """The last ones, as many as there is room for; texts other than these fields are short."""
    kept: list[E] = []
    for event in reversed(events):
        event = _short(event, *others)
        room -= len(encode(event))
        if room < 0:
            break
        kept.append(event)
    return kept[::-1]


def _small(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return cut(value, VALUE)
    size = len(msgspec.json.encode(value, enc_hook=repr))
    if size > VALUE:
        return f"(left out: {size} bytes)"
    return "(left out: nested too deeply)" if _is_deep(value, DEPTH) else value


def _is_deep(value: Any, left: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return left == 0 or any(_is_deep(item, left - 1) for item in inner)


def headline(snapshot: Snapshot) -> str:
    """How it went, in a few words: ``done · 12.3 s``."""
    words = [_STATUS[snapshot.status]]
    if snapshot.reason == "length":
        words[0] = "done: cut off at the length limit"
    elif snapshot.reason in ("timeout", "closed"):
        words[0] = "stopped: timeout" if snapshot.reason == "timeout" else "stopped early"
    if snapshot.started is not None and snapshot.ended is not None:
        words.append(_duration(max(0.0, snapshot.ended - snapshot.started)))
    if snapshot.usage is not None:
        words.append(f"{snapshot.usage.input_tokens} + {snapshot.usage.output_tokens} tokens")
    return " · ".join(words)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.4g}"


def bar_text(bar: Progress) -> str:
    """A bar in one line: ``████████░░ 80 % · 40/50 · 12.3 it/s``."""
    parts = []
    if bar.total is not None:
        part = 1.0 if bar.total <= 0 else min(1.0, max(0.0, bar.n / bar.total))
        full = int(part * BAR)
        parts.append(f"{'█' * full}{'░' * (BAR - full)} {part * 100:.0f} %")
        parts.append(f"{_figure(bar.n)}/{_figure(bar.total)}")
    else:
        parts.append(f"{_figure(bar.n)} {bar.unit or ''}".rstrip())
    if bar.rate is not None:
        parts.append(f"{_figure(bar.rate)} {bar.unit or 'it'}/s")
    if bar.eta is not None:
        parts.append(f"{_duration(bar.eta)} left")
    if bar.message:
        parts.append(one_line(bar.message))
    return " · ".join(parts)


def one_line(text: str) -> str:
    """The text in one line."""
    return " ".join(text.split())


def _bars(snapshot: Snapshot) -> list[str]:
    """The bars, children below their parents; one that moves no more has no time left."""
    lines: list[str] = []
    shown: set[str] = set()

    def show(bar: Progress, depth: int) -> None:
        if bar.bar in shown:
            return
        shown.add(bar.bar)
        final = bar if snapshot.status == "running" else msgspec.structs.replace(bar, eta=None)
        name = "" if bar.bar == "main" else f"{one_line(bar.bar)}: "
        lines.append(f"{'  ' * depth}{name}{bar_text(final)}")
        for child in snapshot.bars:
            if child.parent == bar.bar:
                show(child, depth + 1)

    names = {bar.bar for bar in snapshot.bars}
    for bar in snapshot.bars:
        if bar.parent not in names:
            show(bar, 0)
    for bar in snapshot.bars:  # parents in a ring
        show(bar, 0)
    return [_clean(line) for line in lines]


def _step(step: Step) -> str:
    return f"[{step.step}{f'/{step.of}' if step.of is not None else ''}] {one_line(step.message)}"


def _log(lines: list[Log], count: int) -> list[str]:
    left_out = count - len(lines)
    return [*([f"… ({left_out} lines before)"] if left_out > 0 else []), *(line.text for line in lines)]


def _result(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raw = msgspec.json.encode(value, enc_hook=repr)
    return cut(msgspec.json.format(raw, indent=2 if len(raw) < LINE else 0).decode(), VALUE)


def to_text(snapshot: Snapshot) -> str:
    """Plain text, the most important first."""
    parts = [f"{one_line(snapshot.title)}: {headline(snapshot)}" if snapshot.title else f"[{headline(snapshot)}]"]
    if snapshot.text:
        parts.append(snapshot.text)
    for lines in (
        _bars(snapshot),
        [_step(step) for step in snapshot.steps],
        _log(snapshot.log.lines, snapshot.log.count),
        [f"[picture: {one_line(preview.alt or preview.url or preview.mime)}]" for preview in snapshot.previews],
    ):
        if lines:
            parts.append("\n".join(lines))
    if (result := _result(snapshot.result)) is not None:
        parts.append(f"Result: {result}")
    if snapshot.error is not None:
        parts.append(f"Error: {snapshot.error.message}")
    return "\n".join(parts)


def to_markdown(snapshot: Snapshot) -> str:
    """Markdown for GitHub, nbviewer and nbconvert."""
    title = f"**{escaped(one_line(snapshot.title))}** · " if snapshot.title and snapshot.title.strip() else ""
    parts = [f"{title}*{escaped(headline(snapshot))}*"]
    if snapshot.text:
        parts.append(safe_markdown(snapshot.text))
    log = _log(snapshot.log.lines, snapshot.log.count)
    folded, log = (log[:-OPEN_LINES], log[-OPEN_LINES:]) if len(log) > 2 * OPEN_LINES else ([], log)
    for lines in (_bars(snapshot), [_step(step) for step in snapshot.steps]):
        if lines:
            parts.append(_fenced("\n".join(lines)))
    if folded:
        summary = f"{snapshot.log.count - OPEN_LINES} earlier lines"
        parts += [f"<details><summary>{summary}</summary>", _fenced("\n".join(folded)), "</details>"]
    if log:
        parts.append(_fenced("\n".join(log)))
    parts += [_picture(preview) for preview in snapshot.previews]
    result = _result(snapshot.result)
    if result is not None:
        is_url = re.fullmatch(r"https?://[^\s<>]+", result)
        parts.append(f"Result: <{result}>" if is_url else _value("Result", result))
    if snapshot.error is not None:
        parts.append(_value("Error", snapshot.error.message))
    return "\n\n".join(parts)


def _value(name: str, text: str) -> str:
    return f"**{name}:**\n\n{_fenced(text)}" if "\n" in text or len(text) > 200 else f"**{name}:** {escaped(text)}"


def _picture(preview: Preview) -> str:
    alt = escaped(one_line(preview.alt or preview.key or "picture"))
    if not preview.mime.startswith("image/"):
        return f"*{escaped(preview.mime)}: {alt}*"
    url = preview.url or f"data:{preview.mime};base64,{preview.data}"
    return f"![{alt}](<{url}>)" if re.fullmatch(r"[^\s<>]+", url) else f"*{alt}*"


def escaped(text: str) -> str:
    """Plain text as Markdown."""
    return _SPECIAL.sub(r"\\\1", text)


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    # Without a language: nbconvert's style for highlighted blocks in outputs has no fixed width.
    return f"{fence}\n{text}\n{fence}"


def safe_markdown(text: str) -> str:
    """An answer's Markdown with its HTML shown as text, and its last code block closed.

    nbconvert passes raw HTML on, and an answer may have been told what to say by a page the model has read. Where it is
    not certain that a renderer sees code, `<` is escaped: at worst code shows ``&lt;``, never the other way round.
    """
    lines: list[str] = []
    fence, indent = "", 0
    trusted = _MATH.search(text) is None  # nbconvert reads a fence inside of a formula as part of it
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if fence and line.strip() and len(line) - len(line.lstrip(" ")) < indent:
            fence = ""  # it was in a list item, which has ended
        if fence:
            if match and match[2][0] == fence[0] and len(match[2]) >= len(fence) and not match[3].strip():
                fence = ""
            lines.append(line if trusted else _inert(line))
            continue
        if match and not (match[2][0] == "`" and "`" in match[3]):
            indent, fence = len(match[1]), match[2]
        lines.append(_inert(line))
    return "\n".join([*lines, " " * indent + fence] if fence else lines)


def _inert(line: str) -> str:
    if "\\`" in line or "://" in line:  # an escaped backtick, or one in a URL, begins no code
        return _TAG.sub("&lt;", line)
    return _CODE_OR_TAG.sub(lambda match: match[0] if match[0] != "<" else "&lt;", line)
