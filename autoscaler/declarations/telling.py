"""Declared alarms as Aodh would tell them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from autoscaler.alarms.alarm import REPEAT_INTERVAL, Alarm
from autoscaler.alarms.definition import Definition
from autoscaler.alarms.rules import (
    CompositeRule,
    Condition,
    EvaluateWhen,
    EventRule,
    Junction,
    Leaf,
    PoolHealthRule,
    PrometheusRule,
    Rule,
    WindowKind,
    leaves_of,
)
from autoscaler.declarations.rule import across, is_rate
from autoscaler.measures.match import And, Equals, all_equal, to_search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

RESOURCES: Final = "gnocchi_resources_threshold"
BY_METRICS: Final = "gnocchi_aggregation_by_metrics_threshold"
BY_RESOURCES: Final = "gnocchi_aggregation_by_resources_threshold"
SAMPLES: Final = "threshold"
"""Aodh's type of old, over the samples that Ceilometer kept. The short type of that name means another: one series."""
TOLD_AS: Final[Mapping[str, str]] = {"threshold": RESOURCES, "aggregation": BY_RESOURCES}
"""What the short types are called by Aodh."""
RESOURCE_TYPE: Final = "generic"
"""Measures have no type of resource; this is Gnocchi's for any."""


def definition_of(alarm: Alarm, *, user_id: str = "", timestamp: float) -> Definition:
    """A declared alarm as Aodh would tell it. What Aodh has no key for, and matters, is said in the description.

    Args:
        alarm: a declared one.
        user_id: who is said to have made it.
        timestamp: Unix seconds, when it was declared.
    """
    beyond = ", ".join(_beyond(alarm))
    return Definition(
        alarm_id=alarm.alarm_id,
        type=TOLD_AS.get(alarm.type, alarm.type),
        name=alarm.name,
        description=f"{alarm.description} (beyond what Aodh has: {beyond})" if beyond else alarm.description,
        enabled=alarm.enabled,
        severity=alarm.severity.value,
        ok_actions=alarm.ok_actions,
        alarm_actions=alarm.alarm_actions,
        insufficient_data_actions=alarm.insufficient_data_actions,
        repeat_actions=alarm.repeat_actions,
        time_constraints=tuple(msgspec.to_builtins(constraint) for constraint in alarm.time_constraints),
        rule=_told(alarm.type, alarm.rule),
        user_id=user_id,
        project_id=alarm.project_id,
        timestamp=timestamp,
        scope=alarm.sees,
        revision=alarm.revision,
        created=timestamp,
    )


def leaf_document(kind: str, leaf: Leaf) -> dict[str, Any]:
    """A leaf of a composite alarm as Aodh tells it; ``kind`` is its type as it was declared."""
    return shown_leaf(TOLD_AS.get(kind, kind), _told(kind, leaf))


def shown_leaf(kind: str, rule: Mapping[str, Any]) -> dict[str, Any]:
    """A stored leaf as people see it: with its type, and without what only the controller is to know."""
    return {"type": kind, **{key: value for key, value in rule.items() if key != "scope_to_project"}}


def _told(kind: str, condition: Condition) -> dict[str, Any]:
    match condition:
        case Rule():
            return _told_rule(TOLD_AS.get(kind, kind), condition)
        case PrometheusRule():
            return _told_prometheus(condition)
        case CompositeRule(tree=tree, documents=documents):
            told: dict[str, Any] = _told_tree(tree, documents)
            return told
        case EventRule():
            return {"event_type": condition.event_type, "query": list(condition.document)}
        case PoolHealthRule():
            return {
                "pool_id": condition.pool_id,
                "stack_id": condition.stack_id,
                "autoscaling_group_id": condition.autoscaling_group_id,
            }
        case _:
            assert_never(condition)


def _told_tree(tree: Junction | int, documents: tuple[dict[str, Any], ...]) -> Any:
    if isinstance(tree, int):
        return documents[tree]
    return {tree.operator: [_told_tree(part, documents) for part in tree.parts]}


