"""With ``evaluate: boundary`` what one controller or several read late comes to what it would have in time."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.adapters.actions.memory import MemoryAction
from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.adapters.sources.link import Link, LinkedSource, Received
from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.evaluation import Transition
from autoscaler.declarations import load
from autoscaler.engine.controller import Controller
from autoscaler.engine.listen import Silence
from autoscaler.engine.run import OUT_OF_ORDER, Runner, Wake
from autoscaler.errors import TemporaryError
from autoscaler.measures.measure import Measure
from autoscaler.ports import WindowReply, WindowWrite
from autoscaler.simulation.plant import Plant
from autoscaler.simulation.world import World
from tests.virtual_time import in_no_time

pytestmark = pytest.mark.slow

BEGINS = 1_790_000_000.0
GRANULARITY = 10
BACKLOG = 600.0
"""Seconds of event time that wait."""
QUIET = 60.0
"""Seconds without a measure after which every alarm has said so."""

DOCUMENT = """
alarms:
  - name: busy
    type: aggregation
    rule: {metric: cpu_util, match: {server_group: web}, aggregation_method: mean, granularity: 10,
           evaluation_periods: 2, comparison_operator: gt, threshold: 50, window: aligned, evaluate: boundary}
    alarm_actions: ["log://"]
  - name: one
    type: threshold
    rule: {metric: cpu_util, resource_id: web-0, aggregation_method: last, granularity: 20,
           evaluation_periods: 1, comparison_operator: lt, threshold: 40, window: aligned, evaluate: boundary,
           lateness: 3}
    alarm_actions: ["log://"]
"""
DECLARED = load({"backlog.yaml": DOCUMENT})
Told = tuple[str, float, str, str, str, dict[str, Any]]


class Queue:
    """What consumers compete for: each has some of it in hand, which goes back to the front when its link is lost."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self.payloads = deque(payloads)


class _QueueLink:
    """See :class:`autoscaler.adapters.sources.link.Link`."""

    def __init__(self, queue: Queue, prefetch: int) -> None:
        self.alive = True
        self._queue = queue
        self._prefetch = prefetch
        self._inbox: deque[bytes] = deque()
        self._in_hand: list[bytes] = []
        self._fill()

    def _fill(self) -> None:
        while self._queue.payloads and len(self._inbox) + len(self._in_hand) < self._prefetch:
            self._inbox.append(self._queue.payloads.popleft())

    @property
    def waiting(self) -> int:
        return len(self._inbox)

    async def take(self) -> Sequence[Received]:
        while self.alive and not self._inbox:
            await asyncio.sleep(0.05)
            self._fill()
        if not self.alive:
            raise TemporaryError("the connection was lost")
        self._in_hand = list(self._inbox)
        self._inbox.clear()
        return [Received(payload, None) for payload in self._in_hand]

    async def ack(self, received: Sequence[Received]) -> None:
        if self.alive:
            assert len(received) == len(self._in_hand)
            self._in_hand = []
            self._fill()

    def lose(self) -> None:
        if self.alive:
            self.alive = False
            self._queue.payloads.extendleft(reversed([*self._in_hand, *self._inbox]))


class Consumer(LinkedSource):
    """Takes from a queue beside others."""

    def __init__(self, queue: Queue, *, prefetch: int, now: Any) -> None:
        super().__init__("queue", now=now)
        self._queue = queue
        self._prefetch = prefetch
        self.standing: _QueueLink | None = None

    @asynccontextmanager
    async def _linked(self) -> AsyncIterator[Link]:
        link = self.standing = _QueueLink(self._queue, self._prefetch)
        try:
            yield link
        finally:
            link.lose()


class SlowStore(MemoryStore):
    """Each write takes a time of its own."""

    def __init__(self, clock: Any, pauses: Sequence[float]) -> None:
        super().__init__(clock)
        self._pauses = pauses
        self._number = 0

    async def write(self, writes: Sequence[WindowWrite]) -> list[WindowReply]:
        self._number += 1
        await asyncio.sleep(self._pauses[self._number % len(self._pauses)])
        return await super().write(writes)


