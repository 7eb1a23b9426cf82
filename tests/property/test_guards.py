"""What holds of every decision, whatever is asked of whatever group."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from autoscaler.scaling.decide import Ask, decide, proposed, scheduled
from autoscaler.scaling.decision import Reason
from autoscaler.scaling.group import Actor, Group, GroupRecord, Limits, Pause
from autoscaler.scaling.guards import GUARDS, Proposal, Situation, objection
from autoscaler.scaling.policy import AdjustmentType, ScalingPolicy, Schedule

ASK = Ask("id", Actor(kind="alarm", name="busy"), Reason.POLICY)
NOW = 1000.0
# a window around now is where everything happens
times = st.floats(NOW - 100, NOW + 100)
sizes = st.integers(0, 20)


def rarely(this: Any, that: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([that] * 7 + [this])


@st.composite
def groups(draw: st.DrawFn) -> Group:
    least = draw(st.integers(0, 10))
    return Group(name="web", min_size=least, max_size=draw(st.integers(least, 15)), cooldown=draw(st.floats(0, 60)))


@st.composite
def records(draw: st.DrawFn, *, calm: bool = False) -> GroupRecord:
    size = draw(sizes)
    if calm:
        return GroupRecord(desired_capacity=size, size=size, ready=size)
    pause = Pause(0.0, draw(st.none() | times), "", Actor(kind="user"), draw(st.sampled_from(["", "in", "out"])))
    return GroupRecord(
        desired_capacity=draw(rarely(None, size)),
        size=draw(rarely(None, size)),
        ready=draw(sizes),
        unreachable=draw(rarely("refused", "")),
        resizing=draw(rarely(True, False)),
        resized_at=draw(st.none() | times),
        cooldown_end=draw(st.none() | times),
        paused=draw(rarely(pause, None)),
    )


@st.composite
def policies(draw: st.DrawFn) -> ScalingPolicy:
    return ScalingPolicy(
        name="p",
        group="web",
        adjustment_type=draw(st.sampled_from(AdjustmentType)),
        scaling_adjustment=draw(st.integers(-150, 150)),
        min_adjustment_step=draw(st.none() | st.integers(1, 4)),
    )


@st.composite
def proposals(draw: st.DrawFn, group: Group, record: GroupRecord) -> Proposal:
    return dataclasses.replace(
        proposed(draw(policies()), group, record),
        alarm=draw(st.sampled_from(["busy", "idle"])),
        measured=draw(st.booleans()),
        begins=draw(times),
        reporting=tuple(draw(st.lists(st.integers(10, 20), max_size=3))),
        fullest=draw(sizes),
        resting_on_missing=draw(rarely(True, False)),
        min_reporting=draw(st.sampled_from([0.0, 0.5, 0.8, 1.0])),
        passes_cooldown=draw(st.booleans()),
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[Proposal, Situation]:
    group, record = draw(groups()), draw(records())
    others = [each for each in draw(st.lists(proposals(group, record), max_size=3)) if each.change > 0]
    situation = Situation(group, record, NOW, draw(rarely("storm", "")), others)
    return draw(proposals(group, record)), situation


@given(questions())
def test_the_size_after_a_decision_is_within_the_bounds_or_unchanged(question: tuple[Proposal, Situation]) -> None:
    own, at = question
    answer = decide(ASK, own, at)
    limits = at.record.limits(at.group)

    if answer.decision.decision == "scale":
        assert answer.record.desired_capacity == answer.decision.to
        assert answer.decision.to is not None
        assert limits.min_size <= answer.decision.to <= limits.max_size
    else:
        assert answer.record == at.record
        assert answer.decision.to == at.record.desired_capacity


@given(questions())
def test_guards_hold_a_group_where_it_is_or_let_the_proposal_be(question: tuple[Proposal, Situation]) -> None:
    own, at = question
    answer = decide(ASK, own, at)
    asked = {own.capacity, *(other.capacity for other in at.scale_outs)}

    assert answer.decision.to in {at.record.desired_capacity, *asked}
    if answer.decision.decision == "scale":
        assert all(guard(own, at) is None for guard in GUARDS) or answer.decision.to != own.capacity or own.change > 0


@given(questions())
def test_the_answer_is_that_of_the_first_guard_that_objects(question: tuple[Proposal, Situation]) -> None:
    own, at = question
    objections = [found for guard in GUARDS if (found := guard(own, at)) is not None]

    assert objection(own, at) == (objections[0] if objections else None)


@given(questions())
def test_asking_again_gives_the_same_answer(question: tuple[Proposal, Situation]) -> None:
    own, at = question

    assert decide(ASK, own, at) == decide(ASK, own, at)


@given(questions())
def test_a_group_that_has_moved_does_not_move_twice(question: tuple[Proposal, Situation]) -> None:
    own, at = question
    moved = decide(ASK, own, at)
    again = decide(ASK, own, dataclasses.replace(at, record=moved.record))

    assert again.decision.decision == "hold"
    assert again.record == moved.record


@given(questions(), times, times)
def test_waiting_until_a_hold_ends_removes_its_reason(
    question: tuple[Proposal, Situation], cooldown_end: float, paused_until: float
) -> None:
    own, at = question
    pause = Pause(0.0, paused_until, "", Actor(kind="user"))
    busy = dataclasses.replace(at, record=replace(at.record, cooldown_end=cooldown_end, paused=pause))
    for guard in GUARDS:
        held = guard(own, busy)
        if held is not None and held.until is not None:
            assert held.until > NOW
            assert guard(own, dataclasses.replace(busy, now=held.until)) is None


@given(questions())
def test_silence_never_scales_in(question: tuple[Proposal, Situation]) -> None:
    own, at = question
    silent = dataclasses.replace(own, measured=True, reporting=())
    decision = decide(ASK, silent, at).decision

    assert decision.decision == "hold" or (decision.to or 0) > (decision.before or 0)


@given(questions())
def test_an_active_scale_out_blocks_every_measured_scale_in(question: tuple[Proposal, Situation]) -> None:
    own, at = question
    fewer = dataclasses.replace(own, measured=True, capacity=0, change=-1)
    more = dataclasses.replace(own, capacity=9, change=1)

    assert decide(ASK, fewer, dataclasses.replace(at, scale_outs=[more])).decision.decision == "hold"


@given(groups(), records(calm=True), policies())
def test_from_outside_the_bounds_any_policy_moves_to_a_size_within(
    group: Group, record: GroupRecord, policy: ScalingPolicy
) -> None:
    size = record.desired_capacity or 0
    limits = record.limits(group)
    assume(not limits.min_size <= size <= limits.max_size)
    proposal = proposed(policy, group, record)

    assert limits.min_size <= proposal.capacity <= limits.max_size
    assert decide(ASK, proposal, Situation(group, record, NOW)).decision.decision == "scale"


@given(groups(), records(calm=True), st.integers(-20, 20), st.integers(0, 20))
def test_asking_for_more_never_gives_less(group: Group, record: GroupRecord, less: int, more: int) -> None:
    decisions = []
    for adjustment in (less, less + more):
        policy = ScalingPolicy(
            name="p",
            group="web",
            adjustment_type=AdjustmentType.CHANGE_IN_CAPACITY,
            scaling_adjustment=adjustment,
        )
        at = Situation(group, record, NOW)
        decisions.append(decide(ASK, proposed(policy, group, record), at).record.desired_capacity or 0)

    assert decisions[0] <= decisions[1]


@given(groups(), records(), st.none() | sizes, st.none() | sizes, st.none() | sizes)
def test_bounds_in_force_are_always_bounds(
    group: Group, record: GroupRecord, least: int | None, most: int | None, size: int | None
) -> None:
    # what the check of a schedule has made sure of
    low = group.min_size if least is None else least
    high = group.max_size if most is None else most
    assume(low <= high)
    standing = replace(record, declared=Limits(group.min_size, group.max_size), max_size=group.min_size)
    schedule = Schedule(name="s", group="web", cron="* * * * *", min_size=least, max_size=most, desired_capacity=size)
    limits = scheduled(schedule, ASK, Situation(group, standing, NOW)).record.limits(group)

    assert limits.min_size <= limits.max_size
