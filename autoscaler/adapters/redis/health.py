"""What a Redis must be so that nothing is lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from autoscaler.errors import TemporaryError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from autoscaler.adapters.redis.calls import Caller
    from autoscaler.adapters.redis.servers import Node

CLOCKS_APART: Final = 1.0
"""Seconds by which the clocks of a cluster's nodes may differ."""


@dataclass(frozen=True, slots=True)
class _Health:
    """Of one server.

    Attributes:
        faults: in words.
        ahead: seconds that its clock is ahead of this process' own count of seconds, whatever that begins with.
        doubt: seconds by which that may be wrong.
    """

    faults: list[str]
    ahead: float | None = None
    doubt: float = 0.0


async def faults(caller: Caller) -> list[str]:
    """What is wrong with the servers, in words; empty when nothing is. Total."""
    try:
        nodes = await caller.nodes()
    except TemporaryError as error:
        return [str(error)]
    async with asyncio.TaskGroup() as looks:
        seen = [looks.create_task(_health(caller, node, alone=len(nodes) == 1)) for node in nodes]
    found = [look.result() for look in seen]
    return [fault for health in found for fault in health.faults] + _apart(caller, found)


async def _health(caller: Caller, node: Node, *, alone: bool) -> _Health:
    shown = caller.shown if alone else node.shown
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        asked = [("TIME",), ("INFO",), ("CONFIG", "GET", "save"), ("CLUSTER", "INFO")]
        time, info, save, cluster = await caller.bounded(node.send(asked))
        ended = clock()
        for answer in (time, info):
            if isinstance(answer, Exception):
                raise answer
    except TemporaryError as error:
        return _Health([str(error)])
    except RedisError as error:
        return _Health([f"{shown}: {error}"])
    ahead = int(time[0]) + int(time[1]) / 1e6 - (begun + ended) / 2
    found = _faults(_told(info), _save_points(save))
    if isinstance(cluster, bytes) and b"cluster_state:ok" not in cluster:
        found.append("sees a cluster that is not whole: cluster_state is not ok")
    return _Health([f"{shown}: {fault}" for fault in found], ahead, (ended - begun) / 2)


def _apart(caller: Caller, found: Collection[_Health]) -> list[str]:
    known = [(health.ahead, health.doubt) for health in found if health.ahead is not None]
    if not known:
        return []
    least = max(ahead - doubt for ahead, doubt in known) - min(ahead + doubt for ahead, doubt in known)
    return [f"{caller.shown}: the clocks of its nodes are {least:.1f} s apart"] if least > CLOCKS_APART else []


def _save_points(answer: Any) -> str | None:
    """When the server writes a snapshot, "" for never; None where it does not tell, as managed ones do not."""
    if isinstance(answer, Exception):
        return None
    pairs = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
    (value,) = pairs.values()
    return value.decode() if isinstance(value, bytes) else str(value)


def _told(answer: bytes) -> Mapping[str, str]:
    """What INFO says, by name."""
    lines = answer.decode(errors="replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


def _faults(info: Mapping[str, str], save: str | None) -> list[str]:
    found: list[str] = []
    version = info.get("valkey_version", info.get("redis_version", "0"))
    if int(version.split(".", maxsplit=1)[0]) < 7:
        found.append(f"version {version} knows no FUNCTION; Redis 7 or Valkey 7.2 is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy != "noeviction":
        found.append(f"may throw state away: maxmemory-policy is {policy}, noeviction is needed")
    if info.get("aof_enabled", "0") == "0" and save == "":
        found.append("keeps nothing on disk: neither appendonly nor save points are set")
    if info.get("role", "master") != "master":
        found.append("is a replica and cannot be written to")
    if info.get("aof_last_write_status", "ok") != "ok":
        found.append("cannot write its append-only file")
    return found
