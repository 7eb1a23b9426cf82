"""When an alarm is evaluated at all: cron starts with a duration.

Source:
    aodh/evaluator/__init__.py, ``within_time_constraint`` and ``_is_exact_match``, 23.0.0. The day is counted by the
    wall clock of the constraint's zone, so a span across a change to or from summer time is longer or shorter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
from croniter import CroniterBadDateError, croniter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Final

EARLY: Final = timedelta(minutes=1)
"""A start is taken for reached when it is less than this ahead; Aodh compares with the precision of a minute."""
INSTANT: Final = 1e-6
"""Seconds; the resolution of the wall clock."""
ZONE_STEP: Final = 900.0
"""Seconds; zones change their offset at whole quarters of an hour only."""
ZONE_CHANGE_NEAR: Final = 7200.0
"""Seconds from an edge within which a change of a zone's offset may move it."""


class TimeConstraint(msgspec.Struct, frozen=True, kw_only=True):
    """One span that recurs.

    Attributes:
        start: cron, 5 to 7 columns, as croniter reads it.
        duration: seconds.
        timezone: IANA name; "" is UTC.
    """

    name: str
    start: str
    duration: int
    timezone: str = ""
    description: str = ""


def within(constraints: Sequence[TimeConstraint], now: float) -> bool:
    """Whether an alarm with these constraints is evaluated at ``now``: in any span, or where there are none at all.

    A span lasts from less than a minute before its start until its end, the end included. A cron that has no start
    before or after ``now`` has no span there.
    """
    return not constraints or any(_is_open(constraint, now) for constraint in constraints)


def next_edge(constraints: Sequence[TimeConstraint], now: float) -> float | None:
    """The first instant after ``now`` at which :func:`within` may answer otherwise; None means never.

    It may come too early, never too late.
    """
    return min((edge for constraint in constraints for edge in _edges(constraint, now)), default=None)


def _is_open(constraint: TimeConstraint, now: float) -> bool:
    cron = _cron(constraint.start, constraint.timezone)
    starts, time = cron.around(now), cron.wall(now)
    if starts.following is not None and abs(time - starts.following) < EARLY:
        return True
    # the hour that is repeated when summer time ends may be told to lie before the start that was
    return starts.previous is not None and starts.previous <= time <= starts.previous + timedelta(
        seconds=constraint.duration
    )


def _edges(constraint: TimeConstraint, now: float) -> Iterable[float]:
    cron = _cron(constraint.start, constraint.timezone)
    starts = cron.around(now)
    walls = []
    if starts.previous is not None:
        walls += [starts.previous, starts.previous + timedelta(seconds=constraint.duration)]
    if starts.following is not None:
        # the start itself, too: from there on it is the previous one
        walls += [starts.following - EARLY, starts.following, starts.following + EARLY]
    for wall, fold in product(walls, (0, 1)):
        # in the hour that is repeated when summer time ends, either may be meant
        candidate = wall.replace(fold=fold).timestamp()
        if candidate + INSTANT > now:
            yield candidate + INSTANT
            yield from cron.offset_changes(max(now, candidate - ZONE_CHANGE_NEAR), candidate + INSTANT)
    yield from cron.offset_changes(now, now + ZONE_CHANGE_NEAR)


@dataclass(frozen=True, slots=True)
class _Starts:
    """The starts of a cron next to some time, previous < time <= following; None where there is none."""

    previous: datetime | None
    following: datetime | None


class _Cron:
    """A cron in its zone; remembers the starts around the last time it was asked for, as they are dear to find."""

    def __init__(self, start: str, zone: tzinfo) -> None:
        self._start = start
        self._zone = zone
        self._known = (math.inf, -math.inf, _Starts(None, None))

    def wall(self, time: float) -> datetime:
        """``time`` by the zone's clock."""
        return datetime.fromtimestamp(time, self._zone)

    def around(self, time: float) -> _Starts:
        """The starts before and after ``time``."""
        after, until, starts = self._known
        if after < time <= until:
            return starts
        cron = croniter(self._start, self.wall(time))
        previous = _found(cron.get_prev)
        # on from the start before, since a search from a start itself leaves that one out
        following = _found(cron.get_next)
        starts = _Starts(previous, following)
        step = math.floor(time / ZONE_STEP) * ZONE_STEP
        # near a change of the zone's offset the answer may differ between times with the same neighbours
        after = max(step - INSTANT, previous.timestamp() if previous else -math.inf)
        until = min(step + ZONE_STEP - INSTANT, following.timestamp() if following else math.inf)
        self._known = (after, until, starts)
        return starts

    def offset_changes(self, begin: float, end: float) -> Iterable[float]:
        """The time in (begin, end] from which the zone's offset is another, where it differs between the two."""
        before = self.wall(begin).utcoffset()
        if before == self.wall(end).utcoffset():
            return
        low, high = math.floor(begin), math.ceil(end)
        while high - low > 1:
            middle = (low + high) // 2
            if self.wall(middle).utcoffset() == before:
                low = middle
            else:
                high = middle
        yield float(high)


def _found(search: Callable[[type[datetime]], datetime]) -> datetime | None:
    try:
        return search(datetime)
    except CroniterBadDateError:
        return None


@lru_cache(maxsize=4096)
def _cron(start: str, timezone: str) -> _Cron:
    return _Cron(start, ZoneInfo(timezone) if timezone else UTC)
