"""When schedules fire, by APScheduler's triggers. Nothing of its schedulers or stores is used."""

from __future__ import annotations

import math
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

if TYPE_CHECKING:
    from autoscaler.ports import Calendar


class CronCalendar:
    """See :class:`autoscaler.ports.Calendar`."""

    def following(self, cron: str, timezone: str, after: float) -> float | None:
        """The first firing later than ``after``; firings are whole minutes of the time zone's clock.

        An hour that the clock leaves out is made up for after it; of one that it shows twice the first counts, unless
        the line asks for every hour.
        """
        trigger, zone = _trigger(cron, timezone), ZoneInfo(timezone)
        every_hour = cron.split()[1].startswith("*")
        fires = _next(trigger, datetime.fromtimestamp(math.floor(after) + 1, tz=zone))
        while fires is not None and fires.fold and not every_hour:
            fires = _next(trigger, datetime.fromtimestamp(fires.timestamp() + 1, tz=zone))
        return None if fires is None else fires.timestamp()


def _next(trigger: CronTrigger, earliest: datetime) -> datetime | None:
    fires: datetime | None = trigger.get_next_fire_time(None, earliest)
    return fires


@lru_cache(maxsize=1024)
def _trigger(cron: str, timezone: str) -> CronTrigger:
    return CronTrigger.from_crontab(cron, timezone=ZoneInfo(timezone))


_fits: type[Calendar] = CronCalendar
