from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from autoscaler.measures.aggregation import across, parse
from autoscaler.measures.series import Series
from tests.differential.asking import ask

pytestmark = pytest.mark.oracle

PERCENTILES = ["1pct", "5pct", "33pct", "50pct", "90pct", "95pct", "99pct"]
BASES = ["mean", "sum", "min", "max", "count", "std", "median", "last", "first", *PERCENTILES]
METHODS = [*BASES, *(f"rate:{base}" for base in BASES)]
REAGGREGATIONS = ["mean", "sum", "min", "max", "count", "std", "median"]
GRANULARITIES = [1, 2, 10, 60, 300, 3600]

Points = Sequence[tuple[float, float]]


def drawn_value(draw: random.Random) -> float:
    kinds: list[Callable[[], float]] = [
        lambda: draw.uniform(0, 100),
        lambda: float(draw.randrange(5)),
        lambda: draw.uniform(-1, 1) * 10 ** draw.randrange(-9, 15),
        lambda: draw.gauss(0.1, 0.3),
    ]
    return draw.choice(kinds)()


def drawn_points(draw: random.Random, granularity: float) -> Points:
    """Some granules of points, gaps between, times to the microsecond."""
    spacing = granularity / draw.choice([0.4, 1, 2, 7, 30])
    time = 1_790_000_000 + draw.random() * 7200
    points = []
    for _ in range(draw.randrange(1, 60)):
        points.append((round(time, 6), drawn_value(draw)))
        time += spacing * (draw.choice([1, 1, 1, draw.random() + 0.01]) + draw.choice([0] * 12 + [3, 40]))
    return points


def drawn_series(seed: int, count: int) -> list[tuple[Points, float]]:
    draw = random.Random(seed)
    granularities = [draw.choice(GRANULARITIES) for _ in range(count)]
    return [(drawn_points(draw, granularity), granularity) for granularity in granularities]


def ours(method: str, points: Points, granularity: float, *, processed_in_granules: bool) -> list[list[float]]:
    parsed = parse(method)
    series = Series([time for time, _ in points], [value for _, value in points])
    measured = parsed.measured(series, granularity if processed_in_granules else None)
    rows = []
    for index in sorted({math.floor(time / granularity) for time in measured.times}):
        granule = measured.right_open(index * granularity, (index + 1) * granularity)
        value = parsed.aggregate(measured.values[granule])
        if value is not None:
            rows.append([index * granularity, value])
    return rows


def asked(kind: str, series: Sequence[tuple[Points, float]], methods: Sequence[str]) -> list[dict[str, list]]:
    return ask(
        "aggregation.py",
        [{"kind": kind, "points": points, "granularity": every, "methods": methods} for points, every in series],
    )


def test_every_method_is_equal_to_gnocchis_to_the_last_bit() -> None:
    series = drawn_series(seed=1, count=500)

    theirs = asked("granules", series, METHODS)

    for (points, granularity), answer in zip(series, theirs, strict=True):
        for method in METHODS:
            assert ours(method, points, granularity, processed_in_granules=True) == answer[method], method


def test_a_series_processed_at_once_differs_in_nothing_but_the_rounding_of_percentiles() -> None:
    # gnocchi adds a granule's place in the batch to the percentile's place in the granule
    series = drawn_series(seed=2, count=300)

    theirs = asked("whole", series, METHODS)

    for (points, granularity), answer in zip(series, theirs, strict=True):
        for method in METHODS:
            mine = ours(method, points, granularity, processed_in_granules=False)
            if method.endswith("pct"):
                spread = max(abs(value) for _, value in points)
                assert [time for time, _ in mine] == [time for time, _ in answer[method]]
                assert [value for _, value in mine] == [
                    pytest.approx(value, rel=1e-9, abs=1e-10 * spread) for _, value in answer[method]
                ]
            else:
                assert mine == answer[method], method


def drawn_grids(seed: int, count: int) -> list[list[list[float | None]]]:
    draw = random.Random(seed)
    grids = []
    for _ in range(count):
        series, granules = draw.choice([1, 2, 3, 7, 8, 9, 40, 200, 700]), draw.randrange(2, 6)
        grid = [[drawn_value(draw) if draw.random() < 0.8 else None for _ in range(series)] for _ in range(granules)]
        grids.append([row if any(v is not None for v in row) else [1.0] * series for row in grid])
    return grids


def test_aggregates_across_series_are_equal_to_gnocchis_to_the_last_bit() -> None:
    grids = drawn_grids(seed=3, count=200)

    theirs = ask("aggregation.py", [{"kind": "across", "grid": grid, "methods": REAGGREGATIONS} for grid in grids])

    for grid, answer in zip(grids, theirs, strict=True):
        for method in REAGGREGATIONS:
            mine = [across(method, [value for value in row if value is not None]) for row in grid]
            assert mine == answer[method], method


def test_a_single_granule_across_few_series_is_equal_to_gnocchis_to_the_last_bit() -> None:
    draw = random.Random(4)
    grids = [[[drawn_value(draw) for _ in range(draw.randrange(1, 8))]] for _ in range(300)]

    theirs = ask("aggregation.py", [{"kind": "across", "grid": grid, "methods": REAGGREGATIONS} for grid in grids])

    for grid, answer in zip(grids, theirs, strict=True):
        assert {method: [across(method, grid[0])] for method in REAGGREGATIONS} == answer
