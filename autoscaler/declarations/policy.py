"""Groups, scaling policies and schedules (``policies/*.yaml``); keys are Heat's property names."""

from __future__ import annotations

from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, ValidationInfo, field_validator

from autoscaler.declarations import crontab
from autoscaler.declarations.fields import YEAR, Declared, Flag, Name, Number, Text, Whole
from autoscaler.declarations.wording import nearest, shown
from autoscaler.scaling.group import Group
from autoscaler.scaling.policy import AdjustmentType, Order, ScalingPolicy, Schedule

Size = Annotated[Whole, Field(ge=0, le=1_000_000)]
Cooldown = Annotated[Number, Field(ge=0, le=YEAR)]

PERCENT = "percent"
"""A short word for the longest of Heat's adjustment types."""


class GroupDocument(Declared):
    """One entry of ``groups``; its target is validated by its type."""

    name: Name
    """The group's name."""

    min_size: Size
    """Members it has at least."""

    max_size: Size
    """Members it has at most."""

    project_id: Annotated[str, Field(strict=True, max_length=255)] = ""
    """Owner; only alarms of the same project, or the operator's, may move it."""

    desired_capacity: Size | None = None
    """Members to begin with; min_size where there is none."""

    cooldown: Cooldown = 0.0
    """Seconds to rest after a resize, for policies that name none."""

    enforce: Flag = False
    """Whether a change made behind the controller's back is corrected instead of respected."""

    min_reporting: Annotated[Number, Field(ge=0, le=1)] = 0.8
    """Share of the ready members that must report before a scale-in."""

    max_attempts: Annotated[Whole, Field(ge=1, le=1000)] = 10
    """Failed tries after which a resize is given up."""

    target: Any
    """What is scaled: a mapping with type and the type's options."""

    @field_validator("max_size")
    @classmethod
    def _not_below_min(cls, size: int, info: ValidationInfo) -> int:
        least = info.data.get("min_size", 0)
        if size < least:
            raise ValueError(f"expected at least min_size, which is {least}, got {size}")
        return size

    @field_validator("desired_capacity")
    @classmethod
    def _within(cls, size: int, info: ValidationInfo) -> int:
        if not {"min_size", "max_size"} <= info.data.keys():
            return size  # the bounds themselves are wrong
        least, most = info.data["min_size"], info.data["max_size"]
        if not least <= size <= most:
            raise ValueError(f"expected {least} to {most} (min_size to max_size), got {size}")
        return size

    def to_domain(self, target_type: str, options: dict[str, Any]) -> Group:
        """The group with its target's validated options."""
        return Group(**self.model_dump(exclude={"target"}), target_type=target_type, target=options)


class PolicyDocument(Declared):
    """One entry of ``policies``."""

    name: Name
    """The policy's name, that alarms call as ``policy://NAME``."""

    group: Name
    """The name of the group that it moves."""

    adjustment_type: AdjustmentType
    """One of exact_capacity, change_in_capacity, percent_change_in_capacity (percent)."""

    scaling_adjustment: Annotated[Whole, Field(ge=-1_000_000, le=1_000_000)]
    """A whole number of members; of percent for ``percent``."""

    min_adjustment_step: Size | None = None
    """Members that a percentage moves at least."""

    cooldown: Cooldown | None = None
    """Seconds to rest after the resize; the group's where there is none, and 0 overrides it."""

    order: Order = Order.ANY
    """Which members go first: oldest, newest or unhealthy; the target's own way where there is none."""

    @field_validator("adjustment_type", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        words = (*AdjustmentType, PERCENT)
        if not isinstance(value, str) or value not in words:
            plain = str(value).replace("-", "_")
            raise ValueError(f"expected one of {', '.join(words)}, got {shown(value)}{nearest(plain, words)}")
        return AdjustmentType.PERCENT_CHANGE_IN_CAPACITY if value == PERCENT else value

    @field_validator("order", mode="before")
    @classmethod
    def _known_order(cls, value: Any) -> Any:
        words = [order for order in Order if order]
        if value not in words:
            raise ValueError(f"expected one of {', '.join(words)}, got {shown(value)}{nearest(str(value), words)}")
        return value

    @field_validator("scaling_adjustment", mode="before")
    @classmethod
    def _is_whole(cls, value: Any) -> Any:
        if isinstance(value, float):
            if not value.is_integer():
                raise ValueError(f"expected a whole number, got {value} (Heat takes it, and then fails without a word)")
            return int(value)
        return value

    @field_validator("scaling_adjustment")
    @classmethod
    def _is_a_size(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("adjustment_type") is AdjustmentType.EXACT_CAPACITY and value < 0:
            raise ValueError(f"expected a size of at least 0 for exact_capacity, got {value}")
        return value

    @field_validator("min_adjustment_step")
    @classmethod
    def _only_with_percent(cls, value: int, info: ValidationInfo) -> int:
        kind = info.data.get("adjustment_type")
        if kind is not None and kind is not AdjustmentType.PERCENT_CHANGE_IN_CAPACITY:
            raise ValueError(f"expected only with percent_change_in_capacity, but adjustment_type is {kind}")
        return value

    def to_domain(self) -> ScalingPolicy:
        """The policy, as yet without an owner."""
        return ScalingPolicy(**self.model_dump())


class ScheduleDocument(Declared):
    """One entry of ``schedules``: at least one of min_size, max_size and desired_capacity."""

    name: Name
    """The schedule's name."""

    group: Name
    """The name of the group that it moves."""

    cron: Text
    """Five columns of a crontab line such as "0 8 * * mon-fri"."""

    timezone: Text = "UTC"
    """IANA name."""

    min_size: Size | None = None
    """Members the group has at least, from then on."""

    max_size: Size | None = None
    """Members the group has at most, from then on."""

    desired_capacity: Size | None = None
    """Members the group is to have then."""

    grace: Annotated[Number, Field(ge=0, le=604_800)] = 3600.0
    """Seconds that a missed firing is made up for."""

    @field_validator("cron")
    @classmethod
    def _is_crontab(cls, line: str) -> str:
        crontab.check(line)
        return line

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, name: str) -> str:
        return timezone(name)

    def to_domain(self) -> Schedule:
        """The schedule."""
        return Schedule(**self.model_dump())


def timezone(name: str) -> str:
    """An IANA name that this machine knows.

    Raises:
        ValueError: it does not.
    """
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        close = nearest(name, available_timezones())
        raise ValueError(f"expected an IANA time zone such as Europe/Berlin, got {name!r}{close}") from None
    return name
