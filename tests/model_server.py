"""A local HTTP server that speaks the wire formats of models, so that the real SDKs can be used without a key.

Base URLs: OpenAI (chat completions and Responses) `base_url`; Anthropic, Ollama and Google GenAI `url`.

::

    with model_server(["Hello ", gate, "world"]) as model:
        ...
        gate.set()
        assert model.hung_up.wait(SECONDS)

An answer is a list of parts, and each request takes the next answer; the last one is given again and again. Parts:

- ``str``: a piece of text. ``Reasoning(text=)``, ``Tool(id=, name=, phase="call", args=)``: the same for those.
- ``threading.Event``: goes on once it is set. ``float``: goes on after so many seconds, the model's own pace.
- ``Usage(...)``, ``Done(reason="length")``: what the end says, wherever they stand.
- ``CUT``: the connection breaks here.

`Refusal` is an answer that is an error. An answer that begins with ``HANG`` sends nothing, not even a header. After
`close()` connections are refused. `requests` holds what came; `running` counts the answers that are being given;
`hung_up` is set when a client closes its connection before it has the whole answer.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple, Union

from model_formats import FORMATS, Answer, Format

from jupyter_sse.events import Delta, Event, Reasoning, Tool

__all__ = ["CUT", "HANG", "ModelServer", "Refusal", "Request", "model_server"]


class Fault(Enum):
    CUT = "cut"
    HANG = "hang"


CUT, HANG = Fault.CUT, Fault.HANG

Part = Union[str, float, threading.Event, Event, Fault]


class Refusal(NamedTuple):
    """An HTTP error instead of an answer; the body is the message in the provider's own form, or as given."""

    status: int
    message: str = "refused"
    headers: Mapping[str, str] = MappingProxyType({})
    body: bytes | None = None


class Request(NamedTuple):
    """`headers` have lower-case names."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class HungUpError(Exception):
    """The client has closed the connection."""


class CutError(Exception):
    """The script says that the connection breaks here."""


class ModelServer:
    def __init__(self, *answers: list[Part] | Refusal) -> None:
        self.answers: list[list[Part] | Refusal] = list(answers)
        self.requests: list[Request] = []
        self.hung_up = threading.Event()
        self.running = 0
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def base_url(self) -> str:
        """OpenAI's."""
        return f"{self.url}/v1"

    def close(self) -> None:
        """Cut all connections and refuse new ones."""
        if not self._closing.is_set():
            self._closing.set()
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()

    def _next(self) -> list[Part] | Refusal:
        with self._lock:
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _count(self, change: int) -> None:
        with self._lock:
            self.running += change

    def _wait(self, connection: socket.socket, until: Callable[[], bool]) -> None:
        """Until then; meanwhile it is seen whether the client is there, which sends nothing more."""
        while not until():
            if self._closing.is_set():
                raise CutError
            readable, _, _ = select.select([connection], [], [], 0.01)
            if readable and not connection.recv(1, socket.MSG_PEEK):
                raise HungUpError

    def _events(self, parts: Iterable[Part], connection: socket.socket) -> Iterator[Event]:
        """What is to be said, each when its time has come."""
        for part in parts:
            if isinstance(part, threading.Event):
                self._wait(connection, part.is_set)
            elif isinstance(part, float):
                end = time.monotonic() + part
                self._wait(connection, lambda end=end: time.monotonic() >= end)  # type: ignore[misc]
            elif part is CUT:
                raise CutError
            elif isinstance(part, str):
                yield Delta(text=part)
            elif isinstance(part, (Reasoning, Tool)):
                yield part
        self._wait(connection, lambda: True)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                model.requests.append(Request(self.path, headers, body))
                self.close_connection = True
                form = next((form for path, form in FORMATS.items() if path in self.path), None)
                if form is None:
                    self._whole(404, b"no such route")
                    return
                model._count(1)
                try:
                    self._answer(form, model._next(), body)
                except (HungUpError, OSError):
                    model.hung_up.set()
                except CutError:
                    self.connection.shutdown(socket.SHUT_RDWR)
                finally:
                    model._count(-1)

            def _answer(self, form: Format, answer: list[Part] | Refusal, body: dict[str, Any]) -> None:
                if isinstance(answer, Refusal):
                    refused = answer.body
                    if refused is None:
                        refused = json.dumps(form.refuse(answer.status, answer.message)).encode()
                    self._whole(answer.status, refused, answer.headers)
                    return
                if answer and answer[0] is HANG:
                    model._wait(self.connection, lambda: False)
                said = Answer(tuple(part for part in answer if isinstance(part, (str, Event))))
                if not form.streams(self.path, body):
                    for _ in model._events(answer, self.connection):
                        pass
                    self._whole(200, json.dumps(form.whole(said)).encode())
                    return
                self.send_response(200)
                self.send_header("Content-Type", form.content_type)
                self.send_header("Transfer-Encoding", "chunked")
                self.send_header("Connection", "close")
                self.end_headers()
                for frame in form.stream(said, model._events(answer, self.connection)):
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))
                self.wfile.write(b"0\r\n\r\n")

            def _whole(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Not on the test's output."""

        return Handler


@contextmanager
def model_server(*answers: list[Part] | Refusal) -> Iterator[ModelServer]:
    server = ModelServer(*answers)
    try:
        yield server
    finally:
        server.close()
