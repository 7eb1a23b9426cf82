"""Who asks: told from headers and the connection, since nobody is asked to prove it yet."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import structlog
from fastapi import Depends
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from autoscaler.api.faults import fault
from autoscaler.scaling.group import Actor

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Final

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: Final = "x-openstack-request-id"
ANONYMOUS: Final = "anonymous"

_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_READING: Final = frozenset(("GET", "HEAD", "OPTIONS"))


def new_request_id() -> str:
    """As OpenStack's services write them."""
    return f"req-{uuid.uuid4()}"


class RequestIds:
    """Gives each request an id, the caller's own where it is one, and sends it back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _ID.fullmatch(given) else new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_id)


class SameOrigin:
    """Refuses changes that a page of another origin asks for: every browser on this machine reaches the API.

    Args:
        allowed: origins whose pages may; ``*`` is every one.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] in _READING or self._may(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        await fault(403, "pages of this origin may not change anything; AUTOSCALER_CORS_ORIGINS names those that may")(
            scope, receive, send
        )

    def _may(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed or origin in self._allowed:
            return True
        return urlsplit(origin).netloc == headers.get("host", "")


def _caller(request: Request) -> Actor:
    name = request.headers.get("x-user-id", "").strip()
    return Actor(
        kind="user",
        name=name if name.isprintable() and 0 < len(name) <= 255 else ANONYMOUS,
        project_id=request.headers.get("x-project-id", "")[:255],
        request_id=request.state.request_id,
        address="" if request.client is None else request.client.host,
    )


Caller = Annotated[Actor, Depends(_caller)]
