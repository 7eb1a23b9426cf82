"""When an alarm is evaluated at all: cron starts with a duration.

Source: aodh/evaluator/__init__.py, ``within_time_constraint`` and ``_is_exact_match`` (23.0.0): with no constraint an
alarm is always evaluated; otherwise while at least one [start, start + duration] holds now, a start within the coming
minute counting as now... see :func:`within`.
"""

from __future__ import annotations

import msgspec


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
