"""Controllers on one memory store, one target and a clock that tests turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from autoscaler.adapters.actions.memory import MemoryAction
from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.adapters.sources.decode import decode
from autoscaler.adapters.targets.memory import MemoryTarget
from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.rules import OnOutage, PoolHealthRule, PrometheusRule
from autoscaler.app import adopt
from autoscaler.declarations import load
from autoscaler.engine.controller import Controller
from autoscaler.engine.ingest import Written
from autoscaler.engine.leases import Head
from autoscaler.engine.listen import Listener, Silence
from autoscaler.measures.event import Event
from autoscaler.measures.measure import Measure
from autoscaler.ports import Probe, Undecoded
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import Group, GroupRecord
from tests.engine.heat_twin import HeatTwin

Probes = Mapping[type[PrometheusRule | PoolHealthRule], Probe]


class Bench:
    """Declarations in virtual time, with a target of memory.

    Args:
        heat: what ``http`` and ``trust+http`` actions reach, instead of the action of memory.
        replicas: controllers on the same store; what comes due is offered to each in turn.
        size: members that the target begins with.
    """

    def __init__(
        self,
        document: str,
        *,
        begins: float = 1000.0,
        replicas: int = 1,
        size: int = 1,
        probes: Probes | None = None,
        heat: HeatTwin | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.listener = listener or Silence()
        self.now = begins
        self.heat = heat
        if heat is not None:
            heat.clock = lambda: self.now
        self._probes = probes
        self.store = MemoryStore(lambda: self.now)
        self.target = MemoryTarget(named=False)
        self.target.set_size("web", size)
        self.action = MemoryAction()
        self.declared = load({"bench.yaml": document})
        self.controllers = [self._controller(f"replica-{number}") for number in range(replicas)]

    def _controller(self, name: str) -> Controller:
        return Controller(
            self.store,
            self.listener,
            actions=dict.fromkeys(("http", "https", "trust+https", "log"), self.action)
            | dict.fromkeys(("http", "trust+http") if self.heat else (), self.heat or self.action),
            heat=self.heat,
            wedged_after=60.0 if self.heat is None else self.heat.wedged_after,
            repair=self.heat is not None and self.heat.repairable,
            targets=dict.fromkeys(("dry_run", "process"), self.target),
            calendar=CronCalendar(),
            replica=name,
            jitter=lambda: 0.5,
            clock=lambda: self.now,
            probes=self._probes,
        )

    async def begin(self) -> None:
        for controller in self.controllers:
            await self._adopt(controller)
        await self.work()

    async def _adopt(self, controller: Controller) -> None:
        await adopt(controller, self.declared.generation, self.declared, mixed_as_aodh=False, outage=OnOutage.BELIEVE)
        await controller.restore()

    async def declare(self, document: str) -> None:
        """Other declarations from now on."""
        self.declared = load({"bench.yaml": document})
        await self.begin()

    async def restart(self) -> None:
        """Every controller is gone, and new ones take their place on the same store."""
        self.controllers = [self._controller(f"restarted-{number}") for number in range(len(self.controllers))]
        await self.begin()

    async def follow(self) -> None:
        """Every replica learns what was changed, and does what follows."""
        for controller in self.controllers:
            await controller.follow()
        await self.work()

    async def measure(self, metric: str, resource_id: str, value: float, *, replica: int = 0) -> None:
        """A minute passes, and a measure of its beginning comes: its granule is over."""
        self.now += 60
        controller = self.controllers[replica]
        await self._evaluate(controller, await controller.write([Measure(metric, resource_id, self.now - 60, value)]))
        await self.work()

    async def hear(self, events: Sequence[Event]) -> None:
        heads: list[Head] = []
        await self.controller.hear(events, heads.append)
        for head in heads:
            await self.controller.carry_out(head)
        await self.work()

    async def state(self, alarm_id: str) -> AlarmState | None:
        (record,) = await self.store.alarms([alarm_id])
        return None if record is None else record.state

    @property
    def controller(self) -> Controller:
        return self.controllers[0]

    @property
    def group(self) -> Group:
        return self.declared.groups["web"]

    async def record(self) -> GroupRecord:
        return (await self.store.group("web")).record

    async def decisions(self) -> list[Decision]:
        """Oldest first; equal holds in a row are one."""
        return list(reversed(await self.store.decisions("web", limit=1000)))

    async def moves(self) -> list[tuple[int | None, int | None]]:
        return [(made.before, made.to) for made in await self.decisions() if made.decision == "scale"]

    async def last(self) -> Decision:
        return (await self.store.decisions("web", limit=1))[0]

    async def transitions(self, alarm: str) -> list[str]:
        (alarm_id,) = [each.alarm_id for each in self.declared.alarms.values() if each.name == alarm]
        entries = reversed(await self.store.history(alarm_id, limit=1000))
        return [entry.detail["state"] for entry in entries if entry.type == "state transition"]

    async def received(self, measures: Sequence[Mapping[str, Any]]) -> Sequence[Undecoded]:
        """What a live source would do with a message; what of it was refused."""
        decoded = decode(json.dumps(measures).encode(), now=self.now, trusted=False)
        await self.take(decoded.measures)
        return decoded.rejected

    async def take(self, measures: Sequence[Measure]) -> None:
        if measures:
            await self._evaluate(self.controller, await self.controller.write(measures))
        await self.work()

    async def until(self, time: float) -> None:
        """Let time pass, each thing being done when it is due."""
        while self.now < time:
            due = await self.work()
            self.now = time if due is None else max(self.now, min(time, due))
        await self.work()

    async def work(self) -> float | None:
        """Do what is due now; when the next is."""
        for _ in range(1000):
            dues = [await self._work(controller) for controller in self.controllers]
            if all(due is None or due > self.now for due in dues):
                return min((due for due in dues if due is not None), default=None)
        raise AssertionError(f"work at {self.now} never ends")

    async def _work(self, controller: Controller) -> float | None:
        claimed = await controller.claim()
        windows = [item.key for item in claimed.items if item.kind == "window"]
        if windows:
            await self._evaluate(controller, await controller.write((), windows))
        for item in claimed.items:
            if item.kind != "window":
                heads: list[Head] = []
                await controller.do(item, heads.append)
                for head in heads:
                    await controller.carry_out(head)
        return self.now if claimed.items else claimed.next_due

    async def _evaluate(self, controller: Controller, written: Written) -> None:
        heads: list[Head] = []
        await controller.evaluate(written, heads.append)
        for head in heads:
            await controller.carry_out(head)
