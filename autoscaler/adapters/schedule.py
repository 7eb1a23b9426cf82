"""When schedules fire, by APScheduler's triggers. Nothing of its schedulers or stores is used.

The trigger is asked in the time of the clock on the wall, and the answer is placed in the time zone here: asked in a
zone with summer time, APScheduler 3.11 leaves out a daily midnight on the day after the clock was put forward, since
it adds 24 hours of real time to get from one day to the next.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.ports import Calendar

LARGEST_SHIFT: Final = timedelta(hours=3)
"""More than any clock is put forward at once; a time that it left out is made up for within this."""


class CronCalendar:
    """See :class:`autoscaler.ports.Calendar`."""

    def following(self, cron: str, timezone: str, after: float) -> float | None:
        """The first firing later than ``after``; firings are whole minutes of the time zone's clock.

        A time that the clock leaves out in spring fires as much after the change as it was to be after it began; of
        one that it shows twice in autumn the first counts.
        """
        trigger, zone = _trigger(cron), ZoneInfo(timezone)
        wall = datetime.fromtimestamp(after, zone).replace(tzinfo=UTC, microsecond=0) - LARGEST_SHIFT
        made_up: list[float] = []
        while (shown := _next(trigger, wall)) is not None:
            moment = shown.replace(tzinfo=zone).timestamp()
            if moment > after and _is_shown(shown, moment, zone):
                return min([moment, *made_up])
            if moment > after:
                made_up.append(moment)
            wall = shown + timedelta(seconds=1)
        return min(made_up, default=None)


def _is_shown(wall: datetime, moment: float, zone: ZoneInfo) -> bool:
    """Whether the clock ever shows ``wall``, instead of being put forward over it."""
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=UTC) == wall.replace(fold=0)


def _next(trigger: CronTrigger, earliest: datetime) -> datetime | None:
    fires: datetime | None = trigger.get_next_fire_time(None, earliest)
    return fires


@lru_cache(maxsize=1024)
def _trigger(cron: str) -> CronTrigger:
    return CronTrigger.from_crontab(cron, timezone=UTC)


_fits: type[Calendar] = CronCalendar
