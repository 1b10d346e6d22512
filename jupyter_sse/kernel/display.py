"""What a stream looks like where it is written: a live output in a notebook, text on a terminal.

In a notebook the output is published at once, without the widget, which follows if the stream is not over by then: its
code is sent with every instance, and a loop over a hundred short tasks would run into the server's rate limit. When
the stream ends, the output becomes a plain one that needs neither widget nor kernel.

A view that fails never breaks the work it shows.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..events import Event, Reset, Unknown, encode
from ..output import MIME, bounded, mimebundle, to_text
from .origin import attended, place, shell
from .terminal import TerminalView

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..state import Snapshot
    from .live import LiveStream

__all__ = ["Output", "View", "display_object", "in_notebook", "pause_after", "send_extra", "show"]

WIDGET_DELAY = 0.15
WATCH_DELAY = 0.5
"""Seconds after which a widget is made: shorter work does without. The longer one gives a page that needs none the time
to show the stream; the server says when it does."""
FEED_INTERVAL = 0.05
FEED_BYTES_PER_SECOND = 400_000
"""Below what a Jupyter server lets pass from a kernel by default (`iopub_data_rate_limit`), for all its outputs."""
FEED_BYTES = 64 << 10
"""Larger batches are replaced by the state, if that is smaller."""
FIRST_RESET, LAST_RESET = 0.5, 8.0
"""Seconds after which a page that has not been heard is sent the whole state again, doubling: what comes while it makes
the widget is lost to it, and a busy kernel cannot be asked for it."""
STATIC = Path(__file__).parent.parent / "static"
EXTRAS = ("highlight", "math")


class View(Protocol):
    """Shows one stream while it runs, and what it came to."""

    echo: Callable[[Event], None] | None

    def show_again(self) -> None:
        """Its output has been cleared."""

    def finish(self, snapshot: Snapshot) -> None: ...


def show(stream: LiveStream) -> View | None:
    """The view for where this process runs."""
    try:
        return _Guarded(NotebookView(stream) if in_notebook() else TerminalView(stream))
    except Exception as error:
        _complain(error)
        return None


def in_notebook() -> bool:
    """This process shows its work in a notebook."""
    kernel = getattr(shell(), "kernel", None)
    session = getattr(kernel, "session", None)
    # A child that was forked from a kernel cannot publish.
    return kernel is not None and getattr(session, "pid", os.getpid()) == os.getpid()


class _Guarded:
    """Keeps a view's failures from the work it shows."""

    def __init__(self, view: Any) -> None:
        self._view: Any = view
        self.echo: Callable[[Event], None] | None = self._echo if getattr(view, "echo", None) is not None else None

    def _echo(self, event: Event) -> None:
        try:
            if self._view is not None:
                self._view.echo(event)
        except Exception as error:
            self._view = None
            _complain(error)

    def show_again(self) -> None:
        try:
            if self._view is not None:
                self._view.show_again()
        except Exception as error:
            _complain(error)

    def finish(self, snapshot: Snapshot) -> None:
        try:
            if self._view is not None:
                self._view.finish(snapshot)
        except Exception as error:
            _complain(error)


def _complain(error: Exception) -> None:
    from .link import tell

    if not isinstance(error, BrokenPipeError):
        tell(f"jupyter_sse: the output cannot be shown, the work goes on: {error!r}")


