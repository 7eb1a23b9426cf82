import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.declarations import load, warnings
from autoscaler.errors import DeclarationError
from tests.unit.declarations.examples import GROUP, IN, OUT, RULE, aggregation, places, put, threshold

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


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["policy://out", "http://[", "mean", "rate:", "*/5 * * * *", "any", "\x00", "9" * 300, 10**300]),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.sampled_from(["=", "like", "and", "type", "name", "metric"]), st.text(max_size=3), max_size=2),
)


@given(st.lists(st.tuples(st.sampled_from(places(WHOLE)[1:]), ODD), min_size=1, max_size=3))
def test_whatever_stands_anywhere_is_taken_or_refused_with_its_place(changes: list[tuple[Any, Any]]) -> None:
    document = copy.deepcopy(WHOLE)
    for path, value in changes:
        put(document, path, value)
    text = json.dumps(document, indent=1)

    try:
        warnings(load({"f.yaml": text}))
    except DeclarationError as error:
        lines = text.splitlines()
        for problem in error.problems:
            assert problem.expected
            assert problem.column <= len(lines[problem.line - 1])


def test_the_whole_of_it_is_valid() -> None:
    assert warnings(load({"f.yaml": json.dumps(WHOLE)}))
