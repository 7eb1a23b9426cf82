"""A store's clock that is set forward by hours, as after a machine has slept."""

from __future__ import annotations

import asyncio

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.declarations import load
from autoscaler.engine import run as run_module
from autoscaler.engine.controller import Controller
from autoscaler.engine.listen import Silence
from autoscaler.engine.run import LEAP, Runner, Wake
from autoscaler.measures.measure import Measure

DOCUMENT = """
alarms:
  - name: busy
    type: threshold
    rule: {metric: cpu_util, resource_id: a, aggregation_method: mean, granularity: 10,
           evaluation_periods: 1, comparison_operator: gt, threshold: 70, window: aligned}
    insufficient_data_actions: ["log://"]
"""
HOURS = 6 * 3600.0


@pytest.mark.parametrize(
    ("leap", "patience"),
    [
        pytest.param(HOURS, 1.0, id="a leap is waited out"),
        pytest.param(LEAP - 5, 1000.0, id="silence is believed"),
    ],
)
async def test_what_is_missing_after_a_leap_may_be_on_its_way(
    monkeypatch: pytest.MonkeyPatch, leap: float, patience: float
) -> None:
    monkeypatch.setattr(run_module, "LEAP_PATIENCE", patience)
    shift = 0.0
    loop = asyncio.get_running_loop()

    def now() -> float:
        return 1000.0 + loop.time() + shift

    store, wake = MemoryStore(now), Wake()
    declared = load({"leaps.yaml": DOCUMENT})
    controller = Controller(
        store, Silence(), actions={}, targets={}, calendar=CronCalendar(), replica="r", woken=wake.at
    )

    async def unchanged(_: str) -> None:
        """Nothing is published."""

    runner = Runner(
        controller,
        (),
        wake=wake,
        clock=now,
        replica="r",
        version="0",
        max_hold=600.0,
        generation_changed=unchanged,
    )
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
        shift, leapt = leap, loop.time()
        while await state() != "insufficient data":
            await asyncio.sleep(0.01)
        held = loop.time() - leapt
        runner.stop()
        await running

    assert held >= patience or leap < LEAP
