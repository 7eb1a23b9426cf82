import contextlib
import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.alarms.alarm import Alarm, Severity
from autoscaler.alarms.definition import Definition
from autoscaler.alarms.rules import (
    ComparisonOperator,
    CompositeRule,
    EvaluateWhen,
    EventRule,
    Junction,
    PoolHealthRule,
    PrometheusRule,
    Rule,
    TraitCondition,
    WindowKind,
)
from autoscaler.alarms.time_constraints import TimeConstraint
from autoscaler.declarations import alarm_of, definition_of
from autoscaler.measures.derived import Derivation, Rate
from autoscaler.measures.match import And, Equals, Like, all_equal
from tests.unit.declarations.examples import GROUP, RULE, aggregation, declared, only, places, put, threshold

RESOURCES = "gnocchi_resources_threshold"
BY_METRICS = "gnocchi_aggregation_by_metrics_threshold"
BY_RESOURCES = "gnocchi_aggregation_by_resources_threshold"
POOL = "loadbalancer_member_health"
CPU_UTIL = Derivation(base="cpu", rate=Rate.PER_SECOND, scale=1e-7, divisor="vcpus")

COMMON = {
    "comparison_operator": "gt",
    "threshold": 80.0,
    "aggregation_method": "mean",
    "evaluation_periods": 2,
    "granularity": 300,
}
ONE = {"metric": "memory.usage", "resource_id": "r", "resource_type": "instance", **COMMON}
SEVERAL = {"metrics": ["a", "b"], **COMMON}
PERM = {
    "or": [
        {"=": {"created_by_project_id": "p"}},
        {"and": [{"=": {"created_by_project_id": "service"}}, {"=": {"project_id": "p"}}]},
    ]
}
QUERY = {"like": {"server_group": "web%"}}
MATCHING = {
    "metric": "cpu_util",
    "resource_type": "instance",
    "query": json.dumps({"and": [PERM, QUERY]}),
    **COMMON,
}
PROMETHEUS = {"query": "up", "threshold": 1.0, "comparison_operator": "lt", "scope_to_project": "p"}
POOL_RULE = {"pool_id": "x", "stack_id": "y", "autoscaling_group_id": "z"}
SAMPLES = {
    "meter_name": "cpu_util",
    "statistic": "avg",
    "period": 300,
    "evaluation_periods": 2,
    "comparison_operator": "gt",
    "threshold": 80.0,
    "exclude_outliers": False,
    "query": [{"field": "resource_id", "op": "eq", "value": "r", "type": ""}],
}
EVENT = {"event_type": "a.*", "query": [{"field": "traits.n", "op": "ge", "value": "5", "type": "integer"}]}


def defined(kind: str, rule: dict[str, Any], **fields: Any) -> Definition:
    plain: dict[str, Any] = {
        "alarm_id": "i",
        "type": kind,
        "name": "a",
        "description": "d",
        "enabled": True,
        "severity": "low",
        "ok_actions": (),
        "alarm_actions": (),
        "insufficient_data_actions": (),
        "repeat_actions": False,
        "time_constraints": (),
        "rule": rule,
        "user_id": "u",
        "project_id": "p",
        "timestamp": 5.0,
        "scope": "p",
    }
    return Definition(**(plain | fields))


def read(kind: str, rule: dict[str, Any], *, mixed_as_aodh: bool = False, **fields: Any) -> Alarm:
    return alarm_of(defined(kind, rule, **fields), derived={"cpu_util": CPU_UTIL}, mixed_as_aodh=mixed_as_aodh)


def test_all_that_is_stored_of_an_alarm_is_read() -> None:
    constraint = {"name": "day", "start": "0 8 * * *", "duration": 60, "timezone": "Europe/Berlin", "description": "x"}
    found = read(
        RESOURCES,
        ONE,
        enabled=False,
        severity="critical",
        ok_actions=("log://",),
        alarm_actions=("http://x", "policy://out"),
        insufficient_data_actions=("http://y",),
        repeat_actions=True,
        time_constraints=(constraint,),
        scope="any",
        revision=7,
    )

    assert found == Alarm(
        alarm_id="i",
        name="a",
        type=RESOURCES,
        description="d",
        enabled=False,
        severity=Severity.CRITICAL,
        ok_actions=("log://",),
        alarm_actions=("http://x", "policy://out"),
        insufficient_data_actions=("http://y",),
        repeat_actions=True,
        time_constraints=(TimeConstraint(**constraint),),
        project_id="p",
        scope="any",
        revision=7,
        rule=found.rule,
    )


