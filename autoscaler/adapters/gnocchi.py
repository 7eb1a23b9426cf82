"""Measures that a Gnocchi has stored, read back as aggregates."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from autoscaler.adapters.http import RefusedError
from autoscaler.errors import PermanentError
from autoscaler.ports import Archive, StoredResource

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.adapters.openstack import Service

PAGE: Final = 500
"""Resources that are asked for at a time."""
_OWN: Final = frozenset(
    (
        *("id", "original_resource_id", "type", "project_id", "metrics", "created_by_user_id", "created_by_project_id"),
        *("creator", "started_at", "ended_at", "revision_start", "revision_end"),
    )
)
"""Keys of a resource that say nothing of what is measured."""


class GnocchiArchive:
    """See :class:`autoscaler.ports.Archive`.

    Args:
        service: Gnocchi, of the type ``metric``.
        user: for Gnocchi's own basic authentication, ``USER`` or ``USER:PASSWORD``; "" shows tokens of ours.
    """

    def __init__(self, service: Service, *, user: str = "") -> None:
        self._service = service
        self._headers: Mapping[str, str] = {}
        if user:
            shown = user if ":" in user else f"{user}:"
            self._headers = {"authorization": f"Basic {base64.b64encode(shown.encode()).decode()}"}

    async def resource(self, resource_id: str) -> StoredResource | None:
        """See :class:`autoscaler.ports.Archive`."""
        known = await self._found(f"/v1/resource/generic/{quote(resource_id, safe='')}")
        if known is None:
            return None
        # only its own type tells its attributes
        kind = quote(str(known["type"]), safe="")
        whole = await self._found(f"/v1/resource/{kind}/{quote(str(known['id']), safe='')}")
        return None if whole is None else _resource(whole)

    async def search(self, kind: str, search: Any) -> Sequence[StoredResource]:
        """See :class:`autoscaler.ports.Archive`."""
        found: list[StoredResource] = []
        marker = ""
        while True:
            asked = [("limit", str(PAGE)), ("sort", "id:asc"), *([("marker", marker)] if marker else [])]
            path = f"/v1/search/resource/{quote(kind, safe='')}?{urlencode(asked)}"
            page = json.loads(await self._call("POST", path, search))
            found += map(_resource, page)
            if len(page) < PAGE:
                return found
            marker = page[-1]["id"]

    async def metric(self, metric_id: str) -> StoredResource | None:
        """See :class:`autoscaler.ports.Archive`."""
        known = await self._found(f"/v1/metric/{quote(metric_id, safe='')}")
        if known is None:
            return None
        owner = known.get("resource")
        if not owner:
            return StoredResource(id=metric_id, project_id="", metadata={}, metrics={metric_id: metric_id})
        whole = await self.resource(str(owner["id"]))
        return whole and StoredResource(whole.id, whole.project_id, whole.metadata, {metric_id: metric_id})

    async def aggregates(
        self, metric_id: str, method: str, granularity: float, after: float
    ) -> Sequence[tuple[float, float]] | None:
        """See :class:`autoscaler.ports.Archive`."""
        asked = {"aggregation": method, "granularity": f"{granularity:g}", "start": f"{after:.6f}"}
        found = await self._found(f"/v1/metric/{quote(metric_id, safe='')}/measures?{urlencode(asked)}")
        return None if found is None else [(_seconds(time), float(value)) for time, _, value in found]

    async def _found(self, path: str) -> Any:
        """What is answered; None where Gnocchi knows no such thing."""
        try:
            return json.loads(await self._call("GET", path))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
        except (KeyError, ValueError, TypeError) as error:
            raise PermanentError(f"GET {path}: not an answer of Gnocchi: {error}") from error

    async def _call(self, method: str, path: str, body: Any = None) -> bytes:
        if self._headers:
            return await self._service.call_openly(method, path, body=body, headers=self._headers)
        return await self._service.call(method, path, body=body)


def _resource(document: Mapping[str, Any]) -> StoredResource:
    attributes = {name: value for name, value in document.items() if name not in _OWN and value is not None}
    return StoredResource(
        # by the id that it was made with, so that it is the same as in what is measured from now on
        id=str(document.get("original_resource_id") or document["id"]),
        project_id=str(document.get("project_id") or ""),
        metadata={name: value if isinstance(value, str) else json.dumps(value) for name, value in attributes.items()},
        metrics=dict(document.get("metrics") or {}),
    )


def _seconds(time: str) -> float:
    found = datetime.fromisoformat(time)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


_fits: type[Archive] = GnocchiArchive
