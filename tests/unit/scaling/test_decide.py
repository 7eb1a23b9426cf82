from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from autoscaler.scaling.decide import Ask, decide, is_scale_out, proposed, scheduled, winner, with_declared_bounds
from autoscaler.scaling.decision import Reason
from autoscaler.scaling.group import Actor, Bound, Group, GroupRecord, Limits, Pause
from autoscaler.scaling.guards import Proposal, Situation
from autoscaler.scaling.policy import AdjustmentType, Order, ScalingPolicy, Schedule

GROUP = Group(name="web", min_size=1, max_size=10, cooldown=20.0)
RECORD = GroupRecord(desired_capacity=4, size=4, ready=4, declared=Limits(1, 10))
ALARM = Ask("a:7:0", Actor(kind="alarm", name="busy"), Reason.POLICY, {"seen": 1}, "g1")
CLOCK = Ask("schedule:day:100", Actor(kind="schedule", name="day"), Reason.SCHEDULE)
DECLARED = Ask("bounds:web:g2", Actor(kind="controller"), Reason.BOUNDS)
OUT = Proposal(6, 2, policy="out", alarm="busy", measured=True, begins=90.0, reporting=(4,), fullest=4, cooldown=30.0)
NOW = 100.0


def policy(adjustment: float, kind: str = "change_in_capacity", **fields: Any) -> ScalingPolicy:
    return ScalingPolicy(
        name="out", group="web", adjustment_type=AdjustmentType(kind), scaling_adjustment=adjustment, **fields
    )


def at(*scale_outs: Proposal, **fields: Any) -> Situation:
    return Situation(GROUP, replace(RECORD, **fields), NOW, scale_outs=scale_outs)


def schedule(**fields: Any) -> Schedule:
    return Schedule(name="day", group="web", cron="0 8 * * *", **fields)


@pytest.mark.parametrize(
    ("asked", "size", "capacity", "change"),
    [
        pytest.param(policy(2), 4, 6, 2, id="more"),
        pytest.param(policy(-9), 4, 1, -3, id="down-to-the-bound"),
        pytest.param(policy(3), 12, 10, -2, id="back-from-outside-the-bounds"),
        pytest.param(policy(-1), 0, 1, 1, id="up-from-outside-the-bounds"),
        pytest.param(policy(50, "percent_change_in_capacity"), 4, 6, 2, id="percent"),
        pytest.param(policy(7, "exact_capacity"), 4, 7, 3, id="exact"),
        pytest.param(policy(2), None, 2, 2, id="of-a-group-that-was-never-read"),
    ],
)
def test_a_policy_proposes_an_absolute_size(asked: ScalingPolicy, size: int | None, capacity: int, change: int) -> None:
    proposal = proposed(asked, GROUP, replace(RECORD, desired_capacity=size))

    assert (proposal.capacity, proposal.change) == (capacity, change)


@pytest.mark.parametrize(
    ("own", "expected"),
    [pytest.param(None, 20.0, id="the-groups"), pytest.param(0.0, 0.0, id="none"), pytest.param(5.0, 5.0, id="own")],
)
def test_a_proposal_carries_the_cooldown_that_follows_it(own: float | None, expected: float) -> None:
    assert proposed(policy(1, cooldown=own), GROUP, RECORD).cooldown == expected


@pytest.mark.parametrize(
    ("asked", "size", "expected"),
    [
        pytest.param(policy(2), 4, True, id="more"),
        pytest.param(policy(2), 10, True, id="more-than-it-may-have"),
        pytest.param(policy(20, "exact_capacity"), 10, True, id="a-size-beyond-the-bound"),
        pytest.param(policy(10, "exact_capacity"), 10, False, id="exactly-what-there-is"),
        pytest.param(policy(-1), 1, False, id="fewer-than-it-may-have"),
        pytest.param(policy(2), 12, False, id="back-inside-is-fewer"),
    ],
)
def test_a_scale_out_is_one_at_the_bound_too(asked: ScalingPolicy, size: int, *, expected: bool) -> None:
    record = replace(RECORD, desired_capacity=size, max_size=10)

    assert is_scale_out(proposed(asked, GROUP, record), asked, GROUP, record) is expected


LARGER = dataclasses.replace(OUT, capacity=9, change=5, policy="more", alarm="queue", cooldown=60.0)


