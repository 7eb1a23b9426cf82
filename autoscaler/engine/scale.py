"""Groups: considered when an alarm, a schedule or a person asks, and brought to the size that was decided."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from autoscaler.alarms.alarm import Alarm, AlarmRecord
from autoscaler.alarms.evaluation import POLICY_SCHEME
from autoscaler.engine.listen import Listener
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import (
    Acceptance,
    AlreadyDecided,
    Calendar,
    Changed,
    Freeze,
    GroupPut,
    GroupState,
    Put,
    Retry,
    Store,
    Target,
    TargetStatus,
    WorkItem,
)
from autoscaler.scaling.decide import Answer, Ask, decide, held, is_scale_out, proposed, scheduled, with_declared_bounds
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor, Group, GroupRecord, Limits, Pause
from autoscaler.scaling.guards import Objection, Proposal, Situation
from autoscaler.scaling.policy import ScalingPolicy, Schedule
from autoscaler.scaling.reconcile import asked, failed, seen

log = structlog.get_logger()

RESIDENT_HOLD = 5.0
"""Seconds for which a replica holds members that live inside it, unless it renews."""
RESIZE_DEADLINE = 10.0
"""Seconds within which a target must have answered; shorter than the lease."""
GROUP_LEASE = 15.0
"""Seconds for which one replica reconciles a group alone."""
POLL_INTERVAL = 5.0
"""Seconds between two looks at a target that rests."""
RESIZING_POLL = 0.5
"""Seconds between two looks at one that is being resized."""
MISFIRE_STEPS = 1000
"""Firings skipped at most when a schedule slept; more than that cannot have been within its grace."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is declared about groups, and what alarms name their policies."""

    groups: Mapping[str, Group]
    policies: Mapping[str, ScalingPolicy]
    schedules: Mapping[str, Schedule]
    alarms: Mapping[str, Alarm]
    window_of: Mapping[str, str]
    generation: str

    def alarms_of(self, group: str) -> list[Alarm]:
        """Alarms that name a policy of ``group`` for some state, in order of id."""
        return [alarm for _, alarm in sorted(self.alarms.items()) if group in self._groups_of(alarm)]

    def _groups_of(self, alarm: Alarm) -> set[str]:
        urls = (*alarm.ok_actions, *alarm.alarm_actions, *alarm.insufficient_data_actions)
        return {policy.group for url in urls if (policy := self.policy(url)) is not None}

    def policy(self, url: str) -> ScalingPolicy | None:
        """The policy that an action names; None for other actions and unknown policies."""
        return self.policies.get(url.removeprefix(POLICY_SCHEME)) if url.startswith(POLICY_SCHEME) else None


_WAITS = frozenset({Reason.IN_FLIGHT, Reason.SIZE_UNKNOWN, Reason.PAUSED, Reason.FROZEN})
SCHEDULE_RECHECK = 1.0
"""Seconds until a schedule that found its group busy or held tries again, within its grace."""

Attempt = Callable[[GroupState], Answer]


