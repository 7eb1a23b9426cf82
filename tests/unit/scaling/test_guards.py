from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from autoscaler.scaling.decision import Reason
from autoscaler.scaling.group import Actor, Group, GroupRecord, Limits, Pause
from autoscaler.scaling.guards import Objection, Proposal, Situation, objection

GROUP = Group(name="web", min_size=1, max_size=10)
RECORD = GroupRecord(desired_capacity=4, size=4, ready=4, members=("a", "b", "c", "d"))
OUT = Proposal(6, 2, policy="out", alarm="busy", measured=True, begins=90.0, reporting=(4, 4), fullest=4)
IN = dataclasses.replace(OUT, capacity=3, change=-1, policy="in", alarm="idle", min_reporting=0.8)
NOW = 100.0


def at(
    *, frozen: str = "", scale_outs: tuple[Proposal, ...] = (), outages: tuple[str, ...] = (), **fields: Any
) -> Situation:
    return Situation(GROUP, replace(RECORD, **fields), NOW, frozen, scale_outs, outages)


def paused(*, until: float | None = None, direction: str = "", by: str = "") -> Pause:
    return Pause(0.0, until, "maintenance", Actor(kind="user", name=by), direction)


@pytest.mark.parametrize("proposal", [pytest.param(OUT, id="out"), pytest.param(IN, id="in")])
def test_a_group_at_rest_may_move(proposal: Proposal) -> None:
    assert objection(proposal, at()) is None


@pytest.mark.parametrize(
    ("proposal", "situation", "expected"),
    [
        pytest.param(
            OUT,
            at(size=None),
            Objection(Reason.SIZE_UNKNOWN, "the target was never read"),
            id="never-read",
        ),
        pytest.param(
            OUT,
            at(desired_capacity=None, unreachable="refused"),
            Objection(Reason.SIZE_UNKNOWN, "the target was never read: refused"),
            id="never-read-and-why",
        ),
        pytest.param(
            OUT,
            at(unreachable="refused"),
            Objection(Reason.SIZE_UNKNOWN, "the target cannot be read: refused"),
            id="unreachable",
        ),
        pytest.param(Proposal(4, 0), at(), Objection(Reason.UNCHANGED, "already 4"), id="unchanged"),
        pytest.param(Proposal(10, 0), at(), Objection(Reason.AT_BOUND, "already at max_size 10"), id="at-max"),
        pytest.param(Proposal(1, 0), at(), Objection(Reason.AT_BOUND, "already at min_size 1"), id="at-min"),
        pytest.param(OUT, at(frozen="storm"), Objection(Reason.FROZEN, "everything is frozen: storm"), id="frozen"),
        pytest.param(
            OUT,
            at(paused=paused()),
            Objection(Reason.PAUSED, "paused until resumed: maintenance"),
            id="paused",
        ),
        pytest.param(
            OUT,
            at(paused=paused(until=3600.0, direction="out", by="ann")),
            Objection(Reason.PAUSED, "paused (scale-out) until 1970-01-01T01:00:00Z by ann: maintenance", 3600.0),
            id="paused-for-a-while-in-one-direction",
        ),
        pytest.param(
            IN,
            at(outages=("busy", "idle"), ready=10),
            Objection(Reason.SOURCE_OUTAGE, "most series of alarm busy, idle have stopped at once"),
            id="source-outage",
        ),
        pytest.param(OUT, at(outages=("busy",)), None, id="what-is-left-may-ask-for-more"),
        pytest.param(Proposal(3, -1), at(outages=("busy",)), None, id="a-person-may-say-so"),
        pytest.param(
            IN,
            at(ready=10),
            Objection(Reason.MEMBERS_SILENT, "4 of 10 ready members reported, 8 are needed"),
            id="members-silent",
        ),
        pytest.param(
            dataclasses.replace(IN, reporting=(4, 1)),
            at(),
            Objection(Reason.MEMBERS_SILENT, "1 of 4 ready members reported, 4 are needed"),
            id="silent-in-one-granule",
        ),
        pytest.param(
            dataclasses.replace(IN, fullest=9),
            at(ready=0),
            Objection(Reason.MEMBERS_SILENT, "4 of 9 ready members reported, 8 are needed"),
            id="no-member-known-so-the-fullest-granule",
        ),
        pytest.param(
            dataclasses.replace(IN, resting_on_missing=True),
            at(),
            Objection(Reason.RESTS_ON_MISSING_DATA, "no data never scales in"),
            id="a-treatment-of-missing-data",
        ),
        pytest.param(
            dataclasses.replace(IN, reporting=()),
            at(),
            Objection(Reason.RESTS_ON_MISSING_DATA, "no data never scales in"),
            id="nothing-at-all",
        ),
        pytest.param(
            OUT,
            at(resized_at=90.5),
            Objection(
                Reason.STALE_DATA,
                "the newest measures begin at 1970-01-01T00:01:30Z, "
                "the last resize took effect at 1970-01-01T00:01:30.500000Z",
            ),
            id="stale",
        ),
        pytest.param(OUT, at(resizing=True), Objection(Reason.IN_FLIGHT, "a resize to 4 is under way"), id="in-flight"),
        pytest.param(
            OUT,
            at(busy="UPDATE_IN_PROGRESS"),
            Objection(Reason.IN_FLIGHT, "the target is busy: UPDATE_IN_PROGRESS"),
            id="somebody-elses-doing-in-flight",
        ),
        pytest.param(
            OUT,
            at(desired_capacity=None, busy="CREATE_IN_PROGRESS"),
            Objection(Reason.SIZE_UNKNOWN, "the target has not come to rest yet: CREATE_IN_PROGRESS"),
            id="being-made",
        ),
        pytest.param(
            IN,
            at(maintenance=("a", "c"), cooldown_end=120.0),
            Objection(Reason.MAINTENANCE, "moved or rebuilt at this moment: a, c"),
            id="in-maintenance",
        ),
        pytest.param(
            dataclasses.replace(OUT, capacity=4, change=0, held_back="quota: 4 instances"),
            at(),
            Objection(Reason.NO_ROOM, "already 4: quota: 4 instances"),
            id="no-room",
        ),
        pytest.param(
            OUT,
            at(cooldown_end=120.0, cooldown_by="out"),
            Objection(Reason.COOLDOWN, "cooling down until 1970-01-01T00:02:00Z (recorded for out)", 120.0),
            id="cooldown",
        ),
        pytest.param(
            OUT,
            at(cooldown_end=120.0),
            Objection(Reason.COOLDOWN, "cooling down until 1970-01-01T00:02:00Z", 120.0),
            id="cooldown-of-nobody",
        ),
        pytest.param(
            IN,
            at(scale_outs=(OUT, dataclasses.replace(OUT, capacity=8, alarm="queue"))),
            Objection(Reason.SCALE_OUT_ACTIVE, "alarm queue asks for 8"),
            id="scale-out-active",
        ),
        pytest.param(
            IN,
            at(scale_outs=(dataclasses.replace(OUT, capacity=4, change=0),)),
            Objection(Reason.SCALE_OUT_ACTIVE, "alarm busy asks for more than 4"),
            id="scale-out-active-that-a-bound-stops",
        ),
    ],
)
def test_each_guard_says_why_and_until_when(proposal: Proposal, situation: Situation, expected: Objection) -> None:
    assert objection(proposal, situation) == expected


