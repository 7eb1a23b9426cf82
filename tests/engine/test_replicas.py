"""What replicas owe each other: members held by one alone, adoptions brought to their end, an end without a store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.adapters.targets.memory import MemoryTarget
from autoscaler.alarms.alarm import AlarmState
from autoscaler.declarations import load
from autoscaler.engine.controller import Controller
from autoscaler.engine.listen import Silence
from autoscaler.engine.reconcile import RESIDENT_HOLD
from autoscaler.engine.run import Runner, Wake
from autoscaler.errors import TemporaryError
from autoscaler.measures.measure import Measure
from autoscaler.ports import WindowReply, WindowWrite, WorkItem
from tests.engine.bench import Bench

DOCUMENT = """
alarms:
  - name: busy
    type: aggregation
    rule: {metric: cpu_util, match: {server_group: web}, aggregation_method: mean, granularity: 10,
           evaluation_periods: 2, comparison_operator: gt, threshold: 70, window: aligned}
    alarm_actions: ["log://"]
groups:
  - {name: web, min_size: 2, max_size: 4, desired_capacity: 2, target: {type: dry_run}}
"""
BUSY = Measure("cpu_util", "a", 1000.0, 90.0, metadata={"server_group": "web"})


class Household(Bench):
    """Replicas whose members live inside them."""

    def _controller(self, name: str) -> Controller:
        self.homes = getattr(self, "homes", [])
        self.homes.append(MemoryTarget(resident=True, named=False))
        return Controller(
            self.store,
            Silence(),
            actions={},
            targets={"dry_run": self.homes[-1]},
            calendar=CronCalendar(),
            replica=name,
            jitter=lambda: 0.5,
        )

    async def sizes(self) -> list[int]:
        return [(await home.status(self.group)).size for home in self.homes]


class Forgetful(MemoryStore):
    """A store that is away now and then."""

    away = False

    async def mark(self, items: Sequence[WorkItem]) -> None:
        self._there()
        await super().mark(items)

    async def write(self, writes: Sequence[WindowWrite]) -> list[WindowReply]:
        self._there()
        return await super().write(writes)

    def _there(self) -> None:
        if self.away:
            raise TemporaryError("away")


async def test_members_stay_where_they_are_while_their_controller_lives() -> None:
    bench = Household(DOCUMENT, replicas=3)
    await bench.begin()
    await bench.until(1010.0)
    first = await bench.sizes()
    seen = []
    for second in range(1011, 1100):
        bench.controllers.append(bench.controllers.pop(0))  # whoever is first claims what is due
        await bench.until(float(second))
        seen.append(await bench.sizes())

    assert sorted(first) == [0, 0, 2]
    assert seen == [first] * len(seen)


async def test_members_are_taken_over_once_their_controller_is_silent() -> None:
    bench = Household(DOCUMENT, replicas=2)
    await bench.begin()
    await bench.until(1010.0)
    holder = (await bench.sizes()).index(2)
    stopped = bench.controllers.pop(holder)
    await bench.until(1010.0 + 2 * RESIDENT_HOLD)

    assert await bench.sizes() == [2, 2]  # those of a stopped controller cannot be ended by anybody else

    bench.controllers.insert(0, stopped)
    await bench.until(1010.0 + 2 * RESIDENT_HOLD + 0.1)
    sizes = await bench.sizes()

    assert sizes[holder] == 0
    assert sum(sizes) == 2


async def test_an_adoption_that_was_broken_off_is_brought_to_its_end() -> None:
    bench = Bench(DOCUMENT)
    bench.store = store = Forgetful(lambda: bench.now)
    bench.controllers = [bench._controller("replica")]
    store.away = True

    with pytest.raises(TemporaryError):
        await bench.begin()
    assert bench.controller.adopted == ""

    store.away = False
    await bench.begin()
    assert bench.controller.adopted == bench.declared.generation
    assert (await bench.record()).desired_capacity is not None


async def test_what_was_not_written_is_handed_back_in_the_end() -> None:
    store = Forgetful(lambda: 1000.0)
    wake, declared = Wake(), load({"a.yaml": DOCUMENT})
    controller = Controller(
        store,
        Silence(),
        actions={},
        targets={"dry_run": MemoryTarget(named=False)},
        calendar=CronCalendar(),
        replica="r",
        woken=wake.at,
    )

    async def unchanged(_: str) -> None:
        """Nothing is published."""

    runner = Runner(
        controller,
        (),
        wake=wake,
        clock=lambda: 1000.0,
        replica="r",
        version="0",
        max_hold=600.0,
        generation_changed=unchanged,
    )
    await controller.adopt(declared.generation, declared.alarms, declared.groups, declared.policies, declared.schedules)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        store.away = True

        async def refused() -> None:
            with pytest.raises(TemporaryError):
                await runner.submit([BUSY])

        asking = group.create_task(refused())
        await asyncio.sleep(0.2)
        runner.stop()
        await asking
        await running


QUIET = """
alarms:
  - name: hot
    type: threshold
    rule: {metric: cpu, resource_id: r1, aggregation_method: mean, granularity: 60, evaluation_periods: 1,
           comparison_operator: gt, threshold: 70, window: aligned}
    alarm_actions: ["http://hot/"]
    ok_actions: ["http://cool/"]
groups: []
"""


async def test_a_look_that_would_change_nothing_is_made_again_of_what_another_has_made_of_the_alarm() -> None:
    bench = Bench(QUIET, replicas=2)
    await bench.begin()
    (hot,) = bench.declared.alarms
    one, two = bench.controllers

    async def take(controller: Controller, value: float) -> None:
        bench.now += 60
        await bench._evaluate(controller, await controller.write([Measure("cpu", "r1", bench.now - 60, value)]))

    for controller in (one, two, one):  # both know it as ok
        await take(controller, 10.0)
    await take(two, 90.0)
    assert await bench.state(hot) is AlarmState.ALARM

    await take(one, 10.0)

    assert await bench.state(hot) is AlarmState.OK
    assert [row.url for row in bench.action.delivered] == ["http://cool/", "http://hot/", "http://cool/"]
