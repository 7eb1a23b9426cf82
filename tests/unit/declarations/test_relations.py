from typing import Any

import pytest

from autoscaler.errors import DeclarationError
from tests.unit.declarations.examples import GROUP, IN, OUT, aggregation, declared, refused, threshold

TO_FIVE = IN | {"adjustment_type": "exact_capacity", "scaling_adjustment": 5}
TO_MOST = IN | {"adjustment_type": "exact_capacity", "scaling_adjustment": 10}
HALVE = IN | {"adjustment_type": "percent", "scaling_adjustment": -50}
BY_STEP = IN | {"adjustment_type": "percent", "scaling_adjustment": 0, "min_adjustment_step": 1}
GROW = IN | {"scaling_adjustment": 1}


@pytest.mark.parametrize(
    ("policy", "scales_in"),
    [
        pytest.param(IN, True, id="fewer"),
        pytest.param(HALVE, True, id="percent"),
        pytest.param(TO_FIVE, True, id="a-size-below-the-largest"),
        pytest.param(BY_STEP, True, id="minus-the-least-step"),
        pytest.param(TO_MOST, False, id="the-largest-size"),
        pytest.param(GROW, False, id="more"),
    ],
)
@pytest.mark.parametrize(
    ("key", "treated"),
    [
        pytest.param("insufficient_data_actions", None, id="insufficient-data"),
        pytest.param("alarm_actions", "breaching", id="missing-is-breaching"),
        pytest.param("ok_actions", "ok", id="missing-is-ok"),
    ],
)
def test_silence_may_not_scale_in(policy: dict[str, Any], key: str, treated: str | None, scales_in: bool) -> None:  # noqa: FBT001
    alarm = aggregation({"treat_missing_data": treated}, **{key: ["log://", "policy://in"]})

    assert refused(groups=[GROUP], policies=[policy], alarms=[alarm]) == ([f"alarms[0].{key}[1]"] if scales_in else [])


@pytest.mark.parametrize(
    ("key", "treated"),
    [
        pytest.param("alarm_actions", None, id="measures"),
        pytest.param("alarm_actions", "ignore", id="missing-is-ignored"),
        pytest.param("alarm_actions", "ok", id="missing-calls-the-other"),
        pytest.param("ok_actions", "breaching", id="missing-calls-the-other-way"),
    ],
)
def test_measures_may_scale_in(key: str, treated: str | None) -> None:
    alarm = aggregation({"treat_missing_data": treated}, **{key: ["policy://in"]})

    assert refused(groups=[GROUP], policies=[IN], alarms=[alarm]) == []


@pytest.mark.parametrize(
    ("owner", "asker", "keys"),
    [
        pytest.param("p", "p", [], id="own"),
        pytest.param("p", "", [], id="the-operators"),
        pytest.param("p", "any", [], id="the-operators-for-all"),
        pytest.param("p", "q", ["alarms[0].alarm_actions[0]", "alarms[0].rule.group"], id="a-strangers"),
        pytest.param("", "q", ["alarms[0].alarm_actions[0]", "alarms[0].rule.group"], id="the-operators-group"),
    ],
)
def test_an_alarm_moves_and_watches_only_what_is_its_projects(owner: str, asker: str, keys: list[str]) -> None:
    alarm = aggregation(project_id=asker, alarm_actions=["policy://out"])

    assert sorted(refused(groups=[GROUP | {"project_id": owner}], policies=[OUT], alarms=[alarm])) == keys


def test_one_name_may_stand_in_two_projects() -> None:
    assert refused(alarms=[threshold(project_id="p"), threshold(project_id="q")]) == []
    assert refused(alarms=[threshold(project_id="p"), threshold(project_id="p")]) == ["alarms[1].name"]


def test_a_name_that_is_declared_wrongly_is_not_called_unknown() -> None:
    alarm = aggregation(alarm_actions=["policy://out"])
    broken = {"groups": [GROUP | {"min_size": -1}], "policies": [OUT | {"scaling_adjustment": 1.5}]}

    assert refused(**broken, alarms=[alarm]) == ["groups[0].min_size", "policies[0].scaling_adjustment"]


def test_a_schedule_may_move_a_bound_beyond_the_declared_one() -> None:
    day = {"name": "day", "group": "web", "cron": "0 8 * * *"}

    assert refused(groups=[GROUP], schedules=[day | {"min_size": 12, "max_size": 20, "desired_capacity": 15}]) == []
    assert refused(groups=[GROUP], schedules=[day | {"min_size": 12}]) == ["schedules[0].min_size"]
    assert refused(groups=[GROUP | {"min_size": 2}], schedules=[day | {"max_size": 1}]) == ["schedules[0].max_size"]


def test_many_things_are_checked_in_little_time() -> None:
    alarms = [aggregation(name=f"a{i}", alarm_actions=[f"policy://p{i}"]) for i in range(1000)]
    policies = [OUT | {"name": f"p{i}"} for i in range(1000)]

    assert refused(groups=[GROUP], policies=policies, alarms=alarms) == []


PROCESS = {**GROUP, "target": {"type": "process", "command": ["x"]}}


@pytest.mark.parametrize(
    ("group", "policy", "order", "words"),
    [
        pytest.param(PROCESS, IN, "newest", "", id="a-target-that-can"),
        pytest.param(
            PROCESS, IN, "unhealthy", "expected one of oldest, newest for a target of type process", id="not-this-one"
        ),
        pytest.param(GROUP, IN, "oldest", "expected none for a target of type dry_run", id="a-target-that-cannot"),
        pytest.param(
            PROCESS, OUT, "oldest", "expected only with a policy that can make its group smaller", id="nobody-goes"
        ),
        pytest.param(
            PROCESS, IN, "newset", "expected one of oldest, newest, unhealthy, got 'newset'; did you mean \"newest\"?",
            id="mistyped",
        ),
    ],
)  # fmt: skip
def test_who_goes_first_is_said_only_where_it_can_be_done(
    group: dict[str, Any], policy: dict[str, Any], order: str, words: str
) -> None:
    asked = {"groups": [group], "policies": [{**policy, "order": order}]}
    if not words:
        assert declared(**asked).policies["in"].order == order
        return
    with pytest.raises(DeclarationError) as caught:
        declared(**asked)
    (problem,) = caught.value.problems
    assert (problem.key, problem.expected) == ("policies[0].order", words)
