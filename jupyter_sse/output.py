"""A snapshot as a notebook's output: what a saved notebook, GitHub, nbconvert and a terminal show. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from .events import Event, Preview, Reset, encode

if TYPE_CHECKING:
    from .events import Error, Log, Progress, Step
    from .state import Snapshot

__all__ = [
    "MIME",
    "PREVIEWS_ROOM",
    "TABLE",
    "TEXT",
    "bar_figures",
    "bar_part",
    "bar_text",
    "bars_in_order",
    "bounded",
    "cut",
    "duration",
    "escaped",
    "headline",
    "label",
    "media_of",
    "mimebundle",
    "one_line",
    "result_text",
    "safe_markdown",
    "step_text",
    "title_text",
    "to_markdown",
    "to_text",
    "value_text",
    "with_media",
]

MIME = "application/vnd.jupyter-sse.v1+json"
TABLE = "application/vnd.jupyter-sse.table+json"
"""The `mime` of a result with `columns`, `rows`, and the `shape` of the whole, of which these are the first."""

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
PREFIXES = "kMGTPE"
TRACEBACK = 8000
COLUMN = 40
"""Characters: the end of a traceback; a cell of a table in plain text."""

_STATUS = {"running": "running", "done": "done", "error": "failed", "cancelled": "cancelled"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&])")
_FENCE = re.compile(r"( {0,3})(`{3,}|~{3,})(.*)")
_ESCAPE = re.compile(r"\x1b(\[[\x20-\x3f]*[\x40-\x7e]|\][^\x07\x1b]*(\x07|\x1b\\)|[\x20-\x2f]*[\x30-\x7e])")
_SHOWN = re.compile(r"(image|audio|video|model)/[a-z0-9.+_-]+")
_MATH = re.compile(r"\$\$|\\\[|\\begin\{")
_TAG = re.compile(r"<(?!https?://[^\s<>`]*>)(?=[A-Za-z/!?])")
# A link, a table's cell or a formula may end in the middle of what looks like a code span.
_CODE_OR_TAG = re.compile(r"(?<!`)(`+)(?!`)[^`|\[\]$]+(?<!`)\1(?!`)|" + _TAG.pattern)


def mimebundle(snapshot: Snapshot, *, slim: bool = False) -> dict[str, Any]:
    """The data of an output: that of a stream that has ended needs neither this package nor a server. `slim`: it stands
    beside all that the stream has said."""
    state = bounded(snapshot)
    shown: dict[str, Any] = {"stream": snapshot.stream, "v": 1}
    if slim:
        shown["slim"] = True
    if state.status != "running":
        reset = Reset(reason="final", snapshot=state, seq=state.seq)
        shown["snapshot"] = msgspec.json.decode(encode(reset))["snapshot"]
    if _has_vanished(state):
        return {MIME: shown, "text/markdown": "", "text/plain": ""}
    plain = msgspec.structs.replace(state, text=cut(snapshot.text, PLAIN_TEXT))
    return {MIME: shown, "text/markdown": to_markdown(state), "text/plain": to_text(plain)}


def _has_vanished(snapshot: Snapshot) -> bool:
    """Bars of which none was to be left."""
    return snapshot.kind == "bars" and snapshot.reason == "stop" and not snapshot.bars and not snapshot.log.count


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
        error=None if snapshot.error is None else _short_error(snapshot.error),
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


def _short_error(error: Error) -> Error:
    trace = error.traceback
    return msgspec.structs.replace(_short(error, "traceback"), traceback=trace and _clean(trace[-TRACEBACK:]))


def media_of(snapshot: Snapshot) -> list[str]:
    """The URLs of what a stream shows, the newest last."""
    result = _shown(snapshot.result)
    shown = [*snapshot.previews, *([result] if result is not None else [])]
    return [preview.url for preview in shown if preview.url is not None]


def with_media(snapshot: Snapshot, media: Mapping[str, str]) -> Snapshot:
    """The same with what is at these URLs (base64) in the place of the URLs."""
    if not media:
        return snapshot

    def inlined(preview: Preview) -> Preview:
        data = media.get(preview.url or "")
        return preview if data is None else msgspec.structs.replace(preview, url=None, data=data)

    result = snapshot.result
    shown = _shown(result)
    if shown is not None and shown.url in media:
        result = {"mime": shown.mime, "data": inlined(shown).data}
    return msgspec.structs.replace(snapshot, previews=list(map(inlined, snapshot.previews)), result=result)


def _shown(result: Any) -> Preview | None:
    """The picture, sound or film that a result is."""
    if not isinstance(result, dict) or not _SHOWN.fullmatch(str(result.get("mime"))):
        return None
    url, data = result.get("url"), result.get("data")
    if (isinstance(url, str)) == (isinstance(data, str)):
        return None
    return Preview(mime=result["mime"], url=url, data=data)


def _table(result: Any) -> tuple[list[str], list[list[Any]]] | None:
    """The columns and rows that a result has."""
    if not isinstance(result, dict) or result.get("mime") != TABLE:
        return None
    columns, rows = result.get("columns"), result.get("rows")
    if not isinstance(columns, list) or not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return None
    return [str(name) for name in columns], rows


def _more(result: dict[str, Any], rows: list[list[Any]]) -> str:
    """How much of a table is not shown."""
    shape = result.get("shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(size, int) for size in shape):
        return ""
    columns = len(result["columns"])
    return f"{shape[0]} rows, {shape[1]} columns" if shape[0] > len(rows) or shape[1] > columns else ""


def _markdown_of(result: Any) -> str | None:
    text = result.get("text") if isinstance(result, dict) and result.get("mime") == "text/markdown" else None
    return text if isinstance(text, str) else None


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
    shown = _shown(value)
    if shown is not None and shown.data is not None and len(shown.data) <= PREVIEWS_ROOM:
        return value
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
        words.append(duration(max(0.0, snapshot.ended - snapshot.started)))
    if snapshot.usage is not None:
        words.append(f"{snapshot.usage.input_tokens} + {snapshot.usage.output_tokens} tokens")
    return " · ".join(words)


def duration(seconds: float) -> str:
    """``12.3 s``, ``2:05``, ``1:00:00``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _figure(value: float, scale: int | None = None) -> str:
    power = 0
    if scale is not None and scale > 1:
        while abs(value) >= 0.9995 * scale and power < len(PREFIXES):  # what would be rounded up is the next prefix's
            value, power = value / scale, power + 1
    if power:
        return f"{float(f'{value:.3g}'):g} {PREFIXES[power - 1]}"
    return f"{value:.0f}" if value == int(value) else f"{value:.4g}"


