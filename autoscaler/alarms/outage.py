"""Whether most series of a window have stopped at once: that is the source's failure, not what its members say.

A collector that dies, or a network that is cut, takes many series along within one interval; members leave one by one,
or by our own resize. What can be told of it is told from the times of points alone, so replays tell the same.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from autoscaler.alarms.alarm import AlarmState, Outage
from autoscaler.alarms.granules import LATELY, MICROSECOND, reporters, usual_interval
from autoscaler.alarms.outcome import OutageNote, OutageTurn
from autoscaler.alarms.rules import OnOutage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from autoscaler.alarms.course import Look, Waited
    from autoscaler.alarms.granules import Span
    from autoscaler.alarms.rules import Rule
    from autoscaler.measures.window import WindowView

LEAST_SERIES: Final = 3
"""Of one series or two nothing can be told: most of them is one."""
PUNCTUAL: Final = 1.01
"""Granules that the interval between two reports may last for every granule to have one."""
PATIENCE: Final = 1.5
"""Intervals without a report after which a series that does not report in every granule has stopped."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """When the series of a window were last heard of, as of the end of a granule.

    Attributes:
        times: Unix seconds of each series' newest point.
        step: seconds within which series that stop do so at once.
        quiet_from: Unix seconds; a series without a point since then has stopped.
    """

    times: Sequence[float]
    step: float
    quiet_from: float

    @property
    def speaking(self) -> int:
        """How many have not stopped."""
        return sum(1 for time in self.times if time >= self.quiet_from)


def outage_at(rule: Rule, view: WindowView, span: Span, time: float, waited: Waited, look: Look) -> Outage | None:
    """The outage that stands at a point; one that is over is None, one that is believed stays until another begins.

    Args:
        span: the newest granule of the point.
        time: of the point, Unix seconds.
        waited: with the outage that stood at the point before.
    """
    before = waited.outage
    if not is_told_of(rule):
        return None
    heard = _heard(rule, view, span, time)
    speaking = heard.speaking
    if before is not None:
        if _is_over(before, heard, view.members):
            return None
        if not before.believed:
            believed = time + MICROSECOND >= before.since + look.sources.max_hold
            return msgspec.structs.replace(before, believed=True) if believed else before
    if waited.state is AlarmState.INSUFFICIENT_DATA or not look.sources.caught_up:
        # no state to hold; or what is missing may be waiting to be read
        return before
    found = _stopped(heard, speaking, after=None if before is None else before.stopped)
    if not found or (view.members is not None and 2 * speaking >= view.members):
        return before
    return Outage(time, max(found), len(found), len(found) + speaking)


def is_told_of(rule: Rule) -> bool:
    """Whether outages of what a rule looks at are told."""
    return not rule.single and rule.outage is not OnOutage.BELIEVE


def may_have_begun(rule: Rule, view: WindowView, span: Span) -> bool:
    """Whether, for all that the window alone tells, most series have stopped at once; of one that is told of."""
    heard = _heard(rule, view, span, view.asof)
    return bool(_stopped(heard, heard.speaking, after=None))


def _is_over(outage: Outage, heard: _Heard, members: int | None) -> bool:
    """Whether no more than half are silent of those that reported before and are still there.

    One that is believed is over, too, when those that stopped have left the window.
    """
    reported = outage.reported if members is None else min(members, outage.reported)
    left = outage.believed and not any(time <= outage.stopped for time in heard.times)
    return left or 2 * heard.speaking >= reported


def _heard(rule: Rule, view: WindowView, span: Span, now: float) -> _Heard:
    times: list[float] = []
    recent: list[Sequence[float]] = []
    # what the store still keeps beyond this depends on when it was last written
    floor = span.ends - 2 * rule.granules * rule.granularity
    for series in reporters(rule, view).values():
        # what came after the granule says nothing of it: boundaries that are made up for come to what they came to
        count = (bisect_right if span.slides else bisect_left)(series.times, span.ends)
        kept = bisect_right(series.times, floor)
        if count > kept:
            times.append(series.times[count - 1])
            recent.append(series.times[max(kept, count - LATELY) : count])
    begins = math.nextafter(span.begins, math.inf) if span.slides else span.begins
    heard = _Heard(times, rule.granularity, begins)
    if 2 * heard.speaking >= len(times):
        return heard  # nearly always; to give them more time would change nothing
    interval = usual_interval(recent)
    if interval is None:
        return _Heard(times, rule.granularity, -math.inf)
    if interval > PUNCTUAL * rule.granularity:
        return _Heard(times, interval, min(begins, span.ends - PATIENCE * interval))
    # in a granule that is still open not everybody has had a turn
    return heard if now >= span.ends else _Heard(times, rule.granularity, min(begins, now - PATIENCE * interval))


def _stopped(heard: _Heard, speaking: int, *, after: float | None) -> list[float]:
    """When those had reported last that stopped last, at once, and were most; none where they were not.

    Args:
        after: Unix seconds; what stopped by then is known to have.
    """
    silent = [time for time in heard.times if time < heard.quiet_from and (after is None or time > after)]
    # nearly always
    if len(silent) <= speaking or len(silent) + speaking < LEAST_SERIES:
        return []
    newest = max(silent)
    together = [time for time in silent if time > newest - heard.step]
    return together if len(together) > speaking and len(together) + speaking >= LEAST_SERIES else []


def turned(before: Outage | None, now: Outage | None, time: float, version: int) -> OutageNote | None:
    """What there is to note when the outage that stood is another now."""
    if now is None:
        ended = before is not None and not before.believed
        return _note(before, time, OutageTurn.ENDED, version) if before is not None and ended else None
    if before is None or before.stopped != now.stopped:
        return _note(now, time, OutageTurn.BEGAN, version)
    return _note(now, time, OutageTurn.BELIEVED, version) if now.believed and not before.believed else None


def _note(outage: Outage, time: float, turn: OutageTurn, version: int) -> OutageNote:
    return OutageNote(version, time, turn, outage.stopped, outage.silent, outage.reported)


def outage_note(outage: Outage | None, look: Look) -> str:
    """What there is to say of an outage beside Aodh's sentence."""
    if outage is None:
        return ""
    stopped = f"source outage: {outage.silent} of {outage.reported} series stopped at once"
    return f"{stopped}, believed after {look.sources.max_hold:g} s" if outage.believed else f"{stopped}, state held"
