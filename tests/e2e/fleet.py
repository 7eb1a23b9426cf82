"""Controllers on one Redis that share what a broker has, and what of it has come into their window."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from autoscaler.adapters.redis import RedisStore
from autoscaler.declarations import load
from autoscaler.engine.route import Router
from autoscaler.measures.series import unpack
from autoscaler.ports import Bus, WindowWrite
from tests.e2e.controller import ControllerProcess
from tests.e2e.neighbours import Pace
from tests.servers import RedisServer, free_port

RULES = """
alarms:
  - name: everything
    type: aggregation
    rule: {metric: load, match: {server_group: web}, aggregation_method: mean, granularity: 600,
           evaluation_periods: 2, comparison_operator: gt, threshold: 1000, window: aligned, evaluate: boundary}
"""


RESOURCES = 30


def measured(number: int, now: float) -> dict[str, Any]:
    """The n-th measure; of one of many resources, and all in one window."""
    return {
        "metric": "load",
        "resource_id": f"web-{number % RESOURCES}",
        "timestamp": now,
        "value": float(number),
        "metadata": {"server_group": "web"},
    }


async def _values(url: str, namespace: str) -> set[float]:
    store = RedisStore(url, namespace=namespace)
    try:
        (spec,) = Router(load({"rules.yaml": RULES}).alarms.values()).windows.values()
        (window,) = await store.write([WindowWrite(spec)])
        assert not await store.dead_letters("measure", limit=1)
        return {value for packed in window.series.values() for _, value in unpack(packed).points()}
    finally:
        await store.close()


def values(server: RedisServer, namespace: str = "autoscaler") -> set[float]:
    """Of all measures that are in the window."""
    return asyncio.run(_values(server.url, namespace))


def known(server: RedisServer, bus: Bus = Bus.MQTT) -> dict[str, str]:
    """All seats that there are, and whose each was last, "" for nobody's."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return dict(client.hgetall(_key("seats", bus)))


def holders(server: RedisServer, bus: Bus = Bus.MQTT) -> dict[str, str]:
    """Whose each seat is, without those that are nobody's."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        now = client.time()[0]
        until = dict(client.zrange(_key("seated", bus), 0, -1, withscores=True))
    return {seat: holder for seat, holder in known(server, bus).items() if holder and until.get(seat, 0.0) > now}


def _key(name: str, bus: Bus) -> str:
    return f"autoscaler:{{hub}}:{name}" if bus is Bus.MQTT else f"autoscaler:{{hub}}:{bus}:{name}"


def spread(server: RedisServer, seats: Sequence[str], bus: Bus = Bus.MQTT) -> list[int]:
    """How many of some seats each replica has that has any."""
    has = holders(server, bus)
    return sorted(Counter(has[seat] for seat in seats if seat in has).values())


def until(condition: Callable[[], bool], seconds: float = 30.0) -> float:
    """Wait; how many seconds it took."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.02)
    return time.monotonic() - begun


class Fleet:
    """Controllers on one Redis and one broker.

    Args:
        settings: of all of them, as :class:`ControllerProcess` takes them.
    """

    def __init__(self, folder: Path, stack: ExitStack, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._stack = stack
        (folder / "rules.yaml").write_text(RULES)
        self._settings = {**settings, "RULES": str(folder / "rules.yaml")}
        self._count = 0

    def begin(self, *names: str, **settings: str) -> Sequence[ControllerProcess]:
        """Start some, all at once; they are ready when this returns."""
        begun = []
        for name in names:
            self._count += 1
            folder = self._folder / f"{name}-{self._count}"
            folder.mkdir()
            process = ControllerProcess(
                folder, port=free_port(), settings=self._settings | settings | {"REPLICA": name}
            )
            begun.append(self._stack.enter_context(process))
        for process in begun:
            process.until_ready()
        return begun


def taken_over(publisher: Pace, server: RedisServer) -> float:
    """Seconds until all that was published up to a moment from now is in the window."""
    begun = time.monotonic()
    time.sleep(0.5)
    wanted = {measure["value"] for measure in list(publisher.published)}
    until(lambda: wanted <= values(server))
    return time.monotonic() - begun
