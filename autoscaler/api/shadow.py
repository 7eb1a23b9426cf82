"""A controller that changes nothing: what it has seen, and the refusal of whatever would change something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from starlette.routing import Match

from autoscaler.api.asked import ShadowFilter
from autoscaler.api.callers import OPERATES, READING
from autoscaler.api.faults import fault_at
from autoscaler.api.wire import ShadowAnswer, shadow_answer
from autoscaler.engine.service import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from autoscaler.engine.service import Service
    from autoscaler.engine.shadow import Shadow

REFUSED: Final = (
    "this controller is a shadow (AUTOSCALER_SHADOW): it follows Aodh's alarms and changes nothing; "
    "change the alarm at Aodh, and run the controller without it to have it act"
)
_ASKING: Final = "/v2/query/"
"""Where a question is sent by POST."""


def router(service: Service, shadow: Shadow | None) -> APIRouter:
    """The path."""
    paths = APIRouter(prefix="/v1/shadow", tags=["shadow"], dependencies=[OPERATES])

    @paths.get("")
    async def report(asked: Annotated[ShadowFilter, Query()]) -> ShadowAnswer:
        """Where this controller agrees with Aodh, where it differs, and why."""
        if shadow is None:
            raise NotFoundError("this controller is no shadow; AUTOSCALER_SHADOW makes it one")
        found = await shadow.report(asked.alarm, newest=asked.limit)
        names = {listing.alarm.alarm_id: listing.alarm.name for listing in service.known(found.alarm_ids)}
        return shadow_answer(found, names)

    return paths


class Unchanging:
    """Refuses all that would change an alarm, a group, a freeze or a trust; measures may be sent.

    Args:
        open_routes: what may be asked by whatever method it takes.
    """

    def __init__(self, app: ASGIApp, open_routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._open = open_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or self._may(scope):
            await self._app(scope, receive, send)
            return
        await fault_at(scope["path"], 409, REFUSED)(scope, receive, send)

    def _may(self, scope: Scope) -> bool:
        if scope["method"] in READING or scope["path"].startswith(_ASKING):
            return True
        return any(route.matches(scope)[0] is not Match.NONE for route in self._open)
