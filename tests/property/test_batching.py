"""With ``evaluate: boundary`` the outcome does not depend on how measures are batched, doubled or sent again.

All batches are those of the real engine on the memory store, at times that a live controller might have got them: a
measure arrives after it was made and before its granule is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.adapters.actions.memory import MemoryAction
from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.evaluation import Transition
from autoscaler.declarations import load
from autoscaler.engine.controller import Controller
from autoscaler.engine.ingest import Written
from autoscaler.engine.leases import Head
from autoscaler.engine.listen import Silence
from autoscaler.measures.measure import Measure
from autoscaler.scaling.decision import Decision
from autoscaler.simulation.plant import Plant
from autoscaler.simulation.world import World

GRANULARITY = 10
GRANULES = 14
BEGINS = 1000.0
ENDS = BEGINS + GRANULES * GRANULARITY + 100

DOCUMENT = """
alarms:
  - name: busy
    type: aggregation
    rule: {metric: cpu_util, match: {server_group: web}, aggregation_method: mean, granularity: 10,
           evaluation_periods: 2, comparison_operator: gt, threshold: 50, window: aligned, evaluate: boundary,
           outage: hold}
    alarm_actions: ["policy://out", "log://"]
    repeat_actions: true
  - name: idle
    type: threshold
    rule: {metric: cpu_util, resource_id: web-0, aggregation_method: last, granularity: 10,
           evaluation_periods: 1, comparison_operator: lt, threshold: 20, window: aligned, evaluate: boundary}
    alarm_actions: ["policy://in"]
groups:
  - {name: web, min_size: 1, max_size: 9, desired_capacity: 3, cooldown: 15, min_reporting: 0, target: {type: dry_run}}
policies:
  - {name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 2}
  - {name: in, group: web, adjustment_type: change_in_capacity, scaling_adjustment: -1}
"""
DECLARED = load({"batching.yaml": DOCUMENT})


@dataclass(frozen=True)
class Arrival:
    """A measure and when it comes in; once more later, where ``again`` says so."""

    measure: Measure
    at: float
    again: float | None = None


class Heard(Silence):
    """What happened, with all that must not depend on batching."""

    def __init__(self) -> None:
        self.happened: list[tuple[Any, ...]] = []

    def transitioned(self, alarm: Alarm, transition: Transition) -> None:
        found = (transition.previous, transition.current, transition.reason, transition.reason_data)
        self.happened.append(("transition", alarm.name, transition.time, *found))

    def decided(self, decision: Decision) -> None:
        found = (decision.policy, decision.decision, decision.reason, decision.before, decision.to, decision.until)
        self.happened.append(("decision", decision.group, decision.time, *found))


class Run:
    """The engine on a clock of its own."""

    def __init__(self) -> None:
        self.now = BEGINS
        self.heard = Heard()
        self._controller = Controller(
            MemoryStore(lambda: self.now),
            self.heard,
            actions={"log": MemoryAction()},
            targets={"dry_run": Plant(obedient=True)},
            calendar=CronCalendar(),
            replica="one",
            # a window over many series is else put off for a moment, and what it decides with it
            min_evaluation_interval=0.0,
            jitter=lambda: 0.5,
            poll_interval=3600.0,
        )

    async def all(self, batches: Sequence[tuple[float, Sequence[Measure]]]) -> list[tuple[Any, ...]]:
        await self._controller.adopt(
            "batching", DECLARED.alarms, DECLARED.groups, DECLARED.policies, DECLARED.schedules
        )
        for at, measures in batches:
            await self._work(until=at)
            await self._evaluate(await self._controller.write(measures))
            await self._work()
        await self._work(until=ENDS)
        return self.heard.happened

    async def _work(self, until: float | None = None) -> None:
        while True:
            claimed = await self._controller.claim()
            windows = [item.key for item in claimed.items if item.kind == "window"]
            if windows:
                await self._evaluate(await self._controller.write((), windows))
            for item in claimed.items:
                if item.kind != "window":
                    await self._controller.do(item)
            if not claimed.items:
                if until is None or until <= self.now:
                    return
                self.now = until if claimed.next_due is None else max(self.now, min(until, claimed.next_due))

    async def _evaluate(self, written: Written) -> None:
        heads: list[Head] = []
        await self._controller.evaluate(written, heads.append)
        for head in heads:
            await self._controller.carry_out(head)


def happened(batches: Sequence[tuple[float, Sequence[Measure]]]) -> list[tuple[Any, ...]]:
    return asyncio.run(Run().all(batches))


def in_batches(arrivals: Sequence[Arrival], ends: Sequence[float]) -> list[tuple[float, list[Measure]]]:
    """What a busy controller takes: all that has come in by each of the times ``ends``, which hold every granule's."""
    pending = [(arrival.at, arrival.measure) for arrival in arrivals]
    pending += [(arrival.again, arrival.measure) for arrival in arrivals if arrival.again is not None]
    pending.sort(key=lambda item: item[0])
    batches = []
    for end in sorted(ends):
        taken = [measure for at, measure in pending if at <= end]
        pending = [item for item in pending if item[0] > end]
        if taken:
            batches.append((end, taken))
    return batches


