"""From what alarms, schedules and people want to one decision about a group."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from autoscaler.scaling.adjustment import new_capacity
from autoscaler.scaling.cooldown import effective
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor, Group, GroupRecord, Limits
from autoscaler.scaling.guards import Objection, Proposal, Situation, fresh, objection
from autoscaler.scaling.policy import ScalingPolicy, Schedule
from autoscaler.scaling.reconcile import bounded, moved

UNBOUNDED = 2**31
"""Members; more than any group may have."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question put to a group: may it move?

    Attributes:
        id: decided once, however often it is asked.
        reason: of a decision to move.
        inputs: what the asker looked at, kept with the record.
    """

    id: str
    actor: Actor
    reason: Reason
    inputs: dict[str, Any] = field(default_factory=dict)
    generation: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision, and the group's record after it; the same record where the group is held."""

    decision: Decision
    record: GroupRecord


def proposed(policy: ScalingPolicy, group: Group, record: GroupRecord) -> Proposal:
    """What a policy wants of a group at this moment, before any guard.

    A group whose size is not known yet is asked for no change; :func:`autoscaler.scaling.guards.size_known` says so.
    """
    current = record.desired_capacity or 0
    capacity = new_capacity(
        current,
        policy.scaling_adjustment,
        policy.adjustment_type,
        record.limits(group),
        policy.min_adjustment_step,
    )
    cooldown = effective(policy.cooldown, group.cooldown)
    return Proposal(capacity, capacity - current, policy=policy.name, cooldown=cooldown, order=policy.order)


def within_reach(proposal: Proposal, record: GroupRecord) -> Proposal:
    """A proposal as far as the target would follow it: never past the present size, in whichever direction."""
    before = proposal.capacity - proposal.change
    most, least = record.most, record.least
    if most is not None and proposal.change > 0 and proposal.capacity > most.size:
        capacity, why = max(before, most.size), most.why
    elif least is not None and proposal.change < 0 and proposal.capacity < least.size:
        capacity, why = min(before, least.size), least.why
    else:
        return proposal
    return dataclasses.replace(proposal, capacity=capacity, change=capacity - before, held_back=why)


def is_scale_out(proposal: Proposal, policy: ScalingPolicy, group: Group, record: GroupRecord) -> bool:
    """Whether a policy asks for more members than are wanted now; at max_size it still does, and is not granted it."""
    if proposal.change:
        return proposal.change > 0
    return proposed(policy, replace(group, max_size=UNBOUNDED), replace(record, declared=None)).change > 0


def winner(own: Proposal, scale_outs: Sequence[Proposal], at: Situation) -> Proposal:
    """The proposal to decide upon: of several that grow the group the largest that rests on fresh measures."""
    if own.change <= 0:
        return own
    candidates = [other for other in (own, *scale_outs) if fresh(other, at) is None]
    return max(candidates, key=lambda other: other.capacity, default=own)


def decide(ask: Ask, own: Proposal, at: Situation) -> Answer:
    """Move the group or hold it, with the reason. Total."""
    wished = winner(own, at.scale_outs, at) if own.measured else own
    proposal = within_reach(wished, at.record)
    found = objection(proposal, at)
    if found is not None:
        return Answer(held(ask, proposal, at, found), at.record)
    by = proposal.policy or ask.actor.name
    record = moved(at.record, proposal.capacity, cooldown=proposal.cooldown, by=by, order=proposal.order)
    text = f"{proposal.change:+d} by {proposal.policy or ask.actor.name}"
    if proposal.policy != own.policy:
        text += f", the largest of {len(at.scale_outs)} that alarms ask for"
    if proposal.held_back:
        text += f", and not {wished.change:+d}: {proposal.held_back}"
    return Answer(_decision(ask, proposal, at, "scale", ask.reason, text), record)


def held(ask: Ask, proposal: Proposal, at: Situation, found: Objection) -> Decision:
    """The record of a refusal."""
    decision = _decision(ask, proposal, at, "hold", found.reason, found.text)
    return replace(decision, to=at.record.desired_capacity, until=found.until, cooldown=0.0)


def _decision(ask: Ask, proposal: Proposal, at: Situation, verb: str, reason: Reason, text: str) -> Decision:
    limits = at.record.limits(at.group)
    inputs = {
        "size": at.record.size,
        "ready": at.record.ready,
        "min_size": limits.min_size,
        "max_size": limits.max_size,
        "proposed": proposal.capacity,
        **({"begins": proposal.begins, "reporting": list(proposal.reporting)} if proposal.measured else {}),
        **_told(at.record),
        **ask.inputs,
    }
    return Decision(
        id=ask.id,
        time=at.now,
        group=at.group.name,
        decision=verb,
        reason=reason,
        text=text,
        before=at.record.desired_capacity,
        to=proposal.capacity,
        policy=proposal.policy,
        alarm=proposal.alarm,
        cooldown=proposal.cooldown,
        actor=ask.actor,
        inputs=inputs,
        generation=ask.generation,
    )


def _told(record: GroupRecord) -> dict[str, Any]:
    """What the target has told of the group, as far as there is anything."""
    told = {
        "failed": list(record.failed),
        "maintenance": list(record.maintenance),
        "most": None if record.most is None else record.most.size,
        "least": None if record.least is None else record.least.size,
        "facts": dict(record.facts),
    }
    return {key: value for key, value in told.items() if value or value == 0}


def scheduled(schedule: Schedule, ask: Ask, at: Situation) -> Answer:
    """What a schedule's firing comes to: new bounds at once, and the size that they or it ask for.

    Passes cooldown and records the group's; bounds, resizes in flight and pauses hold.
    """
    record = bounded(at.record, at.group, min_size=schedule.min_size, max_size=schedule.max_size)
    within = Situation(at.group, record, at.now, at.frozen)
    current = record.desired_capacity or 0
    wanted = current if schedule.desired_capacity is None else schedule.desired_capacity
    capacity = record.limits(at.group).clamp(wanted)
    proposal = Proposal(capacity, capacity - current, cooldown=effective(None, at.group.cooldown), passes_cooldown=True)
    answer = decide(ask, proposal, within)
    inputs = {"schedule": schedule.name, **answer.decision.inputs}
    return Answer(replace(answer.decision, inputs=inputs), answer.record)


def with_declared_bounds(ask: Ask, at: Situation) -> Answer:
    """What newly declared bounds come to: they replace those of schedules, a size outside them moves to the nearest.

    Passes cooldown, as Heat's stack update does, and unlike it records none.
    """
    declared = Limits(at.group.min_size, at.group.max_size)
    record = replace(at.record, declared=declared, min_size=None, max_size=None)
    current = record.desired_capacity or 0
    capacity = declared.clamp(current)
    proposal = Proposal(capacity, capacity - current, passes_cooldown=True)
    return decide(ask, proposal, Situation(at.group, record, at.now, at.frozen))
