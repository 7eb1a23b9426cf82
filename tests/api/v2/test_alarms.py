from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
import structlog

from autoscaler.alarms.definition import ACTIONS
from autoscaler.api.v2 import Options
from autoscaler.measures.window import ANY_PROJECT
from tests.api.v2.running import (
    ADMIN,
    MEMBER,
    OTHER,
    PROJECT,
    READER,
    SERVICE_PROJECT,
    Api,
    a_rule,
    an_alarm,
    by_resources,
    message,
    of,
    running,
)

pytestmark = pytest.mark.slow  # many small ones, each with an API of its own

RULE = "gnocchi_resources_threshold_rule"
TRAIT = {"field": "traits.state", "value": "error"}
LEAF = a_rule(type="gnocchi_resources_threshold")
SAMPLE = {"field": "resource_id", "value": "r"}
SAMPLES = {"type": "threshold", "meter_name": "m", "threshold": 1}


def ruled(**changes: Any) -> dict[str, Any]:
    return an_alarm(**{RULE: a_rule(**changes)})


def samples(**changes: Any) -> dict[str, Any]:
    """An alarm over samples, as Heat's OS::Aodh::Alarm asks for it; ``...`` takes a key away."""
    rule = {"meter_name": "m", "threshold": 1} | changes
    return of("threshold", **{key: value for key, value in rule.items() if value is not ...})


def constrained(*constraints: Any, **changes: Any) -> dict[str, Any]:
    one = {"name": "n", "start": "0 8 * * *", "duration": 60} | changes
    return an_alarm(time_constraints=list(constraints) or [one])


