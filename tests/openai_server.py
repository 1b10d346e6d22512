"""A server that speaks the wire format of OpenAI's chat completions, so that the real SDK can be used without a key."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class OpenAIServer:
    """Answers every question with `words`, one a chunk; it goes on with each only when `go` is set."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.go = threading.Event()
        self.go.set()
        self.pause = 0.0
        """Seconds between two words: the model's own pace."""
        self.hung_up = threading.Event()
        self.closing = threading.Event()
        self.requests: list[dict[str, Any]] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http.daemon_threads = True

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                model.requests.append(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                try:
                    for word in model.words:
                        model.go.wait(30)
                        model.closing.wait(model.pause)
                        self._send(choices=[{"index": 0, "delta": {"role": "assistant", "content": word}}])
                    self._send(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
                    usage = {"prompt_tokens": 5, "completion_tokens": len(model.words), "total_tokens": 5}
                    self._send(choices=[], usage=usage)
                    self.wfile.write(b"data: [DONE]\n\n")
                except OSError:
                    model.hung_up.set()
                self.close_connection = True

            def _send(self, **fields: Any) -> None:
                chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "test", **fields}
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                self.wfile.flush()

            def log_message(self, *args: Any) -> None:
                """Not on the test's output."""

        return Handler


@contextmanager
def openai_server(words: list[str]) -> Iterator[OpenAIServer]:
    server = OpenAIServer(words)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.go.set()
        server.closing.set()
        server.http.shutdown()
        server.http.server_close()
        thread.join()