class Scaler:
    """Decides about groups and reconciles them with their targets.

    Args:
        replica: this process' name; it holds the members that live inside it.
        woken: called with a due time that this process has just set.
        poll_interval: seconds between two looks at a target that rests, whatever groups say; None leaves it to them.
    """

    def __init__(
        self,
        store: Store,
        listener: Listener,
        targets: Mapping[str, Target],
        calendar: Calendar,
        *,
        replica: str,
        woken: Callable[[float], None],
        poll_interval: float | None = None,
    ) -> None:
        self._poll_interval = poll_interval
        self._store = store
        self._listener = listener
        self._targets = targets
        self._calendar = calendar
        self._replica = replica
        self._woken = woken

    # --- asking ------------------------------------------------------------------------------------------------------

    async def consider(self, plan: Plan, alarm_id: str, url: str, row_id: str) -> None:
        """Decide upon what an alarm's action asks for; asked again with the same ``row_id`` it changes nothing.

        Raises:
            PermanentError: no such policy, or not the alarm's to call.
            TemporaryError: the store could not be reached.
        """
        policy, alarm = plan.policy(url), plan.alarms.get(alarm_id)
        if policy is None or alarm is None:
            raise PermanentError(f"{url}: no such policy" if policy is None else f"{alarm_id}: no such alarm")
        group = plan.groups[policy.group]
        if alarm.project_id != group.project_id and group.project_id:
            raise PermanentError(f"{url}: group {group.name} belongs to another project")
        ask = Ask(row_id, Actor(kind="alarm", name=alarm.name), Reason.POLICY, generation=plan.generation)
        others = plan.alarms_of(group.name)
        records = dict(
            zip([a.alarm_id for a in others], await self._store.alarms([a.alarm_id for a in others]), strict=True)
        )

        def attempt(state: GroupState) -> Answer:
            return _about_alarm(plan, ask, alarm, policy, records, group, state)

        decision = await self._decide(group, attempt)
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
            return decide(ask, dataclasses.replace(proposal, passes_cooldown=force), _situation(group, state))

        return await self._decide(group, attempt)

    async def fire(self, plan: Plan, item: WorkItem) -> None:
        """Fire a schedule that is due: once per due time, however many replicas see it."""
        schedule = plan.schedules.get(item.key)
        if schedule is None:
            await self._store.finish(item, None)
            return
        now = await self._store.now()
        due = stored = await self._store.schedule(schedule.name, digest(schedule), now)
        if due > now:
            await self._store.finish(item, due)
            return
        due = self._newest_missed(schedule, due, now)
        decision = await self._fired(plan, schedule, due, now)
        if decision.reason in _WAITS:
            again: float | None = now + SCHEDULE_RECHECK
        else:
            again = self._calendar.following(schedule.cron, schedule.timezone, now)
            await self._store.advance(schedule.name, stored, again)
        await self._store.finish(item, again)
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
                return Answer(held(ask, nothing, _situation(group, state), missed), state.record)
            answer = scheduled(schedule, ask, _situation(group, state))
            if answer.decision.reason in _WAITS:
                # the due time itself stays undecided: it is tried again within its grace
                return Answer(replace(answer.decision, id=f"{ask.id}:held"), answer.record)
            return answer

        return await self._decide(group, attempt)

    def _newest_missed(self, schedule: Schedule, due: float, now: float) -> float:
        """Of the firings that a sleeping controller missed only the newest is made up for."""
        for _ in range(MISFIRE_STEPS):
            following = self._calendar.following(schedule.cron, schedule.timezone, due)
            if following is None or following > now:
                break
            due = following
        return due

    async def _decide(self, group: Group, attempt: Attempt) -> Decision:
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
        window_id = plan.window_of.get(alarm.alarm_id)
        if window_id is None:
            return
        while True:
            (record,) = await self._store.alarms([alarm.alarm_id])
            if record is None:
                return
            # whoever noted an earlier time may have died before it was marked
            earlier = record.consider_at is not None and record.consider_at <= until
            if earlier or await self._noted(alarm, record, until):
                await self._store.mark([WorkItem("window", window_id, until)])
                self._woken(until)
                return

    async def _noted(self, alarm: Alarm, record: AlarmRecord, until: float) -> bool:
        """Whether the alarm's record now says when to look again; False where it has changed meanwhile."""
        later = replace(record, version=record.version + 1, consider_at=until)
        # not a look at a window: nothing of what was accepted of it changes
        acceptance = Acceptance(alarm.alarm_id, "", 0, record.version, later)
        (answer,) = await self._store.accept([acceptance], lease=GROUP_LEASE)
        return not isinstance(answer, Retry)

    # --- people ------------------------------------------------------------------------------------------------------

    async def pause(self, group: Group, pause: Pause | None) -> GroupRecord:
        """Leave a group alone, or no longer; every replica's next decision knows it."""
        return await self._change(group, lambda record: replace(record, paused=pause))

    async def _change(self, group: Group, change: Callable[[GroupRecord], GroupRecord]) -> GroupRecord:
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

    # --- reconciling -------------------------------------------------------------------------------------------------

    async def reconcile(self, plan: Plan, item: WorkItem) -> None:
        """Look at a group's target and bring it to the size that was decided; it comes up again by itself."""
        group = plan.groups.get(item.key)
        if group is None:
            await self._store.finish(item, None)
            return
        target = self._targets[group.target_type]
        state = await self._store.group(group.name)
        if target.resident and not await self._held_here(group, state):
            await target.release(group)
            again = state.now + RESIDENT_HOLD / 2
        else:
            again = await self._bring(group, target)
            await self._adopt_bounds(plan, group)
        await self._store.finish(item, again)
        self._woken(again)

    async def _held_here(self, group: Group, state: GroupState) -> bool:
        """Take or keep hold of members that live in one process; False while another holds them."""
        record = state.record
        if record.owner not in ("", self._replica) and state.now < record.owned_until:
            return False
        if record.owner == self._replica and record.owned_until - state.now > RESIDENT_HOLD / 2:
            return True
        held_here = replace(
            record, version=record.version + 1, owner=self._replica, owned_until=state.now + RESIDENT_HOLD
        )
        if record.owner != self._replica:
            # the members that another held have ended with it
            held_here = replace(held_here, size=None, ready=0, members=())
        put = GroupPut(group.name, record.version, state.freeze, held_here)
        answer = await self._store.put_group(put)
        if isinstance(answer, Changed):
            return await self._held_here(group, answer.state)
        return True

    async def _bring(self, group: Group, target: Target) -> float:
        """One look, one request where one is needed, and a second look; Unix seconds of the next look."""
        state = await self._look(group, target)
        record = state.record
        if self._may_resize(target, state):
            await self._resize(group, target, state)
            state = await self._look(group, target)
            record = state.record
        poll = self._poll_interval or float(group.target.get("poll_interval", POLL_INTERVAL))
        if record.resizing or record.drifted is not None:
            return state.now + min(poll, RESIZING_POLL)
        return state.now + (min(poll, RESIDENT_HOLD / 4) if target.resident else poll)

    def _may_resize(self, target: Target, state: GroupState) -> bool:
        record, now = state.record, state.now
        if record.desired_capacity is None or record.unreachable or record.size is None:
            return False
        if not record.resizing and not target.resident:
            return False
        if record.size == record.desired_capacity or (record.retry_at is not None and now < record.retry_at):
            return False
        change = record.desired_capacity - record.size
        # members that died with their controller are not a change anybody has to allow
        forbidden = record.paused is not None and record.paused.forbids(change, now)
        return not record.resizing or not (forbidden or state.freeze is not None)

    async def _look(self, group: Group, target: Target) -> GroupState:
        before = (await self._store.group(group.name)).record.version
        unreachable, status = "", TargetStatus(0, ())
        try:
            status = await target.status(group)
        except (TemporaryError, PermanentError) as error:
            unreachable = str(error)

        def look(state: GroupState) -> tuple[GroupRecord, Reason | None, str]:
            record = state.record
            if record.version != before:
                # overtaken by a decision or another's look, perhaps long ago: what was seen is not how it is
                return record, None, ""
            if unreachable:
                return replace(record, unreachable=unreachable), None, ""
            lost = target.resident and not record.resizing and status.size != record.desired_capacity
            if lost and record.desired_capacity is not None:
                # members inside a process end with it: that is no wish of anybody
                kept = replace(record, size=status.size, ready=status.ready_count, members=tuple(status.ready))
                return replace(kept, unreachable="", observed_at=state.now), None, ""
            found = seen(
                record,
                group,
                size=status.size,
                ready=status.ready_count,
                members=tuple(status.ready),
                now=state.now,
            )
            return found.record, found.reason, found.text

        return await self._store_seen(group, look)

    async def _resize(self, group: Group, target: Target, state: GroupState) -> None:
        record = state.record
        capacity = record.desired_capacity
        if capacity is None:
            return
        failure: TemporaryError | PermanentError | None = None
        try:
            await target.resize(group, capacity, fence=record.fence, deadline=RESIZE_DEADLINE)
        except (TemporaryError, PermanentError) as error:
            failure = error
            log.warning("resize failed", group=group.name, desired_capacity=capacity, error=str(error))
        if failure is None and target.resident:
            return

        def tried(state: GroupState) -> tuple[GroupRecord, Reason | None, str]:
            if state.record.fence != record.fence or not state.record.resizing:
                return state.record, None, ""
            if failure is None:
                found = asked(state.record, group, now=state.now)
            else:
                delay = getattr(failure, "delay", None)
                found = failed(state.record, group, str(failure), now=state.now, delay=delay)
            return found.record, found.reason, found.text

        await self._store_seen(group, tried)

    async def _store_seen(
        self, group: Group, change: Callable[[GroupState], tuple[GroupRecord, Reason | None, str]]
    ) -> GroupState:
        """Store what a look or a try came to, with a decision record where it changes what is wanted."""
        state = await self._store.group(group.name)
        while True:
            record, reason, text = change(state)
            decision = None
            if reason is not None:
                decision = _of_target(group, state, record, reason, text)
            if _same_look(record, state.record):
                return state
            record = replace(record, version=state.record.version + 1)
            answer = await self._store.put_group(
                GroupPut(group.name, state.record.version, state.freeze, record, decision)
            )
            if isinstance(answer, Changed):
                state = answer.state
                continue
            if isinstance(answer, AlreadyDecided):
                # another replica saw the same and was quicker: what it stored is what counts
                state = await self._store.group(group.name)
                continue
            if decision is not None:
                self._listener.decided(answer.decision or decision)
            return GroupState(record, state.freeze, state.now)

    async def adopt(self, plan: Plan) -> None:
        """Make the plan's groups and schedules due, without moving what is due already."""
        now = await self._store.now()
        items = [WorkItem("group", name, now) for name in sorted(plan.groups)]
        for name, schedule in sorted(plan.schedules.items()):
            first = self._calendar.following(schedule.cron, schedule.timezone, now)
            if first is not None:
                due = await self._store.schedule(name, digest(schedule), first)
                items.append(WorkItem("schedule", name, due))
        if items:
            await self._store.mark(items)
        for _, group in sorted(plan.groups.items()):
            await self._adopt_bounds(plan, group)
        self._woken(now)

    async def _adopt_bounds(self, plan: Plan, group: Group) -> None:
        """A group whose declared bounds are new is brought inside them, as a Heat stack update does."""
        declared = Limits(group.min_size, group.max_size)
        actor = Actor(kind="controller", name="declared bounds")
        ask = Ask(f"bounds:{group.name}:{plan.generation}", actor, Reason.BOUNDS, generation=plan.generation)
        state = await self._store.group(group.name)
        desired = state.record.desired_capacity
        if state.record.declared == declared or desired is None:
            return
        if declared.clamp(desired) == desired:
            await self._change(group, lambda record: replace(record, declared=declared, min_size=None, max_size=None))
            return

        def attempt(state: GroupState) -> Answer:
            answer = with_declared_bounds(ask, _situation(group, state))
            if answer.decision.reason in _WAITS:
                # tried again at the next look; the declared bounds are those in force meanwhile
                return Answer(replace(answer.decision, id=f"{ask.id}:held"), state.record)
            return answer

        await self._decide(group, attempt)

    async def reconsider(self, plan: Plan, group: Group) -> None:
        """Have every alarm that names a policy of the group look at it again now, since it is free to move again."""
        now = await self._store.now()
        for alarm in plan.alarms_of(group.name):
            await self._look_again(plan, alarm, now)

    async def release(self, groups: Sequence[Group]) -> None:
        """Let go of every group: members that live here end, and others may take them over at once."""
        for group in groups:
            target = self._targets[group.target_type]
            await target.release(group)
            if target.resident:
                await self._change(
                    group,
                    lambda record: (
                        replace(record, owner="", owned_until=0.0) if record.owner == self._replica else record
                    ),
                )


