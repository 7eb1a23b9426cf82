"""Alarms that rest on more than one rule over measures, or on none."""

import json
from typing import Any

import pytest

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.rules import (
    ComparisonOperator,
    CompositeRule,
    EventRule,
    Junction,
    PoolHealthRule,
    PrometheusRule,
    Rule,
    TraitCondition,
    WindowKind,
)
from autoscaler.declarations import Declarations, load, warnings
from autoscaler.errors import DeclarationError
from autoscaler.measures.derived import Derivation, Rate
from autoscaler.measures.match import EVERYTHING
from tests.unit.declarations.examples import GROUP, IN, OUT, RULE, aggregation, declared, only, refused, threshold

BY_METRICS = "gnocchi_aggregation_by_metrics_threshold"
CPU_UTIL = Derivation(
    base="cpu",
    rate=Rate.PER_SECOND,
    scale=1e-7,
    divisor="vcpus",
    divisor_metadata=("cpu_number", "vcpus", "flavor.vcpus"),
)


def alarm(kind: str, rule: Any, key: str = "rule", **keys: Any) -> dict[str, Any]:
    return {"name": "a", "type": kind, key: rule, **keys}


def leaf(kind: str = "threshold", **keys: Any) -> dict[str, Any]:
    own = {"resource_id": "r"} if kind == "threshold" else {}
    return {"type": kind, "metric": "m", "aggregation_method": "mean", "threshold": 1, **own, **keys}


def composite(declarations: Declarations) -> CompositeRule:
    rule = only(declarations).rule
    assert isinstance(rule, CompositeRule)
    return rule


def test_an_aggregate_over_several_metrics() -> None:
    rule = {"metrics": ["a", "b", "a"], "aggregation_method": "95pct", "threshold": 5, "evaluation_periods": 2}

    assert only(declared(alarms=[alarm(BY_METRICS, rule)])).rule == Rule(
        metric="a",
        further_metrics=("b",),
        match=EVERYTHING,
        single=False,
        aggregation_method="95pct",
        reaggregation_method="95pct",
        threshold=5.0,
        evaluation_periods=2,
        window=WindowKind.ALIGNED,
    )


@pytest.mark.parametrize("key", ["rule", f"{BY_METRICS}_rule"])
def test_a_rate_over_metrics_is_that_of_the_aggregate(key: str) -> None:
    rule = {"metrics": ["a"], "aggregation_method": "rate:mean", "threshold": 5}

    assert only(declared(alarms=[alarm(BY_METRICS, rule, key)])).rule == Rule(
        metric="a",
        single=False,
        aggregation_method="rate:mean",
        reaggregation_method="mean",
        rate_of_aggregate=True,
        threshold=5.0,
        window=WindowKind.ALIGNED,
    )


@pytest.mark.parametrize("key", ["rule", "composite_rule"])
def test_a_composite_joins_rules_in_depth_first_order(key: str) -> None:
    rule = {
        "or": [
            leaf(metric="a"),
            {"and": [leaf("aggregation", metric="b", match={"x": "y"}), {"type": "prometheus", **PROMETHEUS}]},
            leaf(metric="c"),
        ]
    }

    found = composite(declared(alarms=[alarm("composite", rule, key)]))

    assert found.tree == Junction("or", (0, Junction("and", (1, 2)), 3))
    assert [part.metric if isinstance(part, Rule) else part.query for part in found.leaves] == ["a", "b", "up", "c"]
    assert found.documents[0] == {
        "type": "gnocchi_resources_threshold",
        "metric": "a",
        "resource_id": "r",
        "resource_type": "generic",
        "comparison_operator": "eq",
        "threshold": 1.0,
        "aggregation_method": "mean",
        "evaluation_periods": 1,
        "granularity": 60,
    }
    assert found.documents[1]["query"] == '{"=": {"x": "y"}}'
    assert found.documents[2] == {"type": "prometheus", "query": "up", "threshold": 1.0, "comparison_operator": "eq"}


def test_a_composite_may_be_one_bare_rule() -> None:
    found = composite(declared(alarms=[alarm("composite", leaf())]))

    assert (found.tree, len(found.leaves)) == (0, 1)


