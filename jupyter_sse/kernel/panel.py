"""Where a chat is shown: the outputs of cells that it has been displayed in, and the pages that show them.

JupyterLab's extension shows such an output by itself, also with no kernel, and opens a comm to the kernel that has the
chat. Where no page does so in a short time, a widget follows, whose code is sent with each instance; its own channel
then carries the same messages. The output is kept as a notebook should have it: a transcript that needs nothing of
ours.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ..output import MIME
from ..transcript import Change, ChatState, chatbundle
from . import link
from .display import (
    Output,
    _complain,
    _events_message,
    _in_vscode,
    _reset_message,
    _widget_class,
    pause_after,
    send_extra,
)
from .origin import attended, kernel_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event, Unknown
    from .answer import Answer

__all__ = ["TARGET", "Panel"]

TARGET = "jupyter_sse.chat"
"""The comm that a page opens to a kernel."""
SHOWN_DELAY = 0.7
"""Seconds after which an output that no page has opened gets a widget."""
OUTPUTS = 8
"""Displayed more often than so, a chat no longer updates the oldest outputs."""

_shown: dict[str, Panel] = {}  # pages ask for them by id


class Conversation(Protocol):
    """What the panel shows."""

    @property
    def state(self) -> ChatState: ...
    def offer(self, models: list[str]) -> None: ...
    def take(self, change: Change) -> None: ...
    def answer(self, id: str, question: str, history: list[dict[str, str]]) -> None: ...
    def follow(self, id: str) -> None: ...
    def running(self, stream: str) -> Answer | None: ...


class Panel:
    """A chat's outputs and pages; used from any thread."""

    def __init__(self, chat: str, conversation: Conversation) -> None:
        self._id = chat
        self._conversation = conversation
        self._lock = threading.Lock()
        self._outputs: list[Output] = []
        self._pages: dict[object, Callable[[dict[str, Any]], None]] = {}  # how to tell each that has said hello
        self._widget: Any = None

    def show(self) -> None:
        """Display it in the cell that runs."""
        _shown[self._id] = self
        _register()
        if self._transport == "comm":
            from ..chat.providers import Providers

            self._conversation.offer(Providers().models)
        output = Output(f"{self._id}-{len(self._outputs)}")
        data, metadata = self._bundle()
        output.publish(data, metadata, update=False)
        with self._lock:
            self._outputs = [*self._outputs, output][-OUTPUTS:]
        # Without a page to show it, its code is not sent: nbclient saves the state of widgets.
        if self._widget is None and attended():
            link.current().later(SHOWN_DELAY, self._show_widget)

    # What the chat says

    def changed(self, change: Change, but: object = None) -> None:
        """Tell the pages, and have the notebook keep what a reload needs."""
        if change.put or change.cut is not None:
            self._update()
        self._tell({"op": "change", **msgspec.to_builtins(change)}, but)

    def replaced(self) -> None:
        self._update()
        self._tell(self._state())

    def feed(self, answer: Answer) -> None:
        """Where the pages cannot get it from a server, send them the answer as it comes."""
        if self._transport == "comm" and self._pages:
            self._listen(answer)

    def _listen(self, answer: Answer) -> None:
        stream = answer._stream

        def tell(raw: bytes) -> None:
            self._tell({**msgspec.json.decode(raw), "stream": stream.id})

        def feed(first: int, events: list[Event | Unknown]) -> float:
            raw = _events_message(first, events, stream)
            tell(raw)
            return pause_after(raw)

        stream.listen(feed, lambda snapshot: tell(_reset_message(snapshot, stream)))

    def _state(self) -> dict[str, Any]:
        return {"op": "state", **msgspec.to_builtins(self._conversation.state)}

    def _tell(self, message: dict[str, Any], but: object = None) -> None:
        for key, send in list(self._pages.items()):
            if key is but:
                continue
            try:
                send(message)
            except Exception as error:
                self._pages.pop(key, None)
                _complain(error)

    # What a page says

    def heard(self, key: object, send: Callable[[dict[str, Any]], None], message: Any) -> None:
        """A message from a page, which `send` tells things."""
        try:
            op = message.get("op")
            if op == "hello":
                self._pages[key] = send
                send(self._state())
                if key is not self._widget:
                    self._drop_widget()
            elif op == "change":
                change = msgspec.convert(message, Change)
                self._conversation.take(change)
                send({"op": "took", "n": message.get("n")})
                self.changed(change, but=key)
            elif op == "asked":
                self._conversation.follow(message["id"])
            elif op == "ask":
                self._conversation.answer(message["id"], message["message"], message["history"])
            elif op == "extra":
                send_extra(self._widget, message.get("name"))
            else:
                answer = self._conversation.running(message["stream"])
                if answer is not None and op == "ready":
                    self._listen(answer)
                elif answer is not None and op == "cancel":
                    answer.cancel()
        except Exception as error:
            _complain(error)

    def left(self, key: object) -> None:
        """A page has gone."""
        self._pages.pop(key, None)

    # The outputs

    @property
    def _transport(self) -> str:
        return "comm" if link.current().address is None or _in_vscode() else "server"

    def _bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        data = chatbundle(self._id, self._conversation.state, kernel_id())
        # Tells a page when there is no use in asking its server.
        metadata: dict[str, Any] = {MIME: {"transport": "comm"}} if self._transport == "comm" else {}
        if self._widget is not None:
            widget, more = self._widget._repr_mimebundle_()
            return {**widget, **data}, {**more, **metadata}
        return data, metadata

    def _update(self) -> None:
        try:
            data, metadata = self._bundle()
            for output in self._outputs:
                output.publish(data, metadata, update=True)
        except Exception as error:
            _complain(error)
            return
        # A page that was loaded again since the cell ran is not told of updates.
        self._tell({"op": "output", "data": {name: data[name] for name in (MIME, "text/markdown", "text/plain")}})

    def _show_widget(self) -> None:
        try:
            with self._lock:
                make = _widget_class()
                if self._pages or self._widget is not None or make is None:
                    return
                widget = self._widget = make(chat=self._id, transport=self._transport)
            widget.on_msg(lambda _, content, buffers: self.heard(widget, widget.send, content))
            # Before it is heard: a busy kernel cannot be asked.
            widget.send(self._state())
            self._update()
        except Exception as error:
            _complain(error)

    def _drop_widget(self) -> None:
        """It was made though a page shows the chat by itself, and was only late."""
        with self._lock:
            widget = self._widget
            if widget is None or widget in self._pages:
                return
            self._widget = None
        self._update()
        widget.layout.close()
        widget.close()


def _register() -> None:
    from comm import get_comm_manager

    get_comm_manager().register_target(TARGET, _opened)


def _opened(comm: Any, message: dict[str, Any]) -> None:
    """A page asks for a chat; it is told by the comm's end that there is none."""
    panel = _shown.get(message["content"]["data"].get("chat"))
    if panel is None:
        comm.close()
        return
    comm.on_msg(lambda message: panel.heard(comm.comm_id, comm.send, message["content"]["data"]))
    comm.on_close(lambda message: panel.left(comm.comm_id))
