"""Alarms in Aodh's storage form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.definition import told
from autoscaler.api.v2.stored import definition_of_stored
from autoscaler.measures.window import ANY_PROJECT

PERMISSION = {
    "or": [
        {"=": {"created_by_project_id": "p1"}},
        {"and": [{"=": {"created_by_project_id": "service"}}, {"=": {"project_id": "p1"}}]},
    ]
}
THRESHOLD = {
    "granularity": 60,
    "comparison_operator": "gt",
    "threshold": 50.0,
    "aggregation_method": "mean",
    "evaluation_periods": 5,
}
SEARCH = '{"=": {"server_group": "g"}}'


def stored(kind: str, rule: dict[str, Any], **changes: Any) -> dict[str, Any]:
    alarm = {
        "alarm_id": "a1",
        "type": kind,
        "enabled": True,
        "name": "e0",
        "description": "d",
        "timestamp": "2026-11-20T15:19:06.914368",
        "user_id": "u1",
        "project_id": "p1",
        "state": "ok",
        "state_timestamp": "2026-11-20T15:19:06.914368",
        "state_reason": "Not evaluated yet",
        "ok_actions": ["log:"],
        "alarm_actions": ["http://127.0.0.1:9/x"],
        "insufficient_data_actions": [],
        "repeat_actions": True,
        "time_constraints": [],
        "severity": "low",
        "rule": rule,
    }
    return alarm | changes


def by_resources(query: str) -> dict[str, Any]:
    rule = {**THRESHOLD, "metric": "cpu", "query": query, "resource_type": "instance"}
    return stored("gnocchi_aggregation_by_resources_threshold", rule)


def test_an_alarm_is_as_it_was_stored() -> None:
    document = by_resources(json.dumps({"and": [PERMISSION, json.loads(SEARCH)]}))
    definition, state = definition_of_stored(document)

    assert state is AlarmState.OK
    assert definition.scope == "p1"
    known = {key: value for key, value in document.items() if not key.startswith("state")} | {"ok_actions": ["log://"]}
    found = json.loads(json.dumps(told(definition)))
    assert {key: found[key] for key in known if key != "timestamp"} == {
        key: value for key, value in known.items() if key != "timestamp"
    }


def test_a_search_that_is_not_confined_was_an_admins_and_sees_everything() -> None:
    assert definition_of_stored(by_resources(SEARCH))[0].scope == ANY_PROJECT


@pytest.mark.parametrize(("scoped", "sees"), [(None, ANY_PROJECT), ("p1", "p1")])
def test_a_query_of_prometheus_sees_what_aodh_confined_it_to(scoped: str | None, sees: str) -> None:
    rule = {"query": "up", "threshold": 1.0, "comparison_operator": "lt", "scope_to_project": scoped}
    definition, _ = definition_of_stored(stored("prometheus", rule))

    assert definition.scope == sees
    assert definition.rule.get("scope_to_project") == scoped


def test_parts_of_a_composite_alarm_lose_what_aodh_added() -> None:
    leaf = {"type": "prometheus", "query": "up", "threshold": 1.0, "scope_to_project": None}
    metric = {"type": "gnocchi_resources_threshold", "metric": "m", "resource_id": "r", "resource_type": "t"}
    rule = {"or": [{"and": [leaf, {**metric, **THRESHOLD}]}, {**metric, **THRESHOLD}]}
    definition, _ = definition_of_stored(stored("composite", rule))

    assert definition.scope == "p1"
    assert definition.rule["or"][0]["and"][0]["scope_to_project"] == "p1"


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("event", {"event_type": "compute.*", "query": []}),
        ("loadbalancer_member_health", {"pool_id": "p", "stack_id": "s", "autoscaling_group_id": "g"}),
        ("gnocchi_aggregation_by_metrics_threshold", {**THRESHOLD, "metrics": ["a", "b"]}),
    ],
)
def test_every_other_type(kind: str, rule: dict[str, Any]) -> None:
    assert definition_of_stored(stored(kind, rule))[0].type == kind


def test_what_is_known_of_an_alarm_counts_where_its_rule_does_not_tell() -> None:
    rule = {**THRESHOLD, "metric": "m", "resource_id": "r", "resource_type": "t"}
    confined = by_resources(json.dumps({"and": [PERMISSION, json.loads(SEARCH)]}))

    assert definition_of_stored(stored("gnocchi_resources_threshold", rule), ANY_PROJECT)[0].scope == ANY_PROJECT
    assert definition_of_stored(confined, ANY_PROJECT)[0].scope == "p1"


def test_trusts_are_aodhs() -> None:
    rule = {**THRESHOLD, "metric": "m", "resource_id": "r", "resource_type": "t"}
    actions = ["trust+http://7c1f:delete@heat.example.org/v1/signal", "log:"]
    definition, _ = definition_of_stored(stored("gnocchi_resources_threshold", rule, alarm_actions=actions))

    assert definition.alarm_actions == ("trust+http://heat.example.org/v1/signal", "log://")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"type": "combination"}, "type"),
        ({"type": ["x"]}, "type"),
        ({"rule": None}, "must be set"),
        ({"rule": []}, "object"),
        ({"rule": {"metric": "m"}}, "resource_id"),
        ({"name": None}, "name"),
        ({"project_id": ""}, "project_id"),
        ({"project_id": ANY_PROJECT}, "project_id"),
        ({"state": "fine"}, "state"),
        ({"ok_actions": ["ftp://x"]}, "Unsupported action"),
        ({"ok_actions": [1]}, "ok_actions"),
        ({"time_constraints": [{"name": "x"}]}, "start"),
    ],
)
def test_what_is_none_says_why(changes: dict[str, Any], why: str) -> None:
    rule = {**THRESHOLD, "metric": "m", "resource_id": "r", "resource_type": "t"}

    with pytest.raises(ValueError, match=why):
        definition_of_stored(stored("gnocchi_resources_threshold", rule) | changes)
