from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.alarms.granules import (
    Span,
    aggregates,
    aligned,
    aligned_window,
    comes_into_reach,
    counted,
    granule_at,
    interval,
    newest_counting,
    rate_note,
    slides,
    slides_on,
    sliding_end,
    sliding_window,
)
from autoscaler.alarms.rules import EvaluateWhen, Rule, WindowKind
from autoscaler.measures.derived import PART, Derivation, Rate
from autoscaler.measures.window import WindowView
from tests.building import Points, a_rule, a_series, a_view

SLIDING = a_rule(window=WindowKind.SLIDING)
SETTLED = a_rule(single=False, reaggregation_method="mean")
MEASURE = a_rule(evaluate=EvaluateWhen.MEASURE)
BOUNDARY = a_rule(evaluate=EvaluateWhen.BOUNDARY)


def every(seconds: float, start: float, end: float) -> Points:
    return [(start + n * seconds, 1.0) for n in range(int((end - start) / seconds) + 1)]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        pytest.param(0.0, 0, id="the-epoch"),
        pytest.param(9.9, 0, id="inside"),
        pytest.param(10.0, 1, id="its-begin-belongs-to-it"),
        pytest.param(9.9999995, 1, id="what-a-sum-of-floats-lost"),
        pytest.param(-0.5, -1, id="before-the-epoch"),
    ],
)
def test_a_time_lies_in_gnocchis_granule(time: float, expected: int) -> None:
    assert granule_at(time, 10.0) == expected


def test_an_aligned_window_has_one_granule_more_than_periods() -> None:
    assert [(span.begins, span.ends) for span in aligned_window(a_rule(), 5)] == [(30, 40), (40, 50), (50, 60)]


def test_a_sliding_window_ends_where_it_is_told_and_its_granules_meet() -> None:
    assert [(span.begins, span.ends) for span in sliding_window(SLIDING, 57.5)] == [
        (27.5, 37.5),
        (37.5, 47.5),
        (47.5, 57.5),
    ]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        pytest.param(aligned_window(a_rule(), 1), [None, 1.0, 2.0], id="aligned-takes-the-begin"),
        pytest.param(sliding_window(SLIDING, 20.0), [1.0, 1.5, 3.0], id="sliding-takes-the-end"),
    ],
)
def test_a_measure_on_a_boundary_is_in_one_granule_only(window: list[object], expected: list[float]) -> None:
    view = a_view({"r": [(0.0, 1.0), (5.0, 1.0), (10.0, 2.0), (20.0, 3.0)]}, now=20.0)

    # the aligned one at 20 belongs to the granule after these
    assert [granule.value for granule in aggregates(a_rule(), view, window)] == expected  # type: ignore[arg-type]


def test_a_value_per_series_comes_before_the_one_across() -> None:
    rule = a_rule(single=False, aggregation_method="max", reaggregation_method="mean")
    view = a_view({"a": [(1.0, 10.0), (2.0, 90.0)], "b": [(3.0, 30.0)], "c": [(15.0, 5.0)]}, now=20.0)

    first, second = aggregates(rule, view, [aligned(0, 10.0), aligned(1, 10.0)])

    assert (first.value, first.reporting) == (60.0, 2)
    assert (second.value, second.reporting) == (5.0, 1)


