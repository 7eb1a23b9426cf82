"""What a request may take of room, before anybody asks who sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.routing import Match

from autoscaler.api.faults import fault_at
from autoscaler.api.guard import MAX_HEADER_BYTES
from autoscaler.api.refusals import Refusal, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_HEADERS: Final = 100
MAX_URL: Final = 8 * 1024
"""Bytes of a path and its query."""
MAX_BODY: Final = 64 * 1024
"""Bytes of a body where a path says nothing else: what people write."""


class Bounds:
    """Refuses requests with too many or too long headers, a too long URL, or a too long body.

    Args:
        sending: the routes that bound their bodies themselves, since they take larger ones; so do those under ``/v2``.
        refused: told of each that is refused.
    """

    def __init__(self, app: ASGIApp, *, sending: Sequence[BaseRoute], refused: Refused) -> None:
        self._app = app
        self._sending = sending
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL:
            self._refused(Refusal.URL_TOO_LONG)
            answer = fault_at(scope["path"], 414, f"the URL is longer than {MAX_URL} bytes")
            await answer(scope, receive, send)
        elif len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            self._refused(Refusal.HEADERS_TOO_LONG)
            message = f"there are more than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them"
            await fault_at(scope["path"], 431, message)(scope, receive, send)
        elif self._bounds_itself(scope):
            await self._app(scope, receive, send)
        elif _announced(headers) > MAX_BODY:
            self._refused(Refusal.BODY_TOO_LONG)
            await fault_at(scope["path"], 413, _too_long())(scope, receive, send)
        else:
            await self._app(scope, self._counted(receive), send)

    def _bounds_itself(self, scope: Scope) -> bool:
        if scope["path"].startswith("/v2/"):
            return True
        return any(route.matches(scope)[0] is not Match.NONE for route in self._sending)

    def _counted(self, receive: Receive) -> Receive:
        """The same, as long as the body is not too long; of one that comes in pieces nobody knows before."""
        length = 0

        async def counted() -> Message:
            nonlocal length
            message = await receive()
            length += len(message.get("body", b""))
            if length > MAX_BODY:
                self._refused(Refusal.BODY_TOO_LONG)
                raise HTTPException(413, _too_long())
            return message

        return counted


def _too_long() -> str:
    return f"the body is longer than {MAX_BODY} bytes"


def _announced(headers: Sequence[tuple[bytes, bytes]]) -> int:
    lengths = [value for name, value in headers if name == b"content-length"]
    return max((int(length) for length in lengths if length.isdigit()), default=0)
