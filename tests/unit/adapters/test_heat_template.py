"""What templates say of a group, in both of the languages that Heat reads."""

from __future__ import annotations

from typing import Any

import pytest

from autoscaler.adapters.targets.heat_template import Anatomy, anatomy, parameters_of

PARAMETERS = {"desired": "3", "most": "7", "step": "1", "OS::stack_id": "x", "secret": "******"}


def policy(adjustment: Any, kind: str = "change_in_capacity", group: Any = None) -> dict[str, Any]:
    properties = {
        "auto_scaling_group_id": group or {"get_resource": "group"},
        "adjustment_type": kind,
        "scaling_adjustment": adjustment,
    }
    return {"type": "OS::Heat::ScalingPolicy", "properties": properties}


def template(policies: dict[str, Any] | None = None, **properties: Any) -> dict[str, Any]:
    group = {"type": "OS::Heat::AutoScalingGroup", "properties": {"min_size": 1, "max_size": 5, **properties}}
    return {
        "heat_template_version": "2021-04-16",
        "parameters": {"most": {"type": "number"}, "desired": {"type": "number"}},
        "resources": {"group": group, "server": {"type": "OS::Nova::Server"}, **(policies or {})},
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(template(), Anatomy(1, 5), id="nothing-said-of-the-size"),
        pytest.param(
            template(desired_capacity={"get_param": "desired"}), Anatomy(1, 5, parameter="desired"), id="a-parameter"
        ),
        pytest.param(template(desired_capacity=2), Anatomy(1, 5, literal=2), id="a-number"),
        pytest.param(template(desired_capacity="2"), Anatomy(1, 5, literal=2), id="a-number-as-text"),
        pytest.param(template(desired_capacity=0), Anatomy(1, 5), id="heat-takes-0-for-unset"),
        pytest.param(
            template(desired_capacity={"if": ["night", 1, 2]}), Anatomy(1, 5, computed=True), id="something-computed"
        ),
        pytest.param(
            template(max_size={"get_param": "most"}, min_size={"get_param": "secret"}), Anatomy(None, 7), id="bounds"
        ),
        pytest.param(template(max_size={"get_file": "x"}, min_size=1.5), Anatomy(), id="bounds-that-cannot-be-read"),
        pytest.param(
            template({"up": policy(1), "down": policy(-1), "twice": policy(2)}),
            Anatomy(1, 5, outs=("up",), ins=("down",)),
            id="a-pair",
        ),
        pytest.param(
            template({"b": policy({"get_param": "step"}), "a": policy("1"), "percent": policy(1, "exact_capacity")}),
            Anatomy(1, 5, outs=("a", "b")),
            id="more-than-one",
        ),
        pytest.param(
            template({"up": policy(1, group={"get_resource": "other"})}), Anatomy(1, 5), id="of-another-group"
        ),
    ],
)
def test_a_group_of_heats_own(given: dict[str, Any], expected: Anatomy) -> None:
    assert anatomy(given, "group", PARAMETERS) == expected


def test_a_group_in_cloudformations_words() -> None:
    policies = {
        name: {
            "Type": "AWS::AutoScaling::ScalingPolicy",
            "Properties": {
                "AutoScalingGroupName": {"Ref": "group"},
                "AdjustmentType": "ChangeInCapacity",
                "ScalingAdjustment": step,
            },
        }
        for name, step in (("up", "1"), ("down", "-1"))
    }
    group = {
        "Type": "AWS::AutoScaling::AutoScalingGroup",
        "Properties": {"MinSize": "1", "MaxSize": {"Ref": "most"}, "DesiredCapacity": {"Ref": "desired"}},
    }
    given = {"Parameters": {"desired": {}, "most": {}}, "Resources": {"group": group, **policies}}

    assert anatomy(given, "group", PARAMETERS) == Anatomy(1, 7, parameter="desired", outs=("up",), ins=("down",))
    assert parameters_of(given) == ["desired", "most"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        pytest.param(template(), "grp", id="no-such-resource"),
        pytest.param(template(), "server", id="no-group"),
        pytest.param({}, "group", id="nothing"),
        pytest.param({"resources": ["group"]}, "group", id="no-template"),
        pytest.param({"resources": {"group": "x"}}, "group", id="no-resource"),
    ],
)
def test_what_is_no_group_is_none(given: dict[str, Any], name: str) -> None:
    assert anatomy(given, name, PARAMETERS) is None
