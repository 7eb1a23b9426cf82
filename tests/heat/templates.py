"""Templates, as people write them; members are of a type that takes no time and needs no other service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.heat.bus import METRIC

Resource = dict[str, Any]

MEMBER: Resource = {"type": "OS::Heat::RandomString", "properties": {"length": 8}}
UP: Mapping[str, Any] = {"get_attr": ["up", "alarm_url"]}
DOWN: Mapping[str, Any] = {"get_attr": ["down", "alarm_url"]}
OF_STACK = {"list_join": ["", ['{"=": {"server_group": "', {"get_param": "OS::stack_id"}, '"}}']]}


def a_group(
    others: dict[str, Resource] | None = None,
    *,
    member: Resource = MEMBER,
    cooldown: int = 0,
    max_size: int = 5,
    **properties: Any,
) -> dict[str, Any]:
    """A group that begins with one member, and its policies ``up`` and ``down`` by one.

    Args:
        others: resources beside them, by name.
        member: what the group is made of.
        cooldown: of the group and its policies, in seconds.
        max_size: of the group.
        properties: of the group, beside these.
    """
    group = {"min_size": 1, "max_size": max_size, "cooldown": cooldown, "resource": member, **properties}
    policies = {"up": 1, "down": -1}
    return {
        "heat_template_version": "2021-04-16",
        "resources": {
            "group": {"type": "OS::Heat::AutoScalingGroup", "properties": group},
            **{name: _policy(step, cooldown) for name, step in policies.items()},
            **(others or {}),
        },
        "outputs": {
            "size": {"value": {"get_attr": ["group", "current_size"]}},
            **{f"{name}_url": {"value": {"get_attr": [name, "alarm_url"]}} for name in policies},
            **{f"{name}_signal": {"value": {"get_attr": [name, "signal_url"]}} for name in policies},
        },
    }


def on_mean(operator: str, threshold: float, *actions: Any, granularity: int, **properties: Any) -> Resource:
    """An alarm on the mean over a stack's instances; by Heat's default its actions are repeated."""
    of_mean = {
        "metric": METRIC,
        "aggregation_method": "mean",
        "granularity": granularity,
        "evaluation_periods": 1,
        "resource_type": "instance",
        "query": OF_STACK,
    }
    compared = {"comparison_operator": operator, "threshold": threshold, "alarm_actions": list(actions)}
    return {"type": "OS::Aodh::GnocchiAggregationByResourcesAlarm", "properties": {**of_mean, **compared, **properties}}


def _policy(step: int, cooldown: int) -> Resource:
    properties = {
        "auto_scaling_group_id": {"get_resource": "group"},
        "adjustment_type": "change_in_capacity",
        "scaling_adjustment": step,
        "cooldown": cooldown,
    }
    return {"type": "OS::Heat::ScalingPolicy", "properties": properties}