@pytest.mark.parametrize(
    ("own", "situation", "expected"),
    [
        pytest.param(OUT, at(OUT, LARGER), LARGER, id="the-largest"),
        pytest.param(OUT, at(OUT, dataclasses.replace(LARGER, capacity=6)), OUT, id="the-askers-own-among-equals"),
        pytest.param(OUT, at(OUT, dataclasses.replace(LARGER, begins=10.0), resized_at=50.0), OUT, id="no-stale-one"),
        pytest.param(
            dataclasses.replace(OUT, begins=10.0),
            at(resized_at=50.0),
            dataclasses.replace(OUT, begins=10.0),
            id="nothing-fresh-leaves-the-askers-to-be-refused",
        ),
        pytest.param(
            dataclasses.replace(OUT, capacity=3, change=-1),
            at(LARGER),
            dataclasses.replace(OUT, capacity=3, change=-1),
            id="a-scale-in-is-not-turned-into-a-scale-out",
        ),
    ],
)
def test_of_several_scale_outs_the_largest_fresh_one_wins(
    own: Proposal, situation: Situation, expected: Proposal
) -> None:
    assert winner(own, situation.scale_outs, situation) == expected


def test_a_decision_says_what_it_rests_on() -> None:
    answer = decide(ALARM, OUT, at())
    decision = answer.decision

    assert (decision.decision, decision.before, decision.to, decision.text) == ("scale", 4, 6, "+2 by out")
    assert (decision.reason, decision.policy, decision.alarm, decision.cooldown) == (Reason.POLICY, "out", "busy", 30.0)
    assert (decision.id, decision.time, decision.generation, decision.actor) == ("a:7:0", NOW, "g1", ALARM.actor)
    assert decision.inputs == {
        "size": 4,
        "ready": 4,
        "min_size": 1,
        "max_size": 10,
        "proposed": 6,
        "begins": 90.0,
        "reporting": [4],
        "seen": 1,
    }
    assert (answer.record.desired_capacity, answer.record.resizing, answer.record.fence) == (6, True, 1)
    assert (answer.record.pending_cooldown, answer.record.pending_by) == (30.0, "out")


def test_a_larger_one_that_wins_is_named_with_its_cooldown() -> None:
    answer = decide(ALARM, OUT, at(OUT, LARGER))

    assert answer.decision.text == "+5 by more, the largest of 2 that alarms ask for"
    assert (answer.decision.to, answer.record.pending_cooldown) == (9, 60.0)


def test_a_refusal_leaves_the_record_and_says_until_when() -> None:
    answer = decide(ALARM, OUT, at(cooldown_end=130.0))

    assert answer.record == replace(RECORD, cooldown_end=130.0)
    assert (answer.decision.decision, answer.decision.reason) == ("hold", Reason.COOLDOWN)
    assert (answer.decision.before, answer.decision.to, answer.decision.until) == (4, 4, 130.0)
    assert answer.decision.cooldown == 0.0
    assert answer.decision.inputs["proposed"] == 6


def test_a_persons_proposal_is_not_exchanged_for_an_alarms() -> None:
    own = Proposal(5, 1, policy="one")

    assert decide(ALARM, own, at(LARGER)).decision.to == 5


def test_what_no_policy_asked_for_bears_the_askers_name() -> None:
    answer = decide(CLOCK, Proposal(5, 1), at())

    assert (answer.decision.text, answer.record.pending_by) == ("+1 by day", "day")


def test_a_schedules_bounds_move_a_group_that_is_outside_them_past_its_cooldown() -> None:
    answer = scheduled(schedule(min_size=6), CLOCK, at(cooldown_end=900.0))

    assert (answer.decision.decision, answer.decision.to) == ("scale", 6)
    assert (answer.record.min_size, answer.record.pending_cooldown) == (6, 20.0)
    assert answer.decision.inputs["schedule"] == "day"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({}, Reason.UNCHANGED, id="nothing-to-move"),
        pytest.param({"resizing": True, "desired_capacity": 1}, Reason.IN_FLIGHT, id="a-resize-is-under-way"),
        pytest.param(
            {"desired_capacity": 1, "paused": Pause(0.0, None, "", Actor(kind="user"))}, Reason.PAUSED, id="paused"
        ),
    ],
)
def test_a_schedules_bounds_are_in_force_though_the_group_is_held(fields: dict[str, Any], reason: Reason) -> None:
    answer = scheduled(schedule(min_size=2), CLOCK, at(**fields))

    assert (answer.decision.decision, answer.decision.reason) == ("hold", reason)
    assert (answer.record.min_size, answer.record.fence) == (2, 0)


