from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from autoscaler.scaling.decision import Reason
from autoscaler.scaling.group import Bound, Group, GroupRecord, Limits
from autoscaler.scaling.policy import Order
from autoscaler.scaling.reconcile import LONGEST_RETRY, Seen, asked, bounded, failed, moved, seen
from autoscaler.scaling.status import TargetStatus

GROUP = Group(name="web", min_size=1, max_size=10, max_attempts=3)
RESTING = GroupRecord(desired_capacity=4, size=4, ready=4, observed_at=90.0, fence=2)
UNDER_WAY = moved(RESTING, 6, cooldown=30.0, by="out")


def look(record: GroupRecord, size: int, *, group: Group = GROUP, now: float = 100.0, **said: Any) -> Seen:
    return seen(record, group, TargetStatus(size, tuple(f"m{n}" for n in range(size)), **said), now=now)


def test_a_move_is_wanted_under_a_new_fence_and_forgets_the_last_ones_trouble() -> None:
    troubled = replace(RESTING, attempts=2, retry_at=99.0, error="full", drifted=3)
    record = moved(troubled, 6, cooldown=30.0, by="out")

    assert record == replace(
        RESTING, desired_capacity=6, resizing=True, fence=3, pending_cooldown=30.0, pending_by="out"
    )


def test_cooldown_counts_from_the_end_of_the_resize() -> None:
    waiting = look(UNDER_WAY, 5, now=100.0).record
    arrived = look(waiting, 6, now=110.0).record

    assert (waiting.resizing, waiting.cooldown_end, waiting.resized_at) == (True, None, None)
    assert (arrived.resizing, arrived.cooldown_end, arrived.cooldown_by) == (False, 140.0, "out")
    assert (arrived.resized_at, arrived.pending_cooldown, arrived.pending_by) == (110.0, 0.0, "")


def test_a_longer_cooldown_that_runs_keeps_its_end_and_its_name() -> None:
    arrived = look(replace(UNDER_WAY, cooldown_end=900.0, cooldown_by="night"), 6).record

    assert (arrived.cooldown_end, arrived.cooldown_by, arrived.resized_at) == (900.0, "night", 100.0)


@pytest.mark.parametrize(
    ("size", "declared", "expected"),
    [
        pytest.param(3, 5, 3, id="what-is-there-is-respected"),
        pytest.param(0, 5, 5, id="the-declared-number-where-there-is-none"),
        pytest.param(0, None, 1, id="the-minimum-where-none-is-declared"),
        pytest.param(0, 99, 10, id="within-the-bounds"),
    ],
)
def test_a_group_begins_with_what_it_has(size: int, declared: int | None, expected: int) -> None:
    found = look(GroupRecord(), size, group=replace(GROUP, desired_capacity=declared))

    assert found.reason is None
    assert (found.record.desired_capacity, found.record.fence) == (expected, 1)
    assert found.record.resizing is (size != expected)


def test_a_group_that_was_only_found_records_no_cooldown() -> None:
    found = look(look(GroupRecord(), 0).record, 1).record

    assert (found.resizing, found.resized_at, found.cooldown_end) == (False, None, None)


def test_a_look_that_finds_what_is_wanted_forgets_a_drift() -> None:
    found = look(replace(RESTING, drifted=5, unreachable="refused"), 4).record

    assert (found.drifted, found.unreachable, found.observed_at) == (None, "", 100.0)


def test_a_change_behind_our_back_is_believed_when_seen_twice_and_then_respected() -> None:
    once = look(RESTING, 7)
    twice = look(once.record, 7, now=101.0)

    assert (once.reason, once.record.drifted, once.record.desired_capacity) == (None, 7, 4)
    assert (twice.reason, twice.text) == (Reason.OUT_OF_BAND, "somebody else made it 7; respected")
    assert (twice.record.desired_capacity, twice.record.resized_at, twice.record.resizing) == (7, 101.0, False)


def test_a_size_that_changes_again_is_looked_at_again() -> None:
    once = look(RESTING, 7)
    other = look(once.record, 8)

    assert (other.reason, other.record.drifted) == (None, 8)