def pooling(method: str, **fields: object) -> Rule:
    return a_rule(single=False, aggregation_method=method, reaggregation_method="pooled", **fields)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        pytest.param("mean", [37.5, 5.0, None], id="mean-of-all-measures"),
        pytest.param("sum", [150.0, 5.0, None], id="sum"),
        pytest.param("min", [10.0, 5.0, None], id="min"),
        pytest.param("max", [90.0, 5.0, None], id="max"),
        pytest.param("count", [4.0, 1.0, None], id="count-of-all-measures"),
        pytest.param("rate:max", [80.0, None, None], id="differences-within-each-series"),
        pytest.param("std", [math.sqrt(3875 / 3), None, None], id="std-of-all-measures"),
    ],
)
@pytest.mark.parametrize("sliding", [False, True])
def test_pooled_measures_count_alike_whoever_they_are_from(
    method: str, expected: list[float | None], *, sliding: bool
) -> None:
    view = a_view({"a": [(1.0, 10.0), (2.0, 90.0), (3.0, 20.0)], "b": [(3.0, 30.0)], "c": [(15.0, 5.0)]}, now=30.0)
    spans = [Span(10.0 * n, 10.0 * (n + 1), slides=True) if sliding else aligned(n, 10.0) for n in range(3)]

    found = aggregates(pooling(method), view, spans)

    assert [granule.value for granule in found] == expected
    assert [granule.reporting for granule in found] == [2, 1, 0]


POINTS = st.lists(st.tuples(st.integers(0, 39), st.integers(-1000, 1000)), max_size=12)


@given(st.lists(POINTS, min_size=1, max_size=4), st.sampled_from(["mean", "sum", "min", "max", "count", "median"]))
def test_a_pool_is_what_one_series_of_all_measures_would_be(reports: list[list[tuple[int, int]]], method: str) -> None:
    # times of different series are kept apart by a little, since one series has one value at a time
    several = {
        str(n): [(time + n / 10, float(value)) for time, value in points] for n, points in enumerate(reports) if points
    }
    one = {"all": [point for points in several.values() for point in a_series(points).points()]}
    spans = [aligned(index, 10.0) for index in range(4)]

    found = aggregates(pooling(method), a_view(several, now=40.0), spans)
    expected = aggregates(a_rule(aggregation_method=method), a_view(one if several else {}, now=40.0), spans)

    assert [granule.value for granule in found] == [granule.value for granule in expected]


def test_nobody_reporting_is_no_value() -> None:
    (granule,) = aggregates(a_rule(), a_view({}, now=20.0), [aligned(0, 10.0)])

    assert (granule.value, granule.reporting) == (None, 0)


def test_a_series_may_report_and_yet_have_no_value() -> None:
    rule = a_rule(aggregation_method="std")
    (granule,) = aggregates(rule, a_view({"r": [(1.0, 10.0)]}, now=20.0), [aligned(0, 10.0)])

    assert (granule.value, granule.reporting) == (None, 1)


def test_the_rate_of_an_aggregate_is_taken_after_aggregating_and_passes_over_gaps() -> None:
    rule = a_rule(single=False, aggregation_method="rate:mean", reaggregation_method="mean", rate_of_aggregate=True)
    view = a_view({"a": [(1.0, 10.0), (11.0, 14.0), (31.0, 20.0)], "b": [(2.0, 20.0), (12.0, 20.0)]}, now=40.0)

    found = aggregates(rule, view, [aligned(index, 10.0) for index in range(4)])

    assert [granule.value for granule in found] == [None, 2.0, None, 3.0]


def test_a_sliding_granule_is_not_mistaken_for_the_aligned_one_of_the_same_times() -> None:
    view = a_view({"r": [(10.0, 1.0), (20.0, 3.0)]}, now=20.0)

    (before,) = aggregates(a_rule(), view, [aligned(1, 10.0)])
    (sliding,) = aggregates(SLIDING, view, [Span(10.0, 20.0, slides=True)])

    assert (before.value, sliding.value) == (1.0, 3.0)