def test_how_mixed_values_resolve_is_the_operators_choice() -> None:
    text = json.dumps({"alarms": [alarm("composite", {"or": [leaf()]})]})
    ours, aodhs = load({"f.yaml": text}), load({"f.yaml": text}, mixed_as_aodh=True)

    assert (composite(ours).mixed_as_aodh, composite(aodhs).mixed_as_aodh) == (False, True)
    assert ours.generation != aodhs.generation


def test_or_is_another_generation_than_and() -> None:
    rules = [{joined: [leaf(), leaf(metric="n")]} for joined in ("and", "or")]

    assert len({declared(alarms=[alarm("composite", rule)]).generation for rule in rules}) == 2


def test_a_part_of_a_composite_may_count_a_groups_members() -> None:
    rule = {"and": [leaf("aggregation", group="web"), leaf("aggregation", group="web", metric="n")]}
    found = composite(declared(groups=[GROUP], alarms=[alarm("composite", rule)]))

    assert [part.group for part in found.leaves if isinstance(part, Rule)] == ["web", "web"]


def test_rules_alone_leave_out_the_groups_of_parts_too() -> None:
    text = json.dumps({"alarms": [alarm("composite", {"or": [leaf("aggregation", group="web")]})]})
    declarations = load({"f.yaml": text}, rules_only=True)

    (part,) = composite(declarations).leaves
    assert isinstance(part, Rule)
    assert part.group is None
    assert [problem.key for problem in declarations.ignored] == ["alarms[0].rule.or[0].group"]


@pytest.mark.parametrize(
    ("rule", "key", "scales_in"),
    [
        pytest.param({"or": [leaf(), leaf(treat_missing_data="breaching")]}, "alarm_actions", True, id="breaching"),
        pytest.param({"and": [leaf(), leaf(treat_missing_data="ok")]}, "ok_actions", True, id="ok"),
        pytest.param({"and": [leaf(), leaf(treat_missing_data="ok")]}, "alarm_actions", False, id="the-other-way"),
        pytest.param({"and": [leaf(), leaf()]}, "alarm_actions", False, id="measures"),
        pytest.param({"and": [leaf(), leaf()]}, "insufficient_data_actions", True, id="no-measures"),
    ],
)
def test_a_part_that_rests_on_silence_may_not_scale_in(rule: Any, key: str, *, scales_in: bool) -> None:
    raw = alarm("composite", rule, **{key: ["policy://in"]})

    assert refused(groups=[GROUP], policies=[IN], alarms=[raw]) == ([f"alarms[0].{key}[0]"] if scales_in else [])


EVENT = {
    "event_type": "compute.instance.*",
    "query": [
        {"field": "traits.state", "value": "error"},
        {"field": "traits.count", "op": "ge", "type": "integer", "value": 5},
    ],
}
PROMETHEUS = {"query": "up", "threshold": 1}
POOL = {"pool_id": "p", "stack_id": "s", "autoscaling_group_id": "g"}


def test_an_event_alarm() -> None:
    found = only(declared(alarms=[alarm("event", EVENT)]))

    assert found.description == "Alarm when compute.instance.* event occurred."
    assert found.rule == EventRule(
        event_type="compute.instance.*",
        query=(
            TraitCondition(field="traits.state", value="error"),
            TraitCondition(field="traits.count", value="5", op=ComparisonOperator.GE, type="integer"),
        ),
        document=(
            {"field": "traits.state", "op": "eq", "value": "error", "type": ""},
            {"field": "traits.count", "op": "ge", "value": "5", "type": "integer"},
        ),
    )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("integer", "-5"),
        ("float", "1e3"),
        ("boolean", "Yes"),
        ("boolean", False),
        ("datetime", "2026-11-20T15:00:00"),
        ("string", ""),
        ("", 1.5),
    ],
)
def test_a_trait_is_compared_with_a_value_of_its_type(kind: str, value: Any) -> None:
    query = [{"field": "traits.a", "type": kind, "value": value}]

    assert only(declared(alarms=[alarm("event", {"query": query})])).rule


@pytest.mark.parametrize(
    ("kind", "value"),
    [("integer", "1.5"), ("float", "nan"), ("float", "x"), ("boolean", "maybe"), ("datetime", "noon")],
)
def test_a_value_of_another_type_is_refused(kind: str, value: str) -> None:
    with pytest.raises(DeclarationError, match=f"expected a value of the type {kind} for traits.a, got '{value}'"):
        declared(alarms=[alarm("event", {"query": [{"field": "traits.a", "type": kind, "value": value}]})])


