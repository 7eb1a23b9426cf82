"""What is known of a request beside who asks, and what who asks may."""

from __future__ import annotations

import ipaddress
import re
import uuid
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import structlog
from fastapi import Depends
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from autoscaler.api.faults import RefusedError, fault_at
from autoscaler.api.identity import ADMIN, MEMBER, MONITOR, READER, SERVICE, Identity, identity_of
from autoscaler.declarations.tokens import Sends
from autoscaler.scaling.group import Actor

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Final

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: Final = "x-openstack-request-id"

_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
READING: Final = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that change nothing."""


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
        if scope["type"] != "http" or scope["method"] in READING or self._may(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        message = "pages of this origin may not change anything; AUTOSCALER_CORS_ORIGINS names those that may"
        await fault_at(scope["path"], 403, message)(scope, receive, send)

    def _may(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or "*" in self._allowed or origin in self._allowed:
            return True
        return urlsplit(origin).netloc == headers.get("host", "")


class OwnNames:
    """Refuses requests that call this machine by a name that is not its own.

    A page may lead its own name to this machine, and is then of the same origin as the API; it cannot choose another
    name to call it by. That name stands in ``Host``.

    Args:
        allowed: origins whose names may be used, too; ``*`` is every one.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._names = {urlsplit(origin).hostname for origin in allowed}
        self._any = "*" in allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or self._any or self._may(Headers(scope=scope).get("host", "")):
            await self._app(scope, receive, send)
            return
        message = "expected localhost or an address as the host; AUTOSCALER_CORS_ORIGINS names others"
        await fault_at(scope["path"], 403, message)(scope, receive, send)

    def _may(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name = parts.hostname or ""
            if parts.netloc != host or "@" in host:
                return False
            if not host or name in self._names or name == "localhost" or name.endswith(".localhost"):
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def require(identity: Identity, role: str) -> None:
    """Refuse whoever may not do what ``role`` may."""
    if not identity.may(role):
        raise RefusedError(403, f"this needs the role {role}")


def require_sender(identity: Identity, kind: Sends) -> None:
    """Refuse whoever may not send measures or events: members may, and services, such as Ceilometer."""
    if identity.scope is not None:
        if not identity.scope.covers(kind):
            raise RefusedError(403, f"this token may not send {kind}")
    elif SERVICE not in identity.roles:
        require(identity, MEMBER)


def needs(role: str) -> Any:
    """For paths that are open to one role and those that imply it."""

    def check(request: Request) -> None:
        require(identity_of(request), role)

    return Depends(check)


READS = needs(READER)
CHANGES = needs(MEMBER)
OPERATES = needs(ADMIN)
MONITORS = needs(MONITOR)


def _caller(request: Request) -> Actor:
    return identity_of(request).actor


Caller = Annotated[Actor, Depends(_caller)]
