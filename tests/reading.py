"""An open event stream, as a test reads it."""

from __future__ import annotations

import http.client
from typing import ClassVar

from harness import SECONDS, JupyterServer

from jupyter_sse.sse import Decoder, Frame


class Reading:
    """An open event stream, read as it comes."""

    opened: ClassVar[list[Reading]] = []

    def __init__(
        self,
        server: JupyterServer,
        path: str,
        *,
        body: str | None = None,
        port: int | None = None,
        timeout: float = SECONDS,
        **headers: str,
    ) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port or server.port, timeout=timeout)
        self.connection.request(
            "GET" if body is None else "POST",
            server.base_url + "jupyter-sse/" + path,
            body,
            server.headers | {key.replace("_", "-"): value for key, value in headers.items()},
        )
        try:
            self.answer = self.connection.getresponse()
        except BaseException:
            self.connection.close()
            raise
        self.opened.append(self)
        self.decoder = Decoder()
        self.frames: list[Frame] = []
        self.ended = False

    def read(self, count: int | None = None) -> list[Frame]:
        """Until there are so many frames; to the end, without a number."""
        while not self.ended and (count is None or len(self.frames) < count):
            data = self.answer.read1(65536)
            self.ended = not data
            self.frames += self.decoder.feed(data)
        return self.frames

    def close(self) -> None:
        self.answer.close()
        self.connection.close()
