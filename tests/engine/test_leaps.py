"""A store's clock that is set forward by hours, as after a machine has slept."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.declarations import load
from autoscaler.engine import run as run_module
from autoscaler.engine.run import LEAP, Wake
from autoscaler.measures.measure import Measure
from autoscaler.ports import Heartbeat, Pulse
from tests.engine.running import a_runner

pytestmark = pytest.mark.slow

DOCUMENT = """
alarms:
  - name: busy
    type: threshold
    rule: {metric: cpu_util, resource_id: a, aggregation_method: mean, granularity: 10,
           evaluation_periods: 1, comparison_operator: gt, threshold: 70, window: aligned}
    insufficient_data_actions: ["log://"]
"""
HOURS = 6 * 3600.0


class Leaping(MemoryStore):
    """A store whose clock leaps while it is told of a heartbeat, once it is to."""

    leap: Callable[[], None] | None = None

    async def beat(self, heartbeat: Heartbeat) -> Pulse:
        leap, self.leap = self.leap, None
        if leap is not None:
            leap()
        return await super().beat(heartbeat)


@pytest.mark.parametrize(
    ("leap", "patience", "in_a_heartbeat"),
    [
        pytest.param(HOURS, 1.0, False, id="a leap is waited out"),
        pytest.param(HOURS, 1.0, True, id="a leap that a heartbeat notices first is waited out"),
        pytest.param(LEAP - 5, 1000.0, False, id="silence is believed"),
    ],
)
async def test_what_is_missing_after_a_leap_may_be_on_its_way(
    monkeypatch: pytest.MonkeyPatch, leap: float, patience: float, *, in_a_heartbeat: bool
) -> None:
    monkeypatch.setattr(run_module, "LEAP_PATIENCE", patience)
    shift = 0.0
    loop = asyncio.get_running_loop()

    def now() -> float:
        return 1000.0 + loop.time() + shift

    store, wake = Leaping(now), Wake()
    declared = load({"leaps.yaml": DOCUMENT})
    runner = a_runner(store, wake, now)
    controller = runner.controller
    await controller.adopt(declared.generation, declared.alarms, {}, {}, {})
    (alarm_id,) = declared.alarms
    begun = now()

    async def state() -> str:
        (record,) = await store.alarms([alarm_id])
        assert record is not None
        return record.state

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        await runner.submit([Measure("cpu_util", "a", begun - step, 90.0) for step in (20.0, 10.0, 0.0)])
        while not (await state() == "alarm" and runner.replicas and controller.sources.caught_up):
            await asyncio.sleep(0.01)
        leapt = math.inf

        def leap_now() -> None:
            nonlocal shift, leapt
            shift, leapt = leap, loop.time()

        if in_a_heartbeat:
            store.leap = leap_now
        else:
            leap_now()
        while await state() != "insufficient data":
            await asyncio.sleep(0.01)
        held = loop.time() - leapt
        runner.stop()
        await running

    assert held >= patience or leap < LEAP