def test_a_change_behind_our_back_is_corrected_where_the_group_enforces() -> None:
    group = replace(GROUP, enforce=True)
    found = look(look(RESTING, 7, group=group).record, 7, group=group)

    assert (found.reason, found.text) == (Reason.OUT_OF_BAND, "somebody else made it 7; set back to 4")
    assert (found.record.desired_capacity, found.record.resizing, found.record.fence) == (4, True, 3)


def test_a_failed_try_backs_off_and_records_no_cooldown() -> None:
    first = failed(UNDER_WAY, GROUP, "no room", now=100.0, delay=None)
    second = failed(first.record, GROUP, "no room", now=101.0, delay=None)

    assert (first.reason, first.record.attempts, first.record.retry_at) == (None, 1, 101.0)
    assert (second.record.attempts, second.record.retry_at, second.record.error) == (2, 103.0, "no room")
    assert (second.record.resizing, second.record.cooldown_end) == (True, None)


@pytest.mark.parametrize(
    ("attempts", "delay", "retry_at"),
    [
        pytest.param(0, 7.5, 107.5, id="the-target-says-when"),
        pytest.param(500, None, 100.0 + LONGEST_RETRY, id="never-longer-than-a-minute"),
    ],
)
def test_the_time_until_the_next_try(attempts: int, delay: float | None, retry_at: float) -> None:
    record = replace(UNDER_WAY, attempts=attempts)
    found = failed(record, replace(GROUP, max_attempts=1000), "no room", now=100.0, delay=delay)

    assert found.record.retry_at == retry_at


def test_a_resize_is_given_up_for_the_size_that_is_there() -> None:
    found = failed(replace(UNDER_WAY, attempts=2, size=5), GROUP, "no room", now=100.0, delay=None)

    assert (found.reason, found.text) == (Reason.CAPACITY_UNAVAILABLE, "gave up 6 after 3 attempts: no room")
    assert found.record == replace(RESTING, desired_capacity=5, size=5, fence=3, error="no room")


def test_it_is_not_given_up_for_a_size_that_is_not_known() -> None:
    found = failed(replace(UNDER_WAY, attempts=99, size=None), GROUP, "no room", now=100.0, delay=None)

    assert (found.reason, found.record.desired_capacity, found.record.resizing) == (None, 6, True)


def test_what_the_target_tells_is_kept() -> None:
    told = {
        "busy": "moving", "trouble": "no host", "failed": ["b"], "maintenance": ["c"],
        "most": Bound(7, "quota"), "least": Bound(2, "template"), "wanted": 4, "facts": {"zone": "one"},
    }  # fmt: skip
    record = look(RESTING, 4, **told).record

    kept = {name: getattr(record, name) for name in told}
    assert kept == told | {"failed": ("b",), "maintenance": ("c",)}


@pytest.mark.parametrize(
    ("said", "resizing"),
    [
        pytest.param({}, False, id="it-is-there"),
        pytest.param({"busy": "updating"}, True, id="it-is-not-over"),
        pytest.param({"trouble": "no valid host"}, True, id="it-has-failed"),
        pytest.param({"wanted": 6}, False, id="it-will-stay"),
        pytest.param({"wanted": 4}, True, id="it-would-not-stay"),
    ],
)
def test_a_size_is_reached_once_the_target_is_done_and_keeps_it(said: dict[str, Any], *, resizing: bool) -> None:
    record = look(UNDER_WAY, 6, **said).record

    assert record.resizing is resizing
    assert record.cooldown_end == (None if resizing else 130.0)


def test_cooldown_counts_from_the_moment_at_which_the_target_is_done() -> None:
    busy = look(UNDER_WAY, 6, now=110.0, busy="updating").record
    done = look(busy, 6, now=140.0).record

    assert (done.resizing, done.resized_at, done.cooldown_end) == (False, 140.0, 170.0)


def test_nothing_is_concluded_from_a_size_while_the_target_is_busy() -> None:
    record = look(look(RESTING, 7, busy="an update").record, 7, busy="an update").record

    assert (record.desired_capacity, record.drifted, record.size) == (4, None, 7)
    assert look(look(record, 7).record, 7).reason is Reason.OUT_OF_BAND


