"""Every type of alarm that Heat has, in unmodified templates, with a controller as the alarming service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from autoscaler.alarms.definition import ACTIONS
from tests.e2e.controller import ControllerProcess
from tests.heat import stacks
from tests.heat.cloud import HeatCloud
from tests.heat.templates import DOWN, UP, Resource, a_group
from tests.receiver import Receiver, answering_json, receiver

pytestmark = [pytest.mark.heat, pytest.mark.timeout(600)]

TRUSTED: Mapping[str, Any] = {"list_join": ["", ["trust+", {"get_attr": ["down", "signal_url"]}]]}
POOL = "1d4ad1a2-3c7b-4b8f-8a4b-6c2f0b7f4f10"
VM = "7f3b6f0c-6a0e-4a3b-9a35-0d1f6c1f7a11"
COMMON = {"comparison_operator": "gt", "evaluation_periods": 1, "granularity": 60, "aggregation_method": "mean"}
CPU = {**COMMON, "metric": "cpu", "resource_type": "instance", "threshold": 80.0}
METER = {
    "meter_name": "memory.usage", "statistic": "avg", "period": 60, "evaluation_periods": 1,
    "comparison_operator": "gt",
}  # fmt: skip
OF_SERVER_GROUP = {"field": "metadata.user_metadata.server_group", "op": "eq", "type": "", "value": "g"}
PART = {**CPU, "type": "gnocchi_resources_threshold", "resource_id": VM}
OTHER_PART = {**PART, "metric": "memory.usage", "comparison_operator": "lt"}


@dataclass(frozen=True)
class Kind:
    """A type of alarm, and a change that Heat makes without making the alarm anew.

    Attributes:
        resource: as Heat calls the type.
        kind: as the API does.
        properties: what the alarm looks at.
        change: of these; for a composite alarm of its actions, too, since Heat empties those that do not change.
        rules: as the API shows them before and after; the properties where there are none.
    """

    resource: str
    kind: str
    properties: Mapping[str, Any]
    change: Mapping[str, Any]
    rules: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None

    def in_template(self, *, changed: bool, **others: Any) -> Resource:
        return {"type": self.resource, "properties": {**others, **self.properties, **(self.change if changed else {})}}

    def rule(self, *, changed: bool) -> Mapping[str, Any]:
        if self.rules is not None:
            return self.rules[changed]
        return {**self.properties, **(self.change if changed else {})}


KINDS = {
    "of_group": Kind(
        "OS::Aodh::GnocchiAggregationByResourcesAlarm",
        "gnocchi_aggregation_by_resources_threshold",
        {**CPU, "query": '{"=": {"server_group": "g"}}'},
        {"threshold": 90.0, "query": '{"=": {"server_group": "h"}}'},
    ),
    "of_resource": Kind(
        "OS::Aodh::GnocchiResourcesAlarm",
        "gnocchi_resources_threshold",
        {**CPU, "resource_id": VM},
        {"metric": "memory.usage", "granularity": 300},
    ),
    "of_metrics": Kind(
        "OS::Aodh::GnocchiAggregationByMetricsAlarm",
        "gnocchi_aggregation_by_metrics_threshold",
        {**COMMON, "threshold": 80.0, "metrics": ["a", "b"]},
        {"metrics": ["a", "b", "c"], "comparison_operator": "lt"},
    ),
    "of_query": Kind(
        "OS::Aodh::PrometheusAlarm",
        "prometheus",
        {"query": "avg(load)", "threshold": 80.0, "comparison_operator": "gt"},
        {"query": "max(load)"},
    ),
    "of_event": Kind(
        "OS::Aodh::EventAlarm",
        "event",
        {"event_type": "compute.*", "query": [{"field": "traits.state", "op": "eq", "type": "string", "value": "x"}]},
        {"event_type": "volume.*"},
    ),
    "of_parts": Kind(
        "OS::Aodh::CompositeAlarm",
        "composite",
        {"composite_rule": {"operator": "or", "rules": [PART, OTHER_PART]}},
        {"composite_rule": {"operator": "and", "rules": [OTHER_PART, PART]}, "alarm_actions": [UP, DOWN]},
        ({"or": [PART, OTHER_PART]}, {"and": [OTHER_PART, PART]}),
    ),
    "of_meter": Kind(
        "OS::Aodh::Alarm",
        "threshold",
        {**METER, "threshold": 80.0, "matching_metadata": {"metering.server_group": "g"}},
        {"threshold": 90.0},
        (
            {**METER, "threshold": 80.0, "query": [OF_SERVER_GROUP], "exclude_outliers": False},
            {**METER, "threshold": 90.0, "query": [OF_SERVER_GROUP], "exclude_outliers": False},
        ),
    ),
    "of_pool": Kind(
        "OS::Aodh::LBMemberHealthAlarm",
        "loadbalancer_member_health",
        {"pool": "the pool", "stack": "s", "autoscaling_group_id": "g"},
        {"autoscaling_group_id": "h"},
        (
            {"pool_id": POOL, "stack_id": "s", "autoscaling_group_id": "g"},
            {"pool_id": POOL, "stack_id": "s", "autoscaling_group_id": "h"},
        ),
    ),
}
HIDDEN: Resource = {"type": "OS::Aodh::CombinationAlarm", "properties": {"alarm_ids": ["a", "b"]}}
"""Of this type Heat makes nothing but a place in the stack."""


@pytest.fixture(scope="module")
def controller(cloud: HeatCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    with cloud.controller(tmp_path_factory.mktemp("controller")) as running:
        running.until_ready()
        yield running


@pytest.fixture
async def alarming(controller: ControllerProcess, cloud: HeatCloud) -> AsyncIterator[httpx.AsyncClient]:
    """The controller, as ada sees it."""
    async with cloud.alarming(cloud.ada) as client:
        yield client


@pytest.fixture
async def octavia(cloud: HeatCloud) -> AsyncIterator[Receiver]:
    """A load balancer service with one pool, which has no members."""
    pool = {"id": POOL, "name": "the pool", "provisioning_status": "ACTIVE", "protocol": "HTTP"}
    fault = {"faultcode": "Client", "faultstring": "Pool the pool not found.", "debuginfo": None}
    async with receiver(port=cloud.octavia_port) as it:
        it.on("GET /v2.0/lbaas/pools/the%20pool", answering_json(fault, 404))
        it.on("GET /v2.0/lbaas/pools", answering_json({"pools": [pool]}))
        it.on(f"GET /v2.0/lbaas/pools/{POOL}", answering_json({"pool": pool}))
        yield it


def every_kind(*, changed: bool = False) -> Mapping[str, Any]:
    actions = {"alarm_actions": [UP], "ok_actions": [TRUSTED]}
    alarms = {
        name: kind.in_template(changed=changed, **(actions if name != "of_parts" else {"alarm_actions": [UP]}))
        for name, kind in KINDS.items()
    }
    return a_group({**alarms, "hidden": HIDDEN})


async def shown(alarming: httpx.AsyncClient, stack: stacks.Stack) -> dict[str, dict[str, Any]]:
    """Alarms of a stack as the controller has them, by the names of their resources."""
    found = {}
    for name, resource in (await stacks.resources(stack)).items():
        if name in KINDS:
            answer = await alarming.get(f"/v2/alarms/{resource['physical_resource_id']}")
            found[name] = answer.json() if answer.is_success else {"status": answer.status_code}
    return found


def as_asked(rule: Mapping[str, Any], cloud: HeatCloud) -> Mapping[str, Any]:
    """A rule without what binds an ordinary user's search to their project, which must be there once."""
    if "query" not in rule or "resource_type" not in rule:
        return rule
    bound, asked = json.loads(rule["query"])["and"]
    assert cloud.ada.project_id in json.dumps(bound)
    return {**rule, "query": json.dumps(asked)}