@pytest.mark.parametrize(
    ("project_id", "scope"),
    [
        pytest.param("p", "p", id="a-projects-alarm-asks-for-its-own"),
        pytest.param("", None, id="the-operators-asks-as-it-is-written"),
        pytest.param("any", None, id="and-so-does-one-for-all-projects"),
    ],
)
def test_a_prometheus_alarm(project_id: str, scope: str | None) -> None:
    rule = PROMETHEUS | {"comparison_operator": "lt", "per_series": True}

    assert only(declared(alarms=[alarm("prometheus", rule, project_id=project_id)])).rule == PrometheusRule(
        query="up",
        threshold=1.0,
        comparison_operator=ComparisonOperator.LT,
        scope_to_project=scope,
        per_series=True,
    )


def test_a_part_of_a_projects_composite_asks_prometheus_for_its_own() -> None:
    rule = {"or": [{"type": "prometheus", **PROMETHEUS}]}
    (part,) = composite(declared(alarms=[alarm("composite", rule, project_id="p")])).leaves

    assert isinstance(part, PrometheusRule)
    assert part.scope_to_project == "p"


@pytest.mark.parametrize(("project_id", "scope"), [("p", "p"), ("", None), ("any", None)])
def test_a_load_balancers_alarm(project_id: str, scope: str | None) -> None:
    raw = alarm("loadbalancer_member_health", POOL, project_id=project_id)

    assert only(declared(alarms=[raw])).rule == PoolHealthRule(
        pool_id="p", stack_id="s", autoscaling_group_id="g", scope_to_project=scope
    )


@pytest.mark.parametrize(
    ("kind", "rule"), [("event", EVENT), ("prometheus", PROMETHEUS), ("loadbalancer_member_health", POOL)]
)
def test_whatever_is_known_may_scale_its_own_projects_groups(kind: str, rule: Any) -> None:
    raw = alarm(kind, rule, alarm_actions=["policy://out"], project_id="p")

    assert only(declared(groups=[GROUP | {"project_id": "p"}], policies=[OUT], alarms=[raw]))
    with pytest.raises(DeclarationError, match=r'expected a policy of the alarm\'s own project "p"'):
        declared(groups=[GROUP | {"project_id": "q"}], policies=[OUT], alarms=[raw])


@pytest.mark.parametrize(
    ("kind", "rule"),
    [("event", EVENT), ("prometheus", PROMETHEUS), ("loadbalancer_member_health", POOL), ("composite", leaf())],
)
def test_a_body_pasted_from_aodh_is_taken(kind: str, rule: Any) -> None:
    pasted = alarm(kind, rule, f"{kind}_rule", alarm_actions=["log://"], state="ok", alarm_id="x", user_id="u")
    declarations = declared(alarms=[pasted])

    assert only(declarations) == only(declared(alarms=[alarm(kind, rule, alarm_actions=["log://"])]))
    assert [problem.key for problem in warnings(declarations)] == [
        "alarms[0].state",
        "alarms[0].alarm_id",
        "alarms[0].user_id",
    ]


# --- derived metrics -------------------------------------------------------------------------------------------------


def test_cpu_util_is_there_without_being_declared() -> None:
    declarations = declared(alarms=[threshold(), threshold(name="b", rule={"resource_id": "r", **RULE, "metric": "m"})])

    assert declarations.derived == {"cpu_util": CPU_UTIL}
    assert [each.rule.derivation for each in declarations.alarms.values() if isinstance(each.rule, Rule)] == [
        CPU_UTIL,
        None,
    ]


def test_the_parts_of_a_composite_may_look_at_derived_metrics() -> None:
    (first, second) = composite(declared(alarms=[alarm("composite", {"or": [leaf(metric="cpu_util"), leaf()]})])).leaves

    assert isinstance(first, Rule)
    assert isinstance(second, Rule)
    assert (first.derivation, second.derivation) == (CPU_UTIL, None)
    assert first.metrics == ("cpu_util", "cpu", "vcpus")