THRESHOLD = {
    "aggregation_method": "mean",
    "threshold": 80.0,
    "comparison_operator": ComparisonOperator.GT,
    "evaluation_periods": 2,
    "granularity": 300.0,
    "window": WindowKind.ALIGNED,
    "evaluate": EvaluateWhen.SETTLED,
}
OF_ONE = Rule(metric="memory.usage", single=True, match=all_equal({"resource_id": "r"}), **THRESHOLD)
OF_SEVERAL = Rule(metric="a", further_metrics=("b",), single=False, reaggregation_method="mean", **THRESHOLD)
OF_MATCHING = Rule(
    metric="cpu_util",
    single=False,
    match=Like("server_group", "web%"),
    reaggregation_method="mean",
    derivation=CPU_UTIL,
    **THRESHOLD,
)
OF_SAMPLES = Rule(
    metric="cpu_util",
    single=False,
    match=all_equal({"resource_id": "r"}),
    reaggregation_method="pooled",
    derivation=CPU_UTIL,
    **(THRESHOLD | {"window": WindowKind.SLIDING}),
)


@pytest.mark.parametrize(
    ("kind", "rule", "expected"),
    [
        pytest.param(RESOURCES, ONE, OF_ONE, id="one-resource"),
        pytest.param(BY_METRICS, SEVERAL, OF_SEVERAL, id="several-metrics"),
        pytest.param(
            BY_METRICS,
            SEVERAL | {"metrics": ["a", "cpu_util"]},
            msgspec.structs.replace(OF_SEVERAL, further_metrics=("cpu_util",)),
            id="a-derived-name-among-several-is-a-measured-one",
        ),
        pytest.param(BY_RESOURCES, MATCHING, OF_MATCHING, id="a-query-without-what-aodh-put-around-it"),
        pytest.param(
            "prometheus",
            PROMETHEUS,
            PrometheusRule(query="up", threshold=1.0, comparison_operator=ComparisonOperator.LT, scope_to_project="p"),
            id="prometheus",
        ),
        pytest.param(
            "prometheus",
            {"query": "up", "threshold": 1, "per_series": True},
            PrometheusRule(query="up", threshold=1.0, per_series=True),
            id="prometheus-per-series",
        ),
        pytest.param(
            POOL,
            POOL_RULE,
            PoolHealthRule(pool_id="x", stack_id="y", autoscaling_group_id="z", scope_to_project="p"),
            id="load-balancer",
        ),
        pytest.param(
            "event",
            EVENT,
            EventRule(
                event_type="a.*",
                query=(TraitCondition(field="traits.n", op=ComparisonOperator.GE, value="5", type="integer"),),
                document=({"field": "traits.n", "op": "ge", "value": "5", "type": "integer"},),
            ),
            id="event",
        ),
        pytest.param("event", {}, EventRule(), id="any-event"),
        pytest.param("threshold", SAMPLES, OF_SAMPLES, id="samples"),
    ],
)
def test_every_type_of_rule_is_read(kind: str, rule: dict[str, Any], expected: Any) -> None:
    assert read(kind, rule).rule == expected


def test_defaults_are_those_of_aodh() -> None:
    rule = read(RESOURCES, {"metric": "m", "resource_id": "r", "threshold": 1, "aggregation_method": "max"}).rule

    assert isinstance(rule, Rule)
    assert (rule.granularity, rule.evaluation_periods, rule.comparison_operator) == (60.0, 1, ComparisonOperator.EQ)


def test_defaults_of_a_rule_over_samples_are_those_of_aodh_then() -> None:
    rule = read("threshold", {"meter_name": "m", "threshold": 1}).rule

    assert rule == Rule(
        metric="m",
        match=And(()),
        single=False,
        aggregation_method="mean",
        reaggregation_method="pooled",
        threshold=1.0,
        window=WindowKind.SLIDING,
    )


@pytest.mark.parametrize(
    ("statistic", "method"), [("avg", "mean"), ("count", "count"), ("max", "max"), ("min", "min"), ("sum", "sum")]
)
def test_every_statistic_is_a_method(statistic: str, method: str) -> None:
    rule = read("threshold", SAMPLES | {"statistic": statistic}).rule

    assert isinstance(rule, Rule)
    assert (rule.aggregation_method, rule.reaggregation_method) == (method, "pooled")


