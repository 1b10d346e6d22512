"""Writes `src/core/events.ts` from jupyter_sse/events.py and state.py.

python js/generate_events.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from jupyter_sse import events, state

TARGET = Path(__file__).parent / "src" / "core" / "events.ts"
NAMES: dict[type, str] = {events.Error: "ErrorEvent"}  # a class of that name is built into JavaScript
HEAD = """// Generated from jupyter_sse/events.py and state.py by generate_events.py. Do not edit.
"""


def name_of(cls: type) -> str:
    if issubclass(cls, events.Event):
        return NAMES.get(cls, f"{cls.__name__}Event")
    return cls.__name__


def typescript(kind: inspect.Type) -> str:
    """The TypeScript type of a msgspec type."""
    if isinstance(kind, inspect.Metadata):
        return typescript(kind.type)
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        return "number"
    if isinstance(kind, inspect.StrType):
        return "string"
    if isinstance(kind, inspect.BoolType):
        return "boolean"
    if isinstance(kind, inspect.NoneType):
        return "null"
    if isinstance(kind, inspect.AnyType):
        return "unknown"
    if isinstance(kind, inspect.LiteralType):
        return " | ".join(f'"{value}"' for value in sorted(map(str, kind.values)))
    if isinstance(kind, inspect.StructType):
        return name_of(kind.cls)
    if isinstance(kind, inspect.ListType):
        return f"{typescript(kind.item_type)}[]"
    if isinstance(kind, inspect.UnionType):
        return " | ".join(dict.fromkeys(typescript(part) for part in kind.types))
    raise TypeError(f"no TypeScript type for {kind}")


def optional(kind: inspect.Type) -> str:
    """The same without null: an optional field of an event is left out and never null."""
    return typescript(kind).removesuffix(" | null")


def interface(cls: type, *, sparse: bool) -> str:
    """An interface. `sparse`: fields with a plain default are left out of the JSON."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    lines = [f"/** {(cls.__doc__ or '').strip().splitlines()[0]} */", f"export interface {name_of(cls)} {{"]
    if isinstance(info.tag, str):
        lines.append(f'  type: "{info.tag}";')
    for field in info.fields:
        left_out = sparse and not field.required and field.default is not msgspec.NODEFAULT
        lines.append(
            f"  {field.name}?: {optional(field.type)};" if left_out else f"  {field.name}: {typescript(field.type)};"
        )
    return "\n".join([*lines, "}", ""])


def module() -> str:
    types: list[Any] = list(events.EVENT_TYPES.values())
    connection = [cls for tag, cls in events.EVENT_TYPES.items() if tag in events.CONNECTION_TYPES]
    own = [name_of(cls) for cls in types if cls not in connection]
    parts = [
        HEAD,
        interface(events.Origin, sparse=True),
        *[interface(cls, sparse=True) for cls in types],
        "/** An event of a type this version does not know: passed on, ignored by views. */",
        "export interface UnknownEvent {\n  type: string & {};\n  [field: string]: unknown;\n}\n",
        "/** What a stream is made of. */",
        f"export type StreamEvent = {' | '.join(own)};\n",
        "/** What connections make for themselves. */",
        f"export type ConnectionEvent = {' | '.join(name_of(cls) for cls in connection)};\n",
        f"export const EVENT_TYPES = {list_of(events.EVENT_TYPES)} as const;",
        f"export const TERMINAL_TYPES: ReadonlySet<string> = new Set({list_of(sorted(events.TERMINAL_TYPES))});",
        f"export const CONNECTION_TYPES: ReadonlySet<string> = new Set({list_of(sorted(events.CONNECTION_TYPES))});\n",
        "/** How many of the last log lines, steps and previews a snapshot keeps. */",
        *[f"export const {name} = {getattr(state, name)};" for name in ("LOG_LINES", "STEPS", "PREVIEWS")],
        "",
        'export type Status = Snapshot["status"];\n',
        interface(state.LogTail, sparse=False),
        interface(state.Sound, sparse=False),
        interface(state.Snapshot, sparse=False),
    ]
    return "\n".join(parts)


def list_of(names: Any) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def main() -> None:
    text = module()
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text() != text:
            raise SystemExit(f"{TARGET.name} is not what events.py and state.py say: run python js/generate_events.py")
        return
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text)


if __name__ == "__main__":
    main()