def deep(levels: int) -> dict[str, Any]:
    return LEAF if levels == 0 else {"or": [deep(levels - 1)]}


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param([1], "Invalid input for field/attribute data. Value: '[1]'. Expected an object", id="list"),
        pytest.param(an_alarm(foo=1, bar=2), "Unknown attributes for argument data: bar, foo", id="unknown-keys"),
        pytest.param(an_alarm(name=None), "field/attribute name. Value: 'None'. Mandatory", id="null-name"),
        pytest.param(an_alarm(name=1), "name. Value: '1'. Wrong type. Expected '<class 'str'>'", id="number-name"),
        pytest.param(an_alarm(name="n" * 5000), "at most 4096 characters", id="long-name"),
        pytest.param(an_alarm(type=1), "type. Value: '1'. Value should be one of", id="number-type"),
        pytest.param(an_alarm(enabled="maybe"), "enabled. Value: 'maybe'. Value not an unambiguous", id="flag"),
        pytest.param(an_alarm(enabled=[]), "Value not an unambiguous boolean", id="list-flag"),
        pytest.param(an_alarm(state="x"), "state. Value: 'x'. Value should be one of", id="state"),
        pytest.param(an_alarm(severity={}), "severity. Value: '{}'. Value should be one of", id="severity"),
        pytest.param(an_alarm(state_timestamp="soon"), "state_timestamp. Value: 'soon'", id="state-timestamp"),
        pytest.param(an_alarm(ok_actions="http://x"), "Value not a valid list", id="actions"),
        pytest.param(an_alarm(ok_actions=[1]), "Wrong type", id="number-action"),
        pytest.param(an_alarm(ok_actions=["http://[x"]), "Unable to parse action http://[x", id="broken-url"),
        pytest.param(an_alarm(ok_actions=["http://h:x/"]), "Unable to parse action", id="broken-port"),
        pytest.param(an_alarm(ok_actions=["http:///x"]), "a host is missing", id="no-host"),
        pytest.param(an_alarm(ok_actions=["http://h/ x"]), "Unable to parse action", id="blank-in-url"),
        pytest.param(an_alarm(ok_actions=["nothing"]), "Unsupported action nothing", id="no-scheme"),
        pytest.param(an_alarm(ok_actions=["policy://x"]), "there is no such policy in project", id="unknown-policy"),
        pytest.param(an_alarm(**{RULE: ...}), f"{RULE} must be set for gnocchi_resources_threshold type", id="no-rule"),
        pytest.param(an_alarm(**{RULE: None}), f"{RULE} must be set for", id="null-rule"),
        pytest.param(an_alarm(event_rule={}), f"{RULE} and event_rule cannot be set at the same time", id="two-rules"),
        pytest.param(an_alarm(**{RULE: []}), "Expected an object", id="rule-list"),
        pytest.param(ruled(metric=...), "metric. Value: 'None'. Mandatory", id="no-metric"),
        pytest.param(ruled(threshold=...), "threshold. Value: 'None'. Mandatory", id="no-threshold"),
        pytest.param(ruled(threshold=None), "threshold. Value: 'None'. Mandatory", id="null-threshold"),
        pytest.param(ruled(threshold="many"), "Value should be a finite number", id="text-threshold"),
        pytest.param(ruled(threshold="nan"), "Value should be a finite number", id="nan-threshold"),
        pytest.param(
            ruled(threshold=True),
            "Wrong type. Expected '<class 'float'>', got '<class 'bool'>'",
            id="flag-threshold",
        ),
        pytest.param(ruled(threshold="9" * 400), "Value should be a finite number", id="endless-threshold"),
        pytest.param(ruled(granularity=0), "Value should be greater or equal to 1", id="granularity"),
        pytest.param(
            ruled(granularity=31_536_001), "Value should be lower or equal to 31536000", id="long-granularity"
        ),
        pytest.param(ruled(granularity=60.7), "Value should be a whole number", id="broken-granularity"),
        pytest.param(ruled(evaluation_periods=101), "Value should be lower or equal to 100", id="periods"),
        pytest.param(ruled(aggregation_method=...), "aggregation_method. Value: 'None'. Mandatory", id="no-method"),
        pytest.param(ruled(aggregation_method="100pct"), "aggregation_method should be in [", id="method"),
        pytest.param(ruled(resource_id=""), "resource_id: expected text", id="empty-resource"),
        pytest.param(constrained("x"), "time_constraints. Value: 'x'. Expected an object", id="constraint"),
        pytest.param(constrained(foo=1), "Unknown attribute for argument data.time_constraints: foo", id="its-keys"),
        pytest.param(constrained(duration=-1), "greater or equal to 0", id="its-duration"),
        pytest.param(constrained(start="99 * * * *"), "start. Value: '99 * * * *'.", id="its-start"),
        pytest.param(constrained(timezone="../etc/passwd"), "Timezone ../etc/passwd is not valid", id="its-zone"),
        pytest.param(
            constrained(*[{"name": "n", "start": "* * * * *", "duration": 1}] * 2), "must be unique", id="same-names"
        ),
        pytest.param(of("event", query={}), "Value not a valid list", id="event-query"),
        pytest.param(of("event", query=[{"field": "traits.a"}]), "value. Value: 'None'. Mandatory", id="no-value"),
        pytest.param(of("event", query=[TRAIT | {"x": 1}]), "argument data.event_rule.query: x", id="trait-keys"),
        pytest.param(of("event", query=[TRAIT | {"field": "state"}]), 'a field is "traits."', id="no-trait"),
        pytest.param(of("event", query=[TRAIT | {"field": "traits."}]), 'a field is "traits."', id="empty-trait"),
        pytest.param(of("event", query=[TRAIT | {"field": "traits.a b"}]), "Query value or traits invalid", id="blank"),
        pytest.param(of("event", query=[TRAIT | {"op": "like"}]), "op. Value: 'like'", id="trait-operator"),
        pytest.param(of("event", query=[TRAIT | {"type": "datetime"}]), "a type is one of", id="trait-type"),
        pytest.param(
            of("event", query=[TRAIT | {"value": "hello", "type": "integer"}]),
            "Unable to convert the value hello to the expected data type integer.",
            id="trait-value",
        ),
        pytest.param(of("prometheus", query="up"), "threshold. Value: 'None'. Mandatory", id="prometheus"),
        pytest.param(of("prometheus", query="up", threshold=1, foo=1), "data.prometheus_rule: foo", id="its-key"),
        pytest.param(of("loadbalancer_member_health", pool_id="p"), "stack_id. Value: 'None'", id="pool"),
        pytest.param(samples(meter_name=...), "meter_name. Value: 'None'. Mandatory", id="no-meter"),
        pytest.param(samples(meter_name=""), "meter_name: expected text", id="empty-meter"),
        pytest.param(samples(meter_name=5), "meter_name. Value: '5'. Wrong type", id="number-meter"),
        pytest.param(samples(threshold=...), "threshold. Value: 'None'. Mandatory", id="samples-no-threshold"),
        pytest.param(samples(threshold="nan"), "Value should be a finite number", id="samples-nan"),
        pytest.param(samples(statistic="stddev"), "should be one of: avg, count, max, min, sum", id="statistic"),
        pytest.param(samples(statistic=["avg"]), "should be one of: avg, count, max, min, sum", id="statistics"),
        pytest.param(samples(period=0), "period. Value: '0'. Value should be greater or equal to 1", id="period"),
        pytest.param(samples(period=10**9), "Value should be lower or equal to 31536000", id="long-period"),
        pytest.param(samples(evaluation_periods=0), "evaluation_periods. Value: '0'", id="samples-periods"),
        pytest.param(samples(comparison_operator="is"), "comparison_operator. Value: 'is'", id="samples-comparison"),
        pytest.param(samples(exclude_outliers=True), "exclude_outliers: expected false", id="outliers"),
        pytest.param(samples(exclude_outliers="maybe"), "not an unambiguous boolean", id="maybe-outliers"),
        pytest.param(samples(granularity=60), "argument data.threshold_rule: granularity", id="gnocchis-key"),
        pytest.param(samples(query={}), "Value not a valid list", id="samples-query"),
        pytest.param(samples(query=["x"]), "Expected an object", id="samples-query-text"),
        pytest.param(samples(query=[SAMPLE] * 201), "at most 200 items", id="many-samples"),
        pytest.param(samples(query=[SAMPLE | {"x": 1}]), "argument data.threshold_rule.query: x", id="sample-keys"),
        pytest.param(samples(query=[{"field": "resource_id"}]), "value. Value: 'None'. Mandatory", id="no-sample"),
        pytest.param(samples(query=[SAMPLE | {"value": 1}]), "value. Value: '1'. Wrong type", id="sample-number"),
        pytest.param(samples(query=[SAMPLE | {"op": "like"}]), "op. Value: 'like'", id="sample-no-operator"),
        pytest.param(
            samples(query=[SAMPLE, SAMPLE | {"op": "gt"}]),
            "threshold_rule.query[1]: expected the operator eq for resource_id",
            id="sample-operator",
        ),
        pytest.param(
            samples(query=[SAMPLE | {"field": "timestamp"}]),
            "threshold_rule.query[0]: expected a field such as resource_id or metadata.NAME, got 'timestamp'",
            id="sample-field",
        ),
        pytest.param(samples(query=[SAMPLE | {"type": "text"}]), "one of the types string, integer", id="sample-type"),
        pytest.param(
            samples(query=[{"field": "metadata.n", "value": "x", "type": "integer"}]),
            "expected a value of the type integer for metadata.n, got 'x'",
            id="sample-value",
        ),
        pytest.param(
            of("composite", **{"or": [LEAF, SAMPLES | {"query": [SAMPLE | {"field": "source"}]}]}),
            "composite_rule.or[1].query[0]: expected a field",
            id="samples-in-a-composite",
        ),
        pytest.param(by_resources("{bad"), "rule/query. Value: '{bad'. ", id="search-no-json"),
        pytest.param(by_resources('{"??": {"a": 1}}'), "rule/query. Value: ", id="search-operator"),
        pytest.param(by_resources('{"not":' * 5000 + "1" + "}" * 5000), "rule/query", id="search-deep"),
        pytest.param(by_resources(aggregation_method="first"), "aggregation_method should be in", id="across"),
        pytest.param(
            of("gnocchi_aggregation_by_metrics_threshold", metrics=[], threshold=1, aggregation_method="mean"),
            "at least one metric",
            id="no-metrics",
        ),
        pytest.param(
            of(
                "gnocchi_aggregation_by_metrics_threshold", metrics=["m"] * 1001, threshold=1, aggregation_method="mean"
            ),
            "Value should have at most 1000 items",
            id="many-metrics",
        ),
        pytest.param(of("event", query=[TRAIT] * 201), "Value should have at most 200 items", id="many-traits"),
        pytest.param(
            constrained(*[{"name": str(number), "start": "* * * * *", "duration": 1} for number in range(101)]),
            "Value should have at most 100 items",
            id="many-constraints",
        ),
        pytest.param(
            by_resources(json.dumps({"=": {"a": "x" * 65_536}})), "at most 65536 characters", id="long-search"
        ),
        pytest.param(of("prometheus", query="x" * 65_537, threshold=1), "at most 65536 characters", id="long-query"),
        pytest.param(of("composite"), "type must be set in every rule", id="composite-empty"),
        pytest.param(of("composite", xor=[]), 'combined with "and" or "or"', id="composite-operator"),
        pytest.param(of("composite", **{"or": []}), "Invalid input composite rule", id="composite-of-none"),
        pytest.param(of("composite", **{"or": {}}), "Invalid input composite rule", id="composite-no-list"),
        pytest.param(of("composite", **{"or": [1]}), "Invalid input composite rule", id="composite-number"),
        pytest.param(
            of("composite", **{"or": [LEAF | {"type": "event"}]}), "Unsupported sub-rule type", id="leaf-type"
        ),
        pytest.param(of("composite", **{"or": [LEAF | {"type": []}]}), "type must be set", id="leaf-list"),
        pytest.param(of("composite", **{"or": [LEAF | {"foo": 1}]}), "data.composite_rule: foo", id="leaf-key"),
        pytest.param(of("composite", **{"or": [LEAF | {"aggregation_method": "x"}]}), "should be in", id="leaf-method"),
        pytest.param(of("composite", **{"or": [LEAF] * 201}), "at most 200 parts", id="many-leaves"),
        pytest.param(of("composite", **deep(30)), "at most 20 levels", id="deep-composite"),
    ],
)
async def test_what_is_no_alarm_is_refused_with_the_reason(api: Api, body: Any, words: str) -> None:
    answer = await api.ask("POST", "/v2/alarms", body)
    assert answer.status_code == 400, answer.text
    assert words in message(answer)
    assert (await api.ask("GET", "/v2/alarms?q.field=type&q.value=event")).json() == []


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        pytest.param(b"", "application/json", 400, 'Missing argument: "data"', id="nothing"),
        pytest.param(b"{bad", "application/json", 400, "Request is not in valid JSON format", id="no-json"),
        pytest.param(b'{"name": "\\ud800"}', "application/json", 400, "not in valid JSON format", id="surrogate"),
        pytest.param(b"\xff", "application/json", 400, "not in valid JSON format", id="bytes"),
        pytest.param(b'{"name": "\xff"}', "application/json", 400, "not in valid JSON format", id="no-utf-8"),
        pytest.param(b"[" * 100_000, "application/json", 400, "too many levels", id="deep"),
        pytest.param(b"[" * 950 + b"]" * 950, "application/json", 400, "too many levels", id="deep-and-whole"),
        pytest.param(b"<alarm/>", "application/xml", 415, "Unknown mimetype: application/xml", id="xml"),
        pytest.param(b" " * 2_000_000, "application/json", 413, "at most 1048576 bytes", id="long"),
        pytest.param(b'{"a": "b&c=d"}', "application/x-www-form-urlencoded", 400, "Unknown argument", id="form"),
    ],
)
async def test_what_is_no_body_is_refused(api: Api, content: bytes, kind: str, status: int, words: str) -> None:
    headers = MEMBER | {"Content-Type": kind}
    answer = await api.client.post("/v2/alarms", content=content, headers=headers)
    assert answer.status_code == status
    assert words in message(answer)


