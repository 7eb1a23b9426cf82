"""What a rule sees: the aggregate of each granule of its window.

Gnocchi's order is kept: a value per series and granule first, then one across the series that have one, whoever is
missing (``needed_overlap=0``, as Aodh asks; gnocchi/rest/aggregates/processor.py, 4.7.1). Only a rule that pools has no
values per series.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from autoscaler.alarms.rules import EvaluateWhen, WindowKind
from autoscaler.measures.aggregation import POOLED, AggregationMethod, Differences, across, parse, pooled
from autoscaler.measures.derived import Derived, derive, reports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from autoscaler.alarms.rules import Rule
    from autoscaler.measures.series import Series
    from autoscaler.measures.window import WindowView

MICROSECOND = 1e-6
LATELY = 8
"""Reports of a series by which it is told how often it usually reports."""

parsed = lru_cache(maxsize=1024)(parse)


class Span(msgspec.Struct, frozen=True):
    """The times of one granule: begins <= t < ends, or begins < t <= ends where it slides.

    Attributes:
        begins: Unix seconds.
        ends: Unix seconds.
        slides: which end belongs to it.
    """

    begins: float
    ends: float
    slides: bool

    def of(self, series: Series) -> slice:
        """Where this granule's points are in ``series``."""
        return series.left_open(self.begins, self.ends) if self.slides else series.right_open(self.begins, self.ends)


class Granule(msgspec.Struct, frozen=True):
    """One aggregate.

    Attributes:
        value: None where no series has one: missing is not zero.
        reporting: series with at least one measure in it.
    """

    span: Span
    value: float | None
    reporting: int


def aligned(index: int, granularity: float) -> Span:
    """Gnocchi's granule number ``index``, counted from the epoch."""
    return Span(index * granularity, (index + 1) * granularity, slides=False)


def aligned_window(rule: Rule, newest: int) -> list[Span]:
    """The granules an alarm looks at when ``newest`` is the last that counts, oldest first."""
    return [aligned(index, rule.granularity) for index in range(newest - rule.granules + 1, newest + 1)]


def sliding_window(rule: Rule, end: float) -> list[Span]:
    """The granules that end at ``end``, oldest first."""
    ends = [end - back * rule.granularity for back in range(rule.granules, -1, -1)]
    return [Span(begins, ends_at, slides=True) for begins, ends_at in pairwise(ends)]


def granule_at(time: float, granularity: float) -> int:
    """The number of the aligned granule that ``time`` lies in, a microsecond before its begin included.

    The microsecond is what sums of floats may lose: an evaluation due at a granule's end must find it over.
    """
    return math.floor((time + MICROSECOND) / granularity)


def counted(rule: Rule, view: WindowView) -> Derived:
    """The series that a rule aggregates: those of its window, or what is made of them."""
    if rule.derivation is None:
        return Derived(view.series)
    return derive(view.series, rule.derivation, rule.metric)


def reporters(rule: Rule, view: WindowView) -> Mapping[str, Series]:
    """The series whose reports are waited for; of a derived metric one for each resource, whatever it is divided by."""
    return view.series if rule.derivation is None else reports(view.series, rule.derivation, rule.metric)


def aggregates(rule: Rule, view: WindowView, spans: Sequence[Span]) -> list[Granule]:
    """One granule per span, in order.

    Total: a granule nobody reported in has value None.
    """
    method = parsed(rule.aggregation_method)
    if rule.rate_of_aggregate:
        method = parsed(method.base)
    series = view.series.values() if rule.derivation is None else counted(rule, view).series.values()
    found = [_granule(rule, method, series, span) for span in spans]
    return _differences(found) if rule.rate_of_aggregate else found


def _granule(rule: Rule, method: AggregationMethod, counting: Iterable[Series], span: Span) -> Granule:
    granularity = None if span.slides else rule.granularity
    if rule.reaggregation_method == POOLED:
        return _pooled(method, counting, span, granularity)
    values = []
    reporting = 0
    for value, reported in _each_series(method, counting, span, granularity):
        reporting += reported
        if value is not None:
            values.append(value)
    if not values:
        return Granule(span, None, reporting)
    if rule.single:
        return Granule(span, values[0], reporting)
    return Granule(span, across(rule.reaggregation_method, values), reporting)


def _pooled(method: AggregationMethod, counting: Iterable[Series], span: Span, granularity: float | None) -> Granule:
    """The aggregate of all that the series have in one granule, whoever it is from."""
    parts = []
    reporting = 0
    for series in counting:
        measured = _measured(series, method, granularity)
        values = measured.values[span.of(measured)]
        parts.append(values)
        reporting += len(values) > 0 if measured is series else _reports(series, span)
    return Granule(span, pooled(method, parts), reporting)


def _measured(series: Series, method: AggregationMethod, granularity: float | None) -> Series:
    """What a method aggregates of a series, remembered with it."""
    if method.differences is Differences.NONE:
        return series
    key = (method.name, granularity)
    measured: Series | None = series.memo.get(key)
    if measured is None:
        measured = series.memo[key] = method.measured(series, granularity)
    return measured


def _reports(series: Series, span: Span) -> bool:
    where = span.of(series)
    reports: bool = where.stop > where.start
    return reports


def _each_series(
    method: AggregationMethod, counting: Iterable[Series], span: Span, granularity: float | None
) -> Iterator[tuple[float | None, bool]]:
    """Of each series its value in one granule, and whether it reported; remembered as long as the series is unchanged.

    Only aligned granules come again; a sliding one of the same times has other points.
    """
    begins, ends, slides_, reduced = span.begins, span.ends, span.slides, method.reduced
    at = bisect_right if slides_ else bisect_left
    key = (method.name, begins, ends)
    for series in counting:
        if not slides_ and (known := series.memo.get(key)) is not None:
            yield known
            continue
        measured = _measured(series, method, granularity)
        times = measured.times
        begin = at(times, begins)
        end = at(times, ends, begin)
        reported = begin < end if measured is series else _reports(series, span)
        answer = (reduced(measured.values[begin:end]) if begin < end else None), reported
        if not slides_:
            series.memo[key] = answer
        yield answer


