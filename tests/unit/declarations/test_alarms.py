import json
from typing import Any

import pytest

from autoscaler.alarms.alarm import Alarm, Severity, declared_id
from autoscaler.alarms.rules import ComparisonOperator, EvaluateWhen, OnOutage, Rule, TreatMissingData, WindowKind
from autoscaler.alarms.time_constraints import TimeConstraint
from autoscaler.declarations import warnings
from autoscaler.errors import DeclarationError
from autoscaler.measures.match import EVERYTHING, And, Equals, Match, Not, Or, all_equal
from tests.unit.declarations.examples import GROUP, RULE, aggregation, declared, only, refused, threshold

ONE = all_equal({"resource_id": "r"})
WEB = all_equal({"server_group": "web"})
BY_RESOURCES = "gnocchi_aggregation_by_resources_threshold"


SCHEMES_KNOWN = (
    "a URL with one of the schemes http, https, log, test, policy, trust+http, trust+https, trust+heat, zaqar, "
    "trust+zaqar"
)


def gnocchi(query: Any, **keys: Any) -> dict[str, Any]:
    """A body as Heat sends it."""
    rule = {**RULE, "query": query, "resource_type": "instance", "granularity": 60, "evaluation_periods": 1}
    return {"name": "a", "type": BY_RESOURCES, f"{BY_RESOURCES}_rule": rule, **keys}


def test_defaults_are_those_of_aodh() -> None:
    minimal = {"metric": "m", "resource_id": "r", "aggregation_method": "mean", "threshold": 5}

    assert only(declared(alarms=[threshold(rule=minimal)])) == Alarm(
        alarm_id=declared_id("", "a"),
        name="a",
        type="threshold",
        description="threshold alarm rule",
        rule=Rule(
            metric="m",
            match=ONE,
            single=True,
            aggregation_method="mean",
            threshold=5.0,
            comparison_operator=ComparisonOperator.EQ,
            granularity=60.0,
            evaluation_periods=1,
            window=WindowKind.SLIDING,
            evaluate=EvaluateWhen.SETTLED,
        ),
    )


def test_everything_that_can_be_said_is_kept() -> None:
    rule = {
        "metric": "m",
        "match": {"zone": "eu", "rack": 7, "spare": False},
        "group": "web",
        "aggregation_method": "95pct",
        "reaggregation_method": "max",
        "threshold": 70,
        "comparison_operator": "ge",
        "granularity": 10,
        "evaluation_periods": 5,
        "window": "aligned",
        "evaluate": "measure",
        "lateness": 2.5,
        "datapoints_to_alarm": 3,
        "treat_missing_data": "ignore",
        "recovery_threshold": 60,
        "for": 30,
        "keep_firing_for": 90,
        "min_reporting": 0.5,
        "outage": "hold",
    }
    constraint = {"name": "day", "start": "0 8 * * *", "duration": 3600, "timezone": "Europe/Berlin"}
    alarm = threshold(
        type="aggregation",
        rule=rule,
        description="d",
        project_id="p",
        enabled=False,
        severity="critical",
        ok_actions=["log://"],
        alarm_actions=["https://x/y?z=1", "http://[::1]:80/", "https://x/y?z=1"],
        insufficient_data_actions=["log:"],
        repeat_actions=True,
        repeat_interval=10,
        time_constraints=[constraint],
    )

    assert only(declared(alarms=[alarm], groups=[GROUP | {"project_id": "p"}])) == Alarm(
        alarm_id=declared_id("p", "a"),
        name="a",
        type="aggregation",
        project_id="p",
        description="d",
        enabled=False,
        severity=Severity.CRITICAL,
        ok_actions=("log://",),
        alarm_actions=("https://x/y?z=1", "http://[::1]:80/"),
        insufficient_data_actions=("log://",),
        repeat_actions=True,
        repeat_interval=10.0,
        time_constraints=(
            TimeConstraint(
                name="day",
                start="0 8 * * *",
                duration=3600,
                timezone="Europe/Berlin",
                description="Time constraint at 0 8 * * * lasting for 3600 seconds",
            ),
        ),
        rule=Rule(
            metric="m",
            match=all_equal({"zone": "eu", "rack": "7", "spare": "false"}),
            group="web",
            single=False,
            aggregation_method="95pct",
            reaggregation_method="max",
            threshold=70.0,
            comparison_operator=ComparisonOperator.GE,
            granularity=10.0,
            evaluation_periods=5,
            window=WindowKind.ALIGNED,
            evaluate=EvaluateWhen.MEASURE,
            lateness=2.5,
            datapoints_to_alarm=3,
            treat_missing_data=TreatMissingData.IGNORE,
            recovery_threshold=60.0,
            hold_for=30.0,
            keep_firing_for=90.0,
            min_reporting=0.5,
            outage=OnOutage.HOLD,
        ),
    )


