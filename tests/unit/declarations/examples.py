"""Texts that the tests of this folder share."""

import json
from typing import Any

from autoscaler.alarms.alarm import Alarm
from autoscaler.declarations import Declarations, load
from autoscaler.errors import DeclarationError

RULE = {"metric": "cpu_util", "aggregation_method": "mean", "threshold": 70, "comparison_operator": "gt"}
GROUP = {"name": "web", "min_size": 1, "max_size": 10, "target": {"type": "dry_run"}}
OUT = {"name": "out", "group": "web", "adjustment_type": "change_in_capacity", "scaling_adjustment": 2}
IN = {"name": "in", "group": "web", "adjustment_type": "change_in_capacity", "scaling_adjustment": -1}


def declared(**sections: Any) -> Declarations:
    """What a file with these sections declares."""
    return load({"f.yaml": json.dumps(sections, indent=1)})


def threshold(**keys: Any) -> dict[str, Any]:
    """An alarm on one resource; ``keys`` go to the alarm."""
    return {"name": "a", "type": "threshold", "rule": {"resource_id": "r", **RULE}, **keys}


def aggregation(rule: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """An alarm on the members of the group ``web``; ``rule`` goes to its rule and ``keys`` to the alarm."""
    return {"name": "a", "type": "aggregation", "rule": {"group": "web", **RULE, **(rule or {})}, **keys}


def only(declarations: Declarations) -> Alarm:
    """The one alarm that is declared."""
    (alarm,) = declarations.alarms.values()
    return alarm


def refused(**sections: Any) -> list[str]:
    """The keys at which the sections are refused; none where they are taken."""
    try:
        declared(**sections)
    except DeclarationError as error:
        return [problem.key for problem in error.problems]
    return []


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a document, outer ones first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, part in inner for place in places(part, (*path, step)))]


def put(container: Any, path: tuple[Any, ...], value: Any) -> None:
    """Replace what stands at ``path``, where an earlier change has left such a place."""
    *outer, last = path
    for step in outer:
        container = container[step] if isinstance(container, dict | list) and has(container, step) else None
    if isinstance(container, dict | list) and has(container, last):
        container[last] = value


def has(container: Any, step: Any) -> bool:
    return step in container if isinstance(container, dict) else isinstance(step, int) and step < len(container)


BY_METRICS = {"metrics": ["a", "b"], "aggregation_method": "mean", "threshold": 1}
ONE = {**RULE, "resource_id": "r"}
WHOLE: dict[str, Any] = {
    "alarms": [
        threshold(
            time_constraints=[{"name": "d", "start": "0 8 * * *", "duration": 1, "timezone": "UTC", "description": ""}],
            project_id="",
            description="",
            enabled=True,
            severity="low",
            insufficient_data_actions=["log://"],
            repeat_actions=True,
            repeat_interval=5,
        ),
        aggregation(
            {
                "match": {"a": "b"},
                "reaggregation_method": "max",
                "granularity": 5,
                "evaluation_periods": 3,
                "window": "aligned",
                "evaluate": "boundary",
                "lateness": 1,
                "datapoints_to_alarm": 2,
                "treat_missing_data": "ignore",
                "recovery_threshold": 60,
                "for": 5,
                "keep_firing_for": 5,
                "min_reporting": 0.5,
            },
            name="b",
            alarm_actions=["policy://out"],
            ok_actions=["policy://in"],
        ),
        {
            "name": "c",
            "type": "gnocchi_aggregation_by_resources_threshold",
            "state": "ok",
            "rule": {
                **RULE,
                "query": {"and": [{"=": {"a": "b"}}, {"not": {"in": {"c": ["d", 1]}}}, {"like": {"e": "f%"}}]},
                "resource_type": "instance",
            },
        },
        {
            "name": "d",
            "type": "composite",
            "project_id": "any",
            "composite_rule": {
                "or": [
                    {"type": "gnocchi_aggregation_by_metrics_threshold", **BY_METRICS},
                    {"and": [{"type": "prometheus", "query": "up", "threshold": 1}, {"type": "threshold", **ONE}]},
                ]
            },
            "alarm_actions": ["trust+http://t@x/y"],
        },
        {
            "name": "e",
            "type": "event",
            "rule": {"event_type": "a.*", "query": [{"field": "traits.a", "op": "ge", "value": 5, "type": "integer"}]},
        },
        {
            "name": "f",
            "type": "prometheus",
            "project_id": "p",
            "rule": {"query": "up", "threshold": 1, "per_series": True},
        },
        {
            "name": "g",
            "type": "loadbalancer_member_health",
            "rule": {"pool_id": "a", "stack_id": "b", "autoscaling_group_id": "c"},
        },
    ],
    "groups": [
        GROUP,
        GROUP
        | {"name": "p", "desired_capacity": 2, "target": {"type": "process", "command": ["a"], "env": {"A": "b"}}},
        GROUP | {"name": "h", "target": {"type": "http", "url": "http://x", "headers": {"A": "b"}, "timeout": 1}},
    ],
    "policies": [OUT, IN | {"adjustment_type": "percent", "min_adjustment_step": 1, "cooldown": 1}],
    "derived_metrics": [
        {
            "name": "busy",
            "from": "cpu",
            "rate": "per_second",
            "scale": 0.5,
            "divide_by": {"metadata": ["a"], "metric": "b"},
        }
    ],
    "schedules": [{"name": "day", "group": "web", "cron": "0 8 * * mon", "timezone": "UTC", "min_size": 2, "grace": 1}],
}
