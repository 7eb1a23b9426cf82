from __future__ import annotations

import msgspec
import pytest

from autoscaler.scaling.group import Actor, Bound, Group, GroupRecord, Limits, Pause
from autoscaler.scaling.policy import Order

GROUP = Group(name="web", min_size=1, max_size=10)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [pytest.param(0, 2, id="below"), pytest.param(3, 3, id="within"), pytest.param(9, 5, id="above")],
)
def test_a_size_is_moved_to_the_nearest_allowed_one(wanted: int, expected: int) -> None:
    assert Limits(2, 5).clamp(wanted) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(GroupRecord(), Limits(1, 10), id="declared"),
        pytest.param(GroupRecord(declared=Limits(1, 10), min_size=3), Limits(3, 10), id="a-schedules-minimum"),
        pytest.param(GroupRecord(declared=Limits(1, 10), max_size=4), Limits(1, 4), id="a-schedules-maximum"),
        pytest.param(GroupRecord(declared=Limits(1, 8), min_size=3), Limits(1, 10), id="undone-by-new-declared-ones"),
    ],
)
def test_the_bounds_in_force(record: GroupRecord, expected: Limits) -> None:
    assert record.limits(GROUP) == expected


@pytest.mark.parametrize(
    ("direction", "until", "forbidden"),
    [
        pytest.param("", None, {-1, 1}, id="both-until-resumed"),
        pytest.param("in", None, {-1}, id="in-only"),
        pytest.param("out", None, {1}, id="out-only"),
        pytest.param("", 101.0, {-1, 1}, id="not-over-yet"),
        pytest.param("", 100.0, set(), id="over-at-its-end"),
    ],
)
def test_a_pause_forbids_its_direction_until_it_is_over(
    direction: str, until: float | None, forbidden: set[int]
) -> None:
    pause = Pause(0.0, until, "maintenance", Actor(kind="user"), direction)

    assert {change for change in (-1, 1) if pause.forbids(change, 100.0)} == forbidden


def test_a_record_is_the_same_after_it_was_stored() -> None:
    record = GroupRecord(size=3, most=Bound(4, "quota"), facts={"stack": "web"}, pending_order=Order.NEWEST)

    assert msgspec.json.decode(msgspec.json.encode(record), type=GroupRecord) == record