def test_what_is_remembered_of_a_granule_is_forgotten_with_the_points() -> None:
    span = aligned(0, 10.0)
    view = a_view({"r": [(1.0, 10.0)]}, now=20.0)
    before = aggregates(a_rule(), view, [span])
    again = aggregates(a_rule(), view, [span])
    view.series["r"] = a_series([(1.0, 10.0), (2.0, 30.0)])

    assert [granule.value for granule in (*before, *again)] == [10.0, 10.0]
    assert aggregates(a_rule(), view, [span])[0].value == 20.0


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        pytest.param({}, None, id="no-series"),
        pytest.param({"a": [(1.0, 1.0)]}, None, id="reported-once"),
        pytest.param({"a": [(0.0, 1.0), (5.0, 1.0), (10.0, 1.0)]}, 5.0, id="regular"),
        pytest.param({"a": every(5, 0, 50), "b": every(5, 0, 50), "c": [(0.0, 1.0), (40.0, 1.0)]}, 5.0, id="typical"),
    ],
)
def test_the_interval_is_that_of_a_typical_series(series: dict[str, Points], expected: float | None) -> None:
    assert interval(a_rule(), a_view(series, now=50.0)) == expected


@pytest.mark.parametrize(
    ("rule", "series", "expected"),
    [
        pytest.param(a_rule(), {}, False, id="aligned-never-does"),
        pytest.param(SLIDING, {}, True, id="nothing-seen-yet"),
        pytest.param(SLIDING, {"a": every(5, 0, 50)}, True, id="two-measures-in-a-granule"),
        pytest.param(SLIDING, {"a": every(6, 0, 60)}, False, id="a-granule-half-empty-by-nature"),
    ],
)
def test_a_window_slides_where_granules_can_be_full(rule: Rule, series: dict[str, Points], *, expected: bool) -> None:
    assert slides(rule, a_view(series, now=60.0)) is expected


@pytest.mark.parametrize(
    ("now", "end", "following"),
    [
        pytest.param(100.0, 100.0, 123.0, id="at-the-newest-measure"),
        pytest.param(112.9, 100.0, 123.0, id="a-granule-of-silence-may-be-lateness"),
        pytest.param(122.9, 100.0, 123.0, id="stands-until-a-whole-granule-is-empty"),
        pytest.param(123.0, 110.0, 133.0, id="slides-by-one-granule"),
        pytest.param(130.0, 110.0, 133.0, id="wherever-in-between-it-is-looked-at"),
        pytest.param(133.0, 120.0, 143.0, id="and-by-another"),
        pytest.param(98.0, 98.0, 121.0, id="a-measure-ahead-of-the-clock-waits"),
    ],
)
def test_a_sliding_window_stands_at_the_newest_measure_and_then_trails_the_clock(
    now: float, end: float, following: float
) -> None:
    rule = a_rule(window=WindowKind.SLIDING, lateness=3.0)
    view = a_view({"r": every(5, 60, 100)}, now=now)

    assert sliding_end(rule, view, now) == end
    assert slides_on(rule, view, now) == following


def test_a_sliding_window_without_any_measure_trails_the_clock() -> None:
    view = a_view({}, now=100.0)

    assert sliding_end(SLIDING, view, 100.0) == 90.0
    assert slides_on(SLIDING, view, 100.0) == 120.0


@pytest.mark.parametrize(
    ("rule", "now", "expected"),
    [
        pytest.param(SLIDING, 47.0, 50.0, id="sliding-at-the-measure"),
        pytest.param(SLIDING, 60.0, None, id="nothing-is-ahead"),
        pytest.param(MEASURE, 47.0, 50.0, id="aligned-when-its-granule-begins"),
        pytest.param(MEASURE, 52.0, 60.0, id="aligned-the-one-after"),
        pytest.param(BOUNDARY, 47.0, None, id="boundaries-come-by-the-clock"),
    ],
)
def test_a_measure_from_a_fast_clock_is_waited_for(rule: Rule, now: float, expected: float | None) -> None:
    assert comes_into_reach(rule, a_view({"r": every(5, 0, 60)}, now=now), now) == expected


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(a_view({}, now=45.0), None, id="no-measure-at-all"),
        pytest.param(a_view({"r": [(47.0, 1.0)]}, now=45.0), None, id="its-granule-has-begun"),
    ],
)
def test_nothing_comes_into_reach(view: WindowView, expected: float | None) -> None:
    assert comes_into_reach(MEASURE, view, 45.0) is expected


