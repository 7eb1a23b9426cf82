from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.measures.aggregation import (
    POOLED,
    AggregationMethod,
    Differences,
    across,
    parse,
    parse_reaggregation,
    pooled,
)
from autoscaler.measures.series import Series

BASES = ["mean", "sum", "min", "max", "count", "std", "median", "last", "first", "1pct", "50pct", "95pct", "99pct"]
VALUES = [4.0, 1.0, 3.0, 2.0, 10.0]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        pytest.param("mean", VALUES, 4.0, id="mean"),
        pytest.param("sum", VALUES, 20.0, id="sum"),
        pytest.param("min", VALUES, 1.0, id="min"),
        pytest.param("max", VALUES, 10.0, id="max"),
        pytest.param("count", VALUES, 5.0, id="count"),
        pytest.param("std", VALUES, math.sqrt(12.5), id="std-of-a-sample"),
        pytest.param("std", [7.0], None, id="std-of-one"),
        pytest.param("median", VALUES, 3.0, id="median-odd"),
        pytest.param("median", [4.0, 1.0, 3.0, 2.0], 2.5, id="median-even"),
        pytest.param("last", VALUES, 10.0, id="last"),
        pytest.param("first", VALUES, 4.0, id="first"),
        pytest.param("50pct", VALUES, 3.0, id="percentile-on-a-value"),
        pytest.param("95pct", VALUES, 4.0 * (4 - 3.8) + 10.0 * (3.8 - 3), id="percentile-between-values"),
        pytest.param("1pct", [7.0], 7.0, id="percentile-of-one"),
        pytest.param("sum", [], None, id="sum-of-nothing"),
        pytest.param("count", [], None, id="count-of-nothing"),
    ],
)
def test_a_granule_is_aggregated(name: str, values: list[float], expected: float | None) -> None:
    assert parse(name).aggregate(values) == expected


def test_values_are_added_in_order_and_without_compensation() -> None:
    assert parse("sum").aggregate([0.1] * 10) == 0.9999999999999999
    assert parse("sum").aggregate([1e16, 1.0, -1e16]) == 0.0
    assert across("sum", [1e16, 1.0, -1e16]) == 0.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("mean", 4.0, id="mean"),
        pytest.param("sum", 20.0, id="sum"),
        pytest.param("min", 1.0, id="min"),
        pytest.param("max", 10.0, id="max"),
        pytest.param("count", 5.0, id="count-of-series"),
        pytest.param("std", math.sqrt(10.0), id="std-of-a-population"),
        pytest.param("median", 3.0, id="median"),
        pytest.param("75pct", 4.0, id="percentile"),
    ],
)
def test_series_are_aggregated_across(name: str, expected: float) -> None:
    assert across(parse_reaggregation(name), VALUES) == expected


def test_across_one_series_there_is_no_deviation_and_across_none_nothing() -> None:
    assert across("std", [5.0]) == 0.0
    assert across("count", []) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("mean", 4.0, id="mean-of-all-and-not-of-means"),
        pytest.param("sum", 20.0, id="sum"),
        pytest.param("min", 1.0, id="min"),
        pytest.param("max", 10.0, id="max"),
        pytest.param("count", 5.0, id="count-of-values-and-not-of-series"),
        pytest.param("std", math.sqrt(12.5), id="std-of-a-sample"),
        pytest.param("median", 3.0, id="median"),
        pytest.param("75pct", 4.0, id="percentile"),
    ],
)
def test_pooled_values_are_aggregated_as_those_of_one_series(name: str, expected: float) -> None:
    assert parse_reaggregation(POOLED) == POOLED
    assert pooled(parse(name), [[4.0], [], [1.0, 3.0, 2.0], [10.0]]) == expected


def test_a_pool_without_values_has_none() -> None:
    assert pooled(parse("count"), [[], []]) is None
    assert pooled(parse("std"), [[5.0], []]) is None


@pytest.mark.parametrize("prefix", list(Differences))
@pytest.mark.parametrize("base", BASES)
def test_every_method_is_known_by_its_name(prefix: Differences, base: str) -> None:
    method = parse(prefix + base)

    assert method == AggregationMethod(base, prefix)
    assert method.name == prefix + base


@pytest.mark.parametrize(
    "name",
    ["", "avg", "Mean", "0pct", "100pct", "5.5pct", "05pct", "rate:", "rate:rate:mean", "rate_per_second", "var"],
)
def test_an_unknown_method_is_refused_with_what_was_expected(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected one of mean, sum, .* or 1pct to 99pct") as refusal:
        parse(name)

    assert f'"{name}"' in str(refusal.value)


@pytest.mark.parametrize("name", ["last", "first", "rate:mean", "0pct", "var"])
def test_what_does_not_aggregate_across_series_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"does not aggregate across series; expected one of mean, "):
        parse_reaggregation(name)