def test_a_schedules_size_obeys_the_bounds() -> None:
    assert scheduled(schedule(desired_capacity=7), CLOCK, at()).decision.to == 7
    assert scheduled(schedule(desired_capacity=7), CLOCK, at(max_size=5)).decision.to == 5


def test_a_schedule_does_not_take_an_unknown_size_for_none() -> None:
    answer = scheduled(schedule(min_size=2), CLOCK, at(desired_capacity=None, size=None))

    assert answer.decision.reason is Reason.SIZE_UNKNOWN


def test_new_declared_bounds_replace_those_of_schedules_and_record_no_cooldown() -> None:
    situation = Situation(replace(GROUP, min_size=5), replace(RECORD, min_size=2, max_size=3, cooldown_end=900.0), NOW)
    answer = with_declared_bounds(DECLARED, situation)

    assert (answer.decision.reason, answer.decision.to) == (Reason.BOUNDS, 5)
    assert (answer.record.declared, answer.record.min_size, answer.record.max_size) == (Limits(5, 10), None, None)
    assert answer.record.pending_cooldown == 0.0


QUOTA, TEMPLATE = Bound(5, "quota: 5 instances"), Bound(3, "the template's min_size")


@pytest.mark.parametrize(
    ("proposal", "bounds", "to", "reason", "text"),
    [
        pytest.param(
            OUT, {"most": QUOTA}, 5, Reason.POLICY, "+1 by out, and not +2: quota: 5 instances", id="half-the-way-out"
        ),
        pytest.param(
            dataclasses.replace(OUT, capacity=2, change=-2, min_reporting=0.0),
            {"least": TEMPLATE},
            3,
            Reason.POLICY,
            "-1 by out, and not -2: the template's min_size",
            id="half-the-way-in",
        ),
        pytest.param(
            OUT, {"most": Bound(4, "full")}, 4, Reason.NO_ROOM, "already 4: full", id="nothing-more"
        ),
        pytest.param(
            OUT, {"most": Bound(1, "full")}, 4, Reason.NO_ROOM, "already 4: full", id="a-bound-below-takes-nobody-away"
        ),
        pytest.param(OUT, {"most": Bound(6, "full")}, 6, Reason.POLICY, "+2 by out", id="just-room-enough"),
        pytest.param(OUT, {"least": Bound(9, "few")}, 6, Reason.POLICY, "+2 by out", id="a-floor-adds-nobody"),
    ],
)  # fmt: skip
def test_a_decision_goes_as_far_as_the_target_does(
    proposal: Proposal, bounds: dict[str, Bound], to: int, reason: Reason, text: str
) -> None:
    answer = decide(ALARM, proposal, at(**bounds))

    assert (answer.decision.to, answer.decision.reason, answer.decision.text) == (to, reason, text)
    assert answer.record.desired_capacity == to


def test_a_schedule_goes_as_far_as_the_target_does() -> None:
    answer = scheduled(schedule(desired_capacity=8), CLOCK, at(most=QUOTA))

    assert (answer.decision.to, answer.record.desired_capacity) == (5, 5)


def test_what_the_target_tells_stands_beside_the_other_inputs() -> None:
    told = {"failed": ("b",), "most": QUOTA, "facts": {"heat cooldown until": "12:00"}}
    inputs = decide(ALARM, OUT, at(**told)).decision.inputs

    assert (inputs["failed"], inputs["most"], inputs["facts"]) == (["b"], 5, {"heat cooldown until": "12:00"})
    assert not {"failed", "maintenance", "most", "least", "facts"} & decide(ALARM, OUT, at()).decision.inputs.keys()


def test_a_policys_order_goes_with_its_resize() -> None:
    proposal = proposed(policy(-1, order=Order.NEWEST), GROUP, RECORD)

    assert decide(ALARM, proposal, at()).record.pending_order is Order.NEWEST
