"""The engine on a virtual clock: the same code as live, on the memory store."""

from __future__ import annotations

from typing import Any

import msgspec

from autoscaler.adapters.actions.memory import MemoryAction
from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.definition import SCHEMES
from autoscaler.alarms.evaluation import Transition
from autoscaler.declarations import Declarations
from autoscaler.engine.controller import Controller
from autoscaler.engine.ingest import Written
from autoscaler.engine.leases import Head
from autoscaler.engine.listen import Silence
from autoscaler.measures.measure import Measure
from autoscaler.ports import Claimed
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.guards import iso
from autoscaler.simulation.plant import Plant

ROUNDS = 10_000
"""Rounds of work at one instant after which the engine is taken to be running in circles."""
ACTION_SCHEMES = frozenset(SCHEMES) - {"policy"}
TARGET_TYPES = ("process", "http", "dry_run")
PLANT_POLL = 3600.0
"""Seconds between two looks at a plant, which does not change unless it says so, or at a service; there is none."""

Happening = dict[str, Any]


class _Recorder(Silence):
    """Turns what the engine says into happenings, in order."""

    def __init__(self) -> None:
        self.happenings: list[Happening] = []

    def transitioned(self, alarm: Alarm, transition: Transition) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        self.happenings.append(
            {
                "time": iso(transition.time),
                "event": "transition",
                "alarm": alarm.name,
                "previous": transition.previous,
                "current": transition.current,
                "reason": transition.reason,
                "reason_data": transition.reason_data,
            }
        )

    def decided(self, decision: Decision) -> None:
        """See :class:`autoscaler.engine.listen.Listener`; equal refusals in a row are one happening."""
        if decision.times > 1:
            return
        happening: Happening = {
            "time": iso(decision.time),
            "event": "decision",
            "policy": decision.policy,
            "group": decision.group,
            "decision": decision.decision,
            "from": decision.before,
            "to": decision.to,
            "reason": decision.reason,
            "text": decision.text,
        }
        if decision.until is not None:
            happening["until"] = iso(decision.until)
        self.happenings.append(happening)


class World:
    """Declarations running in virtual time.

    Time only moves on: it is the highest event time seen, or what :meth:`advance` is told. Work that is due at a time
    is done before the measures of that time.
    """

    def __init__(self, plant: Plant) -> None:
        self.now = 0.0
        self._recorder = _Recorder()
        self._actions = MemoryAction()
        self.controller = Controller(
            MemoryStore(lambda: self.now),
            self._recorder,
            actions=dict.fromkeys(ACTION_SCHEMES, self._actions),
            targets=dict.fromkeys(TARGET_TYPES, plant),
            calendar=CronCalendar(),
            replica="simulation",
            jitter=lambda: 0.5,
            poll_interval=PLANT_POLL,
            probe_interval=PLANT_POLL,
        )
        self._declared: Declarations | None = None

    def declare(self, declarations: Declarations) -> None:
        """What runs; it starts with the first measure or :meth:`advance`."""
        self._declared = declarations

    async def feed(self, measure: Measure) -> list[Happening]:
        """Move time to the measure's if that is later, take the measure, and return what happened."""
        await self._move(measure.timestamp)
        written = await self.controller.write([measure])
        await self._evaluate(written)
        await self._work()
        return self._taken()

    async def advance(self, until: float) -> list[Happening]:
        """Let time pass with no measures, and return what happened."""
        await self._move(until)
        await self._work()
        return self._taken()

    async def _move(self, until: float) -> None:
        if self._declared is not None:
            declared, self._declared = self._declared, None
            self.now = max(self.now, until)
            await self.controller.adopt(
                declared.generation, declared.alarms, declared.groups, declared.policies, declared.schedules
            )
        await self._work(until)

    async def _work(self, until: float | None = None) -> None:
        """Do all that is due now, then, up to ``until``, all that comes due, each at its own time."""
        rounds = 0
        while True:
            claimed = await self.controller.claim()
            if claimed.items:
                await self._do(claimed)
                rounds += 1
                assert rounds < ROUNDS, f"work at {iso(self.now)} never ends"
                continue
            if until is None or until <= self.now:
                return
            next_due = until if claimed.next_due is None else min(until, claimed.next_due)
            if next_due > self.now:
                self.now, rounds = next_due, 0

    async def _do(self, claimed: Claimed) -> None:
        windows = [item.key for item in claimed.items if item.kind == "window"]
        if windows:
            await self._evaluate(await self.controller.write((), windows))
        for item in claimed.items:
            if item.kind != "window":
                await self.controller.do(item)

    async def _evaluate(self, written: Written) -> None:
        heads: list[Head] = []
        await self.controller.evaluate(written, heads.append)
        for head in heads:
            await self.controller.carry_out(head)
        self._actions.delivered.clear()

    def _taken(self) -> list[Happening]:
        taken, self._recorder.happenings = self._recorder.happenings, []
        return taken


def line(happening: Happening) -> str:
    """A happening as one line of JSON, keys in the order they were said."""
    return msgspec.json.encode(happening).decode()