def digest(schedule: Schedule) -> str:
    """What a schedule's due time depends on."""
    return f"{schedule.cron}|{schedule.timezone}"


def _same_look(record: GroupRecord, before: GroupRecord) -> bool:
    return replace(record, observed_at=None, version=0) == replace(before, observed_at=None, version=0)


def _of_target(group: Group, state: GroupState, record: GroupRecord, reason: Reason, text: str) -> Decision:
    return Decision(
        id=f"target:{group.name}:{state.record.version}",
        time=state.now,
        group=group.name,
        decision="scale",
        reason=reason,
        text=text,
        before=state.record.desired_capacity,
        to=record.desired_capacity,
        actor=Actor(kind="target", name=group.name),
        inputs={"size": record.size, "error": record.error},
    )


def _situation(group: Group, state: GroupState, scale_outs: Sequence[Proposal] = ()) -> Situation:
    return Situation(group, state.record, state.now, _frozen(state.freeze), scale_outs)


def _frozen(freeze: Freeze | None) -> str:
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
    at = _situation(group, state, scale_outs)
    own = _proposal(policy, alarm, record, group, state)
    if f"{POLICY_SCHEME}{policy.name}" not in alarm.actions(record.state):
        left = Objection(Reason.ALARM_LEFT_STATE, f"the alarm is {record.state} by now")
        return Answer(held(ask, own, at, left), state.record)
    return decide(ask, own, at)


def _proposal(policy: ScalingPolicy, alarm: Alarm, record: AlarmRecord, group: Group, state: GroupState) -> Proposal:
    """A policy's proposal with the evidence of the alarm that asks for it."""
    proposal = proposed(policy, group, state.record)
    evidence = record.evidence
    share = group.min_reporting if alarm.rule.min_reporting is None else alarm.rule.min_reporting
    return dataclasses.replace(
        proposal,
        alarm=alarm.name,
        measured=True,
        begins=record.state_timestamp if evidence is None else evidence.begins,
        reporting=() if evidence is None else evidence.reporting,
        fullest=0 if evidence is None else evidence.fullest,
        resting_on_missing=evidence is not None and evidence.resting_on_missing,
        # one series speaks for itself: it is not one of the members
        min_reporting=0.0 if alarm.rule.single else share,
    )