async def test_every_type_lives_and_dies_with_its_stack(
    cloud: HeatCloud, heat: httpx.AsyncClient, alarming: httpx.AsyncClient, octavia: Receiver
) -> None:
    async with stacks.a_stack(heat, every_kind()) as stack:
        urls = await stacks.outputs(stack)
        made = await shown(alarming, stack)
        await stacks.updated(stack, every_kind(changed=True))
        changed = await shown(alarming, stack)
        await stacks.suspended(stack)
        suspended = await shown(alarming, stack)
        await stacks.resumed(stack)
        resumed = await shown(alarming, stack)
        await stacks.checked(stack)

    for alarms, is_changed in ((made, False), (changed, True), (resumed, True)):
        assert {name: alarm["type"] for name, alarm in alarms.items()} == {n: k.kind for n, k in KINDS.items()}
        for name, kind in KINDS.items():
            alarm = alarms[name]
            assert as_asked(alarm[f"{kind.kind}_rule"], cloud) == kind.rule(changed=is_changed)
            assert (alarm["enabled"], alarm["repeat_actions"], alarm["severity"]) == (True, True, "low")
            assert (alarm["user_id"], alarm["project_id"]) == (cloud.ada.user_id, cloud.ada.project_id)
            assert alarm["name"].startswith(f"{stack.name}-{name}-")
            both = is_changed and name == "of_parts"
            assert alarm["alarm_actions"] == [urls["up_url"], *([urls["down_url"]] if both else [])]
            assert alarm["ok_actions"] == ([] if name == "of_parts" else [f"trust+{urls['down_signal']}"])
            assert alarm["insufficient_data_actions"] == []
    ids = {name: alarm["alarm_id"] for name, alarm in made.items()}
    for alarms in (changed, suspended, resumed):
        assert {name: alarm["alarm_id"] for name, alarm in alarms.items()} == ids
    assert {alarm["enabled"] for alarm in suspended.values()} == {False}
    assert (await alarming.get("/v2/alarms")).json() == []
    assert cloud.trusts(cloud.ada) == []


