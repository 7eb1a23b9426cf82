"""The condition part of an alarm, one kind for each kind of alarm."""

from __future__ import annotations

import operator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from autoscaler.measures.derived import Derivation
from autoscaler.measures.match import EVERYTHING, Match, to_search

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


class Statistic(StrEnum):
    """What Aodh's threshold alarms of old compare, as Ceilometer spelled it."""

    AVG = "avg"
    COUNT = "count"
    MAX = "max"
    MIN = "min"
    SUM = "sum"

    @property
    def aggregation_method(self) -> str:
        """The same in Gnocchi's words."""
        return "mean" if self is Statistic.AVG else self.value


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


class OnOutage(StrEnum):
    """What to do while most of a window's series have stopped at once."""

    HOLD = "hold"
    BELIEVE = "believe"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold over an aggregate of one series or of many.

    Attributes:
        metric: name; of several the first.
        further_metrics: of an aggregate over several metrics the others.
        derivation: how the series of ``metric`` are made of those of other metrics; None where they are not.
        match: which series; for a threshold on one resource, the equality that names it.
        single: True for ``threshold``: one series, no aggregation across.
        group: only the members of this group count; None counts every matching series.
        aggregation_method: within a series, see :mod:`autoscaler.measures.aggregation`.
        reaggregation_method: across series, or :data:`autoscaler.measures.aggregation.POOLED`; "" where ``single``.
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
        outage: whether the state is held while most of its series have stopped at once, see
            :mod:`autoscaler.alarms.outage`; of one series nothing can be told.
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
    outage: OnOutage = OnOutage.BELIEVE
    further_metrics: tuple[str, ...] = ()
    derivation: Derivation | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics whose measures its window keeps; the series of the first bear the plain resource id."""
        derived_from = () if self.derivation is None else self.derivation.metrics
        return (self.metric, *self.further_metrics, *derived_from)

    @property
    def granules(self) -> int:
        """How many granules the window of this rule has: one may be missing, as in Aodh.

        With missing data treated, N + 2: CloudWatch's evaluation range for N = 3 is 5; its rule for other N is
        unpublished, this one is ours.
        """
        treated = self.treat_missing_data is not None or self.datapoints_to_alarm is not None
        return self.evaluation_periods + (2 if treated else 1)

    @property
    def is_plain(self) -> bool:
        """Whether it is no more than a threshold on aligned granules, which counts as soon as it is passed."""
        return not (
            self.window is WindowKind.SLIDING
            or self.in_order
            or self.hold_for
            or self.keep_firing_for
            or self.rate_of_aggregate
            or self.datapoints_to_alarm is not None
            or self.treat_missing_data is not None
            or not (self.single or self.outage is OnOutage.BELIEVE)
        )

    @property
    def in_order(self) -> bool:
        """Whether every boundary is evaluated, and nothing between two of them."""
        return self.evaluate is EvaluateWhen.BOUNDARY and self.window is WindowKind.ALIGNED

    @property
    def horizon(self) -> float:
        """Seconds of points that an evaluation may look at: two windows and two granules, and the lateness.

        One granule more than the window, since a difference needs the point before it and an aggregate's rate the
        granule before it; one more for the part of the newest granule that is still open. The second window is for
        late measures: a granule that has just left the window can still be judged with those before it.
        """
        return self.granularity * (2 * self.granules + 2) + self.lateness


class PrometheusRule(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold over every value that an instant query to a Prometheus server answers with.

    Attributes:
        query: PromQL.
        scope_to_project: the project whose label is put into the query; None asks as it is written.
        per_series: each series that answers has a state of its own; Aodh mixes them up.
    """

    query: str
    threshold: float
    comparison_operator: ComparisonOperator = ComparisonOperator.EQ
    scope_to_project: str | None = None
    per_series: bool = False


class TraitCondition(msgspec.Struct, frozen=True, kw_only=True):
    """What an event alarm asks of one trait.

    Attributes:
        field: ``traits.NAME``.
        type: what ``value`` is converted to: ``string``, ``integer``, ``float``, ``boolean``, ``datetime`` or "".
    """

    field: str
    value: str
    op: ComparisonOperator = ComparisonOperator.EQ
    type: str = ""


class EventRule(msgspec.Struct, frozen=True, kw_only=True):
    """An event that happens.

    Attributes:
        event_type: as ``fnmatch`` reads it.
        query: all of which must hold.
        document: the query as it was written, for the reason's text.
    """

    event_type: str = "*"
    query: tuple[TraitCondition, ...] = ()
    document: tuple[dict[str, Any], ...] = ()


class PoolHealthRule(msgspec.Struct, frozen=True, kw_only=True):
    """A member of a load balancer's pool that is not healthy.

    Attributes:
        scope_to_project: the project whose pools may be looked at; None looks at any.
    """

    pool_id: str
    stack_id: str
    autoscaling_group_id: str
    scope_to_project: str | None = None


Leaf = Rule | PrometheusRule
"""What a composite alarm is made of."""


class Junction(msgspec.Struct, frozen=True):
    """Parts joined by ``and`` or ``or``; a number is a leaf, from 0 in depth-first order."""

    operator: Literal["and", "or"]
    parts: tuple[Junction | int, ...]


class CompositeRule(msgspec.Struct, frozen=True, kw_only=True):
    """Several conditions, joined.

    Attributes:
        leaves: in depth-first order; ``rule1`` is the first.
        tree: how they are joined; 0 where there is a single leaf.
        documents: each leaf as it is shown in ``reason_data``.
        mixed_as_aodh: values on both sides of a leaf's threshold resolve against their trend, as in Aodh; else a leaf
            keeps its state then, as a plain alarm does.
    """

    leaves: tuple[Leaf, ...]
    tree: Junction | int
    documents: tuple[dict[str, Any], ...]
    mixed_as_aodh: bool = False


Condition = Rule | CompositeRule | EventRule | PrometheusRule | PoolHealthRule


def leaves_of(condition: Condition) -> tuple[Leaf, ...]:
    """What a condition looks at in windows or asks Prometheus for, in order; nothing for events and pools."""
    match condition:
        case Rule() | PrometheusRule():
            return (condition,)
        case CompositeRule():
            return condition.leaves
        case EventRule() | PoolHealthRule():
            return ()


def plain(condition: Condition) -> Any:
    """A condition as what is encoded as JSON: equal conditions give equal texts, different ones different."""
    match condition:
        case Rule():
            return [to_search(condition.match), msgspec.structs.replace(condition, match=EVERYTHING)]
        case CompositeRule():
            return ["composite", condition.tree, condition.mixed_as_aodh, *(plain(leaf) for leaf in condition.leaves)]
        case EventRule() | PrometheusRule() | PoolHealthRule():
            return [type(condition).__name__, condition]
