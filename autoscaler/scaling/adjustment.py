"""The size a policy asks for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

from autoscaler.scaling.policy import AdjustmentType

if TYPE_CHECKING:
    from autoscaler.scaling.group import Limits


def new_capacity(
    current: int,
    adjustment: float,
    adjustment_type: AdjustmentType,
    limits: Limits,
    min_adjustment_step: int | None = None,
) -> int:
    """The size to move to, before any guard is asked. Total.

    Args:
        current: members now, >= 0.
        adjustment: members, or percent of ``current`` for ``percent_change_in_capacity``. Policies with a fraction of
            a member are refused when they are loaded; here the fraction is dropped.
        adjustment_type: what ``adjustment`` counts.
        limits: bounds of the group.
        min_adjustment_step: members; only percent looks at it. None or 0 means none.

    Returns:
        Members within ``limits``, also where ``current`` is not.

    Source:
        heat/scaling/scalingutil.py, ``calculate_new_capacity``, 27.0.1, but for the sign of the minimum step: it is
        the policy's, and not that of the rounded change, which is negative in Heat where the change rounds to 0.
    """
    match adjustment_type:
        case AdjustmentType.EXACT_CAPACITY:
            wanted = int(adjustment)
        case AdjustmentType.CHANGE_IN_CAPACITY:
            wanted = current + int(adjustment)
        case AdjustmentType.PERCENT_CHANGE_IN_CAPACITY:
            wanted = current + _percent_change(current, adjustment, min_adjustment_step or 0)
        case _:
            assert_never(adjustment_type)
    # the upper bound first, as Heat does: it tells where the bounds are crossed
    return limits.max_size if wanted > limits.max_size else max(wanted, limits.min_size)


def _percent_change(current: int, percent: float, min_step: int) -> int:
    change = current * percent / 100.0
    away_from_zero = math.ceil if change > 0.0 else math.floor
    rounded = away_from_zero(change) if abs(change) < 1.0 else math.trunc(change)
    if min_step > abs(rounded):
        return min_step if percent > 0 else -min_step
    return rounded
