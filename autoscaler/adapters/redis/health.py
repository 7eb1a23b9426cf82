"""What a Redis must be so that nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from autoscaler.errors import TemporaryError

if TYPE_CHECKING:
    from autoscaler.adapters.redis.calls import Caller


async def faults(caller: Caller) -> list[str]:
    """What is wrong with a server, in words; empty when nothing is. Total."""
    try:
        info = await caller.bounded(caller.plain("INFO"))
        save = await caller.bounded(_save_points(caller))
    except TemporaryError as error:
        return [str(error)]
    return [f"{caller.shown}: {fault}" for fault in _faults(info, save)]


async def _save_points(caller: Caller) -> str | None:
    """When the server writes a snapshot, "" for never; None where it does not tell, as managed ones do not."""
    try:
        answer = await caller.plain("CONFIG", "GET", "save")
    except ResponseError:
        return None
    pairs = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
    (value,) = pairs.values()
    return value.decode() if isinstance(value, bytes) else str(value)


def _faults(info: dict[str, Any], save: str | None) -> list[str]:
    found: list[str] = []
    version = str(info.get("valkey_version", info.get("redis_version", "0")))
    if int(version.split(".", maxsplit=1)[0]) < 7:
        found.append(f"version {version} knows no FUNCTION; Redis 7 or Valkey 7.2 is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", 0) and policy != "noeviction":
        found.append(f"may throw state away: maxmemory-policy is {policy}, noeviction is needed")
    if not info.get("aof_enabled", 0) and save == "":
        found.append("keeps nothing on disk: neither appendonly nor save points are set")
    if info.get("role", "master") != "master":
        found.append("is a replica and cannot be written to")
    if info.get("aof_last_write_status", "ok") != "ok":
        found.append("cannot write its append-only file")
    return found
