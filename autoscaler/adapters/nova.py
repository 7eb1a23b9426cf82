"""How many more servers a project may have, and which of its servers somebody is moving: Nova and Neutron.

See https://docs.openstack.org/api-ref/compute/ and https://docs.openstack.org/api-ref/network/v2/.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from autoscaler.adapters import http

if TYPE_CHECKING:
    from autoscaler.adapters.openstack import Service

MICROVERSION: Final = {"openstack-api-version": "compute 2.47"}
"""The first that tells what a server takes, and not only the id of its flavor."""
PAGES: Final = 100
"""Pages of servers that are read at most."""
MOVING: Final = frozenset({"MIGRATING", "REBUILD", "RESIZE", "VERIFY_RESIZE", "REVERT_RESIZE"})
"""Statuses of servers that somebody is moving or making anew; evacuated ones are rebuilt."""
MOVES: Final = ("migrating", "rebuild", "resize_")
"""What the task of such a server begins with."""

_ANSWER: Final = "the answer"


@dataclass(frozen=True, slots=True)
class Server:
    """A server and what it takes of the quotas.

    Attributes:
        moving: somebody is moving or rebuilding it.
        ports: of networks that it is at.
    """

    id: str
    moving: bool
    cores: int = 0
    ram: int = 0
    ports: int = 1


@dataclass(frozen=True, slots=True)
class Room:
    """What a quota leaves; ``free`` is in its own units."""

    what: str
    limit: int
    used: int

    @property
    def free(self) -> int:
        """How much more there may be."""
        return max(0, self.limit - self.used)


class _Flavor(msgspec.Struct, frozen=True):
    vcpus: int = 0
    ram: int = 0


class _Server(msgspec.Struct, frozen=True):
    id: str
    status: str = ""
    task_state: str | None = msgspec.field(default=None, name="OS-EXT-STS:task_state")
    flavor: _Flavor = _Flavor()
    addresses: dict[str, list[dict[str, Any]]] = {}


class _Link(msgspec.Struct, frozen=True):
    href: str
    rel: str = ""


class _Servers(msgspec.Struct, frozen=True):
    servers: list[_Server]
    servers_links: list[_Link] = []


class _Limits(msgspec.Struct, frozen=True):
    absolute: dict[str, Any]


class _AllLimits(msgspec.Struct, frozen=True):
    limits: _Limits


class _Quota(msgspec.Struct, frozen=True):
    limit: int
    used: int = 0
    reserved: int = 0


class _Quotas(msgspec.Struct, frozen=True):
    quota: dict[str, _Quota] = {}


@dataclass(frozen=True, slots=True)
class Nova:
    """Asks Nova and Neutron. Every method raises what :meth:`autoscaler.adapters.openstack.Service.call` raises.

    Args:
        project_id: whose servers are meant, where the credentials are another's; "" means their own.
    """

    compute: Service
    network: Service
    project_id: str = ""

    async def servers(self, ids: Collection[str]) -> list[Server]:
        """Those of the project's servers that have these ids, in Nova's order."""
        wanted = frozenset(ids)
        query = {"project_id": self.project_id, "all_tenants": "1"} if self.project_id else {}
        found: list[Server] = []
        for _ in range(PAGES):
            answer = await self._get(self.compute, f"/servers/detail?{urlencode(query)}", MICROVERSION)
            page = http.decoded(answer, _Servers, _ANSWER)
            found += [_server(server) for server in page.servers if server.id in wanted]
            following = next((link.href for link in page.servers_links if link.rel == "next"), "")
            if not following or len(found) == len(wanted):
                break
            query = dict(part.split("=", 1) for part in urlsplit(following).query.split("&") if "=" in part)
        return found

    async def quotas(self) -> list[Room]:
        """What Nova's quotas leave; those without a limit are left out."""
        query = f"?{urlencode({'tenant_id': self.project_id})}" if self.project_id else ""
        absolute = http.decoded(await self._get(self.compute, f"/limits{query}"), _AllLimits, _ANSWER).limits.absolute
        return list(_rooms(absolute))

    async def ports(self, project_id: str) -> Room | None:
        """What Neutron's quota of ports leaves a project; None where there is no limit."""
        path = f"/v2.0/quotas/{quote(project_id, safe='')}/details.json"
        found = http.decoded(await self._get(self.network, path), _Quotas, _ANSWER).quota.get("port")
        if found is None or found.limit < 0:
            return None
        return Room("ports", found.limit, found.used + found.reserved)

    async def _get(self, service: Service, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        # the project goes as a query: Nova's own address has none in it any more
        return await service.call("GET", path, headers=headers)


def _rooms(absolute: Mapping[str, Any]) -> Iterator[Room]:
    for what, limit, used in (
        ("instances", "maxTotalInstances", "totalInstancesUsed"),
        ("cores", "maxTotalCores", "totalCoresUsed"),
        ("ram", "maxTotalRAMSize", "totalRAMUsed"),
    ):
        most, taken = absolute.get(limit), absolute.get(used)
        if isinstance(most, int) and isinstance(taken, int) and most >= 0:
            yield Room(what, most, taken)


def _server(found: _Server) -> Server:
    moving = found.status in MOVING or (found.task_state or "").startswith(MOVES)
    macs = {
        address.get("OS-EXT-IPS-MAC:mac_addr") or address.get("addr")
        for addresses in found.addresses.values()
        for address in addresses
    }
    return Server(found.id, moving, found.flavor.vcpus, found.flavor.ram, max(1, len(macs)))