def _quantity(value: float, unit: str, scale: int | None) -> str:
    figure = _figure(value, scale)
    return f"{figure}{' ' if figure[-1].isdigit() else ''}{unit}".rstrip()


def label(bar: Progress, main: str = "") -> str:
    """What a bar is called, and the main one if it has no other name."""
    return one_line(bar.label if bar.label is not None else main if bar.bar == "main" else bar.bar)


def bar_text(bar: Progress) -> str:
    """A bar in one line: ``████████░░ 80 % · 40/50 · 12.3 it/s``."""
    part = bar_part(bar)
    if part is None:
        return " · ".join(bar_figures(bar))
    full = int(part * BAR)
    return f"{'█' * full}{'░' * (BAR - full)} " + " · ".join(bar_figures(bar))


def bar_part(bar: Progress) -> float | None:
    """How much of it is done, from 0 to 1; None if nobody knows."""
    if bar.total is None:
        return None
    return 1.0 if bar.total <= 0 else min(1.0, max(0.0, bar.n / bar.total))


def bar_figures(bar: Progress) -> list[str]:
    """What is said beside a bar: ``80 %``, ``40/50``, ``12.3 it/s``."""
    parts = []
    part = bar_part(bar)
    if part is not None:
        parts.append(f"{part * 100:.0f} %")
        parts.append(f"{_figure(bar.n, bar.scale)}/{_figure(bar.total or 0, bar.scale)}")
    else:
        parts.append(_quantity(bar.n, bar.unit or "", bar.scale))
    if bar.rate is not None:
        parts.append(f"{_quantity(bar.rate, bar.unit or 'it', bar.scale)}/s")
    if bar.eta is not None and bar.state is None:
        parts.append(f"{duration(bar.eta)} left")
    if bar.message:
        parts.append(one_line(bar.message))
    if bar.state == "early":
        parts.append("stopped early")
    return parts


