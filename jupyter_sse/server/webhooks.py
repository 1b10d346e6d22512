"""Tells others that a stream has ended: a POST to a URL, of the settings or of whoever began the stream.

It is the server that posts, and not the kernel: one that has died cannot say so, and it need not have the secret. A URL
that came with a stream is kept beside it and never in it: readers do not get to see it, nor does the log.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import SplitResult

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from .. import webhook
from ..output import one_line

if TYPE_CHECKING:
    from .channel import Channel
    from .hub import Hub

__all__ = ["Webhooks"]

AT_A_TIME = 8
PENDING = 200
"""Webhooks that wait for their turn or their next try; more are not sent, which the log says."""

ANSWER_SECONDS = 15.0
FIRST_RETRY, LAST_RETRY = 0.5, 60.0

NAME = 100
"""Characters of a title in the log."""
YEAR_10000 = 253402300800.0

_TRY_AGAIN = {408, 425, 429}


@dataclass
class _Problem:
    what: str
    is_final: bool = False
    wait: float = 0.0


def _is_time(seconds: float | None) -> TypeGuard[float]:
    """The producer's clock may say anything: milliseconds, as a browser's does, are no date."""
    return seconds is not None and 0 <= seconds < YEAR_10000


class Webhooks:
    """What is posted when streams end.

    url, after : where to post about all streams that have run for so many seconds; None for nowhere.
    secret : signs them; empty for none. With one that cannot be used, nothing is sent.
    patience : seconds for which one that fails is tried again.
    page : the URL of the monitor page, as others see it.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        url: str | None,
        after: float,
        secret: str,
        patience: float,
        page: str | None,
        log: logging.Logger,
    ) -> None:
        self._hub = hub
        self._url = url
        self._after = after
        self._key: bytes | None = None
        self._cannot_sign = False
        self._patience = patience
        self._page = page
        self._log = log
        self._client = SimpleAsyncHTTPClient(force_instance=True, max_clients=2 * AT_A_TIME)
        self._turns = asyncio.Semaphore(AT_A_TIME)
        self._pending: dict[asyncio.Task[None], str] = {}
        hub.on_end = self._ended
        try:
            self._key = webhook.key(secret) if secret else None
        except ValueError as error:  # who wants them signed has not asked for any that are not
            self._cannot_sign = True
            log.error("jupyter_sse: SSE.webhook_secret: %s. Until then no webhook is sent.", error)

    async def stop(self) -> None:
        self._hub.on_end = lambda channel: None
        if self._pending:
            names = ", ".join(self._pending.values())
            self._log.error("jupyter_sse: The server stops before these webhooks could be delivered: %s.", names)
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
        self._client.close()

    def want(self, channel: Channel, url: str) -> None:
        """Post there when this stream ends; if it has, the server was stopped before it could."""
        if channel.told or self._cannot_sign:
            return
        channel.webhook = url
        if channel.ended:
            self._tell(channel, general=False)

    def _ended(self, channel: Channel) -> None:
        if (self._url is not None or channel.webhook is not None) and not self._cannot_sign:
            self._tell(channel, general=True)

    def _tell(self, channel: Channel, *, general: bool) -> None:
        own, channel.webhook, channel.told = channel.webhook, None, True
        task = asyncio.ensure_future(self._run(channel, own, self._url if general else None))
        self._pending[task] = channel.id
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        stream = self._pending.pop(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.error("jupyter_sse: No webhook for stream %s: %s.", stream, type(task.exception()).__name__)

    async def _run(self, channel: Channel, own: str | None, general: str | None) -> None:
        snapshot = await channel.snapshot()
        started = snapshot.started if _is_time(snapshot.started) else channel.created
        ended = snapshot.ended if _is_time(snapshot.ended) else time.time()
        urls = {own} if own is not None else set()
        # An endpoint's stream ends for want of readers as well: that is no news.
        if general is not None and ended - started >= self._after and snapshot.kind != "endpoint":
            urls.add(general)
        if not urls:
            return
        if len(self._pending) > PENDING:
            self._log.error(
                "jupyter_sse: No webhook for stream %s: %d others have yet to be delivered.", channel.id, PENDING
            )
            return
        page = self._page and f"{self._page}#/{channel.id}"
        body = webhook.body(snapshot, started=started, ended=ended, url=page)
        name = f"{one_line(snapshot.title or snapshot.kind or 'Stream')[:NAME]!r} ({channel.id})"
        await asyncio.gather(*(self._deliver(webhook.check(url), channel.id, body, name) for url in urls))

    async def _deliver(self, to: SplitResult, stream: str, body: bytes, name: str) -> None:
        began = time.monotonic()
        delay, tries = FIRST_RETRY, 0
        while True:
            async with self._turns:
                problem = await self._post(to, f"msg_{stream}", body)
            if problem is None:
                return
            tries += 1
            wait = max(problem.wait, delay * random.uniform(0.5, 1.0))
            where = webhook.place(to)
            if problem.is_final or time.monotonic() + wait > began + self._patience:
                times = f"tried {tries} times" if tries > 1 else "tried once"
                self._log.error(
                    "jupyter_sse: The webhook for %s was not delivered, %s. %s %s.", name, times, where, problem.what
                )
                return
            if tries == 1:
                self._log.warning("jupyter_sse: The webhook for %s is tried again: %s %s.", name, where, problem.what)
            await asyncio.sleep(wait)
            delay = min(LAST_RETRY, 2 * delay)

    async def _post(self, to: SplitResult, id: str, body: bytes) -> _Problem | None:
        url, user, password = webhook.credentials(to)
        now = int(time.time())
        headers = {"Content-Type": "application/json", "webhook-id": id, "webhook-timestamp": str(now)}
        if self._key is not None:
            headers["webhook-signature"] = webhook.sign(self._key, id, now, body)
        timeout = min(ANSWER_SECONDS, self._patience)
        request = HTTPRequest(
            url,
            method="POST",
            headers=headers,
            body=body,
            auth_username=user,
            auth_password=password,
            connect_timeout=timeout,
            request_timeout=timeout,
            follow_redirects=False,
            user_agent="jupyter-sse",
            streaming_callback=lambda chunk: None,  # what it says is of no interest, however long
        )
        try:
            answer = await self._client.fetch(request, raise_error=False)
        except (HTTPTimeoutError, TimeoutError):
            return _Problem(f"did not answer within {timeout:g} s")
        except OSError as error:
            return _Problem(f"cannot be reached: {error.strerror or type(error).__name__}")
        except HTTPClientError as error:
            return _Problem(f"gave no answer: {error.message}")
        except Exception as error:  # no name of a host, no HTTP: the text may have the URL
            return _Problem(f"gave no answer that can be read: {type(error).__name__}")
        if 200 <= answer.code < 300:
            return None
        said = answer.headers.get("Retry-After", "")
        return _Problem(
            f"answered {answer.code}" + (", a redirect, which is not followed" if 300 <= answer.code < 400 else ""),
            is_final=answer.code < 500 and answer.code not in _TRY_AGAIN,
            wait=float(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0.0,
        )