def test_null_means_the_default_as_heat_sends_it() -> None:
    rule = {**RULE, "resource_id": "r", "comparison_operator": None, "granularity": None, "evaluation_periods": None}
    alarm = threshold(rule=rule, description=None, alarm_actions=None, time_constraints=None)

    assert only(declared(alarms=[alarm])) == only(
        declared(alarms=[threshold(rule={**RULE, "resource_id": "r", "comparison_operator": "eq"})])
    )


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        pytest.param({"match": {"server_group": "web"}}, WEB, id="equality"),
        pytest.param({"match": {}}, EVERYTHING, id="everything-if-said"),
        pytest.param({"group": "web"}, EVERYTHING, id="a-group-alone"),
        pytest.param({"match": {"id": "r"}}, ONE, id="id-is-the-resource"),
    ],
)
def test_an_aggregation_says_which_series(rule: dict[str, Any], match: Match) -> None:
    alarm = threshold(type="aggregation", rule={**RULE, **rule})

    assert only(declared(alarms=[alarm], groups=[GROUP])).rule.match == match


def test_a_threshold_may_match_more_than_its_resource() -> None:
    rule = {**RULE, "resource_id": "r", "match": {"disk": "sda", "resource_id": "r"}}

    assert only(declared(alarms=[threshold(rule=rule)])).rule.match == all_equal({"disk": "sda", "resource_id": "r"})


@pytest.mark.parametrize(
    ("query", "match"),
    [
        pytest.param('{"=": {"server_group": "web"}}', WEB, id="string"),
        pytest.param({"=": {"server_group": "web"}}, WEB, id="object"),
        pytest.param({"and": [{"=": {"server_group": "web"}}]}, WEB, id="and-of-one"),
        pytest.param("{}", EVERYTHING, id="everything"),
        pytest.param(
            {"or": [{"=": {"a": "b"}}, {"not": {"=": {"c": 1}}}]},
            Or((Equals("a", "b"), Not(Equals("c", "1")))),
            id="or-and-not",
        ),
        pytest.param(
            {"and": [{"=": {"b": "2"}}, {"=": {"a": "1"}}]},
            all_equal({"a": "1", "b": "2"}),
            id="the-order-is-no-matter",
        ),
    ],
)
def test_a_query_is_read_as_gnocchi_does(query: Any, match: Match) -> None:
    assert only(declared(alarms=[gnocchi(query)])).rule.match == match


SCOPED = {
    "and": [
        {
            "or": [
                {"=": {"created_by_project_id": "p"}},
                {"and": [{"=": {"created_by_project_id": "service"}}, {"=": {"project_id": "p"}}]},
            ]
        },
        {"=": {"server_group": "web"}},
    ]
}


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(SCOPED, id="once"),
        pytest.param({"and": [SCOPED["and"][0], SCOPED]}, id="twice"),
        pytest.param(
            {"and": [{"or": [{"=": {"created_by_project_id": "p"}}]}, SCOPED["and"][1]]}, id="without-service"
        ),
        pytest.param({"and": [{"=": {"created_by_project_id": "p"}}, SCOPED["and"][1]]}, id="aodh-without-service"),
    ],
)
def test_the_scope_that_aodh_put_around_a_query_is_taken_off(query: Any) -> None:
    alarm = only(declared(alarms=[gnocchi(json.dumps(query), project_id="p")]))

    assert (alarm.project_id, alarm.rule.match) == ("p", WEB)