async def test_a_long_key_that_is_not_known_is_not_said_back_in_full(api: Api) -> None:
    answer = await api.ask("POST", "/v2/alarms", an_alarm(**{"x" * 100_000: 1}))

    assert answer.status_code == 400
    assert message(answer) == f"Unknown attribute for argument data: {'x' * 255}..."


async def test_defaults_stand_for_what_is_null_or_left_out(api: Api) -> None:
    nulls = dict.fromkeys(
        ("description", "enabled", "repeat_actions", "severity", "time_constraints", "state", *ACTIONS)
    )
    rule = a_rule(granularity=None, evaluation_periods=None, comparison_operator=None, aggregation_method=None)
    with_nulls, without = await api.make(**nulls, **{RULE: rule}), await api.make()
    times = ("alarm_id", "timestamp", "state_timestamp", "evaluate_timestamp")
    assert {k: v for k, v in with_nulls.items() if k not in times} == {
        k: v for k, v in without.items() if k not in times
    }


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        pytest.param(
            ruled(threshold="80", granularity="300", evaluation_periods=2.0),
            a_rule(threshold=80.0, granularity=300, evaluation_periods=2, comparison_operator="eq"),
            id="numbers-as-text",
        ),
        pytest.param(of("event"), {"event_type": "*", "query": []}, id="event"),
        pytest.param(
            of("event", event_type="compute.*", query=[TRAIT]),
            {"event_type": "compute.*", "query": [TRAIT | {"op": "eq", "type": ""}]},
            id="event-query",
        ),
        pytest.param(
            of("event", query=[TRAIT | {"op": ""}]),
            {"event_type": "*", "query": [TRAIT | {"op": "eq", "type": ""}]},
            id="event-query-without-operator",
        ),
        pytest.param(
            of("prometheus", query="up", threshold=1, per_series=True),
            {"comparison_operator": "eq", "threshold": 1.0, "query": "up", "per_series": True},
            id="prometheus",
        ),
        pytest.param(
            of("gnocchi_aggregation_by_metrics_threshold", metrics=["a", "b"], threshold=1, aggregation_method="95pct"),
            {
                "metrics": ["a", "b"],
                "comparison_operator": "eq",
                "threshold": 1.0,
                "aggregation_method": "95pct",
                "evaluation_periods": 1,
                "granularity": 60,
            },
            id="by-metrics",
        ),
        pytest.param(
            samples(),
            {
                "comparison_operator": "eq",
                "threshold": 1.0,
                "meter_name": "m",
                "statistic": "avg",
                "period": 60,
                "evaluation_periods": 1,
                "exclude_outliers": False,
                "query": [],
            },
            id="samples",
        ),
        pytest.param(
            samples(
                statistic="count",
                period="600",
                evaluation_periods=3,
                exclude_outliers="false",
                comparison_operator="lt",
                query=[SAMPLE, SAMPLE | {"op": "", "type": None}],
            ),
            {
                "comparison_operator": "lt",
                "threshold": 1.0,
                "meter_name": "m",
                "statistic": "count",
                "period": 600,
                "evaluation_periods": 3,
                "exclude_outliers": False,
                "query": [SAMPLE | {"op": "eq", "type": ""}] * 2,
            },
            id="all-that-can-be-said-of-samples",
        ),
        pytest.param(
            of("composite", type="prometheus", query="up", threshold=1),
            {"type": "prometheus", "comparison_operator": "eq", "threshold": 1.0, "query": "up"},
            id="composite-of-one",
        ),
    ],
)
async def test_rules_are_shown_as_they_are_stored(api: Api, body: dict[str, Any], rule: Mapping[str, Any]) -> None:
    answer = await api.ask("POST", "/v2/alarms", body)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert shown[f"{body['type']}_rule"] == rule
    assert (await api.ask("GET", f"/v2/alarms/{shown['alarm_id']}")).json() == shown


