"""The condition part of an alarm."""

from __future__ import annotations

import operator
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from autoscaler.measures.match import EVERYTHING, Match

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final


class ComparisonOperator(StrEnum):
    """As Aodh spells them."""

    LT = "lt"
    LE = "le"
    EQ = "eq"
    NE = "ne"
    GE = "ge"
    GT = "gt"


COMPARISONS: Final[Mapping[ComparisonOperator, Callable[[Any, Any], bool]]] = {
    ComparisonOperator.LT: operator.lt,
    ComparisonOperator.LE: operator.le,
    ComparisonOperator.EQ: operator.eq,
    ComparisonOperator.NE: operator.ne,
    ComparisonOperator.GE: operator.ge,
    ComparisonOperator.GT: operator.gt,
}


class WindowKind(StrEnum):
    """Where granules lie in time."""

    ALIGNED = "aligned"
    SLIDING = "sliding"


class EvaluateWhen(StrEnum):
    """When an aligned granule counts."""

    SETTLED = "settled"
    BOUNDARY = "boundary"
    MEASURE = "measure"


class TreatMissingData(StrEnum):
    """What a granule without points stands for; CloudWatch's four, ``ok`` being its ``notBreaching``."""

    MISSING = "missing"
    IGNORE = "ignore"
    BREACHING = "breaching"
    OK = "ok"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold over an aggregate of one series or of many.

    Attributes:
        metric: name.
        match: which series; for a threshold on one resource, the equality that names it.
        single: True for ``threshold``: one series, no aggregation across.
        group: only the members of this group count; None counts every matching series.
        aggregation_method: within a series, see :mod:`autoscaler.measures.aggregation`.
        reaggregation_method: across series; "" where ``single``.
        rate_of_aggregate: differences are taken of the aggregate across series, as Aodh's aggregation alarms do,
            and not within each series.
        granularity: seconds.
        evaluation_periods: granules that must agree.
        lateness: seconds a granule is waited for after its end.
        datapoints_to_alarm: M of the N evaluation periods; None means all of them, by Aodh's state machine.
        treat_missing_data: None means Aodh's way.
        recovery_threshold: in state ``alarm``, values count as outside until they pass this one; None means
            ``threshold``.
        hold_for: seconds the verdict must last before ``alarm`` (``for``).
        keep_firing_for: seconds ``alarm`` lasts on after the verdict is gone.
        min_reporting: share of a group's ready members that must report before a scale-in; None means the group's.
    """

    metric: str
    match: Match = EVERYTHING
    single: bool
    aggregation_method: str
    reaggregation_method: str = ""
    rate_of_aggregate: bool = False
    threshold: float
    comparison_operator: ComparisonOperator = ComparisonOperator.EQ
    granularity: float = 60.0
    evaluation_periods: int = 1
    group: str | None = None
    window: WindowKind = WindowKind.SLIDING
    evaluate: EvaluateWhen = EvaluateWhen.SETTLED
    lateness: float = 0.0
    datapoints_to_alarm: int | None = None
    treat_missing_data: TreatMissingData | None = None
    recovery_threshold: float | None = None
    hold_for: float = 0.0
    keep_firing_for: float = 0.0
    min_reporting: float | None = None

    @property
    def granules(self) -> int:
        """How many granules the window of this rule has: one may be missing, as in Aodh.

        With missing data treated, N + 2: CloudWatch's evaluation range for N = 3 is 5; its rule for other N is
        unpublished, this one is ours.
        """
        treated = self.treat_missing_data is not None or self.datapoints_to_alarm is not None
        return self.evaluation_periods + (2 if treated else 1)

    @property
    def horizon(self) -> float:
        """Seconds of points that an evaluation may look at: two windows and two granules, and the lateness.

        One granule more than the window, since a difference needs the point before it and an aggregate's rate the
        granule before it; one more for the part of the newest granule that is still open. The second window is for
        late measures: a granule that has just left the window can still be judged with those before it.
        """
        return self.granularity * (2 * self.granules + 2) + self.lateness