def test_a_series_that_left_takes_what_was_ahead_with_it() -> None:
    view = a_view({"r": every(5, 0, 40)}, now=45.0)
    view.newest = 50.0

    assert comes_into_reach(SLIDING, view, 45.0) is None


ONE_EACH = {"a": [(2.0, 1.0), (12.0, 1.0), (22.0, 1.0)], "b": [(3.0, 1.0), (13.0, 1.0)]}


@pytest.mark.parametrize(
    ("rule", "series", "now", "expected"),
    [
        pytest.param(SETTLED, ONE_EACH, 22.0, 1, id="one-of-two-is-not-all"),
        pytest.param(SETTLED, ONE_EACH | {"b": [*ONE_EACH["b"], (23.0, 1.0)]}, 23.0, 2, id="all-have-reported"),
        pytest.param(SETTLED, ONE_EACH | {"c": [(22.5, 1.0)]}, 22.5, 2, id="as-many-as-before-whoever-they-are"),
        pytest.param(SETTLED, ONE_EACH, 30.0, 2, id="over-whoever-is-missing"),
        pytest.param(SETTLED, {"a": [(22.0, 1.0)]}, 22.0, 1, id="no-granule-before-it"),
        pytest.param(SETTLED, {"a": [*every(2, 10, 18), (20.0, 1.0)]}, 20.0, 1, id="fewer-points-than-before"),
        pytest.param(SETTLED, {"a": [*every(2, 10, 18), *every(2, 20, 28)]}, 28.0, 2, id="as-many-points-as-before"),
        pytest.param(
            SETTLED,
            {"a": [(2.0, 1.0), (12.0, 1.0), (22.0, 1.0)], "b": [(3.0, 1.0)]},
            22.0,
            1,
            id="as-many-as-in-the-fullest-of-the-periods",
        ),
        pytest.param(SETTLED, {"a": every(10, 2, 72), "b": [(3.0, 1.0)]}, 25.0, 1, id="a-fast-clock-closes-nothing"),
        pytest.param(SETTLED, {}, 25.0, 1, id="nothing-reported"),
        pytest.param(MEASURE, {"a": [(22.0, 1.0)]}, 22.0, 2, id="measure-takes-what-is-there"),
        pytest.param(MEASURE, {"a": [(2.0, 1.0)]}, 25.0, 1, id="measure-moves-on-with-the-clock"),
        pytest.param(BOUNDARY, ONE_EACH, 29.9, 1, id="boundary-waits"),
        pytest.param(BOUNDARY, ONE_EACH, 30.0, 2, id="boundary-is-reached"),
        pytest.param(
            a_rule(evaluate=EvaluateWhen.BOUNDARY, lateness=4.0), ONE_EACH, 33.9, 1, id="lateness-is-waited-for"
        ),
        pytest.param(a_rule(evaluate=EvaluateWhen.BOUNDARY, lateness=4.0), ONE_EACH, 34.0, 2, id="and-no-longer"),
    ],
)
def test_the_newest_granule_that_counts(rule: Rule, series: dict[str, Points], now: float, expected: int) -> None:
    assert newest_counting(rule, a_view(series, now=now), now) == expected


CPU_UTIL = Derivation(base="cpu", rate=Rate.PER_SECOND, scale=1e-7, divisor="vcpus")
DERIVED = a_rule(single=False, reaggregation_method="mean", derivation=CPU_UTIL)


def counter(seconds: int, per_second: float, *, until: int = 40) -> Points:
    return [(float(t), t * per_second * 1e9) for t in range(0, until, seconds)]