@pytest.mark.parametrize(
    ("proposal", "situation"),
    [
        pytest.param(OUT, at(paused=paused(direction="in")), id="a-pause-of-the-other-direction"),
        pytest.param(OUT, at(paused=paused(until=100.0)), id="a-pause-that-is-over"),
        pytest.param(OUT, at(ready=10), id="silent-members-do-not-hold-a-scale-out"),
        pytest.param(OUT, at(maintenance=("a",)), id="maintenance-does-not-hold-a-scale-out"),
        pytest.param(dataclasses.replace(OUT, resting_on_missing=True), at(), id="nor-does-missing-data"),
        pytest.param(dataclasses.replace(IN, reporting=(4, 4)), at(ready=5), id="eight-of-ten-are-enough"),
        pytest.param(
            dataclasses.replace(IN, min_reporting=0.0, reporting=(1,)), at(ready=9), id="one-speaks-for-itself"
        ),
        pytest.param(OUT, at(resized_at=90.0), id="measured-since-the-resize"),
        pytest.param(dataclasses.replace(OUT, measured=False), at(resized_at=95.0), id="not-measured-cannot-be-stale"),
        pytest.param(OUT, at(cooldown_end=100.0), id="cooldown-is-over-at-its-end"),
        pytest.param(dataclasses.replace(OUT, passes_cooldown=True), at(cooldown_end=120.0), id="passes-cooldown"),
        pytest.param(OUT, at(scale_outs=(OUT,)), id="scale-outs-do-not-hold-each-other"),
        pytest.param(
            dataclasses.replace(IN, measured=False), at(scale_outs=(OUT,)), id="a-persons-word-is-not-an-alarms"
        ),
    ],
)
def test_what_holds_others_lets_these_pass(proposal: Proposal, situation: Situation) -> None:
    assert objection(proposal, situation) is None


def test_the_first_guard_in_the_order_answers() -> None:
    troubles: dict[str, Any] = {
        "unreachable": "refused",
        "paused": paused(),
        "ready": 10,
        "resized_at": 95.0,
        "resizing": True,
        "cooldown_end": 120.0,
    }
    order = []
    for healed in range(len(troubles) + 1):
        left = dict(list(troubles.items())[healed:])
        found = objection(IN, at(scale_outs=(OUT,), **left))
        order.append(found and found.reason)

    assert order == [
        Reason.SIZE_UNKNOWN,
        Reason.PAUSED,
        Reason.MEMBERS_SILENT,
        Reason.STALE_DATA,
        Reason.IN_FLIGHT,
        Reason.COOLDOWN,
        Reason.SCALE_OUT_ACTIVE,
    ]


def test_what_changes_nothing_is_said_before_a_pause() -> None:
    found = objection(Proposal(4, 0), at(paused=paused(), frozen="storm"))

    assert found is not None
    assert found.reason is Reason.UNCHANGED


def test_a_bound_that_a_schedule_set_is_a_bound() -> None:
    found = objection(Proposal(4, 0), at(declared=Limits(1, 10), max_size=4))

    assert found == Objection(Reason.AT_BOUND, "already at max_size 4")
