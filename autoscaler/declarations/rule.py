"""The condition part of an alarm, by the alarm's type; keys, ranges and defaults are Aodh's.

Source: aodh/api/controllers/v2/alarm_rules/gnocchi.py, 23.0.0; the keys beyond are ours and off by default.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, Strict, ValidationInfo, field_validator, model_validator

from autoscaler.alarms.rules import ComparisonOperator, EvaluateWhen, OnOutage, Rule, TreatMissingData, WindowKind
from autoscaler.declarations.fields import YEAR, Declared, Name, Number, Short, Whole
from autoscaler.declarations.wording import shown
from autoscaler.measures.aggregation import POOLED, Differences, parse, parse_reaggregation
from autoscaler.measures.match import MAX_LEVELS, And, Equals, Match, Or, all_equal, from_search

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final


def _as_text(value: Any) -> str:
    """An attribute as measures have it: numbers and booleans as JSON spells them."""
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {shown(value)}")  # noqa: TRY004 - pydantic collects these
    return value


MAX_METRICS: Final = 1000
"""Metrics that one rule looks at."""

Attribute = Annotated[str, BeforeValidator(_as_text)]
Seconds = Annotated[Number, Field(ge=0, le=YEAR)]


class RuleDocument(Declared):
    """What all rules over measures have in common."""

    default_window: ClassVar[WindowKind] = WindowKind.SLIDING
    default_outage: ClassVar[OnOutage] = OnOutage.BELIEVE

    comparison_operator: ComparisonOperator = ComparisonOperator.EQ
    """How an aggregate is compared with the threshold."""

    threshold: Number
    """A number to compare with."""

    aggregation_method: Short
    """A method such as mean, within each series."""

    granularity: Annotated[Whole, Field(ge=1, le=YEAR)] = 60
    """Seconds of one granule."""

    evaluation_periods: Annotated[Whole, Field(ge=1, le=100)] = 1
    """Granules that must agree."""

    window: WindowKind | None = None
    """Where granules lie in time."""

    evaluate: EvaluateWhen = EvaluateWhen.SETTLED
    """When an aligned granule counts."""

    lateness: Annotated[Number, Field(ge=0, le=86_400)] = 0.0
    """Seconds that a granule is waited for after its end."""

    datapoints_to_alarm: Annotated[Whole, Field(ge=1, le=100)] | None = None
    """How many of the evaluation periods must breach."""

    treat_missing_data: TreatMissingData | None = None
    """What a granule without points stands for."""

    recovery_threshold: Number | None = None
    """The value that ends an alarm."""

    hold_for: Annotated[Seconds, Field(alias="for")] = 0.0
    """Seconds the verdict must last before the alarm."""

    keep_firing_for: Seconds = 0.0
    """Seconds the alarm lasts on after the verdict is gone."""

    min_reporting: Annotated[Number, Field(ge=0, le=1)] | None = None
    """Share of a group's ready members that must report before a scale-in."""

    outage: OnOutage | None = None
    """What to do while most series have stopped at once."""

    @field_validator("aggregation_method")
    @classmethod
    def _is_method(cls, name: str) -> str:
        parse(name)
        return name

    @field_validator("evaluate")
    @classmethod
    def _has_boundaries(cls, evaluate: EvaluateWhen, info: ValidationInfo) -> EvaluateWhen:
        if evaluate is EvaluateWhen.BOUNDARY and info.data.get("window") is WindowKind.SLIDING:
            raise ValueError("expected window: aligned, since a sliding window has no boundaries")
        return evaluate

    @field_validator("datapoints_to_alarm")
    @classmethod
    def _at_most_all(cls, datapoints: int, info: ValidationInfo) -> int:
        periods = info.data.get("evaluation_periods", datapoints)
        if datapoints > periods:
            raise ValueError(f"expected at most evaluation_periods, which is {periods}, got {datapoints}")
        return datapoints

    @field_validator("treat_missing_data", mode="before")
    @classmethod
    def _in_our_words(cls, treatment: Any) -> Any:
        if treatment == "notBreaching":
            words = ", ".join(TreatMissingData)
            raise ValueError(f"expected one of {words}, got 'notBreaching'; CloudWatch's word for \"ok\"")
        return treatment

    @field_validator("recovery_threshold")
    @classmethod
    def _on_the_quiet_side(cls, recovery: float, info: ValidationInfo) -> float:
        comparison, threshold = info.data.get("comparison_operator"), info.data.get("threshold", recovery)
        match comparison:
            case ComparisonOperator.GT | ComparisonOperator.GE if recovery > threshold:
                raise ValueError(f"expected at most the threshold, which is {threshold:g}, got {recovery:g}")
            case ComparisonOperator.LT | ComparisonOperator.LE if recovery < threshold:
                raise ValueError(f"expected at least the threshold, which is {threshold:g}, got {recovery:g}")
            case ComparisonOperator.EQ | ComparisonOperator.NE:
                raise ValueError(f"expected only with gt, ge, lt or le, but comparison_operator is {comparison}")
            case _:
                return recovery

    def to_domain(self) -> Rule:
        """The rule."""
        boundary = self.evaluate is EvaluateWhen.BOUNDARY  # which only aligned windows have
        window = self.window or (WindowKind.ALIGNED if boundary else self.default_window)
        same = self.model_dump(
            include=set(Rule.__struct_fields__) & set(RuleDocument.model_fields) - {"window", "outage"}
        )
        same["granularity"] = float(self.granularity)
        # boundaries are evaluated for equality with Aodh, which knows no outages
        outage = self.outage or (OnOutage.BELIEVE if boundary else self.default_outage)
        return Rule(**same, **self._scope(), window=window, outage=outage)

    def _scope(self) -> dict[str, Any]:
        """Which series count, and how they become one."""
        raise NotImplementedError


