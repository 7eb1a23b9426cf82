"""Alarms that come up all at once, their windows read from Redis; and what a window takes there."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Final

import redis

from autoscaler.ports import WorkItem
from bench.alarms import of_resource
from bench.contestants import SOON, Controller, Race
from bench.nothing import called
from bench.publish import AmqpPublisher, Reporting, batched
from bench.rows import BY_KEY, Measured
from bench.throughput import BATCH, SECONDS
from bench.world import World, names

SERIES: Final = 10_000
PERIODS: Final = 5
"""Granules of a minute that must agree."""
MINUTES, INTERVAL = 5, 10
POINTS: Final = MINUTES * 60 // INTERVAL
POINT_BYTES: Final = 16
AT_ONCE: Final = 500
"""Windows of a call."""
MINUTE: Final = 60.0
LONGEST: Final = 10.0
"""Seconds that a round may take."""


async def due(world: World) -> list[Measured]:
    """Each window has five minutes of points; all marks are due at once, with versions that no copy has."""
    found, stored = Measured(BY_KEY["due"]), Measured(BY_KEY["stored"])
    series = names(SERIES)
    definitions = (of_resource(number, each, periods=PERIODS) for number, each in enumerate(series))
    settings = {"AMQP_URL": world.amqp, "AMQP_EXCHANGE": "due", "AMQP_QUEUE": "due"}
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(Controller.running("due", world.folder, settings, definitions))
        publisher = await stack.enter_async_context(AmqpPublisher.connected(world.amqp, "due"))
        filling = batched(Reporting(series, seconds=MINUTES * 60.0).measures(SERIES * POINTS), BATCH)
        await Race(publisher, [ours]).run(filling)
        server = stack.enter_context(redis.Redis(port=ours.redis_ports[0]))
        windows = [key.rpartition(b":window:")[2].decode() for key in server.scan_iter("*:window:*", count=1000)]
        batches = [
            (windows[at : at + AT_ONCE], [bytes(POINTS * POINT_BYTES)] * len(windows[at : at + AT_ONCE]))
            for at in range(0, len(windows), AT_ONCE)
        ]
        for number in range(world.rounds + 1):
            rate = await _all_at_once(ours, server, windows)
            if number:
                found.add(rate, await called(ours.redis.url, batches, seconds=SECONDS))
                world.say(found)
        ours.end()
        stored.add(_bytes_of_windows(server) / len(windows), POINTS * POINT_BYTES)
        world.say(stored)
    return [found, stored]


async def _all_at_once(ours: Controller, server: redis.Redis, windows: list[str]) -> float:
    """Alarms a second, one for each window.

    All of them are due again at the minute's end, and would be waited for if that were soon.
    """
    left = MINUTE - await ours.store.now() % MINUTE
    if left < SOON + LONGEST:
        await asyncio.sleep(left)
    now = await ours.store.now()
    await ours.store.mark([WorkItem("window", window, now) for window in windows])
    began = time.perf_counter()
    ours.go()
    await ours.looked_at_all(server)
    took = time.perf_counter() - began
    ours.halt()
    return len(windows) / took


def _bytes_of_windows(server: redis.Redis) -> int:
    """By which the memory in use falls when the windows go, and their marks."""
    before = server.info("memory")["used_memory"]
    for pattern in ("*:window:*", "*:points:*", "*:work"):
        keys = list(server.scan_iter(pattern, count=1000))
        for start in range(0, len(keys), 1000):
            server.delete(*keys[start : start + 1000])
    freed: int = before - server.info("memory")["used_memory"]
    return freed
