"""What users of two projects do by the catalog, and what they can never do to one another."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from autoscaler.alarms.alarm import TRUST_GONE
from tests.e2e.controller import ControllerProcess
from tests.heat import stacks
from tests.heat.bus import METRIC, Instance, ceilometer
from tests.heat.cloud import HeatCloud, Person
from tests.heat.servers import PYTHON
from tests.heat.templates import a_group
from tests.keystone_server import PASSWORD, REGION

pytestmark = [pytest.mark.heat, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def controller(cloud: HeatCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    folder = tmp_path_factory.mktemp("controller")
    with cloud.controller(folder, OPENSTACK_URL=cloud.rabbit.url, **cloud.open_to_receivers) as running:
        running.until_ready()
        yield running


@pytest.fixture
async def adas(controller: ControllerProcess, cloud: HeatCloud) -> AsyncIterator[httpx.AsyncClient]:
    """The controller, as ada sees it."""
    async with cloud.alarming(cloud.ada) as client:
        yield client


@pytest.fixture
async def eves(controller: ControllerProcess, cloud: HeatCloud) -> AsyncIterator[httpx.AsyncClient]:
    """The controller, as eve sees it, who is in another project."""
    async with cloud.alarming(cloud.eve) as client:
        yield client


async def openstack(cloud: HeatCloud, person: Person, *words: str) -> str:
    """What the command line client says."""
    environment = {
        "OS_AUTH_URL": cloud.keystone.url,
        "OS_USERNAME": person.name,
        "OS_PASSWORD": PASSWORD,
        "OS_PROJECT_NAME": person.project,
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": REGION,
        "OS_IDENTITY_API_VERSION": "3",
    }
    process = await asyncio.create_subprocess_exec(
        str(PYTHON.parent / "openstack"),
        *words,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return said.decode()


def a_rule(resource_id: str) -> dict[str, Any]:
    return {
        "metric": METRIC, "resource_type": "instance", "resource_id": resource_id, "aggregation_method": "mean",
        "granularity": 1, "evaluation_periods": 1, "comparison_operator": "gt", "threshold": 80,
    }  # fmt: skip


def an_alarm(resource_id: str, *actions: str) -> dict[str, Any]:
    kind = "gnocchi_resources_threshold"
    return {"name": "a", "type": kind, f"{kind}_rule": a_rule(resource_id), "alarm_actions": list(actions)}


async def buried(operators: httpx.AsyncClient, alarm_id: str) -> dict[str, Any]:
    """The first action of an alarm that could not be carried out."""
    async with asyncio.timeout(60):
        while True:
            letters = (await operators.get("/v1/dead-letters")).json()
            for letter in reversed(letters):
                if letter["source"] == alarm_id:
                    return letter
            await asyncio.sleep(0.2)


async def test_the_command_line_client_finds_its_way_by_the_catalog(
    controller: ControllerProcess, cloud: HeatCloud
) -> None:
    before = cloud.trusts(cloud.ada)
    # fmt: off
    made = json.loads(await openstack(
        cloud, cloud.ada, "alarm", "create", "--name", "hot", "--type", "gnocchi_resources_threshold",
        "--metric", "cpu", "--resource-type", "instance", "--resource-id", "vm", "--threshold", "80",
        "--aggregation-method", "mean", "--granularity", "60", "--alarm-action", "trust+http://127.0.0.1:9/hook",
        "-f", "json",
    ))
    # fmt: on
    listed = json.loads(await openstack(cloud, cloud.ada, "alarm", "list", "-f", "json"))
    shown = json.loads(await openstack(cloud, cloud.ada, "alarm", "show", "--name", "hot", "-f", "json"))
    of_eve = json.loads(await openstack(cloud, cloud.eve, "alarm", "list", "-f", "json"))
    trusts = cloud.trusts(cloud.ada)
    await openstack(cloud, cloud.ada, "alarm", "delete", made["alarm_id"])

    assert (made["user_id"], made["project_id"]) == (cloud.ada.user_id, cloud.ada.project_id)
    assert [each["alarm_id"] for each in listed] == [made["alarm_id"]]
    assert {key: shown[key] for key in ("alarm_id", "threshold", "metric")} == {
        "alarm_id": made["alarm_id"],
        "threshold": 80.0,
        "metric": "cpu",
    }
    assert of_eve == []
    assert len(trusts) == len(before) + 1
    assert cloud.trusts(cloud.ada) == []


async def test_nobody_sees_changes_or_fires_what_is_anothers(
    cloud: HeatCloud, adas: httpx.AsyncClient, eves: httpx.AsyncClient, heat: httpx.AsyncClient
) -> None:
    instance = Instance("vm-of-ada", cloud.ada.project_id, "")
    async with stacks.a_stack(heat, a_group()) as stack, ceilometer(cloud.rabbit.url) as bus:
        up = (await stacks.outputs(stack))["up_url"]
        made = (await adas.post("/v2/alarms", json=an_alarm(instance.instance_id, up))).json()
        path = f"/v2/alarms/{made['alarm_id']}"
        tried = [
            await eves.get(path),
            await eves.get(f"{path}/history"),
            await eves.put(path, json=an_alarm("vm")),
            await eves.put(f"{path}/state", json="alarm"),
            await eves.delete(path),
        ]
        listed = (await eves.get("/v2/alarms")).json()
        # a measure of eve's own, which is named as ada's instance is
        measure = {"metric": METRIC, "resource_id": instance.instance_id, "value": 99, "timestamp": time.time() - 2}
        sent = await eves.post("/v1/measures", json=measure | {"project_id": cloud.ada.project_id})
        await bus.publish([Instance(instance.instance_id, cloud.eve.project_id, "").sample(99)])
        await asyncio.sleep(3)
        state = (await adas.get(f"{path}/state")).json()
        await stacks.resting(stack, 1)
        await bus.publish([instance.sample(99)])
        await stacks.resting(stack, 2)
        await adas.delete(path)

    assert [answer.status_code for answer in tried] == [404] * 5
    assert listed == []
    assert sent.is_success
    assert state == "insufficient data"


async def test_a_trust_of_ones_own_signals_no_policy_of_anothers(
    cloud: HeatCloud, adas: httpx.AsyncClient, eves: httpx.AsyncClient, heat: httpx.AsyncClient
) -> None:
    instance = Instance("vm-of-eve", cloud.eve.project_id, "")
    async with (
        stacks.a_stack(heat, a_group()) as stack,
        ceilometer(cloud.rabbit.url) as bus,
        cloud.alarming(cloud.operator) as operators,
    ):
        signal = (await stacks.outputs(stack))["up_signal"]
        made = await eves.post("/v2/alarms", json=an_alarm(instance.instance_id, f"trust+{signal}"))
        assert made.status_code == 201, made.text
        await bus.publish([instance.sample(99)])
        letter = await buried(operators, made.json()["alarm_id"])
        await stacks.resting(stack, 1)
        events = [event for event in await stacks.events(stack) if event["resource_name"] == "up"]
        await eves.delete(f"/v2/alarms/{made.json()['alarm_id']}")

    assert letter["reason"] == "refused"
    assert "403" in letter["detail"]
    assert not [event for event in events if event["resource_status"].startswith("SIGNAL")]


async def test_the_trust_of_a_project_that_was_deleted_is_told_of(
    controller: ControllerProcess, cloud: HeatCloud
) -> None:
    mayfly = cloud.person("mayfly", "day")
    async with cloud.alarming(mayfly) as theirs:
        made = await theirs.post("/v2/alarms", json=an_alarm("vm-of-mayfly", "trust+http://127.0.0.1:9/hook"))
        assert made.status_code == 201, made.text
    path = f"/v2/alarms/{made.json()['alarm_id']}"
    cloud.admin.call("DELETE", f"/projects/{mayfly.project_id}")
    async with cloud.alarming(cloud.operator) as operators, ceilometer(cloud.rabbit.url) as bus:
        await bus.publish([Instance("vm-of-mayfly", mayfly.project_id, "").sample(99)])
        letter = await buried(operators, made.json()["alarm_id"])
        alarm = (await operators.get(path)).json()
        deleted = await operators.delete(path)

    assert letter["reason"] == "trust gone"
    assert alarm["state"] == "alarm"
    assert TRUST_GONE in alarm["state_reason"]
    assert deleted.status_code == 204
