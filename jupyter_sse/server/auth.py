"""Who may do what: jupyter_server's own authentication and authorisation, and the producers' secret.

Kernels get a secret through their environment (`JUPYTER_SSE_TOKEN`). It opens the producer routes and nothing else:
a kernel must be able to write streams, but not to act as the user. It does not pass the authorizer, which knows only
users.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from contextlib import suppress
from http.client import responses
from typing import TYPE_CHECKING, Any, TypeVar, cast

from jupyter_server.auth import AllowAllAuthorizer, Authorizer, User
from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado import web

from .hub import Hub

if TYPE_CHECKING:
    from .app import SSE

__all__ = [
    "RESOURCE",
    "ApiError",
    "ApiHandler",
    "ErrorsInJson",
    "NotFoundHandler",
    "ProducerHandler",
    "ProducerMixin",
    "permitted",
]

RESOURCE = "jupyter-sse"

_BEARER = re.compile(r"bearer\s+(.+)", re.IGNORECASE)

Method = TypeVar("Method", bound=Callable[..., Any])


class ApiError(web.HTTPError):
    """An answer for the caller: `code` for programs, `message` for people."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None, allow: str | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.allow = allow


def permitted(action: str) -> Callable[[Method], Method]:
    """A signed-in user who is authorised for this action on `RESOURCE`; anybody else gets a 403."""

    def decorate(method: Method) -> Method:
        return cast(Method, web.authenticated(authorized(action, resource=RESOURCE)(method)))

    return decorate


class ExtensionHandler(JupyterHandler):
    """Knows the running extension."""

    auth_resource = RESOURCE

    @property
    def sse(self) -> SSE:
        sse: SSE = self.settings["jupyter_sse"]
        return sse

    @property
    def hub(self) -> Hub:
        if self.sse.hub is None:
            raise ApiError(503, "starting", "The server is still starting.", retry_after=1)
        return self.sse.hub

    @property
    def user(self) -> str:
        # jupyter_server makes up a new name for every request that has the token and no cookie.
        return "token" if self.token_authenticated else self.current_user.username

    def set_cors_headers(self) -> None:
        super().set_cors_headers()
        if "Origin" in self.request.headers:
            # A script on another origin is to know where its stream is, and when to try again.
            self.set_header("Access-Control-Expose-Headers", "Location, Retry-After")


class ProducerMixin(ExtensionHandler):
    """Also open to kernels, by the secret in their environment, for the methods that write."""

    producer_method = "POST"

    @property
    def is_producer(self) -> bool:
        if self.request.method != self.producer_method:
            return False
        match = _BEARER.fullmatch(self.request.headers.get("Authorization", ""))
        return match is not None and hmac.compare_digest(match[1].encode(), self.sse.secret.encode())

    async def prepare(self, *args: Any, **kwargs: Any) -> None:
        if not self.is_producer:
            await super().prepare(*args, **kwargs)
        elif self.check_host():
            self.current_user = User("kernel")
        else:
            raise web.HTTPError(403)

    @property
    def authorizer(self) -> Authorizer:
        if self.is_producer:
            return AllowAllAuthorizer()
        return super().authorizer


class ErrorsInJson(ExtensionHandler):
    """Says in JSON what is wrong."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        message, code = responses.get(status_code, "Unknown error"), f"http_{status_code}"
        if isinstance(error, ApiError):
            message, code = error.message, error.code
            if error.retry_after is not None:
                self.set_header("Retry-After", str(error.retry_after))
            if error.allow is not None:
                self.set_header("Allow", error.allow)
        elif status_code in (401, 403):
            code = "forbidden"
            message = "Not allowed. Send the server's token (Authorization: token ...) or, from a page, its cookie"
            message += " and for anything but GET the X-XSRFToken header."
        elif isinstance(error, web.HTTPError) and error.log_message:
            message = error.log_message
        with suppress(RuntimeError):  # nobody knows who asks: that is what has failed
            # tornado has cleared them; without them a page of another origin cannot read why.
            self.set_cors_headers()
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(self.in_json(message, code)))

    def in_json(self, message: str, code: str) -> dict[str, Any]:
        """What is wrong, as whoever asks reads it."""
        return {"message": message, "code": code}


class ApiHandler(ErrorsInJson, APIHandler):
    """Answers in JSON, errors included."""

    def update_api_activity(self) -> None:
        """Looking on does not keep a server from being culled."""
        if self.request.method != "GET":
            super().update_api_activity()

    @allow_unauthenticated
    def options(self, *args: Any, **kwargs: Any) -> None:
        super().options(*args, **kwargs)
        # A page on another origin resumes with this header.
        allowed = self._headers.get("Access-Control-Allow-Headers", "")
        self.set_header("Access-Control-Allow-Headers", f"{allowed}, last-event-id".lstrip(", "))


class ProducerHandler(ProducerMixin, ApiHandler):
    """An `ApiHandler` for producers as well."""


class NotFoundHandler(ApiHandler):
    """Whatever else is asked for below our prefix."""

    @permitted("read")
    def get(self) -> None:
        self._fail()

    @permitted("write")
    def post(self) -> None:
        self._fail()

    @permitted("write")
    def delete(self) -> None:
        self._fail()

    def _fail(self) -> None:
        raise ApiError(404, "not_found", f"There is nothing at {self.request.path}.")
