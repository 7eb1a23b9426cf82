"""Windows that are due all at once, while measures come that were made long ago and each write takes its time."""

from __future__ import annotations

import asyncio
import json

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.sources.memory import MemorySource
from autoscaler.declarations import load
from autoscaler.engine.run import LOOKED_AT_BESIDE, Wake
from autoscaler.ports import WindowReply, WindowWrite, WorkItem
from tests.engine.running import a_runner
from tests.virtual_time import in_no_time

MANY = 1000
RULE = (
    "metric: m, resource_id: r{number}, aggregation_method: mean, granularity: 60, evaluation_periods: 1, "
    "comparison_operator: gt, threshold: 70, window: aligned"
)
DOCUMENT = "alarms:\n" + "\n".join(
    f"  - {{name: a{number}, type: threshold, rule: {{{RULE.format(number=number)}}}}}" for number in range(MANY)
)


def now() -> float:
    return 1_790_000_000.0 + asyncio.get_running_loop().time()


class SlowStore(MemoryStore):
    """Each write takes a moment, and one more for each window."""

    def __init__(self) -> None:
        super().__init__(now)
        self.looked: list[list[str]] = []

    async def write(self, writes: list[WindowWrite]) -> list[WindowReply]:  # type: ignore[override]
        self.looked.append([write.spec.window_id for write in writes if not write.points])
        await asyncio.sleep(0.06 + 0.0004 * len(writes))
        return await super().write(writes)


async def looked_at() -> tuple[SlowStore, int]:
    """What was written without measures, and how many windows there are to be looked at."""
    store, wake, source = SlowStore(), Wake(), MemorySource(now=now)
    runner = a_runner(store, wake, now, source)
    controller = runner.controller
    declared = load({"due.yaml": DOCUMENT})
    await controller.adopt(declared.generation, declared.alarms, {}, {}, {})
    begun = now()
    async with asyncio.timeout(600), asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        while now() - begun < 2.0:
            measure = {"metric": "m", "resource_id": "r0", "timestamp": now() - 3.0, "value": 5}
            source.publish(json.dumps(measure).encode())
            await asyncio.sleep(0.05)
        store.looked.clear()
        await store.mark([WorkItem("window", window_id, now()) for window_id in controller.router.windows])
        wake.at(0.0)
        while now() - begun < 12.0:
            measure = {"metric": "m", "resource_id": "r0", "timestamp": now() - 3.0, "value": 5}
            source.publish(json.dumps(measure).encode())
            await asyncio.sleep(0.05)
        runner.stop()
        await running
    return store, len(controller.router.windows)


def test_all_are_looked_at_however_slow_it_goes_and_few_at_a_time_at_first() -> None:
    store, windows = in_no_time(looked_at())

    assert windows == MANY
    # that of the series that reports is among those that are written
    assert len({window_id for looked in store.looked for window_id in looked}) >= MANY - 1
    assert 0 < len(next(filter(None, store.looked))) <= LOOKED_AT_BESIDE
