"""Alarms as Aodh stores them -> the domain's; the way back is :mod:`autoscaler.declarations.telling`.

This is on the path of every start, so it looks at the values itself: a hundred thousand take seconds, not minutes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from autoscaler.alarms.alarm import Alarm, Severity
from autoscaler.alarms.granules import parsed
from autoscaler.alarms.rules import (
    ComparisonOperator,
    CompositeRule,
    Condition,
    EventRule,
    Leaf,
    OnOutage,
    PoolHealthRule,
    PrometheusRule,
    Rule,
    Statistic,
    WindowKind,
)
from autoscaler.alarms.time_constraints import TimeConstraint
from autoscaler.declarations.composite import read_tree
from autoscaler.declarations.conditions import trait_condition
from autoscaler.declarations.documents import Path, spelled
from autoscaler.declarations.fields import YEAR
from autoscaler.declarations.rule import across, is_rate, search, unscoped
from autoscaler.declarations.samples import all_of, sample_match
from autoscaler.declarations.telling import BY_METRICS, BY_RESOURCES, RESOURCES, SAMPLES, definition_of, shown_leaf
from autoscaler.declarations.wording import shown
from autoscaler.measures.aggregation import POOLED
from autoscaler.measures.match import And, Equals, Match
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

    from autoscaler.alarms.definition import Definition
    from autoscaler.measures.derived import Derivation

__all__ = ["alarm_of", "definition_of"]

LEAVES: Final = (RESOURCES, BY_METRICS, BY_RESOURCES, "prometheus", SAMPLES)
"""Types of what a composite alarm joins."""
_COMPARISONS: Final[Mapping[Any, ComparisonOperator]] = {each.value: each for each in ComparisonOperator}
_STATISTICS: Final[Mapping[Any, Statistic]] = {each.value: each for each in Statistic}
T = TypeVar("T")


class _FaultError(Exception):
    """What stands at ``path`` in a rule cannot be read."""

    def __init__(self, expected: str, *path: str | int) -> None:
        super().__init__(expected)
        self.path: Path = path


@dataclass(frozen=True, slots=True)
class _Reading:
    """How definitions are read; see :func:`alarm_of`."""

    derived: Mapping[str, Derivation]
    mixed_as_aodh: bool
    outage: OnOutage


def alarm_of(
    definition: Definition,
    *,
    derived: Mapping[str, Derivation],
    mixed_as_aodh: bool,
    outage: OnOutage = OnOutage.BELIEVE,
) -> Alarm:
    """The alarm that somebody defined through the API.

    Args:
        definition: as stored.
        derived: by name, what rules may look at beside metrics that are measured.
        mixed_as_aodh: how composite alarms resolve mixed values, see :class:`autoscaler.alarms.rules.CompositeRule`.
        outage: what rules over many series do while most of them have stopped at once.

    Raises:
        ValueError: it cannot be read; names the key.
    """
    reading = _Reading(derived, mixed_as_aodh, outage)
    try:
        return Alarm(
            alarm_id=definition.alarm_id,
            name=definition.name,
            type=definition.type,
            rule=_condition(definition, reading),
            project_id=definition.project_id,
            scope=definition.scope,
            revision=definition.revision,
            description=definition.description,
            enabled=definition.enabled,
            severity=Severity(definition.severity),
            ok_actions=definition.ok_actions,
            alarm_actions=definition.alarm_actions,
            insufficient_data_actions=definition.insufficient_data_actions,
            repeat_actions=definition.repeat_actions,
            time_constraints=tuple(map(_constraint, definition.time_constraints)),
        )
    except _FaultError as fault:
        raise ValueError(f"{spelled((f'{definition.type}_rule', *fault.path))}: {fault}") from None


def _constraint(constraint: Mapping[str, Any]) -> TimeConstraint:
    try:
        return TimeConstraint(
            name=constraint["name"],
            start=constraint["start"],
            duration=constraint["duration"],
            timezone=constraint.get("timezone") or "",
            description=constraint.get("description") or "",
        )
    except KeyError as missing:
        raise ValueError(f"time_constraints: {missing.args[0]}: missing") from None


def _condition(definition: Definition, reading: _Reading) -> Condition:
    rule = definition.rule
    match definition.type:
        case "composite":
            return _composite(rule, reading)
        case "event":
            return _event(rule)
        case "loadbalancer_member_health":
            names = ("pool_id", "stack_id", "autoscaling_group_id")
            scope = None if definition.scope == ANY_PROJECT else definition.scope
            return PoolHealthRule(**{name: _text(rule, name) for name in names}, scope_to_project=scope)
        case kind if kind in LEAVES:
            return _leaf(kind, rule, reading)
        case kind:
            raise ValueError(f"type: {kind!r} is no type of alarm that is known here")


def _composite(rule: Mapping[str, Any], reading: _Reading) -> CompositeRule:
    read = read_tree(rule, LEAVES)
    if read.faults or read.tree is None:
        path, expected = read.faults[0]
        raise _FaultError(expected, *path)
    leaves: list[Leaf] = []
    for path, kind, leaf in read.leaves:
        try:
            leaves.append(_leaf(kind, leaf, reading))
        except _FaultError as fault:
            raise _FaultError(str(fault), *path, *fault.path) from None
        if leaf.get("per_series"):
            raise _FaultError(ONLY_ALONE, *path, "per_series")
    documents = tuple(shown_leaf(kind, leaf) for _, kind, leaf in read.leaves)
    return CompositeRule(leaves=tuple(leaves), tree=read.tree, documents=documents, mixed_as_aodh=reading.mixed_as_aodh)


ONLY_ALONE: Final = "expected only in alarms of its own, a composite alarm has no state for each series"


def _event(rule: Mapping[str, Any]) -> EventRule:
    conditions = _query(rule, trait_condition)
    kind = _text(rule, "event_type") if rule.get("event_type") else "*"
    return EventRule(event_type=kind, query=tuple(conditions), document=tuple(rule.get("query") or ()))


def _query(rule: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """What the items of a rule's query ask for, each as ``read`` reads it."""
    query = rule.get("query") or []
    if not isinstance(query, list | tuple):
        _refuse(f"expected a list, got {shown(query)}", "query")
    found = []
    for index, item in enumerate(query):
        if not isinstance(item, dict):
            raise _FaultError(f"expected an object, got {shown(item)}", "query", index)
        try:
            found.append(read(item))
        except ValueError as error:
            raise _FaultError(str(error), "query", index) from None
    return found