def test_a_query_that_only_looks_scoped_is_left_as_it_is() -> None:
    query = {"and": [{"or": [{"=": {"zone": "a"}}, {"=": {"zone": "b"}}]}, {"=": {"server_group": "web"}}]}

    zones = Or((Equals("zone", "a"), Equals("zone", "b")))
    assert only(declared(alarms=[gnocchi(query)])).rule.match == And((zones, Equals("server_group", "web")))


@pytest.mark.parametrize(
    ("alarm", "method", "across", "of_aggregate"),
    [
        pytest.param(aggregation({"aggregation_method": "rate:mean"}), "rate:mean", "mean", False, id="short"),
        pytest.param(
            aggregation({"aggregation_method": "rate_per_second:sum"}), "rate_per_second:sum", "sum", False, id="ours"
        ),
        pytest.param(aggregation({"aggregation_method": "last"}), "last", "mean", False, id="last"),
        pytest.param(aggregation({"aggregation_method": "first"}), "first", "mean", False, id="first"),
        pytest.param(aggregation({"aggregation_method": "95pct"}), "95pct", "95pct", False, id="percentile"),
        pytest.param(aggregation({"reaggregation_method": "max"}), "mean", "max", False, id="said"),
        pytest.param(aggregation({"reaggregation_method": "pooled"}), "mean", "pooled", False, id="pooled"),
    ],
)
def test_the_method_across_series_follows_the_one_within(
    alarm: dict[str, Any], method: str, across: str, *, of_aggregate: bool
) -> None:
    rule = only(declared(alarms=[alarm], groups=[GROUP])).rule

    assert (rule.aggregation_method, rule.reaggregation_method, rule.rate_of_aggregate) == (
        method,
        across,
        of_aggregate,
    )


@pytest.mark.parametrize(
    ("method", "of_aggregate"), [("rate:mean", True), ("mean", False), ("rate_per_second:mean", False)]
)
def test_aodhs_aggregation_alarms_take_the_rate_of_the_aggregate(method: str, *, of_aggregate: bool) -> None:
    alarm = gnocchi("{}")
    alarm[f"{BY_RESOURCES}_rule"]["aggregation_method"] = method

    assert only(declared(alarms=[alarm])).rule.rate_of_aggregate is of_aggregate


@pytest.mark.parametrize(
    ("alarm", "window"),
    [
        pytest.param(threshold(), WindowKind.SLIDING, id="threshold"),
        pytest.param(aggregation(), WindowKind.SLIDING, id="aggregation"),
        pytest.param(threshold(type="gnocchi_resources_threshold"), WindowKind.ALIGNED, id="gnocchi-resources"),
        pytest.param(gnocchi("{}"), WindowKind.ALIGNED, id="gnocchi-aggregation"),
        pytest.param(aggregation({"window": "aligned"}), WindowKind.ALIGNED, id="said"),
        pytest.param(aggregation({"evaluate": "boundary"}), WindowKind.ALIGNED, id="only-aligned-ones-have-boundaries"),
    ],
)
def test_short_types_slide_and_gnocchis_are_aligned(alarm: dict[str, Any], window: WindowKind) -> None:
    assert only(declared(alarms=[alarm], groups=[GROUP])).rule.window is window


@pytest.mark.parametrize("key", ["rule", f"{BY_RESOURCES}_rule"])
def test_a_gnocchi_rule_goes_by_either_name(key: str) -> None:
    body = gnocchi("{}")
    body = {"name": "a", "type": BY_RESOURCES, key: body[f"{BY_RESOURCES}_rule"]}

    assert only(declared(alarms=[body])) == only(declared(alarms=[gnocchi("{}")]))


def test_what_aodh_answers_with_is_ignored_and_said_so() -> None:
    read_back = gnocchi("{}", alarm_actions=["log://"], alarm_id="x", state="ok", user_id="u", timestamp="t")
    declarations = declared(alarms=[read_back])

    assert only(declarations) == only(declared(alarms=[gnocchi("{}", alarm_actions=["log://"])]))
    assert [problem.key for problem in warnings(declarations)] == [
        "alarms[0].alarm_id",
        "alarms[0].state",
        "alarms[0].user_id",
        "alarms[0].timestamp",
    ]


