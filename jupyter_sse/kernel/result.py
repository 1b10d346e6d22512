"""What a task came to, in a form that every page can show: plain values, pictures and the like, Markdown, tables."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from ..output import TABLE
from . import preview

__all__ = ["shown"]

ROWS, COLUMNS, CELL = 50, 20, 200
"""What of a table is kept, and how many characters of a cell."""
TABLE_BYTES = 48 << 10
MARKDOWN = 64 << 10


def shown(result: Any, *, limit: int, upload: preview.Upload | None) -> Any:
    """The result, or what stands for it in JSON: an object with its `mime` type.

    Whatever cannot be made into that is left as it is.
    """
    try:
        if preview.is_shown(result):
            event = preview.event(result, limit=limit, upload=upload)
            content = {"url": event.url} if event.url is not None else {"data": event.data}
            return {"mime": event.mime, **content}
        method = getattr(result, "_repr_markdown_", None)
        if callable(method) and not isinstance(result, type):
            text = method()
            text = text[0] if isinstance(text, tuple) else text
            if isinstance(text, str):
                return {"mime": "text/markdown", "text": text[:MARKDOWN]}
        return _table(result)
    except Exception:
        return result


def _table(result: Any) -> Any:
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(result, (pandas.DataFrame, pandas.Series)):
        return result
    whole = result.to_frame() if isinstance(result, pandas.Series) else result
    part = whole.iloc[:ROWS, :COLUMNS]
    columns = [_text(name) for name in part.columns]
    rows = [[_cell(part.iat[row, column]) for column in range(len(columns))] for row in range(len(part))]
    if not isinstance(whole.index, pandas.RangeIndex):
        columns.insert(0, " ".join(_text(name) for name in whole.index.names if name is not None))
        rows = [[_text(name), *row] for name, row in zip(part.index, rows, strict=True)]
    table = {"mime": TABLE, "columns": columns, "rows": rows, "shape": list(whole.shape)}
    while rows and len(msgspec.json.encode(table)) > TABLE_BYTES:
        rows = table["rows"] = rows[: len(rows) // 2]
    return table


def _cell(value: Any) -> Any:
    value = value.item() if callable(getattr(value, "item", None)) else value
    if isinstance(value, float) and value != value:
        return None
    return value if value is None or isinstance(value, (bool, int, float)) else _text(value)


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= CELL else f"{text[:CELL]}…"