def _told_rule(kind: str, rule: Rule) -> dict[str, Any]:
    common = {
        "comparison_operator": rule.comparison_operator.value,
        "threshold": rule.threshold,
        "aggregation_method": rule.aggregation_method,
        "evaluation_periods": rule.evaluation_periods,
        "granularity": int(rule.granularity),
    }
    match kind:
        case "gnocchi_resources_threshold":
            place = {"metric": rule.metric, "resource_id": _resource(rule), "resource_type": RESOURCE_TYPE}
        case "gnocchi_aggregation_by_metrics_threshold":
            return {"metrics": [rule.metric, *rule.further_metrics], **common}
        case _:
            query = json.dumps(to_search(_written(rule)))
            place = {"metric": rule.metric, "query": query, "resource_type": RESOURCE_TYPE}
    return {**place, **common}


def _written(rule: Rule) -> Any:
    """A rule's match without the conjunction that is kept around a single equality."""
    return rule.match.parts[0] if isinstance(rule.match, And) and len(rule.match.parts) == 1 else rule.match


def _resource(rule: Rule) -> str:
    named = (part.value for part in _equalities(rule) if part.attribute == "resource_id")
    return next(named, "")


def _equalities(rule: Rule) -> list[Equals]:
    parts = rule.match.parts if isinstance(rule.match, And) else (rule.match,)
    return [part for part in parts if isinstance(part, Equals)]


def _told_prometheus(rule: PrometheusRule) -> dict[str, Any]:
    told: dict[str, Any] = {
        "query": rule.query,
        "threshold": rule.threshold,
        "comparison_operator": rule.comparison_operator.value,
    }
    if rule.scope_to_project is not None:
        told["scope_to_project"] = rule.scope_to_project
    if rule.per_series:
        told["per_series"] = True
    return told


def _beyond(alarm: Alarm) -> list[str]:
    """What is declared of an alarm that Aodh has no key for."""
    found = []
    if alarm.repeat_actions and alarm.repeat_interval != REPEAT_INTERVAL:
        found.append(f"repeat_interval {alarm.repeat_interval:g}")
    leaves = leaves_of(alarm.rule)
    for number, leaf in enumerate(leaves, 1):
        if isinstance(leaf, Rule):
            of = f" of rule{number}" if isinstance(alarm.rule, CompositeRule) else ""
            found += [f"{said}{of}" for said in _beyond_rule(leaf)]
    return found


_BEYOND: Final[Mapping[str, tuple[Any, Callable[[Any], str]]]] = {
    "group": (None, "group {}".format),
    "window": (WindowKind.ALIGNED, "{} window".format),
    "evaluate": (EvaluateWhen.SETTLED, "evaluate {}".format),
    "lateness": (0.0, "lateness {:g}".format),
    "datapoints_to_alarm": (None, "datapoints_to_alarm {}".format),
    "treat_missing_data": (None, "treat_missing_data {}".format),
    "recovery_threshold": (None, "recovery_threshold {:g}".format),
    "hold_for": (0.0, "for {:g}".format),
    "keep_firing_for": (0.0, "keep_firing_for {:g}".format),
    "min_reporting": (None, "min_reporting {:g}".format),
}
"""Fields of a rule that Aodh has no key for: what they are there, and how others are said."""


def _beyond_rule(rule: Rule) -> list[str]:
    found = [said(value) for name, (aodhs, said) in _BEYOND.items() if (value := getattr(rule, name)) != aodhs]
    if rule.single:
        further = {part.attribute: part.value for part in _equalities(rule) if part.attribute != "resource_id"}
        return [*found, f"match {json.dumps(to_search(all_equal(further)))}"] if further else found
    if rule.reaggregation_method != across(rule.aggregation_method):
        found.append(f"reaggregation_method {rule.reaggregation_method}")
    if is_rate(rule.aggregation_method) and not rule.rate_of_aggregate:
        found.append(f"{rule.aggregation_method} within each series")
    return found