class OneMetric(RuleDocument):
    """A rule over series of one metric."""

    metric: Short
    """The name of a metric."""


class OneResource(OneMetric):
    """A rule over one series."""

    resource_id: Short
    """The id of a resource."""

    match: dict[Short, Attribute] = Field(default_factory=dict)
    """Further attributes that the series must have."""

    @field_validator("match")
    @classmethod
    def _agrees(cls, match: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        named = {match[key] for key in ("id", "resource_id") if key in match}
        if not named <= {info.data.get("resource_id")}:
            raise ValueError("expected no other resource_id than the rule's own")
        return match

    def _scope(self) -> dict[str, Any]:
        wanted = {key: value for key, value in self.match.items() if key != "id"} | {"resource_id": self.resource_id}
        return {"metric": self.metric, "single": True, "match": all_equal(wanted)}


class ManySeries(RuleDocument):
    """A rule over the aggregate of many series."""

    reaggregation_method: Short | None = None
    """The method across series; the one within where that can be. pooled takes all measures as those of one."""

    @field_validator("reaggregation_method")
    @classmethod
    def _is_reaggregation(cls, name: str, info: ValidationInfo) -> str:
        within = info.data.get("aggregation_method")
        if name == POOLED and within is not None and (base := parse(within).base) in {"first", "last"}:
            raise ValueError(f"expected another method than {POOLED}, since there is no {base} among several series")
        return parse_reaggregation(name)

    def _across(self) -> dict[str, Any]:
        return {"single": False, "reaggregation_method": self.reaggregation_method or across(self.aggregation_method)}


def across(aggregation_method: str) -> str:
    """The method across series that goes with one within each."""
    base = parse(aggregation_method).base
    return "mean" if base in {"last", "first"} else base


def is_rate(aggregation_method: str) -> bool:
    """Whether Aodh's aggregation alarms take the differences of the aggregate for it."""
    return parse(aggregation_method).differences is Differences.RATE


class AggregationRule(OneMetric, ManySeries):
    """``aggregation``: series that match, or those of a group's members."""

    default_outage: ClassVar[OnOutage] = OnOutage.HOLD

    match: dict[Short, Attribute] | None = None
    """Attributes that a series must have; ``{}`` takes all of them."""

    group: Name | None = None
    """The name of a group whose members count."""

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.match is None and self.group is None:
            raise ValueError("expected match or group; match: {} takes every series of the metric")
        return self

    def _scope(self) -> dict[str, Any]:
        return {"metric": self.metric, "match": all_equal(self.match or {}), "group": self.group, **self._across()}


class GnocchiResourcesRule(OneResource):
    """``gnocchi_resources_threshold_rule``, as Aodh and Heat write it."""

    default_window: ClassVar[WindowKind] = WindowKind.ALIGNED

    resource_type: Annotated[str, Strict()] = ""
    """Not looked at, as in Aodh."""


class GnocchiMetricsRule(ManySeries):
    """``gnocchi_aggregation_by_metrics_threshold_rule``, as Aodh and Heat write it."""

    default_window: ClassVar[WindowKind] = WindowKind.ALIGNED

    metrics: Annotated[tuple[Short, ...], Field(min_length=1, max_length=MAX_METRICS)]
    """A list of names of metrics; every series of any of them counts."""

    def _scope(self) -> dict[str, Any]:
        metric, *further = dict.fromkeys(self.metrics)
        return {
            "metric": metric,
            "further_metrics": tuple(further),
            "rate_of_aggregate": is_rate(self.aggregation_method),
            **self._across(),
        }


class GnocchiAggregationRule(OneMetric, ManySeries):
    """``gnocchi_aggregation_by_resources_threshold_rule``, as Aodh and Heat write it."""

    default_window: ClassVar[WindowKind] = WindowKind.ALIGNED

    query: Any
    """A Gnocchi search such as {"=": {"server_group": "web"}}, as an object or as a string of JSON."""

    resource_type: Annotated[str, Strict()] = ""
    """Not looked at: measures have no type."""

    group: Name | None = None
    """The name of a group whose members count."""

    @field_validator("query")
    @classmethod
    def _is_search(cls, query: Any) -> Match:
        return search(query)

    @property
    def scoped_to(self) -> str | None:
        """The project that Aodh has scoped the query to, where it was read back from there."""
        return scoped_to(self.query)

    def _scope(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "match": unscoped(self.query),
            "group": self.group,
            "rate_of_aggregate": is_rate(self.aggregation_method),
            **self._across(),
        }


def search(query: Any) -> Match:
    """The predicate that a Gnocchi search stands for, given as an object or as a string of JSON.

    Raises:
        ValueError: it is none; says what was expected.
    """
    if isinstance(query, str):
        try:
            query = json.loads(query)
        except json.JSONDecodeError as error:
            raise ValueError(f"expected a string of JSON: {error}") from error
        except RecursionError as error:
            raise ValueError(f"expected a search of at most {MAX_LEVELS} levels") from error
    return from_search(query)


RULES: Final[Mapping[str, type[RuleDocument]]] = {
    "threshold": OneResource,
    "aggregation": AggregationRule,
    "gnocchi_resources_threshold": GnocchiResourcesRule,
    "gnocchi_aggregation_by_metrics_threshold": GnocchiMetricsRule,
    "gnocchi_aggregation_by_resources_threshold": GnocchiAggregationRule,
}
"""By type of alarm."""


@dataclass(frozen=True, slots=True)
class _Search:
    match: Match
    project_id: str | None = None  # None means that Aodh has not scoped it


def unscoped(match: Match) -> Match:
    """A search as a rule keeps it: without what Aodh puts around it, equal ones spelled alike."""
    return _plain(_unscoped(match).match)


def scoped_to(match: Match) -> str | None:
    """The project that Aodh has scoped a search to, by the words that it puts around it; None where there are none."""
    return _unscoped(match).project_id


def _unscoped(match: Match) -> _Search:
    """A search without what Aodh puts around those of ordinary users, once for each time that they send it.

    Our alarms are scoped by their project_id. Source: aodh/api/controllers/v2/alarm_rules/gnocchi.py, 23.0.0.
    """
    match match:
        case And((Equals("created_by_project_id", project_id), inner)):
            # where Aodh does not know the project of the services
            return _Search(_unscoped(inner).match, project_id)
        case And((Or((Equals("created_by_project_id", project_id), *rest)), inner)) if all(
            isinstance(part, And) and Equals("project_id", project_id) in part.parts for part in rest
        ):
            return _Search(_unscoped(inner).match, project_id)
        case _:
            return _Search(match)


def _plain(match: Match) -> Match:
    """A conjunction of equalities as ``match: {…}`` writes it, so that equal rules share a window."""
    match match:
        case Equals():
            return And((match,))
        case And(parts) if all(isinstance(part, Equals) for part in parts):
            return And(tuple(sorted(set(parts), key=lambda part: (part.attribute, part.value))))  # type: ignore[union-attr]
        case _:
            return match
