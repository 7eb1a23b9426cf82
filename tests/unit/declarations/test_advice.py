from typing import Any

import pytest

from autoscaler.declarations import warnings
from tests.unit.declarations.examples import GROUP, IN, OUT, RULE, aggregation, declared, threshold


def advice(**sections: Any) -> list[str]:
    return [problem.expected for problem in warnings(declared(**sections))]


def scaling(out: dict[str, Any], back: dict[str, Any], **sections: Any) -> list[str]:
    """What is said of an alarm that scales out and one that scales in."""
    alarms = [
        aggregation(out, name="busy", alarm_actions=["policy://out"]),
        aggregation({"comparison_operator": "lt", **back}, name="idle", alarm_actions=["policy://in"]),
    ]
    return advice(**{"groups": [GROUP], "policies": [OUT, IN], "alarms": alarms} | sections)


def test_what_is_in_order_gets_no_advice() -> None:
    assert scaling({"threshold": 70}, {"threshold": 30}) == []


def test_advice_names_the_place() -> None:
    (problem,) = warnings(declared(alarms=[threshold()]))

    assert str(problem) == 'f.yaml:3:3: alarms[0]: alarm "a" does nothing: it has no actions'


def test_an_alarm_that_is_off_never_fires() -> None:
    alarm = threshold(alarm_actions=["log://"], enabled=False)

    assert advice(alarms=[alarm]) == ['alarm "a" can never fire: it is not enabled']


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        pytest.param(("count", "lt", 1), "count is never below 1, and the condition is lt 1", id="count-below-one"),
        pytest.param(("count", "le", 0), "count is never below 1, and the condition is le 0", id="count-at-most-zero"),
        pytest.param(("count", "eq", 0), "count is never below 1, and the condition is eq 0", id="count-of-zero"),
        pytest.param(("std", "lt", 0), "std is never below 0, and the condition is lt 0", id="negative-deviation"),
        pytest.param(
            ("rate_per_second:max", "lt", 0),
            "rate_per_second:max is never below 0, and the condition is lt 0",
            id="negative-speed",
        ),
        pytest.param(("count", "le", 1), None, id="count-at-most-one"),
        pytest.param(("std", "le", 0), None, id="no-deviation"),
        pytest.param(("rate:mean", "lt", 0), None, id="a-fall"),
        pytest.param(("mean", "lt", -5), None, id="a-negative-mean"),
    ],
)
def test_an_impossible_condition_never_fires(rule: tuple[str, str, float], reason: str | None) -> None:
    method, comparison, value = rule
    keys = {"aggregation_method": method, "comparison_operator": comparison, "threshold": value}
    alarm = threshold(rule={**RULE, "resource_id": "r", **keys}, alarm_actions=["log://"])

    assert advice(alarms=[alarm]) == ([f'alarm "a" can never fire: {reason}'] if reason else [])


@pytest.mark.parametrize(
    ("across", "reason"),
    [
        pytest.param("count", "count is never below 1, and the condition is lt 0", id="count"),
        pytest.param("std", "std is never below 0, and the condition is lt 0", id="std"),
        pytest.param("sum", None, id="sum"),
    ],
)
def test_the_method_across_series_bounds_the_value(across: str, reason: str | None) -> None:
    rule = {"match": {}, "reaggregation_method": across, "comparison_operator": "lt", "threshold": 0, "group": None}

    assert advice(alarms=[aggregation(rule, alarm_actions=["log://"])]) == (
        [f'alarm "a" can never fire: {reason}'] if reason else []
    )


@pytest.mark.parametrize("method", ["count", "std", "mean"])
def test_what_is_pooled_is_bounded_by_its_method(method: str) -> None:
    rule = {"match": {}, "aggregation_method": method, "reaggregation_method": "pooled", "group": None}
    alarm = aggregation({**rule, "comparison_operator": "lt", "threshold": 0}, alarm_actions=["log://"])
    least = {"count": 1, "std": 0}

    assert advice(alarms=[alarm]) == (
        [f'alarm "a" can never fire: {method} is never below {least[method]}, and the condition is lt 0']
        if method in least
        else []
    )


def test_a_rate_of_an_aggregate_has_no_bound() -> None:
    rule = {**RULE, "query": "{}", "aggregation_method": "rate:count", "comparison_operator": "lt", "threshold": 0}
    alarm = threshold(type="gnocchi_aggregation_by_resources_threshold", rule=rule, alarm_actions=["log://"])

    assert not [said for said in advice(alarms=[alarm]) if "can never" in said]


def test_a_window_of_more_than_a_day_is_long() -> None:
    rule = {**RULE, "resource_id": "r", "granularity": 3600, "evaluation_periods": 25}

    assert advice(alarms=[threshold(rule=rule, alarm_actions=["log://"])]) == [
        'alarm "a" looks back over 25 h of points; expected at most 24 h'
    ]


