"""The server extension: its settings, its routes, and the life of the hub."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jupyter_core.paths import jupyter_data_dir
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.utils import url_path_join
from prometheus_client import REGISTRY
from tornado.ioloop import PeriodicCallback
from traitlets import Dict, Enum, Float, Integer, List, TraitError, Unicode, default, validate
from traitlets.config import Config

from ..chat.providers import Providers
from ..endpoints import registry
from ..log import Log, LogError
from ..log.fallback import FallbackLog
from ..log.memory import MemoryLog
from ..log.sqlite import SqliteLog
from ..webhook import check
from . import chat, endpoints, formats, kernels, lines, media, monitor, outputs, streams, transcripts, websocket
from .activity import Activity
from .auth import NotFoundHandler
from .hub import Hub, Limits
from .metrics import HubCollector
from .modules import Modules
from .reader import Reader
from .routes import Routes
from .webhooks import Webhooks

__all__ = ["SSE"]

EXPIRE_SECONDS = 600.0

IN_MEMORY = "For now streams are in the server's memory only, and are lost when it stops."


class _Shared(dict[str, Any]):
    """traitlets copies what is configured, which agents cannot be: they hold clients and locks."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


class SSE(ExtensionApp):
    """Streams of events over HTTP: answers, tasks, logs."""

    name = "jupyter_sse"
    description = "Stream LLM answers and watch long-running work."
    extension_url = "/jupyter-sse"
    load_other_extensions = True

    log_type = Enum(
        ["sqlite", "memory"],
        "sqlite",
        help="Where streams are kept: 'sqlite' survives a restart of the server, 'memory' does not.",
    ).tag(config=True)
    log_path = Unicode(
        help="The SQLite file. Default: jupyter-sse/streams.db in the Jupyter data directory, readable by you alone;"
        " under JupyterHub streams-<user>.db, so that users with one home do not see each other's streams."
    ).tag(config=True)
    heartbeat = Float(20.0, min=0.05, help="Seconds between heartbeats; proxies cut silent connections at 60.").tag(
        config=True
    )
    retry = Integer(1000, min=0, help="Milliseconds a browser waits before it reconnects.").tag(config=True)
    producer_grace = Float(
        30.0,
        min=0.0,
        help="Seconds that a producer whose connection is cut has to return before its streams end in an error.",
    ).tag(config=True)
    max_event_bytes = Integer(1 << 20, min=1024, help="A security limit: the size of one event's JSON.").tag(
        config=True
    )
    max_stream_bytes = Integer(
        64 << 20, min=1 << 16, help="A security limit: the size of all events of one stream, and of its media."
    ).tag(config=True)
    max_connections = Integer(
        128, min=1, help="A security limit: open connections of one user that read streams, of whichever kind."
    ).tag(config=True)
    max_lag_bytes = Integer(
        8 << 20, min=1 << 16, help="A reader this far behind is cut; it can resume from the log."
    ).tag(config=True)
    stall_seconds = Float(60.0, min=0.1, help="A reader that takes no byte for so long is cut.").tag(config=True)
    keep_days = Float(30.0, min=0.0, help="Ended streams older than this are deleted.").tag(config=True)
    keep_streams = Integer(1000, min=0, help="Ended streams above this number are deleted, oldest first.").tag(
        config=True
    )
    keep_bytes = Integer(1 << 30, min=0, help="Ended streams above this size in all are deleted, oldest first.").tag(
        config=True
    )
    providers = Dict(
        help="Who answers questions, by name: a callable that takes a question and yields events or text, a pydantic-ai"
        " agent or model, 'module:name' of one, or the address of an OpenAI-compatible server."
    ).tag(config=True)
    chat_model = Unicode(
        help="The model that answers where a question names none, such as 'openai:gpt-5' or a name in SSE.providers."
        " Default: by the API keys in the environment; without any, the demo model."
    ).tag(config=True)
    chat_models = List(Unicode(), help="Further models to offer for choice.").tag(config=True)
    api_keys = Dict(
        help="API keys by provider, {'openai': '...'}. Unlike the server's environment, kernels do not inherit them."
    ).tag(config=True)
    chat_rate = Unicode(
        "30/minute",
        help="Questions that a user may ask, as the library `limits` writes it; empty: as many as they like.",
    ).tag(config=True)
    chat_timeout = Float(120.0, min=0.05, help="A model that is silent for so many seconds is given up.").tag(
        config=True
    )
    max_question = Integer(10_000, min=1, help="A security limit: the characters of one question.").tag(config=True)
    unread_seconds = Float(
        300.0, min=0.05, help="An answer that nobody has begun to read after so many seconds is ended and forgotten."
    ).tag(config=True)
    chunk_words = Integer(6, min=1, help="A model's text leaves in pieces of so many words, ...").tag(config=True)
    chunk_seconds = Float(
        0.05, min=0.0, help="... or after so many seconds, or at punctuation, whichever comes first."
    ).tag(config=True)

    endpoints = List(
        Unicode(),
        help="Python modules, by name, whose functions with @jupyter_sse.endpoint this server is to serve itself.",
    ).tag(config=True)
    max_calls = Integer(
        256, min=1, help="A security limit: calls of endpoints that run at once in one kernel, or in this server."
    ).tag(config=True)
    max_body_bytes = Integer(
        1 << 20, min=1, max=3 << 20, help="A security limit: the JSON that a POST to an endpoint has."
    ).tag(config=True)

    notify_after = Float(
        60.0,
        min=0.0,
        help="When a stream that ran for fewer seconds ends, neither SSE.webhook nor the monitor page tells of it.",
    ).tag(config=True)
    webhook = Unicode(help="A URL to which a POST goes when a stream has ended.").tag(config=True)
    webhook_secret = Unicode(
        help="Signs webhooks, as Standard Webhooks has it: 'whsec_' and base64, or any text. Default: the environment's"
        " JUPYTER_SSE_WEBHOOK_SECRET, which kernels do not inherit. Without, webhooks are not signed."
    ).tag(config=True)
    webhook_patience = Float(
        600.0, min=0.1, help="Seconds for which a webhook that cannot be delivered is tried again."
    ).tag(config=True)

    hub: Hub | None = None
    problem: str | None = None  # why streams are not kept on disk, though they should be

    @default("static_paths")
    def _default_static_paths(self) -> list[str]:
        return [str(monitor.STATIC)]

    def _find_my_config(self, cfg: Config) -> Config:
        found: Config = super()._find_my_config(cfg)
        if isinstance(found.get("providers"), dict):
            found["providers"] = _Shared(found["providers"])
        return found

    @validate("chat_rate")
    def _check_rate(self, proposal: Any) -> Any:
        with suppress(ImportError):
            from limits import parse_many

            try:
                parse_many(proposal["value"] or "1/second")
            except ValueError:
                raise TraitError(
                    f"SSE.chat_rate is to be written like '30/minute', not {proposal['value']!r}."
                ) from None
        return proposal["value"]

    @validate("webhook")
    def _check_webhook(self, proposal: Any) -> Any:
        try:
            if proposal["value"]:
                check(proposal["value"])
        except ValueError as error:
            raise TraitError(f"SSE.webhook: {error}.") from None
        return proposal["value"]

    def initialize_settings(self) -> None:
        given = os.environ.pop("JUPYTER_SSE_WEBHOOK_SECRET", "")
        self.webhook_secret = self.webhook_secret or given
        self.secret = secrets.token_urlsafe(32)
        self.connections: dict[str, tuple[str, Reader]] = {}  # multiplexed ones: id -> user, reader
        self.readers: Counter[str] = Counter()  # how many a user has open
        self.routes = Routes()

    def initialize_handlers(self) -> None:
        base = r"/jupyter-sse/"
        features = (monitor, streams, lines, media, outputs, chat, formats, transcripts, websocket, kernels, endpoints)
        self.handlers.extend([(base + route, handler) for feature in features for route, handler in feature.handlers])
        self.handlers.append((r"/jupyter-sse(?:/.*)?", NotFoundHandler))

    async def _open_log(self) -> Log:
        if self.log_type == "sqlite":
            user = os.environ.get("JUPYTERHUB_USER")
            name = f"streams-{quote(user, safe='')}.db" if user else "streams.db"
            path = Path(self.log_path or Path(jupyter_data_dir(), "jupyter-sse", name)).expanduser()
            log = FallbackLog(SqliteLog(path))
            try:
                await log.open()
                log.on_change = self._log_changed
                return log
            except LogError as error:
                self.problem = f"{error} {IN_MEMORY}"
                self.log.error("jupyter_sse: %s", self.problem)
        memory = MemoryLog()
        await memory.open()
        return memory

    def _log_changed(self, problem: str | None) -> None:
        self.problem = problem and f"{problem} {IN_MEMORY}"
        if self.problem is not None:
            self.log.error("jupyter_sse: %s", self.problem)
        else:
            self.log.warning("jupyter_sse: The log can be written again, and has all that was kept in memory.")
        if self.hub is not None:
            self.hub.announce(self.problem)
            if problem is None:
                self.producers.written_back()

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        hub = Hub(
            await self._open_log(),
            limits=Limits(
                event_bytes=self.max_event_bytes,
                stream_bytes=self.max_stream_bytes,
                lag_bytes=self.max_lag_bytes,
                stall_seconds=self.stall_seconds,
            ),
            heartbeat=self.heartbeat,
            retry=self.retry,
            base_url=serverapp.base_url,
            on_error=lambda message: self.log.error("jupyter_sse: %s", message),
        )
        hub.notice = self.problem
        hub.start()
        self.webhooks = Webhooks(
            hub,
            url=self.webhook or None,
            after=self.notify_after,
            secret=self.webhook_secret,
            patience=self.webhook_patience,
            page=self._url_for_people(serverapp),
            log=self.log,
        )
        manager = serverapp.kernel_manager
        activity = Activity(manager, serverapp.web_app.settings)
        self.producers = kernels.Producers(hub, manager, activity, grace=self.producer_grace)
        await self.producers.start()
        self.chats = chat.Chats(
            hub,
            self.producers,
            Providers(
                self.providers,
                default=self.chat_model or None,
                models=self.chat_models,
                keys=self.api_keys,
                words=self.chunk_words,
                seconds=self.chunk_seconds,
                timeout=self.chat_timeout,
            ),
            rate=self.chat_rate,
            max_question=self.max_question,
            unread_seconds=self.unread_seconds,
        )
        self.modules = Modules(hub, self.producers, self.routes, registry, most=self.max_calls)
        self.modules.load(self.endpoints, self.log)
        self.hub = hub
        self._expiry = PeriodicCallback(self._expire, EXPIRE_SECONDS * 1000)
        self._expiry.start()
        await self._expire()
        self._collector = HubCollector(hub)
        REGISTRY.register(self._collector)
        # Kernels and terminals started from now on inherit these.
        os.environ["JUPYTER_SSE_URL"] = self._url_for_kernels(serverapp)
        os.environ["JUPYTER_SSE_TOKEN"] = self.secret
        os.environ["JUPYTER_SSE_ROOT"] = serverapp.root_dir

    @staticmethod
    def _url_for_kernels(serverapp: Any) -> str:
        url = urlsplit(serverapp.connection_url)
        if not serverapp.sock and serverapp.ip in ("", "*", "0.0.0.0", "::"):
            url = url._replace(netloc=f"{'[::1]' if serverapp.ip == '::' else '127.0.0.1'}:{serverapp.port}")
        return url_path_join(url._replace(query="").geturl(), "jupyter-sse/")

    @staticmethod
    def _url_for_people(serverapp: Any) -> str | None:
        """The monitor page, by the name under which others are told to find this server."""
        url = urlsplit(os.environ.get("JUPYTERHUB_PUBLIC_URL") or serverapp.public_url)
        if url.scheme not in ("http", "https"):
            return None
        page = url_path_join(serverapp.base_url, "jupyter-sse/")
        return url._replace(netloc=url.netloc.rpartition("@")[2], path=page, query="", fragment="").geturl()

    async def _expire(self) -> None:
        assert self.hub is not None
        try:
            await self.hub.expire(
                max_age=self.keep_days * 86400, max_streams=self.keep_streams, max_bytes=self.keep_bytes
            )
        except LogError as error:
            self.log.error("jupyter_sse: Streams that are old enough could not be deleted. %s", error)

    async def stop_extension(self) -> None:
        if self.hub is None:
            return
        hub, self.hub = self.hub, None
        self._expiry.stop()
        REGISTRY.unregister(self._collector)
        await self.webhooks.stop()
        await self.chats.stop()
        await asyncio.to_thread(self.modules.stop)
        self.producers.stop()
        await asyncio.sleep(0)
        await hub.close()
