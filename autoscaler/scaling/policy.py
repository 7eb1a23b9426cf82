"""Scaling policies and schedules, as declared."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class AdjustmentType(StrEnum):
    """As Heat spells them (heat/scaling/scalingutil.py, 27.0.1)."""

    EXACT_CAPACITY = "exact_capacity"
    CHANGE_IN_CAPACITY = "change_in_capacity"
    PERCENT_CHANGE_IN_CAPACITY = "percent_change_in_capacity"


class Order(StrEnum):
    """Which members go first when a group shrinks."""

    ANY = ""
    """As the target likes."""
    OLDEST = "oldest"
    NEWEST = "newest"
    UNHEALTHY = "unhealthy"
    """Those that have failed, then the oldest."""


class ScalingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How an alarm's action moves a group.

    Attributes:
        scaling_adjustment: members; for ``percent_change_in_capacity`` percent of the present size.
        min_adjustment_step: members; only with percent. None means none.
        cooldown: seconds; None means the group's, 0 overrides it.
        order: who goes first when it makes the group smaller.
    """

    name: str
    group: str
    adjustment_type: AdjustmentType
    scaling_adjustment: float
    min_adjustment_step: int | None = None
    cooldown: float | None = None
    order: Order = Order.ANY
    project_id: str = ""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds or a size that a group takes at recurring times.

    Attributes:
        cron: five columns, as APScheduler reads a crontab line.
        timezone: IANA name.
        grace: seconds; a firing missed by longer is recorded and left out.
    """

    name: str
    group: str
    cron: str
    timezone: str = "UTC"
    min_size: int | None = None
    max_size: int | None = None
    desired_capacity: int | None = None
    grace: float = 3600.0