def test_a_composite_is_read_with_each_part_as_it_is_shown() -> None:
    rule = {"or": [{"type": RESOURCES, **ONE}, {"and": [{"type": "prometheus", **PROMETHEUS}]}]}
    found = read("composite", rule, mixed_as_aodh=True).rule

    assert isinstance(found, CompositeRule)
    assert found.leaves[0] == OF_ONE
    assert found.tree == Junction("or", (0, Junction("and", (1,))))
    shown = {key: value for key, value in PROMETHEUS.items() if key != "scope_to_project"}
    assert found.documents == ({"type": RESOURCES, **ONE}, {"type": "prometheus", **shown})
    assert found.mixed_as_aodh


def test_an_admins_load_balancer_alarm_may_look_at_any_pool() -> None:
    rule = read(POOL, POOL_RULE, scope="any").rule

    assert rule == PoolHealthRule(pool_id="x", stack_id="y", autoscaling_group_id="z")


def test_a_composite_may_be_one_bare_rule() -> None:
    found = read("composite", {"type": RESOURCES, **ONE}).rule

    assert isinstance(found, CompositeRule)
    assert (found.leaves, found.tree) == ((OF_ONE,), 0)


@pytest.mark.parametrize(
    ("method", "across", "of_aggregate"),
    [("last", "mean", False), ("95pct", "95pct", False), ("rate:max", "max", True)],
)
def test_every_method_works_across_series(method: str, across: str, *, of_aggregate: bool) -> None:
    rule = read(BY_RESOURCES, MATCHING | {"aggregation_method": method}).rule

    assert isinstance(rule, Rule)
    assert (rule.reaggregation_method, rule.rate_of_aggregate) == (across, of_aggregate)


DEEP: dict[str, Any] = {"type": RESOURCES, **ONE}
for _ in range(40):
    DEEP = {"or": [DEEP]}


