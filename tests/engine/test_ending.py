"""A controller that ends in order leaves all that it has to others at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.alarms.observation import Observation, Samples
from autoscaler.alarms.rules import PoolHealthRule, PrometheusRule
from autoscaler.declarations import load
from autoscaler.engine.controller import Controller
from autoscaler.engine.leases import LEASE
from autoscaler.engine.listen import Silence
from autoscaler.engine.run import Runner, Wake
from autoscaler.ports import Claimed, Store

pytestmark = pytest.mark.slow

DOCUMENT = """
alarms:
  - name: up
    type: prometheus
    rule: {query: up, threshold: 0.5, comparison_operator: lt}
  - name: busy
    type: threshold
    rule: {metric: cpu_util, resource_id: a, aggregation_method: mean, granularity: 60,
           evaluation_periods: 1, comparison_operator: gt, threshold: 70, window: aligned}
"""
DECLARED = load({"ending.yaml": DOCUMENT})


class Hanging:
    """A service that never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def look(self, _rule: PrometheusRule | PoolHealthRule) -> Observation:
        self.asked.set()
        await asyncio.sleep(60)
        return Samples(())


class Claiming(MemoryStore):
    """A store that has something happen while it is asked for work."""

    meanwhile: Callable[[], None] | None = None

    async def claim(self, *, limit: int, lease: float) -> Claimed:
        claimed = await super().claim(limit=limit, lease=lease)
        if self.meanwhile is not None:
            self.meanwhile()
        return claimed


async def running(store: Store, service: Hanging) -> Runner:
    wake = Wake()
    controller = Controller(
        store,
        Silence(),
        actions={},
        targets={},
        calendar=CronCalendar(),
        replica="r",
        woken=wake.at,
        probes={PrometheusRule: service},
    )

    async def unchanged(_: str) -> None:
        """Nothing is published."""

    await controller.adopt(DECLARED.generation, DECLARED.alarms, {}, {}, {})
    return Runner(
        controller,
        (),
        wake=wake,
        clock=time.time,
        replica="r",
        version="0",
        max_hold=600.0,
        generation_changed=unchanged,
    )


async def due(store: Store) -> set[str]:
    """Kinds of what anybody may do now."""
    return {item.kind for item in (await store.claim(limit=10, lease=LEASE)).items}


async def test_what_an_ending_controller_has_in_hand_is_others_at_once() -> None:
    store, service = MemoryStore(time.time), Hanging()
    runner = await running(store, service)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(runner.run())
        await service.asked.wait()
        while not await store.replicas():
            await asyncio.sleep(0.01)
        began = time.monotonic()
        runner.stop()
        await task
        took = time.monotonic() - began

    assert took < LEASE / 2
    assert not await store.replicas()
    assert "probe" in await due(store)


async def test_what_is_claimed_in_the_last_moment_is_left_to_others() -> None:
    store = Claiming(time.time)
    runner = await running(store, Hanging())
    store.meanwhile = runner.stop
    async with asyncio.timeout(30):
        await runner.run()
    store.meanwhile = None

    assert await due(store) == {"probe", "window"}