def one_line(text: str) -> str:
    """The text in one line."""
    return " ".join(text.split())


def _side_by_side(snapshot: Snapshot) -> bool:
    """Its title is that of the first of its bars, and of no other one."""
    names = {bar.bar for bar in snapshot.bars}
    return snapshot.kind == "bars" and sum(bar.parent not in names for bar in snapshot.bars) > 1


def title_text(snapshot: Snapshot) -> str:
    """Its title in one line; none where it is that of a bar."""
    return "" if _side_by_side(snapshot) else one_line(snapshot.title or "")


def bars_in_order(snapshot: Snapshot) -> list[tuple[int, str, Progress]]:
    """The bars, children below their parents: depth, name, bar."""
    ordered: list[tuple[int, str, Progress]] = []
    shown: set[str] = set()

    def show(bar: Progress, depth: int) -> None:
        if bar.bar in shown:
            return
        shown.add(bar.bar)
        ordered.append((depth, label(bar, main), bar))
        for child in snapshot.bars:
            if child.parent == bar.bar:
                show(child, depth + 1)

    names = {bar.bar for bar in snapshot.bars}
    main = snapshot.title or "" if _side_by_side(snapshot) else ""
    for bar in snapshot.bars:
        if bar.parent not in names:
            show(bar, 0)
    for bar in snapshot.bars:  # parents in a ring
        show(bar, 0)
    return ordered


def _bars(snapshot: Snapshot) -> list[str]:
    """Each bar in a line; one that moves no more has no time left."""
    lines = []
    for depth, name, bar in bars_in_order(snapshot):
        final = bar if snapshot.status == "running" else msgspec.structs.replace(bar, eta=None)
        lines.append(_clean(f"{'  ' * depth}{name}{': ' if name else ''}{bar_text(final)}"))
    return lines


def step_text(step: Step) -> str:
    """A step in one line: ``[2/5] Train``."""
    return f"[{step.step}{f'/{step.of}' if step.of is not None else ''}] {one_line(step.message)}"


def _log(lines: list[Log], count: int) -> list[str]:
    left_out = count - len(lines)
    before = [f"… ({left_out} lines before)"] if left_out > 0 else []
    return before + [_ESCAPE.sub("", line.text) for line in lines]


def result_text(result: Any) -> str | None:
    """What a stream gave, as people read it; None for nothing."""
    if (shown := _shown(result)) is not None:
        return f"[{shown.mime}{f': {shown.url}' if shown.url else ''}]"
    if (table := _table(result)) is not None:
        return "\n".join([*_table_text(*table), _more(result, table[1])]).rstrip()
    return _markdown_of(result) or value_text(result)


def value_text(value: Any) -> str | None:
    """Text as it is, else JSON; None for none."""
    if value is None or isinstance(value, str):
        return value
    raw = msgspec.json.encode(value, enc_hook=repr)
    return cut(msgspec.json.format(raw, indent=2 if len(raw) < LINE else 0).decode(), VALUE)


