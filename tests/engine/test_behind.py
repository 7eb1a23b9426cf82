"""A controller that reads a backlog says how far it is behind, and in the end that it is not."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.sources.memory import MemorySource
from autoscaler.declarations import load
from autoscaler.engine.run import Wake
from autoscaler.ports import WindowReply, WindowWrite
from tests.engine.running import a_runner

pytestmark = pytest.mark.slow

DOCUMENT = """
alarms:
  - name: busy
    type: threshold
    rule: {metric: cpu_util, resource_id: a, aggregation_method: mean, granularity: 60,
           evaluation_periods: 1, comparison_operator: gt, threshold: 70, window: aligned}
    alarm_actions: ["log://"]
"""
HOUR = 3600.0


class SlowStore(MemoryStore):
    """Each write takes a moment."""

    async def write(self, writes: list[WindowWrite]) -> list[WindowReply]:  # type: ignore[override]
        await asyncio.sleep(0.1)
        return await super().write(writes)


async def test_a_source_says_how_far_it_is_behind() -> None:
    loop = asyncio.get_running_loop()

    def now() -> float:
        return 1_790_000_000.0 + loop.time()

    store, wake, source = SlowStore(now), Wake(), MemorySource(now=now, at_most=1)
    declared = load({"behind.yaml": DOCUMENT})
    runner = a_runner(store, wake, now, source)
    controller = runner.controller
    await controller.adopt(declared.generation, declared.alarms, {}, {}, {})
    begun = now()
    for number in range(30):
        measure = {"metric": "cpu_util", "resource_id": "a", "timestamp": begun - HOUR + number * HOUR / 30, "value": 5}
        source.publish(json.dumps(measure).encode())

    said: list[float] = []
    told: list[float] = []
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        assert runner.behind() == {}
        while not (source.left == 0 and controller.sources.caught_up):
            await asyncio.sleep(0.05)
            said += runner.behind().values()
            told += [replica.behind for replica in runner.replicas]
        said += runner.behind().values()
        runner.stop()
        await running

    assert max(said) > HOUR * 0.8
    assert max(told) > HOUR * 0.3
    falling = [seconds for seconds in said if seconds > 0]
    assert all(later < earlier + 5 for earlier, later in pairwise(falling))
    assert said[-1] == 0.0