@pytest.mark.parametrize(
    ("kind", "rule", "message"),
    [
        pytest.param("combination", ONE, "type: 'combination' is no type of alarm that is known here", id="type"),
        pytest.param("threshold", ONE, "threshold_rule.meter_name: missing", id="samples-without-meter"),
        pytest.param(
            "threshold",
            SAMPLES | {"statistic": "stddev"},
            "threshold_rule.statistic: expected one of avg, count, max, min, sum, got 'stddev'",
            id="statistic",
        ),
        pytest.param(
            "threshold", SAMPLES | {"statistic": ["avg"]}, "threshold_rule.statistic: expected one", id="list"
        ),
        pytest.param(
            "threshold",
            SAMPLES | {"exclude_outliers": True},
            "threshold_rule.exclude_outliers: expected false",
            id="outliers",
        ),
        pytest.param("threshold", SAMPLES | {"period": 0}, "threshold_rule.period: expected a whole", id="period"),
        pytest.param(
            "threshold",
            SAMPLES | {"query": [*SAMPLES["query"], {"field": "timestamp", "value": "x"}]},
            "threshold_rule.query[1]: expected a field such as resource_id or metadata.NAME, got 'timestamp'",
            id="samples-by-time",
        ),
        pytest.param(
            "composite",
            {"or": [{"type": "threshold", **SAMPLES, "query": 1}]},
            "composite_rule.or[0].query: expected a list, got 1",
            id="samples-in-a-composite",
        ),
        pytest.param(RESOURCES, ONE | {"metric": None}, f"{RESOURCES}_rule.metric: missing", id="metric"),
        pytest.param(RESOURCES, ONE | {"metric": 5}, f"{RESOURCES}_rule.metric: expected text, got 5", id="no-text"),
        pytest.param(
            RESOURCES,
            ONE | {"threshold": float("nan")},
            f"{RESOURCES}_rule.threshold: expected a finite number, got nan",
            id="threshold",
        ),
        pytest.param(
            RESOURCES,
            ONE | {"comparison_operator": "gtt"},
            f"{RESOURCES}_rule.comparison_operator: expected one of lt, le, eq, ne, ge, gt, got 'gtt'",
            id="comparison",
        ),
        pytest.param(
            RESOURCES,
            ONE | {"granularity": 0},
            f"{RESOURCES}_rule.granularity: expected a whole number from 1 to 31536000, got 0",
            id="granularity",
        ),
        pytest.param(
            RESOURCES,
            ONE | {"aggregation_method": "meen"},
            f'{RESOURCES}_rule.aggregation_method: unknown aggregation method "meen"',
            id="method",
        ),
        pytest.param(
            BY_RESOURCES,
            MATCHING | {"query": "{bad"},
            f"{BY_RESOURCES}_rule.query: expected a string of JSON",
            id="no-json",
        ),
        pytest.param(
            BY_RESOURCES,
            MATCHING | {"query": '{"unlike": {}}'},
            f'{BY_RESOURCES}_rule.query: unknown operator "unlike"',
            id="query",
        ),
        pytest.param(
            BY_RESOURCES, MATCHING | {"query": "[" * 100_000}, "at most 64 levels", id="a-query-deeper-than-json-goes"
        ),
        pytest.param(BY_METRICS, SEVERAL | {"metrics": []}, f"{BY_METRICS}_rule.metrics: expected a list", id="none"),
        pytest.param("composite", {"and": []}, "composite_rule.and: expected a list of at least one rule", id="empty"),
        pytest.param("composite", {}, "composite_rule: expected either and or or", id="nothing"),
        pytest.param("composite", DEEP, "expected at most 32 levels", id="deep"),
        pytest.param(
            "composite",
            {"or": [{"type": RESOURCES, **ONE}] * 101},
            "composite_rule: expected at most 100 rules, got 101",
            id="many",
        ),
        pytest.param("event", {"query": "traits.a"}, "event_rule.query: expected a list, got 'traits.a'", id="no-list"),
        pytest.param("event", {"query": ["a"]}, "event_rule.query[0]: expected an object, got 'a'", id="no-object"),
        pytest.param(
            "composite",
            {"or": [{"and": [{"type": RESOURCES, **ONE, "metric": ""}]}]},
            "composite_rule.or[0].and[0].metric: expected text, got ''",
            id="a-part",
        ),
        pytest.param(
            "composite",
            {"or": [{"type": "prometheus", **PROMETHEUS, "per_series": True}]},
            "composite_rule.or[0].per_series: expected only in alarms of its own",
            id="a-part-per-series",
        ),
        pytest.param(
            "composite", {"or": [{"type": "event"}]}, "composite_rule.or[0].type: expected one of", id="type-of-a-part"
        ),
        pytest.param(
            "event",
            {"query": [{"field": "state", "value": "x"}]},
            "event_rule.query[0]: expected a field such as traits.state, got 'state'",
            id="field",
        ),
        pytest.param(
            "event", {"query": [{"field": "traits.a"}]}, "event_rule.query[0]: expected a value, a text", id="no-value"
        ),
        pytest.param(
            "event",
            {"query": [{"field": "traits.a", "value": "b", "op": "like"}]},
            "event_rule.query[0]: expected one of lt, le, eq, ne, ge, gt for traits.a, got 'like'",
            id="op",
        ),
        pytest.param(POOL, {"pool_id": "x"}, f"{POOL}_rule.stack_id: missing", id="pool"),
    ],
)
def test_what_cannot_be_read_names_its_key(kind: str, rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        read(kind, rule)

    assert message in str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"severity": "high"}, id="severity"),
        pytest.param({"time_constraints": ({"name": "day", "start": "0 8 * * *"},)}, id="time-constraint"),
    ],
)
def test_what_is_wrong_around_a_rule_is_refused_too(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"high|duration"):
        read(RESOURCES, ONE, **fields)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([10**400, "rate:", "mean", "any", "{}", '{"=": {"a": []}}', "[]", "traits.a"]),
    st.lists(st.integers() | st.dictionaries(st.sampled_from(["type", "field"]), st.lists(st.text())), max_size=2),
    st.dictionaries(st.sampled_from(["and", "or", "type", "=", "metric"]), st.lists(st.text(max_size=3)), max_size=2),
)
RULES = {
    RESOURCES: ONE,
    BY_METRICS: SEVERAL,
    BY_RESOURCES: MATCHING,
    "prometheus": PROMETHEUS,
    POOL: POOL_RULE,
    "event": EVENT,
    "threshold": SAMPLES,
    "composite": {
        "or": [{"type": RESOURCES, **ONE}, {"type": "threshold", **SAMPLES}, {"and": [{"type": BY_METRICS, **SEVERAL}]}]
    },
}


@given(st.sampled_from(sorted(RULES)), st.data())
def test_whatever_is_stored_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    rule = copy.deepcopy(RULES[kind])
    put(rule, data.draw(st.sampled_from(places(rule)[1:])), data.draw(ODD))

    with contextlib.suppress(ValueError):
        assert read(kind, rule).rule is not None


# --- declared alarms, told -------------------------------------------------------------------------------------------


def told(raw: dict[str, Any], **sections: Any) -> Definition:
    return definition_of(only(declared(alarms=[raw], **sections)), timestamp=5.0)


