"""tqdm, shown as our bars in a notebook; on a terminal, or with a `file` of the caller's, it is tqdm and nothing else.

tqdm does the arithmetic and decides when to display, at most ten times a second; only then is anything of ours called,
so that a loop costs what it costs with tqdm. `InNotebook` is put below tqdm's own classes, and every other way of
making a bar is led to it by `install`, which gives its methods to tqdm's base class itself: a library that imported
tqdm before, or made a class of it, has no other place where it could be reached.
"""

from __future__ import annotations

import sys
import threading
import warnings
import weakref
from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any

from tqdm import TqdmExperimentalWarning, std
from tqdm.asyncio import tqdm_asyncio

from ..events import Log
from .bars import CellBars, cell_bars, stream_around
from .display import in_notebook
from .preview import TEXT
from .progress import enter, leave, number, open_bar, surrounding, total_or_none

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .producer import Producer
    from .progress import Bar, Scope

__all__ = ["tqdm", "trange"]

# As they were, whatever `install` puts in their place.
_init: Any = std.tqdm.__init__
_enter: Any = std.tqdm.__enter__
_iter: Any = std.tqdm.__iter__
_display: Any = std.tqdm.display
_refresh: Any = std.tqdm.refresh
_clear: Any = std.tqdm.clear
_close: Any = std.tqdm.close
_write: Any = std.tqdm.write.__func__

ALIASES = ("tqdm.auto", "tqdm.autonotebook")
"""Modules whose `tqdm` is to be ours itself, and not only shown like it."""

SOON = 0.5
"""Seconds after which somebody who pressed Cancel should see it act."""

_lock = threading.RLock()
_undo: list[Callable[[], None]] = []


class _Shown:
    """How one tqdm is shown. It does not hold the tqdm, which closes itself when nobody does."""

    def __init__(self, shown: Any) -> None:
        self.thread = threading.get_ident()
        self._tqdm = weakref.ref(shown)
        self._time: Callable[[], float] = shown._time
        self._handled = id(sys.exc_info()[1])
        self._bar: Bar | None = None
        self._scope: Scope | None = None

    @property
    def bar(self) -> Bar | None:
        """None before it is first shown, and once its stream has ended."""
        bar = self._bar
        return bar if bar is not None and bar.producer.status == "running" and not bar.producer.silent else None

    def draw(self, shown: Any, text: str | None = None) -> None:
        bar = self.bar or self._open(shown)
        if _fill(bar, shown):
            bar.message = text or bar.message
            bar.touch()

    def _open(self, shown: Any) -> Bar:
        with _lock:
            if (bar := self.bar) is not None:
                return bar
            self._forget()
            title = _description(shown) or None
            parent = surrounding()
            stream: Producer = parent.producer if parent is not None else cell_bars(title, unit=shown.unit)
            parent_bar = None if parent is None else parent.bar
            if not stream.bars and title == stream.title:
                title = None
            # What stands below a loop is the same bar in each of its rounds; elsewhere all are left, as tqdm does.
            bar = open_bar(stream, title, parent=parent_bar, again=parent_bar is not None, unit=shown.unit)
            bar.measured = False
            self._bar = bar
            stream.on_cancel.append(self._hurry)
            if isinstance(stream, CellBars):
                stream.members.add(self)
            return bar

    def _hurry(self) -> None:
        """Cancel was pressed: have tqdm display, and so see it, in the next round."""
        shown, bar = self._tqdm(), self._bar
        if shown is not None and bar is not None and bar.producer.cancelled:
            shown.miniters = shown.mininterval = 0

    def check(self) -> None:
        """Raise Cancel in the thread that made the bar: one of a pool would die of it, and leave the others waiting."""
        if self._bar is not None and threading.get_ident() == self.thread:
            self._bar.producer.check()

    def clock(self) -> float:
        """The time, for a loop that has long to go until it displays again and keeps to itself how long."""
        self.check()
        return self._time()

    def enter(self, shown: Any) -> None:
        """Bars from here on are below this one."""
        if self._scope is None and self._bar is not None and not shown.disable:
            self._scope = enter(self._bar.producer, self._bar)

    def settle(self, *, failed: bool) -> None:
        shown = self._tqdm()
        if shown is not None and self.bar is not None:
            # One that has not moved is shown where it does, in a later cell.
            self.end(shown, leave_it=failed or shown.n != shown.initial, failed=failed)
            shown.last_print_t -= shown.mininterval
            if shown.dynamic_miniters:
                shown.miniters = 0

    def end(self, shown: Any, *, leave_it: bool, failed: bool) -> None:
        bar = self.bar
        stream = self._forget()
        if bar is not None:
            _fill(bar, shown, mean=True)
            short = shown.n < shown.total if shown.total is not None else failed
            bar.end("removed" if not leave_it else "early" if short else "complete")
        if isinstance(stream, CellBars):
            stream.bar_ended()

    @property
    def failed(self) -> bool:
        """There is an exception that was not there when the bar was made."""
        error = sys.exc_info()[1]
        return error is not None and id(error) != self._handled

    def _forget(self) -> Producer | None:
        bar, self._bar = self._bar, None
        scope, self._scope = self._scope, None
        if scope is not None:
            leave(scope)
        if bar is None:
            return None
        stream = bar.producer
        if self._hurry in stream.on_cancel:
            stream.on_cancel.remove(self._hurry)
        if isinstance(stream, CellBars):
            stream.members.discard(self)
        return stream


def _description(shown: Any) -> str:
    return str(shown.desc or "").strip().removesuffix(":").rstrip()[:TEXT]


