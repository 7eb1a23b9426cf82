from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.scaling.adjustment import new_capacity
from autoscaler.scaling.group import Limits
from autoscaler.scaling.policy import AdjustmentType
from tests.shared_data import shared_json

PERCENT = AdjustmentType.PERCENT_CHANGE_IN_CAPACITY
CHANGE = AdjustmentType.CHANGE_IN_CAPACITY
EXACT = AdjustmentType.EXACT_CAPACITY


class Row(NamedTuple):
    """One row of Heat's own answers."""

    type: str
    current: int
    adjustment: float
    min_step: int | None
    min: int
    max: int
    new_capacity: float


def ours(row: Row) -> int:
    limits = Limits(row.min, row.max)
    return new_capacity(row.current, row.adjustment, AdjustmentType(row.type), limits, row.min_step)


def grows_by_percent_from_zero(row: Row) -> bool:
    """Decided: +50 % of nothing with a minimum step of 2 asks for 2; Heat asks for -2."""
    return row.type == PERCENT and row.current == 0 and row.adjustment > 0 and bool(row.min_step)


def has_part_of_a_member(row: Row) -> bool:
    """Decided: refused when loaded; Heat takes it and then fails to scale."""
    return row.type != PERCENT and row.adjustment != int(row.adjustment)


def different(part: str) -> list[Row]:
    rows = [Row(*row) for row in shared_json("heat", "capacity_cases.json")[part]]
    assert rows
    return [row for row in rows if ours(row) != row.new_capacity]


def test_all_rows_of_heat_agree_but_for_growth_by_percent_from_zero() -> None:
    rows = [Row(*row) for row in shared_json("heat", "capacity_cases.json")["rows"]]
    decided = [row for row in rows if grows_by_percent_from_zero(row)]

    # where the bounds leave no room above the smallest size, the repair makes no difference
    assert different("rows") == [row for row in decided if row.max > row.min < row.min_step]
    assert all(ours(row) > row.new_capacity == row.min for row in different("rows"))
    assert (len(rows), len(decided), len(different("rows"))) == (4000, 78, 40)


def test_the_edge_rows_of_heat_agree_but_for_those_that_are_listed() -> None:
    assert [tuple(row) for row in different("edge")] == [
        ("change_in_capacity", 3, 1.5, None, 0, 10, 4.5),
        ("change_in_capacity", 3, -0.5, None, 0, 10, 2.5),
        ("exact_capacity", 3, 2.5, None, 0, 10, 2.5),
        ("percent_change_in_capacity", 0, 50, 2, 0, 10, 0),
        ("percent_change_in_capacity", 0, 1000, 3, 1, 10, 1),
    ]
    assert all(has_part_of_a_member(row) or grows_by_percent_from_zero(row) for row in different("edge"))


def test_the_rows_of_heats_unit_tests_agree() -> None:
    assert different("unit") == []


@pytest.mark.parametrize(
    ("current", "percent", "step", "expected"),
    [
        pytest.param(0, 50, 2, 2, id="from-zero-with-a-step"),
        pytest.param(0, 50, None, 0, id="from-zero-without"),
        pytest.param(0, -50, 2, 0, id="not-below-zero"),
        pytest.param(3, 10, None, 4, id="less-than-one-is-one"),
        pytest.param(3, -10, None, 2, id="less-than-one-down-is-one-down"),
        pytest.param(29, 10, None, 31, id="more-than-one-loses-its-fraction"),
        pytest.param(29, -10, None, 27, id="and-so-it-does-downwards"),
        pytest.param(10, 10, 3, 13, id="at-least-the-step"),
        pytest.param(10, -10, 3, 7, id="at-least-the-step-downwards"),
        pytest.param(10, 50, 3, 15, id="more-than-the-step"),
        pytest.param(3, 33.33333333333334, None, 4, id="part-of-a-percent"),
    ],
)
def test_percent_rounds_away_from_zero_below_one_and_towards_it_above(
    current: int, percent: float, step: int | None, expected: int
) -> None:
    assert new_capacity(current, percent, PERCENT, Limits(0, 100), step) == expected


@pytest.mark.parametrize("adjustment", [pytest.param(n, id=f"by-{n}") for n in (-1, 0, 1)])
def test_outside_the_bounds_any_change_moves_to_the_nearest(adjustment: int) -> None:
    assert new_capacity(12, adjustment, CHANGE, Limits(1, 5)) == 5
    assert new_capacity(0, adjustment, CHANGE, Limits(3, 5)) == 3


@given(
    st.integers(0, 1000),
    st.integers(-2000, 2000),
    st.sampled_from(AdjustmentType),
    st.integers(0, 50),
    st.integers(0, 50),
    st.none() | st.integers(0, 20),
)
def test_the_size_is_whole_and_within_bounds_and_moves_the_way_that_was_asked(
    current: int, adjustment: int, kind: AdjustmentType, least: int, room: int, step: int | None
) -> None:
    limits = Limits(least, least + room)
    size = new_capacity(current, adjustment, kind, limits, step)

    assert isinstance(size, int)
    assert limits.min_size <= size <= limits.max_size
    if kind is not EXACT and limits.clamp(current) == current:
        assert size >= current if adjustment > 0 else size <= current