async def test_nulls_of_a_rule_over_samples_stand_for_their_defaults(api: Api) -> None:
    keys = ("statistic", "period", "evaluation_periods", "comparison_operator", "exclude_outliers", "query")
    with_nulls = await api.ask("POST", "/v2/alarms", samples(**dict.fromkeys(keys)))
    without = await api.ask("POST", "/v2/alarms", samples())

    assert with_nulls.json()["threshold_rule"] == without.json()["threshold_rule"]
    assert with_nulls.json()["description"] == "Alarm when m is eq a avg of 1.0 over 60 seconds"


async def test_an_alarm_over_samples_is_changed_listed_searched_for_and_removed_like_any_other(api: Api) -> None:
    await api.make()
    made = (await api.ask("POST", "/v2/alarms", samples(query=[SAMPLE]) | {"ok_actions": ["http://h/"]})).json()
    path = f"/v2/alarms/{made['alarm_id']}"
    read = (await api.ask("GET", path)).json()
    assert read == made

    rule = read["threshold_rule"] | {"threshold": 2, "statistic": "max"}
    changed = (await api.ask("PUT", path, read | {"threshold_rule": rule})).json()
    assert changed["threshold_rule"] == rule
    assert changed.keys() == made.keys()
    assert {key for key in made if changed[key] != made[key]} == {"threshold_rule", "timestamp", "evaluate_timestamp"}

    assert (await api.ask("GET", "/v2/alarms?q.field=type&q.value=threshold")).json() == [changed]
    named = {"filter": json.dumps({"=": {"type": "threshold"}})}
    assert (await api.ask("POST", "/v2/query/alarms", named)).json() == [changed]
    assert (await api.ask("DELETE", path)).status_code == 204
    lines = (await api.ask("GET", f"{path}/history")).json()
    assert [line["type"] for line in lines] == ["deletion", "rule change", "creation"]
    assert json.loads(lines[1]["detail"]) == {"rule": rule}
    assert json.loads(lines[2]["detail"])["type"] == "threshold"


async def test_an_alarm_over_samples_may_become_one_over_resources_and_back(api: Api) -> None:
    made = (await api.ask("POST", "/v2/alarms", samples())).json()
    path = f"/v2/alarms/{made['alarm_id']}"

    assert (await api.ask("PUT", path, an_alarm())).json()["type"] == "gnocchi_resources_threshold"
    assert (await api.ask("PUT", path, samples())).json()["threshold_rule"] == made["threshold_rule"]


@pytest.mark.parametrize("field", ["project_id", "project"])
async def test_samples_of_another_project_are_for_admins(api: Api, field: str) -> None:
    theirs, own = {"field": field, "value": "other"}, {"field": field, "value": PROJECT}
    for body in (samples(query=[theirs]), of("composite", **{"or": [SAMPLES | {"query": [theirs]}]})):
        answer = await api.ask("POST", "/v2/alarms", body)
        assert answer.status_code == 401
        assert message(answer) == "Not Authorized to access project other"
        assert (await api.ask("POST", "/v2/alarms", body, ADMIN)).status_code == 201
    assert (await api.ask("POST", "/v2/alarms", samples(query=[own]))).status_code == 201


