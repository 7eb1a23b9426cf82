"""Schedules: each due time fired once, however many replicas there are."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from autoscaler.engine.decide import WAITS, Decider, situation
from autoscaler.engine.leases import Leases
from autoscaler.engine.plan import Plan
from autoscaler.ports import Calendar, GroupState, Store, WorkItem
from autoscaler.scaling.decide import Answer, Ask, held, scheduled
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor
from autoscaler.scaling.guards import Objection, Proposal
from autoscaler.scaling.policy import Schedule

MISFIRE_STEPS = 1000
"""Firings skipped at most when a schedule slept; more than that cannot have been within its grace."""
SCHEDULE_RECHECK = 1.0
"""Seconds until a schedule that found its group busy or held tries again, within its grace."""


class Scheduler:
    """Fires schedules.

    Args:
        woken: called with a due time that this process has just set.
    """

    def __init__(
        self, store: Store, calendar: Calendar, decider: Decider, leases: Leases, *, woken: Callable[[float], None]
    ) -> None:
        self._store = store
        self._leases = leases
        self._calendar = calendar
        self._decider = decider
        self._woken = woken

    async def due(self, plan: Plan, now: float) -> list[WorkItem]:
        """The plan's schedules and when each is due, without moving what is due already."""
        items = []
        for name, schedule in sorted(plan.schedules.items()):
            first = self._calendar.following(schedule.cron, schedule.timezone, now)
            if first is not None:
                due = await self._store.schedule(name, digest(schedule), first)
                items.append(WorkItem("schedule", name, due))
        return items

    async def fire(self, plan: Plan, item: WorkItem) -> None:
        """Fire a schedule that is due: once per due time, however many replicas see it."""
        schedule = plan.schedules.get(item.key)
        if schedule is None:
            await self._leases.finish(item, None)
            return
        now = await self._store.now()
        due = stored = await self._store.schedule(schedule.name, digest(schedule), now)
        if due > now:
            await self._leases.finish(item, due)
            return
        due = self._newest_missed(schedule, due, now)
        decision = await self._fired(plan, schedule, due, now)
        if decision.reason in WAITS:
            again: float | None = now + SCHEDULE_RECHECK
        else:
            again = self._calendar.following(schedule.cron, schedule.timezone, now)
            await self._store.advance(schedule.name, stored, again)
        await self._leases.finish(item, again)
        if again is not None:
            self._woken(again)

    async def _fired(self, plan: Plan, schedule: Schedule, due: float, now: float) -> Decision:
        group = plan.groups[schedule.group]
        actor = Actor(kind="schedule", name=schedule.name)
        ask = Ask(f"schedule:{schedule.name}:{due:.0f}", actor, Reason.SCHEDULE, {"due": due}, plan.generation)

        def attempt(state: GroupState) -> Answer:
            if now - due > schedule.grace:
                missed = Objection(Reason.MISSED, f"missed by {now - due:.0f} s, more than its grace")
                nothing = Proposal(state.record.desired_capacity or 0, 0)
                return Answer(held(ask, nothing, situation(group, state), missed), state.record)
            answer = scheduled(schedule, ask, situation(group, state))
            if answer.decision.reason in WAITS:
                # the due time itself stays undecided: it is tried again within its grace
                return Answer(replace(answer.decision, id=f"{ask.id}:held"), answer.record)
            return answer

        return await self._decider.decide(group, attempt)

    def _newest_missed(self, schedule: Schedule, due: float, now: float) -> float:
        """Of the firings that a sleeping controller missed only the newest is made up for."""
        for _ in range(MISFIRE_STEPS):
            following = self._calendar.following(schedule.cron, schedule.timezone, due)
            if following is None or following > now:
                break
            due = following
        return due


def digest(schedule: Schedule) -> str:
    """What a schedule's due time depends on."""
    return f"{schedule.cron}|{schedule.timezone}"
