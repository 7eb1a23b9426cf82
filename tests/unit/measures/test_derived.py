from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.measures.derived import Derivation, Rate, derive, reports, resource_of, series_name
from autoscaler.measures.series import Series
from tests.building import Points, a_series

CPU_UTIL = Derivation(base="cpu", rate=Rate.PER_SECOND, scale=1e-7, divisor="vcpus", divisor_metadata=("vcpus",))
BILLION = 1e9


def named(metric: str, resource: str = "r") -> str:
    return series_name(resource, metric, "cpu_util")


def cpu_util(cpu: Points, vcpus: Points) -> list[tuple[float, float]]:
    found = derive({named("cpu"): a_series(cpu), named("vcpus"): a_series(vcpus)}, CPU_UTIL, "cpu_util")
    return list(found.series["r"].points()) if "r" in found.series else []


@pytest.mark.parametrize(
    ("cpu", "vcpus", "expected"),
    [
        pytest.param([(0, 0.0), (60, 42 * BILLION)], [(0, 1.0)], [(60.0, 70.0)], id="exactly-seventy"),
        pytest.param([(0, 0.0), (60, 42 * BILLION)], [(0, 2.0)], [(60.0, 35.0)], id="of-two"),
        pytest.param(
            [(0, 0.0), (10, 10 * BILLION), (20, 30 * BILLION)],
            [(0, 1.0), (15, 2.0)],
            [(10.0, 100.0), (20.0, 100.0)],
            id="resized-in-between",
        ),
        pytest.param(
            [(0, 0.0), (10, 5 * BILLION), (20, BILLION), (30, 6 * BILLION)],
            [(0, 1.0)],
            [(10.0, 50.0), (30.0, 50.0)],
            id="a-counter-that-was-reset-says-nothing-once",
        ),
        pytest.param(
            [(0, 0.0), (10, 5 * BILLION), (20, 10 * BILLION), (100, 90 * BILLION)],
            [(0, 1.0)],
            [(10.0, 50.0), (20.0, 50.0)],
            id="nothing-across-a-gap",
        ),
        pytest.param([(0, 0.0), (10, BILLION)], [(50, 1.0)], [(10.0, 10.0)], id="the-oldest-where-none-is-old-enough"),
        pytest.param(
            [(0, 0.0), (10, BILLION)], [(0, 1.0), (5, 0.0)], [(10.0, 10.0)], id="a-zero-divides-nothing-and-is-passed"
        ),
        pytest.param([(0, 5.0)], [(0, 1.0)], [], id="one-point-has-no-rate"),
        pytest.param([(0, 0.0), (10, 1e308)], [(0, 1e-308)], [], id="what-cannot-be-told-is-missing"),
    ],
)
def test_a_counter_becomes_a_share(cpu: Points, vcpus: Points, expected: list[tuple[float, float]]) -> None:
    assert cpu_util(cpu, vcpus) == expected


@pytest.mark.parametrize(
    "vcpus", [pytest.param([], id="none"), pytest.param([(0, 0.0)], id="only-zero"), pytest.param(None, id="no-series")]
)
def test_a_resource_without_a_divisor_is_missing_and_named(vcpus: Points | None) -> None:
    series = {named("cpu"): a_series([(0, 0.0), (10, 5.0)]), named("cpu", "s"): a_series([(0, 0.0), (10, 5.0)])}
    if vcpus is not None:
        series[named("vcpus")] = a_series(vcpus)
    series[named("vcpus", "s")] = a_series([(0, 1.0)])

    found = derive(series, CPU_UTIL, "cpu_util")

    assert (list(found.series), found.without_divisor) == (["s"], ("r",))


def test_a_resource_that_reports_the_metric_itself_counts_with_that() -> None:
    own = a_series([(0, 12.0)])
    series = {named("cpu"): a_series([(0, 0.0), (10, 5.0)]), "r": own}

    assert derive(series, CPU_UTIL, "cpu_util").series == {"r": own}
    assert reports(series, CPU_UTIL, "cpu_util") == {"r": own}


def test_a_resource_reports_by_its_base() -> None:
    base = a_series([(0, 0.0)])
    series = {named("cpu"): base, named("vcpus"): a_series([(0, 1.0)]), named("vcpus", "s"): a_series([(0, 1.0)])}

    assert reports(series, CPU_UTIL, "cpu_util") == {"r": base}


def test_a_share_may_be_of_values_and_of_nothing() -> None:
    base = a_series([(0, 512.0), (10, 256.0)])
    series = {named("cpu"): base}

    found = derive(series, Derivation(base="cpu", scale=0.5), "cpu_util")
    assert list(found.series["r"].points()) == [(0.0, 256.0), (10.0, 128.0)]


def test_what_was_made_is_kept_while_its_parts_are_the_same() -> None:
    base, divisor = a_series([(0, 0.0), (10, 5.0)]), a_series([(0, 1.0)])
    series = {named("cpu"): base, named("vcpus"): divisor}
    first = derive(series, CPU_UTIL, "cpu_util").series["r"]

    assert derive(series, CPU_UTIL, "cpu_util").series["r"] is first
    assert derive(series | {named("vcpus"): a_series([(0, 2.0)])}, CPU_UTIL, "cpu_util").series["r"] != first


def test_the_name_of_a_series_tells_its_resource() -> None:
    assert [resource_of(named("cpu_util")), resource_of(named("cpu"))] == ["r", "r"]
    assert named("cpu_util") == "r"


counters = st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1e18)), min_size=1, max_size=10)


@given(counters, st.lists(st.tuples(st.integers(0, 50), st.sampled_from([0.0, 1.0, 2.0, 8.0])), max_size=4))
def test_a_share_is_never_negative_and_never_made_up(cpu: Points, vcpus: Points) -> None:
    base, divisor = a_series(cpu), a_series(vcpus)
    found = derive({named("cpu"): base, named("vcpus"): divisor}, CPU_UTIL, "cpu_util")
    made = found.series.get("r", Series([], []))

    assert all(math.isfinite(value) and value >= 0 for value in made.values)
    assert set(made.times) <= set(base.times[1:])
    assert ("r" in found.without_divisor) is (not any(divisor.values))