TIPS = (
    'group web flaps: "idle" (in) and "busy" (out): at 40 it goes from 2 to 1 members, '
    "which then carry 80 each, and 70 scales out"
)
BOTH = 'group web flaps: "idle" (in) and "busy" (out) both hold from'


@pytest.mark.parametrize(
    ("out", "back", "said"),
    [
        pytest.param({"threshold": 50}, {"threshold": 60}, [f"{BOTH} 50 to 60"], id="overlap"),
        pytest.param({"threshold": 50}, {"threshold": 50}, [f"{BOTH} 50 to 50"], id="touch"),
        pytest.param(
            {"threshold": 70},
            {"threshold": 40},
            [TIPS],
            id="the-rest-tips",
        ),
        pytest.param(
            {"threshold": 70, "reaggregation_method": "pooled"},
            {"threshold": 40, "reaggregation_method": "pooled"},
            [TIPS],
            id="the-rest-tips-pooled",
        ),
        pytest.param(
            {"threshold": 70, "reaggregation_method": "sum"},
            {"threshold": 40, "reaggregation_method": "sum"},
            [],
            id="a-sum-does-not-tip",
        ),
        pytest.param({"threshold": 50}, {"threshold": 60, "metric": "queue"}, [], id="other-metrics"),
        pytest.param({"threshold": 50}, {"threshold": 60, "match": {"zone": "a"}}, [], id="other-series"),
        pytest.param(
            {"threshold": 20, "comparison_operator": "lt"},
            {"threshold": 10, "comparison_operator": "gt"},
            [f"{BOTH} 10 to 20"],
            id="overlap-downwards",
        ),
        pytest.param(
            {"threshold": 20, "comparison_operator": "lt"},
            {"threshold": 60, "comparison_operator": "gt"},
            [],
            id="apart-downwards",
        ),
        pytest.param({"threshold": 50, "comparison_operator": "eq"}, {"threshold": 60}, [], id="no-direction"),
    ],
)
def test_thresholds_that_make_a_group_flap(out: dict[str, Any], back: dict[str, Any], said: list[str]) -> None:
    assert scaling(out, back) == said


def test_a_group_too_large_to_tip_does_not_flap() -> None:
    assert scaling({"threshold": 70}, {"threshold": 40}, groups=[GROUP | {"min_size": 3}]) == []


def test_ok_actions_that_scale_in_flap_at_the_same_threshold() -> None:
    alarm = aggregation(alarm_actions=["policy://out"], ok_actions=["policy://in"])

    (said,) = advice(groups=[GROUP], policies=[OUT, IN], alarms=[alarm])
    assert said.startswith('group web flaps: "a" (in) and "a" (out): at 70 it goes from 2 to 1 members')


def test_nobody_calls_a_policy() -> None:
    assert advice(groups=[GROUP], policies=[OUT]) == ['nobody calls policy "out"']


def test_nobody_scales_a_group() -> None:
    assert advice(groups=[GROUP]) == ['nobody scales group "web": no policy and no schedule names it']


def test_a_schedule_scales_a_group() -> None:
    schedule = {"name": "day", "group": "web", "cron": "0 8 * * *", "min_size": 2}

    assert advice(groups=[GROUP], schedules=[schedule]) == []


def test_two_kinds_of_day_mean_both() -> None:
    schedule = {"name": "day", "group": "web", "cron": "0 8 1 * mon", "min_size": 2}

    assert advice(groups=[GROUP], schedules=[schedule]) == [
        'schedule "day" fires only on days that are both the day of month and the day of week'
    ]


HEAT = {"name": "a", "min_size": 1, "max_size": 3, "target": {"type": "heat", "stack": "shop", "group": "web"}}


def of_heat(*groups: dict[str, Any]) -> list[str]:
    schedules = [{"name": g["name"], "group": g["name"], "cron": "0 8 * * *", "min_size": 1} for g in groups]
    return advice(groups=list(groups), schedules=schedules)


def test_two_groups_that_are_one_of_heats_get_in_each_others_way() -> None:
    other = HEAT | {"name": "b"}
    elsewhere = other | {"target": {**HEAT["target"], "cloud": "two"}}

    assert of_heat(HEAT, other) == [
        'group "b" moves the same group of Heat\'s as "a": each undoes what the other does'
    ]  # fmt: skip
    assert of_heat(HEAT, elsewhere) == []


def test_a_parameter_makes_nobody_of_a_group() -> None:
    none = HEAT | {"min_size": 0}

    assert of_heat(none | {"target": {**HEAT["target"], "parameter": "size"}}) == [
        'group "a" never gets smaller than 1: Heat takes a parameter of 0 for unset'
    ]
    assert of_heat(none) == []