@pytest.mark.parametrize(
    "url",
    [
        *("https://x", "http://127.0.0.1:80/a?b=c#d", "HTTP://x", "http://user:secret@host/"),
        *(
            "log://",
            "log:",
            "test://",
            "trust+http://0f3a@host/signal",
            "trust+https://0f3a:delete@host",
            "trust+heat://",
        ),
        *("zaqar://?topic=t&subscriber=http%3A%2F%2Fx", "zaqar:?topic=t", "trust+zaqar://?queue_name=q"),
    ],
)
def test_actions_of_known_schemes_are_taken(url: str) -> None:
    (action,) = only(declared(alarms=[threshold(alarm_actions=[url])])).alarm_actions

    rewritten = {"HTTP://x": "http://x", "log:": "log://", "zaqar:?topic=t": "zaqar://?topic=t"}
    assert action == rewritten.get(url, url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("trust+https:///x", "expected a URL such as trust+https://host/path", id="trust-without-a-host"),
        pytest.param("zaqar://?ttl=5", "expected a URL such as zaqar://?topic=TOPIC&subscriber=URL", id="no-topic"),
        pytest.param("trust+zaqar://?topic=t", "expected a URL such as trust+zaqar://?queue_name=NAME", id="no-queue"),
        pytest.param(
            "http://a b",
            "expected a URL without blanks and control characters, got 'http://a b'",
            id="blank",
        ),
        pytest.param("http:///path", "expected a URL such as http://host/path", id="no-host"),
        pytest.param("http://x:99999/", "expected a URL: Port out of range 0-65535", id="port"),
        pytest.param("web-out", f"expected {SCHEMES_KNOWN}, got 'web-out'", id="no-scheme"),
        pytest.param(
            "polcy://web", f"expected {SCHEMES_KNOWN}, got 'polcy://web'; did you mean \"policy\"?", id="misspelt"
        ),
        pytest.param("file:///etc/passwd", f"expected {SCHEMES_KNOWN}, got 'file:///etc/passwd'", id="file"),
    ],
)
def test_actions_of_other_schemes_are_refused(url: str, expected: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        declared(alarms=[threshold(ok_actions=[url])])

    (problem,) = refused.value.problems
    assert (problem.key, problem.expected) == ("alarms[0].ok_actions[0]", expected)


def test_an_alarm_for_all_projects_is_the_operators() -> None:
    alarm = aggregation(project_id="any")

    assert only(declared(alarms=[alarm], groups=[GROUP | {"project_id": "p"}])).project_id == "any"


def test_a_hundred_spans_are_taken_and_no_more() -> None:
    spans = [{"name": f"s{number}", "start": "0 8 * * *", "duration": 1} for number in range(101)]

    assert len(only(declared(alarms=[threshold(time_constraints=spans[:100])])).time_constraints) == 100
    assert refused(alarms=[threshold(time_constraints=spans)]) == ["alarms[0].time_constraints"]


@pytest.mark.parametrize(
    ("said", "outage"),
    [
        pytest.param({}, OnOutage.HOLD, id="by-itself"),
        pytest.param({"outage": "believe"}, OnOutage.BELIEVE, id="as-told"),
        pytest.param({"window": "aligned", "evaluate": "boundary"}, OnOutage.BELIEVE, id="as-aodh-at-boundaries"),
        pytest.param(
            {"window": "aligned", "evaluate": "boundary", "outage": "hold"}, OnOutage.HOLD, id="at-boundaries-as-told"
        ),
    ],
)
def test_an_outage_is_held_unless_equality_with_aodh_is_wanted(said: dict[str, str], outage: OnOutage) -> None:
    rule = {"metric": "m", "match": {}, "aggregation_method": "mean", "threshold": 1} | said

    found = only(declared(alarms=[threshold(type="aggregation", rule=rule)])).rule

    assert isinstance(found, Rule)
    assert found.outage is outage