def to_text(snapshot: Snapshot) -> str:
    """Plain text, the most important first."""
    title = title_text(snapshot)
    parts = [f"{title}: {headline(snapshot)}" if title else f"[{headline(snapshot)}]"]
    if snapshot.text:
        parts.append(snapshot.text)
    for lines in (
        _bars(snapshot),
        [step_text(step) for step in snapshot.steps],
        _log(snapshot.log.lines, snapshot.log.count),
        [f"[picture: {one_line(preview.alt or preview.url or preview.mime)}]" for preview in snapshot.previews],
    ):
        if lines:
            parts.append("\n".join(lines))
    if (result := result_text(snapshot.result)) is not None:
        parts.append("Result:" + (" " if _table(snapshot.result) is None else "\n") + result)
    if snapshot.error is not None:
        parts.append(f"Error: {snapshot.error.message}")
    return "\n".join(parts)


def to_markdown(snapshot: Snapshot) -> str:
    """Markdown for GitHub, nbviewer and nbconvert."""
    title = title_text(snapshot)
    parts = [f"{f'**{escaped(title)}** · ' if title else ''}*{escaped(headline(snapshot))}*"]
    if snapshot.text:
        parts.append(safe_markdown(snapshot.text))
    log = _log(snapshot.log.lines, snapshot.log.count)
    folded, log = (log[:-OPEN_LINES], log[-OPEN_LINES:]) if len(log) > 2 * OPEN_LINES else ([], log)
    for lines in (_bars(snapshot), [step_text(step) for step in snapshot.steps]):
        if lines:
            parts.append(_fenced("\n".join(lines)))
    if folded:
        summary = f"{snapshot.log.count - OPEN_LINES} earlier lines"
        parts += [f"<details><summary>{summary}</summary>", _fenced("\n".join(folded)), "</details>"]
    if log:
        parts.append(_fenced("\n".join(log)))
    parts += [_picture(preview) for preview in snapshot.previews]
    result = value_text(snapshot.result)
    if (shown := _shown(snapshot.result)) is not None:
        parts.append(_picture(shown))
    elif (table := _table(snapshot.result)) is not None:
        more = _more(snapshot.result, table[1])
        parts.append("\n".join(_table_markdown(*table)) + (f"\n\n*{more}*" if more else ""))
    elif (markdown := _markdown_of(snapshot.result)) is not None:
        parts.append(safe_markdown(markdown))
    elif result is not None:
        is_url = re.fullmatch(r"https?://[^\s<>]+", result)
        parts.append(f"Result: <{result}>" if is_url else _value("Result", result))
    if snapshot.error is not None:
        parts.append(_value("Error", _ESCAPE.sub("", snapshot.error.message)))
        if snapshot.error.traceback:
            trace = _fenced(_ESCAPE.sub("", snapshot.error.traceback))
            parts += ["<details><summary>Traceback</summary>", trace, "</details>"]
    return "\n\n".join(parts)


def _value(name: str, text: str) -> str:
    return f"**{name}:**\n\n{_fenced(text)}" if "\n" in text or len(text) > 200 else f"**{name}:** {escaped(text)}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return one_line(f"{value:.6g}" if isinstance(value, float) else str(value))


def _table_text(columns: list[str], rows: list[list[Any]]) -> list[str]:
    cells = [[_cell(value)[:COLUMN] for value in row] for row in [columns, *rows]]
    widths = [max((len(row[index]) for row in cells if index < len(row)), default=0) for index in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in cells]


def _table_markdown(columns: list[str], rows: list[list[Any]]) -> list[str]:
    lines = [[escaped(_cell(value)) for value in row] for row in [columns, *rows]]
    lines.insert(1, ["---"] * len(columns))
    return [f"| {' | '.join(line)} |" for line in lines]


def _picture(preview: Preview) -> str:
    alt = escaped(one_line(preview.alt or preview.key or "picture"))
    if not preview.mime.startswith("image/"):
        return f"*{escaped(preview.mime)}: {alt}*"
    url = preview.url or f"data:{preview.mime};base64,{preview.data}"
    # What the server keeps is not there for GitHub, nor for long.
    return f"![{alt}](<{url}>)" if re.fullmatch(r"(https?:|data:)[^\s<>]+", url) else f"*{alt}*"


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