def test_a_declared_alarm_is_told_as_aodh_would() -> None:
    constraint = {"name": "day", "start": "0 8 * * *", "duration": 60}
    raw = threshold(
        type=RESOURCES,
        rule={"resource_id": "r", **RULE},
        project_id="p",
        severity="critical",
        alarm_actions=["http://x"],
        repeat_actions=True,
        time_constraints=[constraint],
    )
    alarm = only(declared(alarms=[raw]))

    assert definition_of(alarm, user_id="u", timestamp=5.0) == defined(
        RESOURCES,
        {
            "metric": "cpu_util",
            "resource_id": "r",
            "resource_type": "generic",
            "comparison_operator": "gt",
            "threshold": 70.0,
            "aggregation_method": "mean",
            "evaluation_periods": 1,
            "granularity": 60,
        },
        alarm_id=alarm.alarm_id,
        description=f"{RESOURCES} alarm rule",
        severity="critical",
        alarm_actions=("http://x",),
        repeat_actions=True,
        time_constraints=(
            {
                **constraint,
                "timezone": "",
                "description": "Time constraint at 0 8 * * * lasting for 60 seconds",
            },
        ),
        created=5.0,
    )


def test_a_short_type_is_told_by_aodhs_name_and_what_aodh_has_not_in_the_description() -> None:
    rule = {"match": {"zone": "a"}, "for": 30, "datapoints_to_alarm": 1, "reaggregation_method": "max"}
    found = told(aggregation(rule, description="busy", repeat_actions=True, repeat_interval=5), groups=[GROUP])

    assert found.type == BY_RESOURCES
    assert found.rule["query"] == '{"=": {"zone": "a"}}'
    assert found.description == (
        "busy (beyond what Aodh has: repeat_interval 5, group web, sliding window, datapoints_to_alarm 1, for 30, "
        "reaggregation_method max)"
    )


def test_what_aodh_has_not_is_said_of_each_part_of_a_composite() -> None:
    parts = [{"type": "threshold", "resource_id": "r", **RULE, "match": {"disk": "a"}}, {"type": BY_METRICS, **SEVERAL}]
    found = told({"name": "a", "type": "composite", "rule": {"or": parts}, "description": "d"})

    assert found.description == (
        'd (beyond what Aodh has: sliding window of rule1, match {"and": [{"=": {"disk": "a"}}]} of rule1)'
    )
    assert found.rule["or"][1] == {"type": BY_METRICS, **SEVERAL}


def test_a_rate_within_each_series_is_not_what_aodh_calls_so() -> None:
    found = told(aggregation({"aggregation_method": "rate:mean", "window": "aligned", "match": {}, "group": None}))

    assert (found.rule["query"], found.description) == (
        "{}",
        "aggregation alarm rule (beyond what Aodh has: rate:mean within each series)",
    )


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        pytest.param(RESOURCES, ONE, id="one-resource"),
        pytest.param(BY_METRICS, SEVERAL, id="several-metrics"),
        pytest.param(BY_METRICS, SEVERAL | {"metrics": ["a"]}, id="one-metric"),
        pytest.param(BY_RESOURCES, MATCHING | {"query": json.dumps(QUERY)}, id="a-query"),
        pytest.param(
            "composite",
            {"or": [{"type": RESOURCES, **ONE}, {"and": [{"type": BY_METRICS, **SEVERAL}]}]},
            id="composite",
        ),
        pytest.param("composite", {"type": RESOURCES, **ONE}, id="one-bare-rule"),
        pytest.param("prometheus", {"query": "up", "threshold": 1.0, "per_series": True}, id="prometheus"),
        pytest.param(POOL, POOL_RULE, id="load-balancer"),
        pytest.param("event", EVENT, id="event"),
        pytest.param("event", {}, id="any-event"),
    ],
)
def test_what_is_told_of_a_declared_alarm_is_read_as_it_was(kind: str, rule: dict[str, Any]) -> None:
    declarations = declared(alarms=[{"name": "a", "type": kind, "rule": rule, "project_id": "p"}])
    alarm = only(declarations)
    definition = definition_of(alarm, timestamp=5.0)
    again = alarm_of(definition, derived=declarations.derived, mixed_as_aodh=False)

    assert msgspec.structs.replace(again, scope=None) == alarm
    assert again.sees == alarm.sees
    assert again.definition == alarm.definition


def test_a_match_of_several_attributes_is_told_whole() -> None:
    found = told(aggregation({"match": {"a": "b", "c": "d"}, "group": None}))
    rule = alarm_of(found, derived={}, mixed_as_aodh=False).rule

    assert isinstance(rule, Rule)
    assert rule.match == And((Equals("a", "b"), Equals("c", "d")))