def test_what_is_pooled_is_derived_per_series_too() -> None:
    parts = {
        f"a{PART}cpu": counter(5, 1.0),
        f"a{PART}vcpus": [(0.0, 2.0)],
        f"b{PART}cpu": counter(2, 0.9),
        f"b{PART}vcpus": [(0.0, 1.0)],
    }

    (granule,) = aggregates(pooling("mean", derivation=CPU_UTIL), a_view(parts, now=40.0), [aligned(1, 10.0)])

    # two of 50 and five of 90 per cent
    assert granule.value == pytest.approx((2 * 50 + 5 * 90) / 7)


def test_a_derived_metric_is_made_per_series_before_anything_is_aggregated() -> None:
    parts = {
        f"a{PART}cpu": counter(5, 1.0),
        f"a{PART}vcpus": [(0.0, 2.0)],
        f"b{PART}cpu": counter(5, 0.9),
        f"b{PART}vcpus": [(0.0, 1.0)],
        f"c{PART}cpu": counter(5, 5.0),
        "d": every(5, 0, 35),
    }
    view = a_view(parts, now=40.0)

    found = aggregates(DERIVED, view, [aligned(1, 10.0)])

    # 50 and 90 per cent, nothing of the one whose size nobody knows, and 1 that was reported as it is
    assert [(granule.value, granule.reporting) for granule in found] == [(47.0, 3)]
    assert counted(DERIVED, view).without_divisor == ("c",)


def test_several_metrics_count_series_by_series() -> None:
    rule = a_rule(single=False, reaggregation_method="sum", further_metrics=("swap",))
    view = a_view({"a": [(1.0, 10.0)], f"a{PART}swap": [(2.0, 5.0)], "b": [(3.0, 1.0)]}, now=20.0)

    (granule,) = aggregates(rule, view, [aligned(0, 10.0)])

    assert (granule.value, granule.reporting) == (16.0, 3)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param({}, 1, id="the-base-of-one-is-waited-for"),
        pytest.param({f"b{PART}cpu": [(24.0, 1e9)]}, 2, id="its-divisor-is-not"),
    ],
)
def test_a_derived_granule_settles_by_the_bases(parts: dict[str, Points], expected: int) -> None:
    cpu = {f"{name}{PART}cpu": [(4.0, 1e9), (14.0, 2e9)] for name in "ab"}
    whole = {name: [*points, *parts.get(name, [])] for name, points in cpu.items()}
    whole[f"a{PART}cpu"] = [*cpu[f"a{PART}cpu"], (24.0, 3e9)]
    sizes: dict[str, Points] = {f"{name}{PART}vcpus": [(4.0, 1.0), (14.0, 1.0)] for name in "ab"}

    assert newest_counting(DERIVED, a_view(whole | sizes, now=24.0), 24.0) == expected


def test_a_divisor_that_comes_seldom_does_not_make_the_interval_longer() -> None:
    parts = {f"a{PART}cpu": counter(5, 1.0), f"a{PART}vcpus": [(0.0, 1.0), (300.0, 1.0)]}

    assert interval(DERIVED, a_view(parts, now=40.0)) == 5.0


def test_a_member_reports_with_all_its_series() -> None:
    view = a_view({f"a{PART}cpu": [(0.0, 1.0)], f"b{PART}cpu": [(0.0, 1.0)], "b": [(0.0, 1.0)]}, now=40.0)

    assert list(view.only(["b"]).series) == [f"b{PART}cpu", "b"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(DERIVED, "", id="no-rate"),
        pytest.param(a_rule(single=False, aggregation_method="rate:mean"), "", id="within-each-series"),
        pytest.param(
            a_rule(single=False, aggregation_method="rate:mean", rate_of_aggregate=True),
            "rate:mean is the difference between two aggregates, so it jumps whenever a series joins or leaves, and it "
            "is not divided by time; rate_per_second:mean or a derived metric such as cpu_util is taken within each "
            "series",
            id="of-the-aggregate",
        ),
    ],
)
def test_a_rate_of_an_aggregate_is_warned_of(rule: Rule, expected: str) -> None:
    assert rate_note(rule) == expected
