"""How measures become one number: within a granule of one series, then across series.

Results are Gnocchi's to the last bit: values are added one by one in time order from 0.0, as ``numpy.bincount`` does,
deviation within a series is the sample's (n - 1) and across series the population's (n), percentiles are interpolated
linearly. ``sum()`` would not do: it compensates for rounding since Python 3.12.

Source:
    gnocchi/carbonara.py, ``GroupedTimeSeries``, and gnocchi/rest/aggregates/operations.py, ``AGG_MAP``, 4.7.1.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, assert_never

import msgspec

from autoscaler.measures.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Final

POOLED: Final = "pooled"
"""In place of a method across series: all that they measured in a granule is aggregated as if one had measured it."""


class Differences(StrEnum):
    """What is aggregated: the values, or how they change; each is the prefix that asks for it."""

    NONE = ""
    RATE = "rate:"
    RATE_PER_SECOND = "rate_per_second:"


class AggregationMethod(msgspec.Struct, frozen=True):
    """A method.

    Attributes:
        base: the name without prefix.
        differences: the prefix.
        name: made of both, as a rule names it.
    """

    base: str
    differences: Differences = Differences.NONE
    name: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "name", f"{self.differences}{self.base}")

    def measured(self, series: Series, granularity: float | None = None) -> Series:
        """The points to aggregate: those of ``series``, or the changes between them, each at its later point's time.

        Args:
            series: in time order.
            granularity: seconds. Where given, ``rate:`` takes no difference across an aligned granule without points,
                as Gnocchi does when it processes measures as they come. Without it every difference is taken.
        """
        match self.differences:
            case Differences.NONE:
                return series
            case Differences.RATE:
                return _changes(series, granularity)
            case Differences.RATE_PER_SECOND:
                return _changes_per_second(series)
            case _:
                assert_never(self.differences)

    def aggregate(self, values: Sequence[float]) -> float | None:
        """One number for the values of one granule, in time order; None where the method has none for so few."""
        return self.reduced(values) if len(values) else None

    @property
    def reduced(self) -> Callable[[Sequence[float]], float | None]:
        """What :meth:`aggregate` does to one value or more."""
        return _WITHIN.get(self.base) or partial(_quantile, percent=_percent(self.base) or 0)


def parse(name: str) -> AggregationMethod:
    """The method called ``name``.

    Raises:
        ValueError: there is none; says which there are.
    """
    differences = next(each for each in reversed(Differences) if name.startswith(each))
    base = name.removeprefix(differences)
    if base not in _WITHIN and _percent(base) is None:
        raise ValueError(
            f'unknown aggregation method "{name}"; expected one of {", ".join(_WITHIN)}, or 1pct to 99pct, '
            'each also after "rate:" or "rate_per_second:"'
        )
    return AggregationMethod(base, differences)


def parse_reaggregation(name: str) -> str:
    """``name``, if it is a method that :func:`across` knows, or :data:`POOLED`.

    Raises:
        ValueError: it is not; says which are.
    """
    if name not in _ACROSS and name != POOLED and _percent(name) is None:
        raise ValueError(
            f'"{name}" does not aggregate across series; expected one of {", ".join(_ACROSS)}, 1pct to 99pct, or '
            f"{POOLED}"
        )
    return name


def across(method_base: str, values: Sequence[float]) -> float | None:
    """One number for the values that several series have for the same granule.

    Args:
        method_base: as :func:`parse_reaggregation` took it, but for :data:`POOLED`.
        values: of those series that have one, in the order of the series; sums are taken in it.

    Returns:
        None where no series has a value. To the last bit what Gnocchi answers for two granules or more; a single one
        it adds up pairwise from eight series on. ``count`` Gnocchi computes and then fails to send.
    """
    if not len(values):
        return None
    method = _ACROSS.get(method_base)
    return _quantile(values, _percent(method_base) or 0) if method is None else method(values)


def pooled(method: AggregationMethod, parts: Iterable[Sequence[float]]) -> float | None:
    """One number for all the values that several series have in the same granule; None where there are none.

    Args:
        method: any but ``first`` and ``last``, since there is no order among series.
        parts: of each series its values in time order; sums are taken in this order.
    """
    return method.aggregate([value for values in parts for value in values])


def _changes(series: Series, granularity: float | None) -> Series:
    times, values = series.times, series.values
    later: Sequence[int] = range(1, len(series))
    if granularity is not None:
        later = [i for i in later if times[i - 1] >= (math.floor(times[i] / granularity) - 1) * granularity]
    return Series([times[i] for i in later], [values[i] - values[i - 1] for i in later])


def _changes_per_second(series: Series) -> Series:
    """Change divided by time, but not where a counter was reset, nor across more than two typical intervals."""
    times, values = series.times, series.values
    if len(series) < 2:
        return Series([], [])
    gap = 2 * _median([times[i] - times[i - 1] for i in range(1, len(series))])
    later = [i for i in range(1, len(series)) if values[i] >= values[i - 1] and times[i] - times[i - 1] <= gap]
    return Series([times[i] for i in later], [(values[i] - values[i - 1]) / (times[i] - times[i - 1]) for i in later])


def _percent(name: str) -> int | None:
    found = re.fullmatch(r"([1-9][0-9]?)pct", name, re.ASCII)
    return int(found[1]) if found else None


def _sum(values: Sequence[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


def _mean(values: Sequence[float]) -> float:
    return _sum(values) / len(values)


def _squares(values: Sequence[float]) -> float:
    """The sum of squared deviations from the mean."""
    mean = _mean(values)
    return _sum([(value - mean) * (value - mean) for value in values])


def _sample_deviation(values: Sequence[float]) -> float | None:
    return math.sqrt(_squares(values) / (len(values) - 1)) if len(values) > 1 else None


def _population_deviation(values: Sequence[float]) -> float:
    return math.sqrt(_squares(values) / len(values))


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2.0


def _quantile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    position = (len(ordered) - 1) * (percent / 100)
    below, above = math.floor(position), math.ceil(position)
    if below == above:
        return ordered[below]
    return ordered[below] * (above - position) + ordered[above] * (position - below)


def _count(values: Sequence[float]) -> float:
    return float(len(values))


def _last(values: Sequence[float]) -> float:
    return values[-1]


def _first(values: Sequence[float]) -> float:
    return values[0]


_WITHIN: Final[Mapping[str, Callable[[Sequence[float]], float | None]]] = {
    "mean": _mean,
    "sum": _sum,
    "min": min,
    "max": max,
    "count": _count,
    "std": _sample_deviation,
    "median": _median,
    "last": _last,
    "first": _first,
}
_ACROSS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "mean": _mean,
    "sum": _sum,
    "min": min,
    "max": max,
    "count": _count,
    "std": _population_deviation,
    "median": _median,
}