async def test_whoever_makes_an_alarm_over_samples_is_told_what_there_is_instead(api: Api) -> None:
    with structlog.testing.capture_logs() as logs:
        plain = (await api.ask("POST", "/v2/alarms", samples())).json()
        await api.ask("PUT", f"/v2/alarms/{plain['alarm_id']}", samples(threshold=2))
        parts = {"or": [LEAF, SAMPLES, {"and": [SAMPLES]}]}
        joined = (await api.ask("POST", "/v2/alarms", of("composite", **parts))).json()
        await api.make()
    assert [entry for entry in logs if entry["event"] == "alarm of a deprecated type"] == [
        {
            "event": "alarm of a deprecated type",
            "log_level": "warning",
            "alarm_id": made["alarm_id"],
            "alarm_name": "a",
            "type": "threshold",
            "instead": "gnocchi_aggregation_by_resources_threshold",
        }
        for made in (plain, joined)
    ]


# --- whose -----------------------------------------------------------------------------------------------------------

WRITES = [("POST", "/v2/alarms"), ("PUT", "/v2/alarms/{}"), ("DELETE", "/v2/alarms/{}"), ("PUT", "/v2/alarms/{}/state")]
READS = [
    ("GET", "/v2/alarms"),
    ("GET", "/v2/alarms/{}"),
    ("GET", "/v2/alarms/{}/state"),
    ("GET", "/v2/alarms/{}/history"),
    ("GET", "/v2/quotas"),
    ("GET", "/v2/capabilities"),
    ("POST", "/v2/query/alarms"),
    ("POST", "/v2/query/alarms/history"),
]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nobody"),
        pytest.param(MEMBER | {"X-Roles": ""}, id="no-role"),
        pytest.param(MEMBER | {"X-Roles": "stranger"}, id="another-role"),
        pytest.param({"X-User-Id": "u1", "X-Roles": "member"}, id="no-project"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [*WRITES, *READS])
async def test_nothing_is_done_without_a_role(api: Api, method: str, path: str, headers: dict[str, str]) -> None:
    made = await api.make()
    answer = await api.ask(method, path.format(made["alarm_id"]), an_alarm(), headers)
    assert answer.status_code == 403
    assert message(answer) == "RBAC Authorization Failed"


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_reader_changes_nothing(api: Api, method: str, path: str) -> None:
    made = await api.make()
    answer = await api.ask(method, path.format(made["alarm_id"]), an_alarm(), READER)
    assert answer.status_code == 403


@pytest.mark.parametrize(("method", "path"), READS)
async def test_a_reader_sees_what_is_the_projects(api: Api, method: str, path: str) -> None:
    made = await api.make()
    body = {} if method == "POST" else None
    assert (await api.ask(method, path.format(made["alarm_id"]), body, READER)).status_code == 200


@pytest.mark.parametrize(("method", "path"), [pair for pair in (*WRITES, *READS) if "{}" in pair[1]])
async def test_another_projects_alarm_is_not_there(api: Api, method: str, path: str) -> None:
    made = await api.make()
    answer = await api.ask(method, path.format(made["alarm_id"]), an_alarm(), OTHER)
    assert answer.status_code == 404
    assert message(answer) == f"Alarm {made['alarm_id']} not found"


@pytest.mark.parametrize(
    ("changes", "headers", "status"),
    [
        pytest.param({"user_id": "u2"}, MEMBER, 401, id="foreign-user"),
        pytest.param({"project_id": "other"}, MEMBER, 401, id="foreign-project"),
        pytest.param({"project_id": "any"}, ADMIN, 400, id="every-project"),
        pytest.param({"project_id": ""}, ADMIN, 400, id="the-operators-project"),
        pytest.param({"project_id": 1}, ADMIN, 400, id="no-text"),
        pytest.param({"user_id": "u" * 256}, ADMIN, 400, id="long-user"),
        pytest.param({"ok_actions": ["log://"]}, MEMBER, 401, id="log"),
        pytest.param({"ok_actions": ["test://"]}, MEMBER, 401, id="test"),
        pytest.param({"ok_actions": ["policy://elsewhere"]}, MEMBER, 400, id="foreign-policy"),
        pytest.param({"ok_actions": ["policy://operators"]}, MEMBER, 400, id="operators-policy"),
        pytest.param({"ok_actions": ["policy://elsewhere"]}, ADMIN, 400, id="foreign-policy-of-an-admin"),
    ],
)
async def test_what_is_not_ones_own_is_refused(
    api: Api, changes: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    answer = await api.ask("POST", "/v2/alarms", an_alarm(**changes), headers)
    assert answer.status_code == status, answer.text
    assert message(answer)


async def test_a_foreign_policy_is_refused_in_the_words_of_one_that_is_not_there(api: Api) -> None:
    for name in ("elsewhere", "operators", "nowhere"):
        answer = await api.ask("POST", "/v2/alarms", an_alarm(ok_actions=[f"policy://{name}"]))

        assert answer.status_code == 400
        assert message(answer) == f"Unsupported action policy://{name}: there is no such policy in project {PROJECT}"


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        pytest.param({"ok_actions": ["policy://out"]}, MEMBER, id="own-policy"),
        pytest.param({"ok_actions": ["policy://operators"]}, ADMIN, id="operators-policy-of-an-admin"),
        pytest.param({"ok_actions": ["log://", "test://"]}, ADMIN, id="log-of-an-admin"),
        pytest.param({"project_id": "other", "user_id": "u2"}, ADMIN, id="for-another"),
        pytest.param({"project_id": PROJECT, "user_id": "u1"}, MEMBER, id="for-oneself"),
        pytest.param({"ok_actions": ["HTTP://h/x", "zaqar://?topic=t", "https://[::1]:1/"]}, MEMBER, id="schemes"),
    ],
)
async def test_what_is_ones_own_is_taken(api: Api, changes: dict[str, Any], headers: dict[str, str]) -> None:
    await api.make(headers, **changes)


