"""Metrics that are made of others, series by series, before anything is aggregated."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec

from autoscaler.measures.aggregation import AggregationMethod, Differences
from autoscaler.measures.series import Series

if TYPE_CHECKING:
    from typing import Final

PART: Final = "\x1f"
"""Between the resource id and the metric in the name of a series of any but the first metric of a window."""


class Rate(StrEnum):
    """What is taken of the base series; the spelling is that of the aggregation methods' prefixes."""

    NONE = ""
    PER_SECOND = "rate_per_second"


class Derivation(msgspec.Struct, frozen=True, kw_only=True):
    """value = scale x (base, or its change per second) / divisor, for each resource.

    Attributes:
        base: metric.
        rate: of the base.
        scale: factor.
        divisor: metric; "" for none. Where a sample of the base says the same in its metadata, that counts.
        divisor_metadata: keys of the base's metadata that hold the divisor, the first that is there.
    """

    base: str
    rate: Rate = Rate.NONE
    scale: float = 1.0
    divisor: str = ""
    divisor_metadata: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """What must be kept to work it out."""
        return (self.base, self.divisor) if self.divisor else (self.base,)


class Derived(msgspec.Struct, frozen=True):
    """What a derivation made of the series of a window.

    Attributes:
        series: by resource id; only those that have points.
        without_divisor: resources that report the base, of which nothing could be made for want of a divisor.
    """

    series: Mapping[str, Series]
    without_divisor: tuple[str, ...] = ()


def series_name(resource_id: str, metric: str, first: str) -> str:
    """What a resource's series of ``metric`` is called in a window whose first metric is ``first``."""
    return resource_id if metric == first else f"{resource_id}{PART}{metric}"


def resource_of(name: str) -> str:
    """The resource that a series of a window belongs to."""
    return name.partition(PART)[0]


def reports(series: Mapping[str, Series], derivation: Derivation, metric: str) -> dict[str, Series]:
    """What each resource reports of a derived metric, by resource id: the metric itself, else its base.

    Args:
        series: of a window whose first metric is ``metric``.
        metric: the derived one's name.
    """
    found: dict[str, Series] = {}
    for name, each in series.items():
        resource = resource_of(name)
        if name == resource or (name == series_name(resource, derivation.base, metric) and resource not in series):
            found[resource] = each
    return found


def derive(series: Mapping[str, Series], derivation: Derivation, metric: str) -> Derived:
    """The series of a derived metric. A resource that reports the metric itself counts with that instead.

    Args:
        series: of a window whose first metric is ``metric``.
        metric: the derived one's name.
    """
    found: dict[str, Series] = {}
    without: list[str] = []
    for resource, reported in reports(series, derivation, metric).items():
        divisor = series.get(series_name(resource, derivation.divisor, metric)) if derivation.divisor else None
        if resource in series:
            found[resource] = reported
        elif derivation.divisor and not _has_divisor(divisor):
            without.append(resource)
        elif len(made := _remembered(reported, divisor, derivation)):
            found[resource] = made
    return Derived(found, tuple(without))


def _has_divisor(divisor: Series | None) -> bool:
    return divisor is not None and any(divisor.values)


def _remembered(base: Series, divisor: Series | None, derivation: Derivation) -> Series:
    """The derived series; the same as before, with all that was computed of it, while neither part has changed."""
    known = base.memo.get(derivation)
    if known is None or known[0] is not divisor:
        known = base.memo[derivation] = (divisor, _made(base, divisor, derivation))
    made: Series = known[1]
    return made


def _made(base: Series, divisor: Series | None, derivation: Derivation) -> Series:
    changes = derivation.rate is Rate.PER_SECOND
    taken = AggregationMethod("last", Differences.RATE_PER_SECOND).measured(base) if changes else base
    # as a fraction, since 7e8 / 1e7 is 70 and 7e8 * 1e-7 need not be; thresholds are round
    scale = Fraction(repr(derivation.scale))
    factor, parts = float(scale.numerator), float(scale.denominator)
    divided_by = None if divisor is None else _Divisor(divisor)
    times: list[float] = []
    values: list[float] = []
    for time, value in taken.points():
        share = 1.0 if divided_by is None else divided_by.at(time)
        made = value * factor / parts / share
        if math.isfinite(made):
            times.append(time)
            values.append(made)
    return Series(times, values)


class _Divisor:
    """A divisor over time, without its zeros, which divide nothing."""

    def __init__(self, series: Series) -> None:
        points = [(time, value) for time, value in series.points() if value]
        self._times = [time for time, _ in points]
        self._values = [value for _, value in points]

    def at(self, time: float) -> float:
        """The newest that is not newer than ``time``, else the oldest."""
        return self._values[max(0, bisect_right(self._times, time) - 1)]