def rate_note(rule: Rule) -> str:
    """Why a rule's value jumps though nothing it measures does; "" where it does not."""
    if not rule.rate_of_aggregate:
        return ""
    base = parsed(rule.aggregation_method).base
    return (
        f"{rule.aggregation_method} is the difference between two aggregates, so it jumps whenever a series joins or "
        f"leaves, and it is not divided by time; rate_per_second:{base} or a derived metric such as cpu_util is taken "
        "within each series"
    )


def _differences(found: Sequence[Granule]) -> list[Granule]:
    """Successive differences of the granules that have a value; the first has none (Gnocchi's ``aggregate rate:X``)."""
    differences: list[Granule] = []
    previous: float | None = None
    for granule in found:
        value = None if granule.value is None or previous is None else granule.value - previous
        differences.append(Granule(granule.span, value, granule.reporting))
        previous = granule.value if granule.value is not None else previous
    return differences


def interval(rule: Rule, view: WindowView) -> float | None:
    """Seconds between two reports of a typical series; None while no series has reported twice."""
    reported = reporters(rule, view).values()
    spacings = sorted(
        (series.times[-1] - series.times[0]) / (len(series) - 1) for series in reported if len(series) > 1
    )
    return spacings[len(spacings) // 2] if spacings else None


def slides(rule: Rule, view: WindowView) -> bool:
    """Whether the rule's window slides; one whose granule would be half empty by nature is taken as aligned."""
    if rule.window is WindowKind.ALIGNED:
        return False
    observed = interval(rule, view)
    if observed is None or rule.granularity >= 2 * observed:
        return True
    # a gap, as an outage leaves it, makes no series one that reports seldom
    usual = usual_interval([series.times[-LATELY:] for series in reporters(rule, view).values()])
    return usual is not None and rule.granularity >= 2 * usual


def usual_interval(recent: Iterable[Sequence[float]]) -> float | None:
    """Seconds between two reports of a typical series, whatever gaps there are; None while none has reported twice.

    Args:
        recent: of each series the times of its newest reports, oldest first.
    """
    usual = [_median([after - before for before, after in pairwise(times)]) for times in recent if len(times) > 1]
    return _median(usual) if usual else None


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def sliding_end(rule: Rule, view: WindowView, now: float) -> float:
    """Where a sliding window ends at ``now``: at the newest measure, or trailing the clock when none comes.

    It trails by whole granules, so that where it ends does not depend on who looked when.
    """
    if view.newest is None:
        return now - rule.granularity - rule.lateness
    newest = min(view.newest, now)
    return newest + max(0, _silent_granules(rule, newest, now) - 1) * rule.granularity


def slides_on(rule: Rule, view: WindowView, now: float) -> float:
    """When a sliding window that no measure moves ends elsewhere next; later than ``now``."""
    newest = now if view.newest is None else min(view.newest, now)
    return newest + rule.lateness + (max(1, _silent_granules(rule, newest, now)) + 1) * rule.granularity


def _silent_granules(rule: Rule, newest: float, now: float) -> int:
    return granule_at(now - newest - rule.lateness, rule.granularity)


def comes_into_reach(rule: Rule, view: WindowView, now: float) -> float | None:
    """When the first measure that a clock ahead of ours has stamped may count; None where there is none."""
    if view.newest is None or view.newest <= now or rule.evaluate is EvaluateWhen.BOUNDARY:
        return None
    if not slides(rule, view):
        following = (granule_at(now, rule.granularity) + 1) * rule.granularity
        return following if following <= view.newest else None
    reported = reporters(rule, view).values()
    ahead = [series.times[bisect_right(series.times, now)] for series in reported if series.times[-1] > now]
    return min(ahead, default=None)


def newest_counting(rule: Rule, view: WindowView, now: float) -> int:
    """The number of the newest aligned granule that counts at ``now``."""
    over = granule_at(now - rule.lateness, rule.granularity) - 1
    if rule.evaluate is EvaluateWhen.BOUNDARY or view.newest is None:
        return over
    # one whose clock is ahead does not close a granule that others are still reporting in
    present = granule_at(min(view.newest, now), rule.granularity)
    if rule.evaluate is EvaluateWhen.MEASURE:
        return max(over, present)
    reported = reporters(rule, view)
    return next((index for index in range(present, over, -1) if _settled(rule, reported, index)), over)


def _settled(rule: Rule, reported: Mapping[str, Series], index: int) -> bool:
    """Whether an unfinished granule has all the reports to be expected of it.

    As many series as in the fullest of the granules before, each with at least as many points as in the one before.
    """
    edges = [(index - back) * rule.granularity for back in range(rule.evaluation_periods, -2, -1)]
    reporting = [0] * (rule.evaluation_periods + 1)  # in each granule, this one the last
    *older, before_begins, begins, ends = edges
    for series in reported.values():
        times = series.times
        end = bisect_left(times, ends)
        begin = bisect_left(times, begins, 0, end)
        at = bisect_left(times, before_begins, 0, begin)
        if 0 < end - begin < begin - at:
            return False
        reporting[-1] += begin < end
        reporting[-2] += at < begin
        for number, edge in enumerate(reversed(older), 3):
            at, later = bisect_left(times, edge, 0, at), at
            reporting[-number] += at < later
    return reporting[-2] > 0 and reporting[-1] >= max(reporting[:-1])