class Output:
    """One output of one cell, published and updated from any thread: it goes where it was made."""

    def __init__(self, display_id: str, publisher: Any = None) -> None:
        self._publisher: Any = publisher or getattr(shell(), "display_pub", None)
        self._display_id = display_id
        self._parent = self._current_parent()
        self._thread = threading.get_ident()

    def _current_parent(self) -> dict[str, Any]:
        try:
            return dict(getattr(self._publisher, "parent_header", None) or {})
        except (TypeError, ValueError):
            return {}

    def publish(self, data: dict[str, Any], metadata: dict[str, Any] | None = None, *, update: bool) -> None:
        publisher = self._publisher
        transient = {"display_id": self._display_id}
        now = self._current_parent()
        here = threading.get_ident() == self._thread and now == self._parent
        # An update finds its output by the id, and nbclient takes one only if it comes with the cell that runs.
        anywhere = update and now.get("msg_type") == "execute_request" and _in_main_thread()
        if here or anywhere or not self._parent:
            publisher.publish(data=data, metadata=metadata or {}, transient=transient, update=update)
            return
        # From here the publisher would send to whichever cell runs now.
        message = publisher.session.msg(
            "update_display_data" if update else "display_data",
            {"data": data, "metadata": metadata or {}, "transient": transient},
            parent=self._parent,
        )
        publisher.session.send(publisher.pub_socket, message, ident=publisher.topic)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class NotebookView:
    """A live output in a cell."""

    echo = None

    def __init__(self, stream: LiveStream) -> None:
        self._stream = stream
        self._output = Output(stream.id, stream.publisher)
        self._lock = threading.Lock()
        self._ended = False
        self._heard = False
        self._widget: Any = None
        self._make = _widget_class()
        self._transport = "server" if stream.remote and not _in_vscode() else "comm"
        self._shown = self._live(), self._hint()
        self._output.publish(*self._shown, update=False)
        # Without a page to show it, its code is not sent: nbclient saves the state of widgets, also of closed ones.
        if self._make is not None and attended():
            stream.later(WATCH_DELAY if self._transport == "server" else WIDGET_DELAY, self._go_live)

    def _live(self) -> dict[str, Any]:
        title = self._stream.title
        return {
            MIME: {"stream": self._stream.id, "v": 1, **({"slim": True} if self._stream.slim else {})},
            "text/plain": f"{title}: running" if title else "running",
        }

    def _hint(self) -> dict[str, Any]:
        """Tells a page that can show the stream by itself when there is no use in asking its server."""
        return {MIME: {"transport": "comm"}} if self._transport == "comm" else {}

    def _go_live(self) -> None:
        try:
            with self._lock:
                if self._ended or (self._transport == "server" and self._stream.watched):
                    return
                self._widget = self._make(
                    stream=self._stream.id, transport=self._transport, beside="cell" if self._stream.slim else ""
                )
                self._widget.on_msg(self._asked)
                data, metadata = self._widget._repr_mimebundle_()
                self._shown = {**data, **self._live()}, {**metadata, **self._hint()}
                self._output.publish(*self._shown, update=True)
            if self._transport == "comm":
                self._stream.listen(self._feed, self._reset)
                self._reset_again(FIRST_RESET)
        except Exception as error:
            _complain(error)

    def _asked(self, widget: Any, content: Any, buffers: Any) -> None:
        """A message from the page."""
        op = content.get("op") if isinstance(content, dict) else None
        if op == "ready":
            self._heard = True
            self._stream.listen(self._feed, self._reset)
        elif op == "extra":
            send_extra(widget, content.get("name"))
        elif op == "cancel":
            self._stream.cancel()

    def _reset(self, snapshot: Snapshot) -> None:
        self._send(_reset_message(snapshot, self._stream))

    def _reset_again(self, after: float) -> None:
        def reset() -> None:
            if self._heard or self._ended:
                return
            try:
                self._reset(self._stream.snapshot)
                self._reset_again(min(2 * after, LAST_RESET))
            except Exception as error:
                _complain(error)

        self._stream.later(after, reset)

    def _feed(self, first: int, events: list[Event | Unknown]) -> float:
        raw = _events_message(first, events, self._stream)
        self._send(raw)
        return pause_after(raw)

    def _send(self, raw: bytes) -> None:
        widget = self._widget
        if widget is not None:
            widget.send(msgspec.json.decode(raw))

    def show_again(self) -> None:
        with self._lock:
            if not self._ended:
                self._output.publish(*self._shown, update=False)

    def finish(self, snapshot: Snapshot) -> None:
        with self._lock:
            self._ended = True
            widget, self._widget = self._widget, None
            self._output.publish(mimebundle(snapshot, slim=self._stream.slim), update=True)
        if widget is not None:
            widget.layout.close()
            widget.close()


def _events_message(first: int, events: list[Event | Unknown], stream: LiveStream) -> bytes:
    raw = b'{"op":"events","seq":%d,"events":[%s]}' % (first, b",".join(map(encode, events)))
    return min(raw, _reset_message(stream.snapshot, stream), key=len) if len(raw) > FEED_BYTES else raw


def pause_after(message: bytes) -> float:
    """Seconds until a page is sent the next one."""
    return max(FEED_INTERVAL, len(message) / FEED_BYTES_PER_SECOND)


def send_extra(widget: Any, name: object) -> None:
    """Give a page the highlighter or the formulas, which it loads from the server where there is one."""
    path = STATIC / f"{name}.js"
    if name in EXTRAS and path.is_file():
        widget.send({"op": "extra", "name": name, "code": path.read_text(encoding="utf-8")})


def _reset_message(snapshot: Snapshot, stream: LiveStream) -> bytes:
    state = bounded(snapshot)
    reset = msgspec.json.decode(encode(Reset(reason="joined", snapshot=state, seq=state.seq)))
    message = {"op": "reset", "seq": state.seq, "snapshot": reset["snapshot"]}
    return msgspec.json.encode(message if stream.sound is None else {**message, "sound": stream.sound})


def display_object(stream: LiveStream) -> None:
    """Show a stream again, but not where it is shown already: there it is the last line's value."""
    if stream.shown_at is not None and stream.shown_at == place():
        return
    if not in_notebook():
        print(to_text(bounded(stream.snapshot)))
        return
    running = shell()
    assert running is not None
    running.display_pub.publish(data=mimebundle(stream.snapshot), metadata={})


def _in_vscode() -> bool:
    """VS Code runs the kernels of a Jupyter server, but its page cannot reach that server."""
    return "-jvsc-" in os.environ.get("JPY_SESSION_NAME", "")


@functools.cache
def _widget_class() -> Any:
    """The anywidget class, or None where there is no bundle (a source tree that was not built)."""
    bundle = STATIC / "widget.js"
    if not bundle.is_file():
        print(f"jupyter_sse: no live view, {bundle} is missing: install the package, or build js/.", file=sys.stderr)
        return None
    import anywidget
    import traitlets

    styles = STATIC / "widget.css"

    class StreamWidget(anywidget.AnyWidget):
        _esm = bundle
        if styles.is_file():
            _css = styles
        stream = traitlets.Unicode().tag(sync=True)
        chat = traitlets.Unicode().tag(sync=True)
        transport = traitlets.Unicode("server").tag(sync=True)
        beside = traitlets.Unicode().tag(sync=True)

    return StreamWidget