@pytest.mark.parametrize(
    ("headers", "project_id", "sees"),
    [
        pytest.param(MEMBER, None, PROJECT, id="member"),
        pytest.param(ADMIN, None, ANY_PROJECT, id="admin"),
        pytest.param(ADMIN, "other", "other", id="admin-for-another"),
    ],
)
async def test_an_alarm_sees_its_project_and_an_admins_own_all(
    api: Api, headers: dict[str, str], project_id: str | None, sees: str
) -> None:
    query = '{"=": {"server_group": "web"}}'
    body = by_resources(query) | ({"project_id": project_id} if project_id else {})
    made = (await api.ask("POST", "/v2/alarms", body, headers)).json()
    listing = await api.service.listing(made["alarm_id"])
    assert listing.alarm.sees == sees
    shown = made["gnocchi_aggregation_by_resources_threshold_rule"]["query"]
    own = f'{{"=": {{"created_by_project_id": "{sees}"}}}}'
    services = f'{{"=": {{"created_by_project_id": "{SERVICE_PROJECT}"}}}}'
    within = f'{{"or": [{own}, {{"and": [{services}, {{"=": {{"project_id": "{sees}"}}}}]}}]}}'
    assert shown == (query if sees == ANY_PROJECT else f'{{"and": [{within}, {query}]}}')
    again = await api.ask("PUT", f"/v2/alarms/{made['alarm_id']}", made, headers)
    assert again.json()["gnocchi_aggregation_by_resources_threshold_rule"]["query"] == shown


async def test_a_search_that_was_read_from_aodh_is_scoped_already(api: Api) -> None:
    own = {"=": {"created_by_project_id": PROJECT}}
    for permission in (own, {"or": [own]}, {"or": [own, {"and": [{"=": {"created_by_project_id": "x"}}]}]}):
        query = json.dumps({"and": [permission, {"=": {"server_group": "web"}}]})
        made = (await api.ask("POST", "/v2/alarms", by_resources(query), MEMBER)).json()
        shown = made["gnocchi_aggregation_by_resources_threshold_rule"]["query"]
        assert (shown == query) is ('"x"' not in query)
    foreign = json.dumps({"and": [{"=": {"created_by_project_id": "other"}}, {"=": {"server_group": "web"}}]})
    made = (await api.ask("POST", "/v2/alarms", by_resources(foreign), MEMBER)).json()
    assert made["gnocchi_aggregation_by_resources_threshold_rule"]["query"].startswith('{"and": [{"or": [')


async def test_a_prometheus_query_is_confined_and_nobody_is_shown_how(api: Api) -> None:
    rule = {"query": "up", "threshold": 1}
    alone = await api.ask("POST", "/v2/alarms", of("prometheus", **rule))
    parts = await api.ask("POST", "/v2/alarms", of("composite", **{"or": [rule | {"type": "prometheus"}]}))
    for answer in (alone, parts):
        assert "scope_to_project" not in answer.text
        definition = (await api.service.listing(answer.json()["alarm_id"])).definition
        leaf = definition.rule["or"][0] if "or" in definition.rule else definition.rule
        assert leaf["scope_to_project"] == PROJECT
    admins = await api.ask("POST", "/v2/alarms", of("prometheus", **rule), ADMIN)
    definition = (await api.service.listing(admins.json()["alarm_id"])).definition
    assert "scope_to_project" not in definition.rule


# --- changes ---------------------------------------------------------------------------------------------------------


async def test_a_put_replaces_everything_but_the_state(api: Api) -> None:
    made = await api.make(description="d", severity="critical", ok_actions=["http://h/"], enabled=False)
    path = f"/v2/alarms/{made['alarm_id']}"
    await api.ask("PUT", f"{path}/state", "ok")
    changed = (await api.ask("PUT", path, an_alarm(name="b"))).json()
    assert changed["description"] == "gnocchi_resources_threshold alarm rule"
    assert (changed["severity"], changed["ok_actions"], changed["enabled"]) == ("low", [], True)
    assert (changed["state"], changed["state_reason"]) == ("ok", "Manually set via API")
    assert changed["timestamp"] > made["timestamp"]


async def test_the_type_of_an_alarm_may_change(api: Api) -> None:
    made = await api.make()
    changed = (await api.ask("PUT", f"/v2/alarms/{made['alarm_id']}", of("event"))).json()
    assert changed["event_rule"] == {"event_type": "*", "query": []}
    assert RULE not in changed


@pytest.mark.parametrize(
    ("live", "sent", "with_timestamp", "expected"),
    [
        pytest.param("alarm", "insufficient data", True, "alarm", id="what-was-read"),
        pytest.param("alarm", "insufficient data", False, "insufficient data", id="asked-for"),
        pytest.param("insufficient data", "alarm", True, "alarm", id="changed-by-a-client"),
        pytest.param("ok", "alarm", True, "alarm", id="changed-twice"),
        pytest.param("alarm", None, True, "alarm", id="not-sent"),
    ],
)
async def test_a_put_sets_the_state_only_if_somebody_meant_it(
    api: Api, live: str, sent: str | None, with_timestamp: object, expected: str
) -> None:
    made = await api.make()
    path = f"/v2/alarms/{made['alarm_id']}"
    if live != made["state"]:
        await api.ask("PUT", f"{path}/state", live)
    body = made | {"state": sent, "name": "b"}
    if not with_timestamp:
        del body["state_timestamp"]
    changed = await api.ask("PUT", path, body)
    assert changed.json()["state"] == expected


async def test_a_state_may_be_given_at_creation(api: Api) -> None:
    assert (await api.make(state="ok"))["state"] == "ok"


@pytest.mark.parametrize("state", ["x", 1, [], {"state": "ok"}])
async def test_only_states_are_states(api: Api, state: Any) -> None:
    made = await api.make()
    answer = await api.client.put(f"/v2/alarms/{made['alarm_id']}/state", json=state, headers=MEMBER)
    assert answer.status_code == 400
    assert message(answer) == "state invalid"


