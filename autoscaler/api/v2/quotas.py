"""``/v2/quotas``: how many alarms projects may have; ``/v2/metrics``: how often alarms were evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from autoscaler.alarms.alarm import AlarmState
from autoscaler.api.v2 import simple
from autoscaler.api.v2.body import owner
from autoscaler.api.v2.errors import FaultError, answer, forbidden, invalid
from autoscaler.api.v2.fields import Object, flag, listed, text, whole
from autoscaler.api.v2.ordering import slices
from autoscaler.api.v2.permission import admin, reader
from autoscaler.api.v2.requests import decoded

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.api.v2.options import Options
    from autoscaler.engine.service import Service

RESOURCE: Final = "alarms"
HIGHEST: Final = 2**31 - 1


class Quotas:
    """The methods of ``/v2/quotas``."""

    def __init__(self, service: Service, options: Options) -> None:
        self._service = service
        self._options = options

    async def get(self, request: Request) -> Response:
        """The quota of a project."""
        identity = reader(request)
        project_id = request.query_params.get("project_id") or identity.project_id
        if not identity.is_admin and project_id != identity.project_id:
            raise forbidden()
        return answer(200, await self._shown(project_id))

    async def post(self, request: Request) -> Response:
        """Give a project a quota."""
        identity = admin(request)
        simple.check_arguments(request, ())
        sent = Object(await decoded(request, "body"), "body", "body", ("project_id", "quotas"))
        sent.required("project_id", text)
        project_id = owner(sent, "project_id", "")
        items: list[Any] = sent.optional("quotas", listed, [])
        for limit in [_limit(item) for item in items][-1:]:
            await self._service.set_quota(project_id, limit, identity.actor)
        return answer(201, await self._shown(project_id))

    async def delete(self, request: Request, project_id: str) -> Response:
        """Leave a project's quota to the settings."""
        identity = admin(request)
        simple.check_arguments(request, ())
        await self._service.set_quota(project_id, None, identity.actor)
        return Response(status_code=204)

    async def _shown(self, project_id: str) -> dict[str, Any]:
        kept = await self._service.quota(project_id)
        limit = self._options.project_alarm_quota if kept is None else kept
        return {"project_id": project_id, "quotas": [{"resource": RESOURCE, "limit": limit}]}


def _limit(document: Any) -> int:
    quota = Object(document, "body.quotas", "quotas", ("resource", "limit"))
    if quota.required("resource", text) != RESOURCE:
        raise invalid("resource", document["resource"], f"Value should be one of: {RESOURCE}")
    return quota.required("limit", whole(-1, HIGHEST))


class Tallies:
    """The methods of ``/v2/metrics``."""

    def __init__(self, service: Service, options: Options) -> None:
        self._service = service
        self._options = options

    async def get(self, request: Request) -> Response:
        """How often alarms were evaluated to each state."""
        identity = reader(request)
        if not self._options.evaluation_metrics:
            raise FaultError(403, "metrics endpoint is disabled")
        simple.check_arguments(request, ("all_projects",))
        everywhere = flag("all_projects", request.query_params.get("all_projects", "false").lower())
        if everywhere:
            admin(request)
        results = []
        async for piece in slices(list(self._service.listings(None if everywhere else identity.project_id))):
            counts = await self._service.tallies([listing.alarm.alarm_id for listing in piece])
            results += [
                {
                    "alarm_id": listing.alarm.alarm_id,
                    "project_id": listing.alarm.project_id,
                    "state_counters": {state.value: count.get(state, 0) for state in AlarmState},
                }
                for listing, count in zip(piece, counts, strict=True)
                if count
            ]
        return answer(200, {"evaluation_results": results})
