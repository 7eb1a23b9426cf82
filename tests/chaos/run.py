"""One run: faults as they were planned, recovery after each, and in the end the question whether anything was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.checker import Outcome, check
from tests.chaos.faults import BY_NAME, Fault, planned
from tests.chaos.records import read
from tests.chaos.rig import Plan, Rig, UnrecoveredError, rigged
from tests.chaos.take_over import TakeOver, take_overs

AT_ONCE = 3
"""Faults under way at a time."""
PACE = 0.3
"""Seconds between the beginnings of two."""
WARM_UP, COOL_DOWN = 3.0, 3.0
"""Seconds of peace at the beginning and at the end."""


@dataclass
class Happened:
    """A fault that was brought about.

    Attributes:
        begun: by the loop's clock, as for the two below.
        ended: when it was over; of a killed process when it died.
        recovered: when a measure published afterwards had its effect; 0 where it never had.
        ready: when every replica that was struck was ready again; 0 where none was, or another fault has it in hand.
        alone: no other fault was under way between the end and the recovery.
    """

    fault: Fault
    begun: float
    ended: float = 0.0
    recovered: float = 0.0
    ready: float = 0.0
    alone: bool = True

    @property
    def recovery(self) -> float:
        """Seconds."""
        return self.recovered - self.ended


@dataclass
class Result:
    """What a run came to."""

    plan: Plan
    happened: list[Happened]
    outcome: Outcome
    seconds: float
    take_overs: list[TakeOver] = field(default_factory=list)


class Run:
    """Brings faults about, some at a time."""

    def __init__(self, rig: Rig, faults: Sequence[Fault], *, at_once: int = AT_ONCE) -> None:
        self._rig = rig
        self._faults = faults
        self._slots = asyncio.Semaphore(at_once)
        self.happened: list[Happened] = []

    async def all(self) -> None:
        """Bring about all faults, in order, and wait until everything has recovered."""
        async with asyncio.TaskGroup() as group:
            for fault in self._faults:
                await self._slots.acquire()
                group.create_task(self._one(fault))
                await asyncio.sleep(PACE)

    async def _one(self, fault: Fault) -> None:
        clock = asyncio.get_running_loop().time
        kind = BY_NAME[fault.kind]
        try:
            async with AsyncExitStack() as stack:
                for name in kind.needs:
                    await stack.enter_async_context(self._rig.locks[name])
                happened = Happened(fault, clock())
                self.happened.append(happened)
                self._rig.records.say("fault", name=fault.kind, draw=fault.draw)
                await kind.strike(self._rig, fault, fault.drawn())
            happened.ended = fault.facts.get("died", clock())
            self._rig.records.say("fault over", name=fault.kind, **fault.facts)
            happened.recovered = fault.recovered or await self._rig.probe()
        finally:
            self._slots.release()
        free = [replica for replica in fault.struck if not replica.lock.locked()]
        for replica in free:
            async with replica.lock:
                await replica.until_ready()
        happened.ready = clock() if free else 0.0

    def mark_alone(self) -> None:
        """Note whose recovery no other fault has disturbed."""
        for each in self.happened:
            each.alone = not any(
                other is not each and other.begun < each.recovered and max(other.ended, other.begun) > each.ended
                for other in self.happened
            )


async def run(plan: Plan, count: int, names: Sequence[str] = (), *, at_once: int = AT_ONCE) -> Result:
    """A whole run. What does not come back ends it, and is a violation."""
    begun = time.monotonic()
    async with rigged(plan) as rig, asyncio.TaskGroup() as group:
        publishing = group.create_task(rig.publisher.run())
        watching = group.create_task(rig.watch())
        await asyncio.sleep(WARM_UP)
        work = Run(rig, planned(plan.seed, count, names, store=plan.store), at_once=at_once)
        problems: list[str] = []
        try:
            await work.all()
            for replica in rig.replicas:
                await replica.until_ready()
            await asyncio.sleep(COOL_DOWN)
        except* UnrecoveredError as errors:
            problems += leaves(errors)
        try:
            await rig.quiet()
        except UnrecoveredError as error:
            problems.append(str(error))
        await publishing
        final = await rig.final()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        logs = {replica.number: replica.process.whole_log() for replica in rig.replicas}
        behind = rig.behind
    work.mark_alone()
    records = read_all(plan)
    outcome = await check(records, final, lateness=plan.lateness, behind=behind, logs=logs, problems=problems)
    return Result(plan, work.happened, outcome, time.monotonic() - begun, take_overs(records))


def leaves(group: BaseExceptionGroup[BaseException]) -> list[str]:
    """What the errors of a group say."""
    found: list[str] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [str(error)]
    return found


def read_all(plan: Plan) -> list[dict[str, Any]]:
    """The records of all writers of a run."""
    found = read(plan.folder)
    for number in range(plan.replicas):
        found += [record | {"replica": number} for record in read(plan.folder / f"replica-{number}")]
    return sorted(found, key=lambda record: float(record["at"]))