def _fill(bar: Bar, shown: Any, *, mean: bool = False) -> bool:
    """Put tqdm's figures into the bar, with its latest rate or the mean one; False if they are none."""
    figures = shown.format_dict
    by = 1 if isinstance(shown.unit_scale, bool) or not shown.unit_scale else shown.unit_scale
    rate = None if mean else figures["rate"]
    if rate is None and figures["elapsed"] > 0:
        rate = (shown.n - shown.initial) / figures["elapsed"]
    try:
        n = number(shown.n * by, "n")
        rate = number(rate * by, "rate") if rate else None
    except (TypeError, ValueError):
        return False
    bar.n = n
    bar.total = None if shown.total is None else total_or_none(shown.total * by)
    bar.rate = rate
    bar.unit = str(shown.unit)
    bar.scale = int(shown.unit_divisor) if by == 1 and shown.unit_scale else None
    bar.message = None if shown.postfix is None else str(shown.postfix)[:TEXT]
    description = _description(shown)
    called = (bar.producer.title or "") if bar.name == "main" else bar.name
    bar.label = None if description == called else description
    return True


def _is_ours(args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    file = args[4] if len(args) > 4 else options.get("file")
    return file in (None, sys.stderr, sys.stdout) and not options.get("gui") and in_notebook()


class InNotebook(std.tqdm):  # type: ignore[misc]
    """What is different about a tqdm in a notebook."""

    _shown: _Shown | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        if not _is_ours(args, options):
            _init(self, *args, **options)
            return
        at_once = options.pop("display", True)  # as `tqdm.notebook` has it
        if options.get("disable", False) is None:  # where nobody looks on, but here somebody does
            options["disable"] = False
        options["gui"] = True  # tqdm draws nothing by itself
        _init(self, *args, **options)
        if not self.disable:
            total_or_none(self.total)
            self._shown = _Shown(self)
            if self.mininterval > SOON:
                self._time = self._shown.clock
            if at_once and self.delay <= 0:
                self.display()

    def __enter__(self) -> Any:
        if self._shown is not None:
            self._shown.enter(self)
        return _enter(self)

    def __iter__(self) -> Iterator[Any]:
        if self._shown is not None:
            self._shown.enter(self)
        rounds: Iterator[Any] = _iter(self)
        return rounds

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        if self._shown is None:
            return _display(self, msg, pos)
        self._shown.draw(self, msg)
        return True

    def refresh(self, nolock: bool = False, lock_args: Any = None) -> Any:
        if self._shown is None:
            return _refresh(self, nolock, lock_args)
        # Without the lock comes tqdm's monitor, also for bars that an earlier cell has left.
        if self.disable or (nolock and self._shown.bar is None):
            return None
        self.display()
        if not nolock:
            self._shown.check()
        return True

    def clear(self, *args: Any, **options: Any) -> None:
        if self._shown is None:
            _clear(self, *args, **options)

    def close(self) -> None:
        if self._shown is None or self.disable:
            _close(self)
            return
        leave_it = abs(self.pos) == 0 if self.leave is None else bool(self.leave)
        _close(self)
        if leave_it:
            self._ema_dt = lambda: None  # as tqdm has it: what remains tells the mean rate
        self._shown.end(self, leave_it=leave_it, failed=self._shown.failed)

    @classmethod
    def write(cls, s: str, file: Any = None, end: str = "\n", nolock: bool = False) -> None:
        stream = stream_around() if file in (None, sys.stdout, sys.stderr) and in_notebook() else None
        if stream is None:
            _write(cls, s, file, end, nolock)
        else:
            stream.text(f"{s}{end}", Log, source="stderr" if file is not None and file is sys.stderr else "stdout")


class tqdm(tqdm_asyncio, InNotebook):  # type: ignore[misc]  # noqa: N801
    """tqdm with a bar that is seen from everywhere, survives a reload and can be cancelled.

    Takes what tqdm takes, and does what it does, also ``async for``, `gather`, `pandas` and `write`.
    """

    def __aiter__(self) -> Any:
        if self._shown is not None:
            self._shown.enter(self)
        return super().__aiter__()

    @classmethod
    def install(cls) -> None:
        """Have all bars of tqdm shown like these, also of libraries that bring their own and have been imported."""
        with _lock:
            if _undo:
                return
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TqdmExperimentalWarning)
                modules = [import_module(name) for name in ALIASES]
                theirs: Any = import_module("tqdm.notebook").tqdm_notebook
            for name in ("__init__", "__iter__", "status_printer", "update"):
                _replace(theirs, name)
            for name in ("clear", "close", "display", "reset"):
                _replace(theirs, name, _by_kind(theirs, name))
            for name, value in vars(InNotebook).items():
                if isinstance(value, (FunctionType, classmethod)) or name == "_shown":
                    _replace(std.tqdm, name, value)
            for module in modules:
                _replace(module, "tqdm", cls)

    @classmethod
    def uninstall(cls) -> None:
        """Put back what `install` has changed."""
        with _lock:
            while _undo:
                _undo.pop()()


def _by_kind(theirs: Any, name: str) -> Callable[..., Any]:
    """A method of tqdm's notebook bars that is theirs for those made before, which go on as the widgets they are."""
    original = vars(theirs)[name]

    def method(self: Any, *args: Any, **options: Any) -> Any:
        if "container" in vars(self):
            return original(self, *args, **options)
        return getattr(super(theirs, self), name)(*args, **options)

    return method


def _replace(owner: Any, name: str, *value: Any) -> None:
    """Set an attribute, or take it away so that the base class's is used, until `uninstall`."""
    before = [vars(owner)[name]] if name in vars(owner) else []
    _undo.append(lambda: setattr(owner, name, before[0]) if before else delattr(owner, name))
    if value:
        setattr(owner, name, value[0])
    else:
        delattr(owner, name)


def trange(*args: Any, **options: Any) -> tqdm:
    """``tqdm(range(...))``."""
    return tqdm(range(*args), **options)
