"""A real ipykernel, driven as a front end drives it."""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_client.manager import KernelManager

Message = dict[str, Any]
TIMEOUT = 60.0
POKE = 2.0


class KernelProcess:
    """Runs cells and keeps every message on IOPub."""

    def __init__(self, **env: str) -> None:
        self._env = env
        self.messages: list[Message] = []

    def start(self) -> None:
        import os

        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env={**os.environ, **self._env})
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)

    def send(self, code: str, cell: str = "cell-1", *, attended: bool = True) -> str:
        """Ask for a cell to be run; the id of the request."""
        # With stop_on_error a kernel drops what is asked for right after a cell that failed.
        content = {"code": code, "silent": False, "store_history": True, "stop_on_error": False}
        content["allow_stdin"] = attended
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell})
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def run(self, code: str, cell: str = "cell-1", *, attended: bool = True) -> list[Message]:
        """Run a cell to its end; its messages."""
        request = self.send(code, cell, attended=attended)
        self.wait(lambda message: is_idle(message, request))
        return self.of(request)

    def wait(self, condition: Any, timeout: float = TIMEOUT) -> Message:
        """Read until a message meets the condition, also one read before."""
        for message in self.messages:
            if condition(message):
                return message
        deadline = time.monotonic() + timeout
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=POKE)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise AssertionError(f"not in {timeout} s; last: {self.messages[-5:]!r:.3000}") from None
                # ipykernel may sleep on a request that came right after an interrupt (seen with 7.3 on Python 3.10,
                # without our code): the next one wakes it.
                self.client.kernel_info()
                continue
            self.messages.append(message)
            if condition(message):
                return dict(message)

    def of(self, request: str) -> list[Message]:
        return [message for message in self.messages if message["parent_header"].get("msg_id") == request]

    def widget_says(self, comm: str, content: Message) -> None:
        """What a widget's view sends to its model."""
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        self.client.shell_channel.send(message)


def is_idle(message: Message, request: str) -> bool:
    return bool(
        message["msg_type"] == "status"
        and message["content"]["execution_state"] == "idle"
        and message["parent_header"].get("msg_id") == request
    )


def displays(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message["msg_type"] in ("display_data", "update_display_data")]


def text(messages: list[Message], name: str = "stdout") -> str:
    return "".join(
        message["content"]["text"]
        for message in messages
        if message["msg_type"] == "stream" and message["content"]["name"] == name
    )


@contextmanager
def running(**env: str) -> Iterator[KernelProcess]:
    kernel = KernelProcess(**env)
    kernel.start()
    try:
        yield kernel
    finally:
        kernel.stop()


def unique() -> str:
    return secrets.token_hex(4)