class Heard(Silence):
    """Transitions, in order."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def transitioned(self, alarm: Alarm, transition: Transition) -> None:
        found = (str(transition.previous), str(transition.current), transition.reason, transition.reason_data)
        self.told.append((alarm.name, transition.time, *found))


@dataclass(frozen=True)
class Reader:
    """A replica: when it begins, how much it has in hand at a time, and when its link is lost."""

    begins: float
    prefetch: int
    lost: float | None


@dataclass
class Reading:
    """Replicas that read a backlog, in virtual time."""

    measures: Sequence[dict[str, Any]]
    readers: Sequence[Reader]
    pauses: Sequence[float]
    heard: Heard = field(default_factory=Heard)

    def now(self) -> float:
        return BEGINS + BACKLOG + asyncio.get_running_loop().time()

    async def all(self) -> tuple[list[Told], float]:
        """The transitions, and the time up to which they are all there are."""
        store = SlowStore(self.now, self.pauses)
        queue = Queue([json.dumps(measure).encode() for measure in self.measures])
        async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
            runners = [
                await self._reader(group, number, reader, store, queue) for number, reader in enumerate(self.readers)
            ]
            while queue.payloads or not all(runner.controller.sources.caught_up for runner in runners):
                await asyncio.sleep(0.5)
            await asyncio.sleep(2 * GRANULARITY)
            for runner in runners:
                runner.stop()
            ended = self.now()
        return self.heard.told, ended

    async def _reader(
        self, group: asyncio.TaskGroup, number: int, reader: Reader, store: MemoryStore, queue: Queue
    ) -> Runner:
        wake = Wake()
        controller = Controller(
            store,
            self.heard,
            actions={"log": MemoryAction()},
            targets={},
            calendar=CronCalendar(),
            replica=f"r{number}",
            woken=wake.at,
        )

        async def unchanged(_: str) -> None:
            """Nothing is published."""

        source = Consumer(queue, prefetch=reader.prefetch, now=self.now)
        runner = Runner(
            controller,
            (source,),
            wake=wake,
            clock=self.now,
            replica=f"r{number}",
            version="0",
            max_hold=600.0,
            generation_changed=unchanged,
        )
        await controller.adopt(DECLARED.generation, DECLARED.alarms, {}, {}, {})

        async def run() -> None:
            await asyncio.sleep(reader.begins)
            await runner.run()

        async def lose() -> None:
            await asyncio.sleep(reader.lost or 0.0)
            if source.standing is not None:
                source.standing.lose()

        group.create_task(run())
        if reader.lost is not None:
            group.create_task(lose())
        return runner


async def replayed(measures: Sequence[dict[str, Any]], until: float) -> list[Told]:
    """What an undisturbed controller makes of the same measures."""
    world = World(Plant(obedient=True))
    world.declare(DECLARED)
    told = []
    for measure in sorted(measures, key=lambda each: each["timestamp"]):
        told += await world.feed(Measure(**measure))
    told += await world.advance(until)
    return [
        (
            each["alarm"],
            datetime.fromisoformat(each["time"]).timestamp(),
            str(each["previous"]),
            str(each["current"]),
            each["reason"],
            each["reason_data"],
        )
        for each in told
        if each["event"] == "transition"
    ]


@dataclass(frozen=True)
class Load:
    """A load that goes up and down, with gaps where a level is None; what is drawn of it is in ``seed``."""

    seed: int
    levels: Sequence[float | None]

    def measures(self) -> list[dict[str, Any]]:
        """In the order in which a broker may have got them."""
        drawn = random.Random(self.seed)
        measures = []
        for number in range(round(BACKLOG - QUIET) // 2):
            time = BEGINS + 2.0 * number + drawn.random()
            level = self.levels[int((time - BEGINS) / BACKLOG * len(self.levels))]
            if level is not None:
                measures.append((time + drawn.random() * OUT_OF_ORDER * 0.9, time, level + drawn.randrange(9)))
        return [
            {
                "metric": "cpu_util",
                "resource_id": f"web-{number % 3}",
                "timestamp": time,
                "value": value,
                "metadata": {"server_group": "web"},
            }
            for number, (_, time, value) in enumerate(sorted(measures))
        ]


LOADS = st.builds(
    Load,
    seed=st.integers(0, 1_000_000),
    levels=st.lists(st.sampled_from([10.0, 45.0, 90.0, None]), min_size=4, max_size=12).map(
        lambda drawn: [90.0, *drawn]
    ),
)
READERS = st.builds(
    Reader,
    begins=st.floats(0, 4),
    prefetch=st.sampled_from([1, 7, 60, 1000]),
    lost=st.one_of(st.none(), st.floats(0, 8)),
)


@given(
    LOADS,
    st.lists(READERS, min_size=1, max_size=3),
    st.lists(st.sampled_from([0.0, 0.001, 0.05, 0.3]), min_size=1, max_size=5),
)
@settings(max_examples=max(5, settings.default.max_examples // 5))
def test_a_backlog_comes_to_what_it_would_have_in_time(load_: Load, readers: list[Reader], pauses: list[float]) -> None:
    measures = load_.measures()
    told, ended = in_no_time(Reading(measures, readers, pauses).all())

    assert sorted(told, key=_order) == sorted(asyncio.run(replayed(measures, ended)), key=_order)


def _order(told: Told) -> tuple[str, float]:
    return told[:2]
