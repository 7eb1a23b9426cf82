from typing import Any

import pytest

from autoscaler.declarations.targets import TARGETS, DryRunOptions, HeatOptions, HttpOptions, ProcessOptions
from autoscaler.scaling.group import Group
from autoscaler.scaling.policy import AdjustmentType, ScalingPolicy, Schedule
from tests.unit.declarations.examples import GROUP, OUT, declared


def test_a_group_needs_little() -> None:
    assert declared(groups=[GROUP]).groups == {"web": Group(name="web", min_size=1, max_size=10, target_type="dry_run")}


def test_everything_that_can_be_said_of_a_group_is_kept() -> None:
    said = {
        "name": "web",
        "min_size": 0,
        "max_size": 5,
        "project_id": "p",
        "desired_capacity": 2,
        "cooldown": 30,
        "enforce": True,
        "min_reporting": 0.5,
        "max_attempts": 3,
    }
    target = {"type": "dry_run", "size": 4}

    assert declared(groups=[{**said, "target": target}]).groups["web"] == Group(
        **said, target_type="dry_run", target={"size": 4}
    )


@pytest.mark.parametrize(
    ("target", "options"),
    [
        pytest.param(
            {"type": "process", "command": "python3 -m 'my worker' {member}"},
            ProcessOptions(command=("python3", "-m", "my worker", "{member}")),
            id="command-line",
        ),
        pytest.param(
            {"type": "process", "command": ["run", "it"], "env": {"A": "1"}, "graceful_stop": 3, "ready_after": 0.5},
            ProcessOptions(command=("run", "it"), env={"A": "1"}, graceful_stop=3.0, ready_after=0.5),
            id="command-list",
        ),
        pytest.param(
            {"type": "http", "url": "https://x/y", "headers": {"Authorization": "Bearer z"}, "timeout": 2},
            HttpOptions(url="https://x/y", headers={"Authorization": "Bearer z"}, timeout=2.0),
            id="http",
        ),
        pytest.param({"type": "dry_run"}, DryRunOptions(), id="dry-run"),
        pytest.param(
            {"type": "heat", "stack": "shop/1", "group": "web", "parameter": "size", "cloud": "one", "project_id": "p"},
            HeatOptions(stack="shop/1", group="web", parameter="size", cloud="one", project_id="p"),
            id="heat",
        ),
        pytest.param(
            {"type": "heat", "stack": "shop", "group": "web", "policies": {"out": "up", "in": "down"}},
            HeatOptions(stack="shop", group="web", policies={"out": "up", "in": "down"}),
            id="heat-by-policies",
        ),
    ],
)
def test_a_targets_options_survive_the_group(target: dict[str, Any], options: Any) -> None:
    group = declared(groups=[GROUP | {"target": target}]).groups["web"]

    assert TARGETS[group.target_type].model_validate(dict(group.target)) == options


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("exact_capacity", AdjustmentType.EXACT_CAPACITY),
        ("change_in_capacity", AdjustmentType.CHANGE_IN_CAPACITY),
        ("percent_change_in_capacity", AdjustmentType.PERCENT_CHANGE_IN_CAPACITY),
        ("percent", AdjustmentType.PERCENT_CHANGE_IN_CAPACITY),
    ],
)
def test_adjustment_types_are_heats_and_percent(said: str, kind: AdjustmentType) -> None:
    declarations = declared(groups=[GROUP], policies=[OUT | {"adjustment_type": said}])

    assert declarations.policies["out"] == ScalingPolicy(
        name="out", group="web", adjustment_type=kind, scaling_adjustment=2
    )


def test_percent_takes_a_least_step_and_a_policy_its_own_cooldown() -> None:
    more = {"adjustment_type": "percent", "scaling_adjustment": -50, "min_adjustment_step": 2, "cooldown": 0}
    policy = declared(groups=[GROUP], policies=[OUT | more]).policies["out"]

    assert (policy.scaling_adjustment, policy.min_adjustment_step, policy.cooldown) == (-50, 2, 0.0)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert (
        declared(groups=[GROUP], policies=[OUT | {"scaling_adjustment": 2.0}]).policies["out"].scaling_adjustment == 2
    )


def test_a_policy_belongs_to_the_owner_of_its_group() -> None:
    declarations = declared(policies=[OUT], groups=[GROUP | {"project_id": "p"}])

    assert declarations.policies["out"].project_id == "p"


def test_everything_that_can_be_said_of_a_schedule_is_kept() -> None:
    said = {
        "name": "day",
        "group": "web",
        "cron": "0 8 * * mon-fri",
        "timezone": "Europe/Berlin",
        "min_size": 3,
        "max_size": 8,
        "desired_capacity": 4,
        "grace": 60,
    }

    assert declared(groups=[GROUP], schedules=[said]).schedules == {"day": Schedule(**said)}


@pytest.mark.parametrize("key", ["min_size", "max_size", "desired_capacity"])
def test_a_schedule_needs_one_thing_to_set(key: str) -> None:
    schedule = declared(
        groups=[GROUP], schedules=[{"name": "day", "group": "web", "cron": "0 8 * * *", key: 3}]
    ).schedules["day"]

    assert getattr(schedule, key) == 3
