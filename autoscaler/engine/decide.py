"""Decisions about groups: a person, an alarm or a declaration asks, and the store keeps one answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from autoscaler.alarms.alarm import Alarm, AlarmRecord
from autoscaler.alarms.evaluation import POLICY_SCHEME
from autoscaler.alarms.rules import EventRule, Rule, leaves_of
from autoscaler.engine.leases import LEASE
from autoscaler.engine.listen import Listener
from autoscaler.engine.plan import Plan
from autoscaler.errors import PermanentError
from autoscaler.ports import (
    Acceptance,
    AlreadyDecided,
    Changed,
    Freeze,
    GroupPut,
    GroupState,
    Put,
    Retry,
    Store,
    WorkItem,
)
from autoscaler.scaling.decide import Answer, Ask, decide, held, is_scale_out, proposed, with_declared_bounds
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor, Group, GroupRecord, Limits, Pause
from autoscaler.scaling.guards import Objection, Proposal, Situation
from autoscaler.scaling.policy import ScalingPolicy

WAITS = frozenset(
    {Reason.IN_FLIGHT, Reason.MAINTENANCE, Reason.NO_ROOM, Reason.SIZE_UNKNOWN, Reason.PAUSED, Reason.FROZEN}
)
"""Why what was asked for may still be done a little later, of itself."""

Attempt = Callable[[GroupState], Answer]


class Decider:
    """Decides about groups.

    Args:
        woken: called with a due time that this process has just set.
    """

    def __init__(self, store: Store, listener: Listener, *, woken: Callable[[float], None]) -> None:
        self._store = store
        self._listener = listener
        self._woken = woken

    async def consider(self, plan: Plan, alarm_id: str, url: str, row_id: str) -> None:
        """Decide upon what an alarm's action asks for; asked again with the same ``row_id`` it changes nothing.

        Raises:
            PermanentError: no such policy, or not the alarm's to call.
            TemporaryError: the store could not be reached.
        """
        policy, alarm = plan.policy(url), plan.alarm(alarm_id)
        if policy is None or alarm is None:
            raise PermanentError(f"{url}: no such policy" if policy is None else f"{alarm_id}: no such alarm")
        group = plan.groups[policy.group]
        if not alarm.may_move(group.project_id):
            raise PermanentError(f"{url}: group {group.name} belongs to another project")
        ask = Ask(row_id, Actor(kind="alarm", name=alarm.name), Reason.POLICY, generation=plan.generation)
        others = plan.alarms_of(group.name)
        records = dict(
            zip([a.alarm_id for a in others], await self._store.alarms([a.alarm_id for a in others]), strict=True)
        )

        def attempt(state: GroupState) -> Answer:
            return _about_alarm(plan, ask, alarm, policy, records, group, state)

        decision = await self.decide(group, attempt)
        if decision.decision == "hold" and decision.until is not None:
            await self._look_again(plan, alarm, decision.until)

    async def execute(
        self, plan: Plan, policy: ScalingPolicy, actor: Actor, request_id: str, *, force: bool
    ) -> Decision:
        """Apply a policy because a person says so; ``force`` passes cooldown, and nothing else."""
        group = plan.groups[policy.group]
        ask = Ask(request_id, actor, Reason.EXECUTED, {"force": force}, plan.generation)

        def attempt(state: GroupState) -> Answer:
            proposal = proposed(policy, group, state.record)
            return decide(ask, dataclasses.replace(proposal, passes_cooldown=force), situation(group, state))

        return await self.decide(group, attempt)

    async def decide(self, group: Group, attempt: Attempt) -> Decision:
        """Compare-and-set until the decision is stored, or was stored before."""
        state = await self._store.group(group.name)
        while True:
            answer = attempt(state)
            changed = answer.record != state.record
            record = replace(answer.record, version=state.record.version + 1) if changed else state.record
            put = GroupPut(
                group.name,
                state.record.version,
                state.freeze,
                record,
                answer.decision,
                reconcile_at=state.now if changed else None,
            )
            match await self._store.put_group(put):
                case Put(decision):
                    stored = decision or answer.decision
                    self._listener.decided(stored)
                    if changed:
                        self._woken(state.now)
                    return stored
                case AlreadyDecided(decision):
                    return decision
                case Changed(state):
                    continue

    async def _look_again(self, plan: Plan, alarm: Alarm, until: float) -> None:
        """Have the alarm's policies reconsidered when the guard that held this one ends."""
        window_id = plan.router.window_of(alarm.alarm_id)
        place = ("probe", alarm.alarm_id) if window_id is None else ("window", window_id)
        if isinstance(alarm.rule, EventRule):
            return  # nothing but the next event says anything new
        while True:
            (record,) = await self._store.alarms([alarm.alarm_id])
            if record is None:
                return
            # whoever noted an earlier time may have died before it was marked
            earlier = record.consider_at is not None and record.consider_at <= until
            if earlier or await self._noted(alarm, record, until):
                await self._store.mark([WorkItem(*place, until)])
                self._woken(until)
                return

    async def _noted(self, alarm: Alarm, record: AlarmRecord, until: float) -> bool:
        """Whether the alarm's record now says when to look again; False where it has changed meanwhile."""
        later = replace(record, version=record.version + 1, consider_at=until)
        # not a look at a window: nothing of what was accepted of it changes
        acceptance = Acceptance(alarm.alarm_id, "", 0, record.version, later)
        (answer,) = await self._store.accept([acceptance], lease=LEASE)
        return not isinstance(answer, Retry)

    async def reconsider(self, plan: Plan, group: Group) -> None:
        """Have every alarm that names a policy of the group look at it again now, since it is free to move again."""
        now = await self._store.now()
        for alarm in plan.alarms_of(group.name):
            await self._look_again(plan, alarm, now)

    async def pause(self, group: Group, pause: Pause | None) -> GroupRecord:
        """Leave a group alone, or no longer; every replica's next decision knows it."""
        return await self.change(group, lambda record: replace(record, paused=pause))

    async def change(self, group: Group, change: Callable[[GroupRecord], GroupRecord]) -> GroupRecord:
        """Compare-and-set of a group's record, with no decision; returns what was stored."""
        state = await self._store.group(group.name)
        while True:
            record = replace(change(state.record), version=state.record.version + 1)
            put = GroupPut(group.name, state.record.version, state.freeze, record, reconcile_at=state.now)
            answer = await self._store.put_group(put)
            if isinstance(answer, Changed):
                state = answer.state
                continue
            self._woken(state.now)
            return record

    async def adopt_bounds(self, plan: Plan, group: Group) -> None:
        """A group whose declared bounds are new is brought inside them, as a Heat stack update does."""
        declared = Limits(group.min_size, group.max_size)
        actor = Actor(kind="controller", name="declared bounds")
        ask = Ask(f"bounds:{group.name}:{plan.generation}", actor, Reason.BOUNDS, generation=plan.generation)
        state = await self._store.group(group.name)
        desired = state.record.desired_capacity
        if state.record.declared == declared or desired is None:
            return
        if declared.clamp(desired) == desired:
            await self.change(group, lambda record: replace(record, declared=declared, min_size=None, max_size=None))
            return

        def attempt(state: GroupState) -> Answer:
            answer = with_declared_bounds(ask, situation(group, state))
            if answer.decision.reason in WAITS:
                # tried again at the next look; the declared bounds are those in force meanwhile
                return Answer(replace(answer.decision, id=f"{ask.id}:held"), state.record)
            return answer

        await self.decide(group, attempt)