async def test_an_alarm_is_made_anew_where_heat_cannot_change_it(
    heat: httpx.AsyncClient, alarming: httpx.AsyncClient
) -> None:
    kind = KINDS["of_resource"]
    hours = {"name": "day", "start": "0 8 * * *", "duration": 36000, "timezone": "Europe/Paris"}
    before = a_group({"of_resource": kind.in_template(changed=False, alarm_actions=[UP])})
    after = a_group({"of_resource": kind.in_template(changed=False, alarm_actions=[UP], time_constraints=[hours])})
    async with stacks.a_stack(heat, before) as stack:
        old = (await shown(alarming, stack))["of_resource"]
        await stacks.updated(stack, after)
        new = (await shown(alarming, stack))["of_resource"]
        gone = await alarming.get(f"/v2/alarms/{old['alarm_id']}")

    assert new["alarm_id"] != old["alarm_id"]
    assert [{key: each[key] for key in hours} for each in new["time_constraints"]] == [hours]
    assert gone.status_code == 404


async def test_an_alarm_that_is_gone_is_missed_by_a_check_and_made_anew(
    heat: httpx.AsyncClient, alarming: httpx.AsyncClient
) -> None:
    template = a_group({"of_resource": KINDS["of_resource"].in_template(changed=False, alarm_actions=[UP])})
    async with stacks.a_stack(heat, template) as stack:
        old = (await shown(alarming, stack))["of_resource"]
        assert (await alarming.delete(f"/v2/alarms/{old['alarm_id']}")).status_code == 204
        await stacks.checked(stack, to="FAILED")
        status = (await stacks.resources(stack))["of_resource"]["resource_status"]
        await stacks.updated(stack, template)
        new = (await shown(alarming, stack))["of_resource"]

    assert status == "CHECK_FAILED"
    assert new["alarm_id"] != old["alarm_id"]
    assert [new[key] for key in ACTIONS] == [old[key] for key in ACTIONS]


async def test_what_a_template_leaves_out_is_as_aodh_has_it(
    heat: httpx.AsyncClient, alarming: httpx.AsyncClient
) -> None:
    """Heat sends null for what a template leaves out."""
    needed = {"metric": "cpu", "resource_type": "instance", "resource_id": VM, "threshold": 80}
    alarm = {"type": "OS::Aodh::GnocchiResourcesAlarm", "properties": needed}
    async with stacks.a_stack(heat, a_group({"of_resource": alarm})) as stack:
        found = (await shown(alarming, stack))["of_resource"]

    assert found["gnocchi_resources_threshold_rule"] == {
        **needed, "comparison_operator": "eq", "evaluation_periods": 1, "granularity": 60, "aggregation_method": "mean",
    }  # fmt: skip
    assert found["description"] == "gnocchi_resources_threshold alarm rule"