async def test_duplicate_actions_are_dropped_in_order(api: Api) -> None:
    urls = ["http://b/", "http://a/", "http://b/", "http://c/"]
    assert (await api.make(alarm_actions=urls))["alarm_actions"] == ["http://b/", "http://a/", "http://c/"]


async def test_what_aodh_shows_for_log_is_taken_back(api: Api) -> None:
    assert (await api.make(ADMIN, ok_actions=["log:", "test://"]))["ok_actions"] == ["log:", "test:"]


async def test_actions_are_counted_for_each_state() -> None:
    async with running(Options(alarm_max_actions=2)) as api:
        urls = [f"http://h/{number}" for number in range(3)]
        await api.make(ok_actions=urls[:2], alarm_actions=[*urls[:2], urls[0]])
        answer = await api.ask("POST", "/v2/alarms", an_alarm(ok_actions=urls))
        assert message(answer) == "ok_actions count exceeds maximum value 2"


async def nowhere_inside(url: str) -> bool:
    return "inside" not in url


@pytest.mark.parametrize("url", [
    "http://inside.example/", "trust+https://inside.example/", "zaqar://?topic=t&subscriber=http%3A//inside.example",
])  # fmt: skip
async def test_an_action_that_alarms_may_not_call_is_refused(url: str) -> None:
    async with running(Options(admits=nowhere_inside)) as api:
        made = await api.make(ok_actions=["http://outside.example/"])
        answers = [
            await api.ask("POST", "/v2/alarms", an_alarm(insufficient_data_actions=[url])),
            await api.ask("PUT", f"/v2/alarms/{made['alarm_id']}", an_alarm(alarm_actions=[url])),
        ]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert {message(answer) for answer in answers} == {f"Unsupported action {url}: alarms may not call this address"}


async def test_a_composite_alarm_that_loses_its_actions_is_warned_of(api: Api) -> None:
    body = of("composite", **{"or": [LEAF]}) | {"ok_actions": ["http://h/"]}
    made = (await api.ask("POST", "/v2/alarms", body)).json()
    with structlog.testing.capture_logs() as logs:
        await api.ask("PUT", f"/v2/alarms/{made['alarm_id']}", body | {"ok_actions": []})
        await api.ask("PUT", f"/v2/alarms/{made['alarm_id']}", body | {"ok_actions": []})
    warned = [entry for entry in logs if entry["event"] == "composite alarm without actions"]
    assert [entry["alarm_id"] for entry in warned] == [made["alarm_id"]]


@pytest.mark.parametrize(("method", "path", "body"), [
    pytest.param("PUT", "", an_alarm(), id="put"),
    pytest.param("PUT", "", {"bad": 1}, id="put-something-wrong"),
    pytest.param("PUT", "/state", "ok", id="state"),
    pytest.param("DELETE", "", None, id="delete"),
])  # fmt: skip
async def test_a_declared_alarm_is_shown_and_changed_in_its_file(api: Api, method: str, path: str, body: Any) -> None:
    (shown,) = (await api.ask("GET", "/v2/alarms?q.field=name&q.value=declared")).json()
    assert shown["type"] == "gnocchi_resources_threshold"
    answer = await api.ask(method, f"/v2/alarms/{shown['alarm_id']}{path}", body)
    assert answer.status_code == 409
    assert "declared.yaml:3" in message(answer)


# --- trusts ----------------------------------------------------------------------------------------------------------

TRUSTED = {
    "ok_actions": ["trust+http://h/ok"],
    "alarm_actions": ["http://h/", "trust+https://h/alarm?x=1", "trust+heat://"],
}


async def stored(api: Api, alarm_id: str) -> list[str]:
    definition = (await api.service.listing(alarm_id)).definition
    return [url for key in ACTIONS for url in getattr(definition, key)]


async def test_a_trust_is_made_kept_hidden_and_dropped(api: Api) -> None:
    made = await api.make(**TRUSTED)
    path = f"/v2/alarms/{made['alarm_id']}"
    assert api.trusts.held == {"trust1": "u1"}
    assert await stored(api, made["alarm_id"]) == [
        "trust+http://trust1:delete@h/ok",
        "http://h/",
        "trust+https://trust1@h/alarm?x=1",
        "trust+heat://trust1@",
    ]
    for method, where, body in (
        ("GET", path, None),
        ("GET", "/v2/alarms", None),
        ("GET", f"{path}/history", None),
        ("POST", "/v2/query/alarms", {}),
        ("POST", "/v2/query/alarms/history", {}),
        ("PUT", path, made | {"name": "b"}),
    ):
        answer = await api.ask(method, where, body)
        assert answer.status_code == 200
        assert "trust1" not in answer.text
    assert {key: made[key] for key in TRUSTED} == TRUSTED
    assert api.trusts.made == 1
    assert (await stored(api, made["alarm_id"]))[0] == "trust+http://trust1:delete@h/ok"
    await api.ask("PUT", path, made | {"ok_actions": [], "alarm_actions": ["http://h/"]})
    assert api.trusts.held == {}
    await api.ask("PUT", path, made)
    assert api.trusts.held == {"trust2": "u1"}
    await api.ask("DELETE", path)
    assert api.trusts.held == {}


async def test_another_member_who_changes_an_alarm_sends_nobodys_token_but_their_own(api: Api) -> None:
    made = await api.make(**TRUSTED)
    path = f"/v2/alarms/{made['alarm_id']}"
    theirs = {**TRUSTED, "ok_actions": ["trust+http://evil.example.org/"]}
    colleague = MEMBER | {"X-User-Id": "u9"}

    await api.ask("PUT", path, an_alarm(**TRUSTED), colleague)
    await api.ask("PUT", path, an_alarm(**theirs), colleague)

    assert (await stored(api, made["alarm_id"]))[0] == "trust+http://trust2:delete@evil.example.org/"
    assert api.trusts.held == {"trust2": "u9"}