def test_what_a_group_begins_with_is_not_known_while_the_target_is_busy() -> None:
    unknown = look(GroupRecord(), 2, busy="being made").record

    assert (unknown.desired_capacity, unknown.size, unknown.resizing) == (None, 2, False)
    assert look(unknown, 3).record.desired_capacity == 3


def test_a_group_that_would_go_back_is_made_to_stay_when_it_is_found() -> None:
    record = look(GroupRecord(), 3, wanted=1).record

    assert (record.desired_capacity, record.resizing) == (3, True)
    stays = look(record, 3, wanted=3).record
    assert (stays.resizing, stays.resized_at, stays.cooldown_end) == (False, None, None)


def test_a_respected_change_is_made_to_stay() -> None:
    found = look(look(RESTING, 5, wanted=4).record, 5, wanted=4)

    assert (found.record.desired_capacity, found.record.resizing, found.record.fence) == (5, True, 3)
    assert found.text == "somebody else made it 5; respected, and kept: the target would go back to 4"


def test_an_operators_number_is_not_written_over() -> None:
    """Who has changed the number that the target goes back to has something in mind."""
    record = look(replace(RESTING, wanted=4), 4, wanted=9).record

    assert (record.resizing, record.desired_capacity) == (False, 4)


def test_the_order_travels_with_the_resize_and_ends_with_it() -> None:
    record = moved(RESTING, 2, cooldown=0.0, by="in", order=Order.NEWEST)

    assert record.pending_order is Order.NEWEST
    assert look(record, 3).record.pending_order is Order.NEWEST
    assert look(record, 2).record.pending_order is Order.ANY
    given_up = failed(replace(record, attempts=2), GROUP, "no", now=100.0, delay=None).record
    assert given_up.pending_order is Order.ANY


def test_waiting_for_the_target_is_no_attempt() -> None:
    patient = replace(UNDER_WAY, attempts=2)
    found = failed(patient, GROUP, "cooling down", now=100.0, delay=40.0, tried=False)

    assert (found.reason, found.record.attempts, found.record.retry_at) == (None, 2, 140.0)
    assert found.record.error == "cooling down"


def test_a_step_is_followed_by_the_next_and_the_whole_by_patience() -> None:
    step = asked(UNDER_WAY, GROUP, now=100.0, again=1.0).record
    whole = asked(UNDER_WAY, GROUP, now=100.0).record

    assert (step.retry_at, whole.retry_at) == (101.0, 100.0 + LONGEST_RETRY)
    assert (step.attempts, whole.attempts) == (1, 1)


def test_what_is_given_up_is_told_in_the_targets_own_words() -> None:
    troubled = replace(UNDER_WAY, attempts=2, size=6, trouble="ResourceInError: no valid host")
    found = asked(troubled, GROUP, now=100.0)

    assert found.text == "gave up 6 after 3 attempts: ResourceInError: no valid host"


@pytest.mark.parametrize(
    ("record", "bounds", "expected"),
    [
        pytest.param(GroupRecord(), {"min_size": 3, "max_size": None}, (3, None), id="the-first"),
        pytest.param(
            GroupRecord(declared=Limits(1, 10), min_size=3),
            {"min_size": None, "max_size": 5},
            (3, 5),
            id="one-beside-the-other",
        ),
        pytest.param(
            GroupRecord(declared=Limits(1, 9), min_size=3),
            {"min_size": None, "max_size": 5},
            (None, 5),
            id="over-other-declared-ones-it-starts-afresh",
        ),
        pytest.param(
            GroupRecord(declared=Limits(1, 10), max_size=2),
            {"min_size": 3, "max_size": None},
            (3, None),
            id="a-maximum-gives-way-to-a-higher-minimum",
        ),
        pytest.param(
            GroupRecord(declared=Limits(1, 10), min_size=5),
            {"min_size": None, "max_size": 2},
            (None, 2),
            id="a-minimum-gives-way-to-a-lower-maximum",
        ),
    ],
)
def test_a_schedules_bounds(
    record: GroupRecord, bounds: dict[str, Any], expected: tuple[int | None, int | None]
) -> None:
    found = bounded(record, GROUP, **bounds)

    assert (found.min_size, found.max_size, found.declared) == (*expected, Limits(1, 10))