@st.composite
def measures_in_time(draw: st.DrawFn) -> list[Arrival]:
    """Some series, some granules empty; each measure comes in before its granule is over."""
    arrivals = []
    for number in range(draw(st.integers(1, 30))):
        granule = draw(st.integers(0, GRANULES - 1))
        second = draw(st.integers(0, 80)) / 10
        time = BEGINS + granule * GRANULARITY + second
        at = time + draw(st.floats(0, 1))
        again = at + draw(st.floats(0, 0.8)) if draw(st.booleans()) else None
        value = float(draw(st.integers(0, 100)))
        resource = f"web-{draw(st.integers(0, 2))}"
        # no two measures of one series and time: which of them counts is a matter of order
        exact = time + number / 10_000
        measure = Measure("cpu_util", resource, exact, value, metadata={"server_group": "web"})
        arrivals.append(Arrival(measure, max(at, exact), None if again is None else max(again, exact)))
    return arrivals


# just before each granule is over, so that everything of it is in hand in time
EDGES = [BEGINS + (granule + 1) * GRANULARITY - 0.1 for granule in range(GRANULES)]


@given(measures_in_time(), st.lists(st.floats(BEGINS, ENDS - 100), max_size=40))
@settings(max_examples=settings.default.max_examples * 3 // 2, deadline=None)
def test_the_outcome_does_not_depend_on_batches_or_repetitions(arrivals: list[Arrival], ends: list[float]) -> None:
    one_by_one = [(arrival.at, [arrival.measure]) for arrival in sorted(arrivals, key=lambda arrival: arrival.at)]

    assert happened(in_batches(arrivals, [*ends, *EDGES])) == happened(one_by_one)


@given(measures_in_time(), st.lists(st.floats(BEGINS, ENDS - 100), max_size=40))
@settings(deadline=None)
def test_a_replay_tells_what_a_live_controller_did(arrivals: list[Arrival], ends: list[float]) -> None:
    live = happened(in_batches(arrivals, [*ends, *EDGES]))

    assert [told[1:] for told in _transitions(live)] == asyncio.run(replayed(arrivals))


def _transitions(happened: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    # before its first measure a replay has not begun, and a live alarm has nothing to judge
    return [told for told in happened if told[0] == "transition"]


async def replayed(arrivals: Sequence[Arrival]) -> list[tuple[Any, ...]]:
    """The transitions of a replay over the measures alone, in the order of their times."""
    world = World(Plant(obedient=True))
    world.declare(DECLARED)
    told = []
    for arrival in sorted(arrivals, key=lambda arrival: arrival.measure.timestamp):
        told += await world.feed(arrival.measure)
    told += await world.advance(ENDS)
    return [
        (each["alarm"], _seconds(each["time"]), each["previous"], each["current"], each["reason"], each["reason_data"])
        for each in told
        if each["event"] == "transition"
    ]


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