COUNTER = Series([0.0, 10.0, 20.0, 30.0, 40.0, 100.0, 110.0], [5.0, 15.0, 35.0, 2.0, 12.0, 72.0, 82.0])


def test_a_rate_is_the_change_stamped_with_the_later_point() -> None:
    changes = parse("rate:mean").measured(COUNTER)

    assert changes == Series([10.0, 20.0, 30.0, 40.0, 100.0, 110.0], [10.0, 20.0, -33.0, 10.0, 60.0, 10.0])


@pytest.mark.parametrize(
    ("granularity", "taken"),
    [
        pytest.param(60.0, True, id="granules-next-to-each-other"),
        pytest.param(50.0, False, id="an-empty-granule-between"),
        pytest.param(100.0, True, id="on-the-boundary"),
        pytest.param(10.0, False, id="many-empty-granules-between"),
    ],
)
def test_a_rate_is_not_taken_across_an_empty_granule(granularity: float, *, taken: bool) -> None:
    changes = parse("rate:mean").measured(COUNTER, granularity)

    assert (100.0 in changes.times) is taken
    assert 110.0 in changes.times


def test_a_rate_per_second_divides_by_time_and_leaves_out_resets_and_gaps() -> None:
    changes = parse("rate_per_second:mean").measured(COUNTER)

    assert changes == Series([10.0, 20.0, 40.0, 110.0], [1.0, 2.0, 1.0, 1.0])


@pytest.mark.parametrize("prefix", ["rate:", "rate_per_second:"])
@pytest.mark.parametrize("points", [pytest.param([], id="none"), pytest.param([1.0], id="one")])
def test_too_few_points_have_no_changes(prefix: str, points: list[float]) -> None:
    assert parse(f"{prefix}mean").measured(Series(points, points)) == Series([], [])


def test_without_a_prefix_the_points_are_what_is_measured() -> None:
    assert parse("mean").measured(COUNTER) is COUNTER


NUMBERS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40)


@given(NUMBERS)
def test_every_middle_lies_between_the_least_and_the_greatest(values: list[float]) -> None:
    slack = 1e-9 * max(abs(value) for value in values)
    for name in ["mean", "median", "last", "first", "1pct", "37pct", "99pct"]:
        found = parse(name).aggregate(values)

        assert found is not None
        assert min(values) - slack <= found <= max(values) + slack


@given(NUMBERS)
def test_the_deviation_is_the_textbooks(values: list[float]) -> None:
    slack = 1e-6 * max(1.0, *(abs(value) for value in values))

    assert across("std", values) == pytest.approx(statistics.pstdev(values), abs=slack)
    if len(values) > 1:
        assert parse("std").aggregate(values) == pytest.approx(statistics.stdev(values), abs=slack)


@given(NUMBERS, st.integers(1, 98))
def test_percentiles_rise(values: list[float], percent: int) -> None:
    lower, upper = parse(f"{percent}pct").aggregate(values), parse(f"{percent + 1}pct").aggregate(values)

    assert lower is not None
    assert upper is not None
    assert lower <= upper + 1e-9 * max(abs(value) for value in values)


@given(NUMBERS, st.randoms(use_true_random=False))
def test_only_the_ends_and_rounding_depend_on_the_order(values: list[float], chance: object) -> None:
    shuffled = sorted(values, key=lambda _: chance.random())  # type: ignore[attr-defined]
    for name in ["min", "max", "median", "count", "95pct"]:
        assert parse(name).aggregate(shuffled) == parse(name).aggregate(values)


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 10**9)), min_size=2, max_size=30))
def test_the_changes_of_a_series_add_up_to_the_change_from_first_to_last(steps: list[tuple[int, int]]) -> None:
    times = [float(sum(step for step, _ in steps[: n + 1])) for n in range(len(steps))]
    values = [float(value) for _, value in steps]

    assert sum(parse("rate:sum").measured(Series(times, values)).values) == values[-1] - values[0]


@given(st.floats(0.001, 1e6), st.floats(0.1, 1000), st.integers(2, 50))
def test_an_even_counter_has_the_same_rate_per_second_throughout(per_second: float, every: float, many: int) -> None:
    times = [n * every for n in range(many)]
    counter = Series(times, [per_second * time for time in times])

    assert list(parse("rate_per_second:mean").measured(counter).values) == pytest.approx([per_second] * (many - 1))