def situation(
    group: Group, state: GroupState, scale_outs: Sequence[Proposal] = (), outages: Sequence[str] = ()
) -> Situation:
    """What the guards are asked about.

    Args:
        scale_outs: what the group's standing alarms propose.
        outages: names of those of its alarms whose source is out.
    """
    return Situation(group, state.record, state.now, frozen(state.freeze), scale_outs, outages)


def frozen(freeze: Freeze | None) -> str:
    """Why everything is held; "" where it is not."""
    return "" if freeze is None else (freeze.reason or "no reason given")


def _about_alarm(
    plan: Plan,
    ask: Ask,
    alarm: Alarm,
    policy: ScalingPolicy,
    records: Mapping[str, AlarmRecord | None],
    group: Group,
    state: GroupState,
) -> Answer:
    """What an alarm's call comes to, among all that the group's alarms ask for at this moment."""
    record = records.get(alarm.alarm_id) or AlarmRecord()
    scale_outs = [
        proposal
        for other in plan.alarms_of(group.name)
        if (standing := records.get(other.alarm_id)) is not None
        for url in other.actions(standing.state)
        if (named := plan.policy(url)) is not None and named.group == group.name
        if is_scale_out(proposal := _proposal(named, other, standing, group, state), named, group, state.record)
    ]
    outages = [
        other.name
        for other in plan.alarms_of(group.name)
        if other.enabled and (known := records.get(other.alarm_id)) is not None and known.in_outage
    ]
    at = situation(group, state, scale_outs, outages)
    own = _proposal(policy, alarm, record, group, state)
    if f"{POLICY_SCHEME}{policy.name}" not in alarm.actions(record.state):
        left = Objection(Reason.ALARM_LEFT_STATE, f"the alarm is {record.state} by now")
        return Answer(held(ask, own, at, left), state.record)
    return decide(ask, own, at)


def _proposal(policy: ScalingPolicy, alarm: Alarm, record: AlarmRecord, group: Group, state: GroupState) -> Proposal:
    """A policy's proposal with the evidence of the alarm that asks for it."""
    proposal = proposed(policy, group, state.record)
    evidence = record.evidence
    return dataclasses.replace(
        proposal,
        alarm=alarm.name,
        measured=True,
        begins=record.state_timestamp if evidence is None else evidence.begins,
        reporting=() if evidence is None else evidence.reporting,
        fullest=0 if evidence is None else evidence.fullest,
        resting_on_missing=evidence is not None and evidence.resting_on_missing,
        min_reporting=_share(alarm, group),
    )


def _share(alarm: Alarm, group: Group) -> float:
    """Which share of the group's members must have reported before the alarm may scale it in."""
    many = [leaf for leaf in leaves_of(alarm.rule) if isinstance(leaf, Rule) and not leaf.single]
    # one series speaks for itself, and so do events and other services: they are not the members
    return max(
        (group.min_reporting if leaf.min_reporting is None else leaf.min_reporting for leaf in many), default=0.0
    )
