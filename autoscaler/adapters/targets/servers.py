"""Members that are servers of Nova: how many more fit, and who is being moved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from autoscaler.adapters import http
from autoscaler.adapters.nova import Nova, Room, Server
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.scaling.group import Bound

if TYPE_CHECKING:
    from autoscaler.adapters.openstack import Service
    from autoscaler.adapters.targets.heat_group import HeatSeen
    from autoscaler.declarations.targets import HeatOptions

DEADLINE: Final = 3.0
"""Seconds for each question; what comes later is not waited for."""
SERVER: Final = "OS::Nova::Server"
READ_EVERY: Final = 10.0
"""Seconds for which Nova's and Neutron's word is believed."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ServersSeen:
    """What is known of members that are servers.

    Attributes:
        moving: ids of those that somebody is moving or rebuilding.
        most: members that the quotas allow at this moment; None where none can be read.
    """

    moving: tuple[str, ...] = ()
    most: Bound | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Known:
    until: float
    ids: frozenset[str]
    seen: ServersSeen


class Servers:
    """Reads quotas and servers, not oftener than :data:`READ_EVERY` for each group."""

    def __init__(self, services: Callable[[str, str], Awaitable[Service]], clock: Callable[[], float]) -> None:
        self._services = services
        self._clock = clock
        self._known: dict[tuple[str, str], _Known] = {}

    async def seen(self, options: HeatOptions, group: HeatSeen) -> ServersSeen:
        """What is known of a group's servers. What cannot be read bounds nothing, and is said in the facts. Total."""
        ids = frozenset(member.physical_id for member in group.members if member.type == SERVER and member.physical_id)
        if not ids:
            return ServersSeen()
        key, now = (group.stack.ref.id, group.group.name), self._clock()
        known = self._known.get(key)
        if known is None or now >= known.until or known.ids != ids:
            known = self._known[key] = _Known(now + READ_EVERY, ids, await self._read(options, group, ids))
        return known.seen

    async def _read(self, options: HeatOptions, group: HeatSeen, ids: frozenset[str]) -> ServersSeen:
        facts: dict[str, str] = {}
        project_id = options.project_id or ""
        try:
            async with http.within(DEADLINE, "Nova"):
                compute, network = [await self._services(options.cloud or "", kind) for kind in ("compute", "network")]
                nova = Nova(compute, network, project_id)
        except (TemporaryError, PermanentError) as error:
            return ServersSeen(facts={"servers": f"not known: {error}"})

        async def read(what: str, answer: Awaitable[_T], otherwise: _T) -> _T:
            try:
                async with http.within(DEADLINE, what):
                    return await answer
            except (TemporaryError, PermanentError) as error:
                facts[what] = f"not known: {error}"
                return otherwise

        servers = await read("servers", nova.servers(ids), [])
        rooms = await read("quotas", nova.quotas(), [])
        ports = await read("quota of ports", nova.ports(project_id or _project_of(group)), None)
        most = _most(group.size, servers, [*rooms, *([] if ports is None else [ports])])
        return ServersSeen(tuple(server.id for server in servers if server.moving), most, facts)


def _project_of(group: HeatSeen) -> str:
    return group.stack.parameters.get("OS::project_id", "")


def _most(size: int, servers: Sequence[Server], rooms: Sequence[Room]) -> Bound | None:
    """What the tightest quota leaves room for, if whoever comes takes as much as the largest member."""
    takes = {
        "instances": 1,
        "cores": max((server.cores for server in servers), default=0),
        "ram": max((server.ram for server in servers), default=0),
        "ports": max((server.ports for server in servers), default=1),
    }
    bounds = [
        Bound(size + room.free // takes[room.what], f"quota: {room.used} of {room.limit} {room.what} are used")
        for room in rooms
        if takes[room.what]
    ]
    return min(bounds, key=lambda bound: bound.size, default=None)