async def test_an_admin_who_changes_a_members_alarm_leaves_it_its_trust(api: Api) -> None:
    made = await api.make(**TRUSTED)

    await api.ask("PUT", f"/v2/alarms/{made['alarm_id']}", made | {"name": "b"}, ADMIN)

    assert api.trusts.held == {"trust1": "u1"}


async def test_nobody_names_a_trust_themselves(api: Api) -> None:
    answer = await api.ask("POST", "/v2/alarms", an_alarm(ok_actions=["trust+http://trust1@h/"]))
    assert message(answer) == "trust URL cannot contain a trust ID."


async def test_who_acts_by_a_trust_makes_alarms_without_one(api: Api) -> None:
    api.trusts.scoped = True
    made = await api.make(**TRUSTED)
    assert await stored(api, made["alarm_id"]) == [*TRUSTED["ok_actions"], *TRUSTED["alarm_actions"]]


async def test_without_keystone_trusts_are_refused() -> None:
    async with running(keystone=False) as api:
        answer = await api.ask("POST", "/v2/alarms", an_alarm(**TRUSTED))
        assert answer.status_code == 400
        assert "Keystone" in message(answer)
        await api.make()


async def test_a_quota_that_is_used_up_makes_no_trust(api: Api) -> None:
    await api.ask("POST", "/v2/quotas", {"project_id": PROJECT, "quotas": [{"resource": "alarms", "limit": 0}]}, ADMIN)
    assert (await api.ask("POST", "/v2/alarms", an_alarm(**TRUSTED))).status_code == 403
    assert api.trusts.made == 0


# --- quotas ----------------------------------------------------------------------------------------------------------


async def test_a_quota_counts_the_projects_alarms_whoever_made_them(api: Api) -> None:
    await api.ask("POST", "/v2/quotas", {"project_id": PROJECT, "quotas": [{"resource": "alarms", "limit": 2}]}, ADMIN)
    second = MEMBER | {"X-User-Id": "u3"}
    await api.make()
    await api.make(second)
    answer = await api.ask("POST", "/v2/alarms", an_alarm(), MEMBER | {"X-User-Id": "u4"})
    assert answer.status_code == 403
    assert message(answer) == f"Alarm quota exceeded for user u4 on project {PROJECT}"
    await api.make(OTHER)


async def test_many_at_once_are_no_more_than_the_quota() -> None:
    async with running(Options(project_alarm_quota=3)) as api:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(api.ask("POST", "/v2/alarms", an_alarm(**TRUSTED))) for _ in range(10)]
        answers = [task.result().status_code for task in asked]
        listed = [found for found in (await api.ask("GET", "/v2/alarms")).json() if found["name"] != "declared"]
        assert (await api.ask("DELETE", f"/v2/alarms/{listed[0]['alarm_id']}")).status_code == 204
        await api.make()  # those that were refused have left nothing behind

    assert sorted(answers) == [201] * 3 + [403] * 7
    assert len(listed) == 3


async def test_looking_at_a_quota_changes_nothing(api: Api) -> None:
    for _ in range(2):
        quota = (await api.ask("GET", "/v2/quotas")).json()
        assert quota == {"project_id": PROJECT, "quotas": [{"resource": "alarms", "limit": -1}]}
        await api.make()


async def test_a_quota_without_bound_stands_over_the_settings() -> None:
    async with running(Options(project_alarm_quota=1)) as api:
        await api.make()
        assert (await api.ask("POST", "/v2/alarms", an_alarm())).status_code == 403
        unbound = {"project_id": PROJECT, "quotas": [{"resource": "alarms", "limit": -1}]}
        assert (await api.ask("POST", "/v2/quotas", unbound, ADMIN)).json() == unbound
        await api.make()
        assert (await api.ask("DELETE", f"/v2/quotas/{PROJECT}", headers=ADMIN)).status_code == 204
        assert (await api.ask("POST", "/v2/alarms", an_alarm())).status_code == 403


async def test_a_user_has_a_quota_too() -> None:
    async with running(Options(user_alarm_quota=1)) as api:
        await api.make()
        assert (await api.ask("POST", "/v2/alarms", an_alarm())).status_code == 403
        await api.make(MEMBER | {"X-User-Id": "u3"})


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("GET", "/v2/quotas?project_id=other", MEMBER, 403, id="another-projects"),
        pytest.param("GET", "/v2/quotas?project_id=other", ADMIN, 200, id="an-admin-looks"),
        pytest.param("POST", "/v2/quotas", MEMBER, 403, id="a-member-sets"),
        pytest.param("DELETE", f"/v2/quotas/{PROJECT}", MEMBER, 403, id="a-member-drops"),
    ],
)
async def test_quotas_are_the_admins_business(
    api: Api, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert (await api.ask(method, path, {} if method == "POST" else None, headers)).status_code == status


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({}, "project_id. Value: 'None'. Mandatory", id="no-project"),
        pytest.param({"project_id": "any"}, "Value should be the id of a project", id="every-project"),
        pytest.param({"project_id": "p", "quotas": [{"resource": "x", "limit": 1}]}, "one of: alarms", id="resource"),
        pytest.param(
            {"project_id": "p", "quotas": [{"resource": "alarms", "limit": -2}]}, "or equal to -1", id="limit"
        ),
        pytest.param({"project_id": "p", "quotas": [{"resource": "alarms"}]}, "limit. Value: 'None'", id="no-limit"),
        pytest.param({"project_id": "p", "foo": 1}, "Unknown attribute for argument body: foo", id="unknown"),
    ],
)
async def test_what_is_no_quota_is_refused(api: Api, body: Any, words: str) -> None:
    answer = await api.ask("POST", "/v2/quotas", body, ADMIN)
    assert answer.status_code == 400
    assert words in message(answer)