def test_a_derived_metric_may_be_declared_in_any_file_and_takes_the_place_of_one_that_is_shipped() -> None:
    text = '{"derived_metrics": [{"name": "cpu_util", "from": "cpu.ns", "rate": "per_second"}]}'
    alarms = json.dumps({"alarms": [threshold()]})
    declarations = load({"a.yaml": alarms, "b.yaml": text})
    rule = only(declarations).rule

    assert isinstance(rule, Rule)
    assert rule.derivation == Derivation(base="cpu.ns", rate=Rate.PER_SECOND)
    assert declarations.generation != load({"a.yaml": alarms}).generation
    assert str(declarations.origin("derived metric", "cpu_util")) == "b.yaml:1"


def test_a_shipped_one_gives_way_to_what_it_would_be_made_of() -> None:
    assert set(declared(derived_metrics=[{"name": "vcpus", "from": "cores"}]).derived) == {"vcpus"}


def test_everything_that_can_be_said_of_a_derived_metric_is_kept() -> None:
    said = {
        "name": "share",
        "from": "used",
        "rate": "none",
        "scale": 100,
        "divide_by": {"metric": "all", "metadata": ["a"]},
    }

    assert declared(derived_metrics=[said]).derived["share"] == Derivation(
        base="used", scale=100.0, divisor="all", divisor_metadata=("a",)
    )


# --- advice ----------------------------------------------------------------------------------------------------------


def advice(raw: dict[str, Any], **sections: Any) -> list[str]:
    return [problem.expected for problem in warnings(declared(alarms=[raw], **sections))]


ONLY_ALARM = (
    'alarm "a" calls only its alarm_actions: an event makes it alarm, and nothing but a word from the API makes it '
    "anything else"
)
NO_TRUST = (
    'alarm "a" calls trust+https://x/y without a trust: for alarms in files nobody makes one; put the id of one and @ '
    "behind trust+https://"
)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(alarm("event", EVENT, alarm_actions=["log://"]), [], id="in-order"),
        pytest.param(
            alarm("event", EVENT, alarm_actions=["log://"], ok_actions=["log://"]),
            [ONLY_ALARM],
            id="an-event-alarm-never-becomes-ok",
        ),
        pytest.param(
            alarm("prometheus", PROMETHEUS, alarm_actions=["trust+https://x/y"]),
            [NO_TRUST],
            id="nobody-makes-a-trust",
        ),
        pytest.param(
            alarm("prometheus", PROMETHEUS, alarm_actions=["trust+https://0f3a@x/y"]), [], id="a-trust-that-is-there"
        ),
        pytest.param(
            alarm(
                "composite",
                {"or": [leaf(), leaf("aggregation", match={}, reaggregation_method="count", comparison_operator="lt")]},
                alarm_actions=["log://"],
            ),
            ['rule2 of alarm "a" can never hold: count is never below 1, and the condition is lt 1'],
            id="a-part-that-never-holds",
        ),
        pytest.param(
            alarm(
                "composite",
                {"or": [leaf(granularity=3600, evaluation_periods=25), leaf()]},
                alarm_actions=["log://"],
            ),
            ['rule1 of alarm "a" looks back over 25 h of points; expected at most 24 h'],
            id="a-part-with-a-long-window",
        ),
    ],
)
def test_advice_on_every_kind_of_alarm(raw: dict[str, Any], said: list[str]) -> None:
    assert advice(raw) == said


def test_a_rate_of_the_aggregate_is_advised_against_wherever_it_stands() -> None:
    part = {"type": BY_METRICS, "metrics": ["m"], "aggregation_method": "rate:mean", "threshold": 1}
    (said,) = advice(alarm("composite", {"or": [part]}, alarm_actions=["log://"]))

    assert said.startswith('rule1 of alarm "a" jumps: rate:mean is the difference between two aggregates')


def test_alarms_that_are_no_thresholds_do_not_flap() -> None:
    calls = {"groups": [GROUP], "policies": [OUT, IN]}
    event = alarm("event", EVENT, alarm_actions=["policy://out"])
    idle = aggregation({"comparison_operator": "lt"}, name="idle", alarm_actions=["policy://in"])

    assert [problem.expected for problem in warnings(declared(alarms=[event, idle], **calls))] == []


def test_alarms_of_every_kind_are_declared_alarms() -> None:
    kinds = {"event": EVENT, "prometheus": PROMETHEUS, "loadbalancer_member_health": POOL, "composite": leaf()}
    alarms = [alarm(kind, rule) | {"name": kind} for kind, rule in kinds.items()]

    assert all(isinstance(each, Alarm) for each in declared(alarms=alarms).alarms.values())