def _leaf(kind: str, rule: Mapping[str, Any], reading: _Reading) -> Leaf:
    if kind == "prometheus":
        return PrometheusRule(
            query=_text(rule, "query"),
            threshold=_threshold(rule),
            comparison_operator=_comparison(rule),
            scope_to_project=rule.get("scope_to_project"),
            per_series=bool(rule.get("per_series", False)),
        )
    if kind == SAMPLES:
        return _samples(rule, reading)
    fields = _series(kind, rule, reading.derived)
    method = _text(rule, "aggregation_method")
    try:
        parsed(method)
    except ValueError as error:
        raise _FaultError(str(error), "aggregation_method") from None
    if kind != RESOURCES:
        fields["reaggregation_method"] = across(method)
        fields["rate_of_aggregate"] = is_rate(method)
        fields["outage"] = reading.outage
    return Rule(
        single=kind == RESOURCES,
        aggregation_method=method,
        threshold=_threshold(rule),
        comparison_operator=_comparison(rule),
        granularity=float(_count(rule, "granularity", 60, YEAR)),
        evaluation_periods=_count(rule, "evaluation_periods", 1, 100),
        window=WindowKind.ALIGNED,
        **fields,
    )


def _samples(rule: Mapping[str, Any], reading: _Reading) -> Rule:
    """A statistic of all samples that match. Its periods ended when Aodh looked, so its window slides."""
    if rule.get("exclude_outliers"):
        _refuse("expected false; periods are not left out by how many samples they have", "exclude_outliers")
    statistic = _one_of(rule, "statistic", _STATISTICS, Statistic.AVG)
    meter_name = _text(rule, "meter_name")
    return Rule(
        metric=meter_name,
        match=all_of(_query(rule, sample_match)),
        derivation=reading.derived.get(meter_name),
        single=False,
        aggregation_method=statistic.aggregation_method,
        reaggregation_method=POOLED,
        threshold=_threshold(rule),
        comparison_operator=_comparison(rule),
        granularity=float(_count(rule, "period", 60, YEAR)),
        evaluation_periods=_count(rule, "evaluation_periods", 1, 100),
        window=WindowKind.SLIDING,
        outage=reading.outage,
    )


def _series(kind: str, rule: Mapping[str, Any], derived: Mapping[str, Derivation]) -> dict[str, Any]:
    """Which series a rule over measures looks at."""
    if kind == BY_METRICS:
        return _of_metrics(rule, derived)
    metric = _text(rule, "metric")
    if kind == RESOURCES:
        match: Match = And((Equals("resource_id", _text(rule, "resource_id")),))
    else:
        try:
            match = unscoped(search(_present(rule, "query")))
        except ValueError as error:
            raise _FaultError(str(error), "query") from None
    return {"metric": metric, "match": match, "derivation": derived.get(metric)}


def _of_metrics(rule: Mapping[str, Any], derived: Mapping[str, Derivation]) -> dict[str, Any]:
    metrics = _present(rule, "metrics")
    if not isinstance(metrics, list | tuple) or not metrics or not all(isinstance(each, str) for each in metrics):
        _refuse("expected a list of at least one name of a metric", "metrics")
    metric, *further = dict.fromkeys(metrics)
    # Aodh takes any names here; among several, one that is derived elsewhere stands for what is measured by that name
    return {
        "metric": metric,
        "further_metrics": tuple(further),
        "derivation": None if further else derived.get(metric),
    }


def _refuse(expected: str, key: str) -> NoReturn:
    raise _FaultError(expected, key)


def _present(rule: Mapping[str, Any], key: str) -> Any:
    value = rule.get(key)
    return _refuse("missing", key) if value is None else value


def _text(rule: Mapping[str, Any], key: str) -> str:
    value = _present(rule, key)
    return value if isinstance(value, str) and value else _refuse(f"expected text, got {shown(value)}", key)


def _threshold(rule: Mapping[str, Any]) -> float:
    value = _present(rule, "threshold")
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        _refuse(f"expected a finite number, got {shown(value)}", "threshold")
    return float(value)


def _comparison(rule: Mapping[str, Any]) -> ComparisonOperator:
    return _one_of(rule, "comparison_operator", _COMPARISONS, ComparisonOperator.EQ)


def _one_of(rule: Mapping[str, Any], key: str, known: Mapping[Any, T], default: T) -> T:
    value = rule.get(key)
    try:
        return known[value] if value else default
    except (KeyError, TypeError):
        return _refuse(f"expected one of {', '.join(known)}, got {shown(value)}", key)


def _count(rule: Mapping[str, Any], key: str, default: int, most: int) -> int:
    value = rule.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        _refuse(f"expected a whole number from 1 to {most}, got {shown(value)}", key)
    return value
