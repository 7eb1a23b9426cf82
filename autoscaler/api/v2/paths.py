"""Every path of the v2 API, with its OpenAPI description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from autoscaler.api.v2 import schema, simple
from autoscaler.api.v2.alarms import Alarms
from autoscaler.api.v2.errors import answer
from autoscaler.api.v2.options import Options
from autoscaler.api.v2.permission import reader
from autoscaler.api.v2.quotas import Quotas, Tallies
from autoscaler.api.v2.routing import Paths
from autoscaler.api.v2.search import Search

if TYPE_CHECKING:
    from typing import Final

    from fastapi import APIRouter

    from autoscaler.engine.service import Service

CAPABILITIES: Final = {
    "api": {
        "alarms:history:query:complex": True,
        "alarms:history:query:simple": True,
        "alarms:query:complex": True,
        "alarms:query:simple": True,
    },
    "alarm_storage": {"storage:production_ready": True},
}
MEDIA_TYPE: Final = "application/vnd.openstack.telemetry-v2"


def router(service: Service, options: Options | None = None) -> APIRouter:
    """The paths ``/``, ``/healthcheck`` and ``/v2/…``; whoever asks must stand in ``request.state.identity``."""
    options = options or Options()
    alarms, search = Alarms(service, options), Search(service)
    quotas, tallies = Quotas(service, options), Tallies(service, options)
    paths = Paths()
    one = "/v2/alarms/{alarm_id}"
    paths.add("GET", "/", _versions, schema.operation("Versions", schema.VersionsShown))
    paths.add("GET", "/healthcheck", _healthcheck, schema.plain("That the API answers"))
    paths.add("GET", "/v2/alarms", alarms.get_all, schema.alarm_list())
    paths.add("POST", "/v2/alarms", alarms.post, schema.create())
    paths.add("GET", one, alarms.get, schema.operation("One alarm", schema.AlarmShown))
    paths.add("PUT", one, alarms.put, schema.replace())
    paths.add("DELETE", one, alarms.delete, schema.removal("Remove an alarm"))
    paths.add("GET", f"{one}/state", alarms.get_state, schema.operation("The state of an alarm", schema.StateShown))
    paths.add("PUT", f"{one}/state", alarms.put_state, schema.state())
    paths.add("GET", f"{one}/history", alarms.history, schema.history())
    paths.add("POST", "/v2/query/alarms", search.alarms, schema.search("Alarms", schema.AlarmShown))
    paths.add("POST", "/v2/query/alarms/history", search.history, schema.search("History", schema.ChangeShown))
    paths.add(
        "GET", "/v2/capabilities", _capabilities, schema.operation("What the API can do", schema.CapabilitiesShown)
    )
    paths.add("GET", "/v2/quotas", quotas.get, schema.quota())
    paths.add("POST", "/v2/quotas", quotas.post, schema.set_quota())
    paths.add("DELETE", "/v2/quotas/{project_id}", quotas.delete, schema.removal("Leave a quota to the settings"))
    paths.add("GET", "/v2/metrics", tallies.get, schema.tallies())
    return paths.close()


async def _versions(request: Request) -> Response:
    """What is served here."""
    version: dict[str, Any] = {
        "id": "v2",
        "links": [
            {"href": f"{request.base_url}v2", "rel": "self"},
            {"href": "https://docs.openstack.org/", "rel": "describedby", "type": "text/html"},
        ],
        "media-types": [{"base": f"application/{form}", "type": f"{MEDIA_TYPE}+{form}"} for form in ("json", "xml")],
        "status": "stable",
        "updated": "2013-02-13T00:00:00Z",
    }
    return answer(200, {"versions": {"values": [version]}})


async def _healthcheck(_: Request) -> Response:
    """That the API answers."""
    return Response(media_type="text/plain")


async def _capabilities(request: Request) -> Response:
    """What the API can do."""
    reader(request)
    simple.check_arguments(request, ())
    return answer(200, CAPABILITIES)
