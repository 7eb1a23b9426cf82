"""A living stack whose alarms move from a real Aodh to the controller, and back, while it is used."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from autoscaler.alarms.imported import IMPORTED
from tests.aodh_server import AodhServer, GnocchiServer, ServiceUser
from tests.e2e.controller import ControllerProcess
from tests.heat import stacks
from tests.heat.bus import METRIC, Instance, ceilometer
from tests.heat.cloud import HeatCloud
from tests.heat.templates import DOWN, UP, Resource, a_group, on_mean
from tests.integration.test_aodh import same
from tests.keystone_server import PASSWORD, REGION

pytestmark = [pytest.mark.heat, pytest.mark.timeout(600)]

GRANULARITY = 2
WINDOW = {"granularity": GRANULARITY, "evaluation_periods": 2}
ELSEWHERE = {
    **WINDOW, "metric": METRIC, "resource_id": "elsewhere", "resource_type": "instance", "aggregation_method": "mean",
    "comparison_operator": "gt", "threshold": 80,
}  # fmt: skip
TRUSTED = {"list_join": ["", ["trust+", {"get_attr": ["up", "signal_url"]}]]}
STATES = {"busy": "ok", "idle": "alarm", "both": "ok"}
"""That Aodh has come to, of alarms that have been evaluated."""


def a_template(busy: float = 80, **others: Resource) -> dict[str, Any]:
    """A group with alarms of every kind that acts on it.

    Args:
        busy: threshold above which it grows.
        others: alarms beside them.
    """
    part = {**ELSEWHERE, "type": "gnocchi_resources_threshold"}
    either = {"operator": "or", "rules": [part, {**part, "threshold": 90}]}
    state = {"field": "traits.state", "op": "eq", "type": "string", "value": "error"}
    event = {"event_type": "compute.instance.*", "query": [state], "alarm_actions": [TRUSTED]}
    alarms = {
        "busy": on_mean("gt", busy, UP, **WINDOW),
        "idle": on_mean("lt", 20, DOWN, **WINDOW),
        "both": {"type": "OS::Aodh::CompositeAlarm", "properties": {"composite_rule": either, "alarm_actions": [UP]}},
        "broken": {"type": "OS::Aodh::EventAlarm", "properties": event},
    }
    return a_group({**alarms, **others})


OLD: Resource = {"type": "OS::Aodh::GnocchiResourcesAlarm", "properties": {**ELSEWHERE, "alarm_actions": [UP]}}


@pytest.fixture(scope="module")
def aodh(cloud: HeatCloud) -> Iterator[AodhServer]:
    """Aodh, which is the same user as the controller, and the catalog's alarming service; evaluators it has none."""
    user = ServiceUser(cloud.keystone.url, cloud.operator.name, PASSWORD, cloud.operator.project, REGION)
    gnocchi = GnocchiServer(cloud.maria, user)
    gnocchi.port = cloud.metric_port
    with gnocchi, AodhServer(cloud.maria, gnocchi, user) as found:
        attribute = {"type": "string", "required": False, "min_length": 0, "max_length": 255}
        kind = {"name": "instance", "attributes": {"server_group": attribute}}
        gnocchi.call("POST", "/v1/resource_type", headers=cloud.operator.headers, json=kind)
        try:
            yield found
        finally:
            cloud.admin.point("alarming", f"http://127.0.0.1:{cloud.controller_port}")


@dataclass
class Seen:
    """A stack and its alarms, as ada sees them by what the catalog said when this was made."""

    stack: stacks.Stack
    alarming: httpx.AsyncClient

    async def ids(self) -> dict[str, str]:
        """Of all alarms of the stack, by the names of their resources."""
        found = await stacks.resources(self.stack)
        return {
            name: each["physical_resource_id"]
            for name, each in found.items()
            if each["resource_type"].startswith("OS::Aodh::")
        }

    async def alarms(self) -> dict[str, dict[str, Any]]:
        """As the alarming service shows them, by the ids that Heat has."""
        return {name: await self.alarm(alarm_id) for name, alarm_id in (await self.ids()).items()}

    async def alarm(self, alarm_id: str) -> dict[str, Any]:
        answer = await self.alarming.get(f"/v2/alarms/{alarm_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def states(self) -> dict[str, str]:
        return {name: alarm["state"] for name, alarm in (await self.alarms()).items()}


@asynccontextmanager
async def seen(cloud: HeatCloud, stack: stacks.Stack) -> AsyncIterator[Seen]:
    """With a new token: where an older one leads to, Heat remembers for five minutes."""
    async with cloud.orchestration(cloud.ada) as heat, cloud.alarming(cloud.ada) as alarming:
        yield Seen(replace(stack, heat=heat), alarming)


async def moved(controller: ControllerProcess, *words: str) -> dict[str, Any]:
    """What one of the two commands says that it has moved; it has left nothing."""
    began = time.monotonic()
    told: dict[str, Any] = json.loads(await asyncio.to_thread(controller.command, *words, "--format", "json"))
    print(f"{' '.join(words)}: {time.monotonic() - began:.1f} s")
    assert (told["failed"], told["left"], told["beyond"]) == ([], [], [])
    return told


async def test_a_living_stack_moves_to_the_controller_and_back(
    cloud: HeatCloud, aodh: AodhServer, tmp_path: Path
) -> None:
    database = cloud.maria.database("aodh")
    controller = cloud.controller(tmp_path, OPENSTACK_URL=cloud.rabbit.url, AODH_DATABASE=database)
    cloud.admin.point("alarming", aodh.url)
    async with cloud.orchestration(cloud.ada) as heat:
        stack = await stacks.begun(heat, a_template(old=OLD))
        await stacks.done(stack, "CREATE")
    before = await made_in_aodh(cloud, stack)

    told = await moved(controller, "import-aodh")
    assert (sum(told["new"].values()), told["with_trusts"], told["unconfined"]) == (5, 1, [])
    with controller:
        await asyncio.to_thread(controller.until_ready)
        cloud.admin.point("alarming", f"http://127.0.0.1:{cloud.controller_port}")
        told = await moved(controller, "import-aodh", "--prune")
        assert (told["unchanged"], told["new"], told["changed"], told["states"], told["removed"]) == (5, {}, {}, {}, 0)
        async with seen(cloud, stack) as it:
            await lives_on_with_what_was_imported(it, before)
            await grows(cloud, controller, it)
            await stacks.updated(it.stack, a_template(70, new=on_mean("gt", 95, UP, **WINDOW)))
            after = await it.alarms()
            assert after.keys() == {*before.keys() - {"old"}, "new"}
        told = await moved(controller, "export-aodh")
        assert (sum(told["new"].values()), told["removed"]) == (1, 1)
        cloud.admin.point("alarming", aodh.url)
        assert controller.end() == 0
    told = await moved(controller, "export-aodh")
    assert (told["unchanged"], told["new"], told["changed"], told["removed"]) == (5, {}, {}, 0)

    async with seen(cloud, stack) as it:
        await lives_on_in_aodh(it, before, after)
        await stacks.deleted(it.stack)
        assert (await it.alarming.get("/v2/alarms")).json() == []
    assert cloud.trusts(cloud.ada) == []


async def made_in_aodh(cloud: HeatCloud, stack: stacks.Stack) -> dict[str, dict[str, Any]]:
    """What Aodh shows of a stack's alarms once its evaluator, which is not here, has looked at them."""
    async with seen(cloud, stack) as it:
        ids = await it.ids()
        for name, state in STATES.items():
            answer = await it.alarming.put(f"/v2/alarms/{ids[name]}/state", json=state)
            assert answer.status_code == 200, answer.text
        return await it.alarms()


async def lives_on_with_what_was_imported(it: Seen, before: dict[str, dict[str, Any]]) -> None:
    """The same is shown by Heat's ids, and Heat does with the stack what it did before."""
    shown = await it.alarms()
    assert shown.keys() == before.keys()
    for name, theirs in before.items():
        same(theirs, shown[name])
    await stacks.checked(it.stack)
    await stacks.updated(it.stack, a_template(70, old=OLD))
    await stacks.suspended(it.stack)
    assert {alarm["enabled"] for alarm in (await it.alarms()).values()} == {False}
    await stacks.resumed(it.stack)
    shown = await it.alarms()
    assert {alarm["enabled"] for alarm in shown.values()} == {True}
    assert shown["busy"]["gnocchi_aggregation_by_resources_threshold_rule"]["threshold"] == 70
    assert await it.ids() == {name: alarm["alarm_id"] for name, alarm in before.items()}
    assert {name: alarm["state"] for name, alarm in shown.items()} == {n: a["state"] for n, a in before.items()}


async def grows(cloud: HeatCloud, controller: ControllerProcess, it: Seen) -> None:
    """Imported alarms wait for their first full window, then signal; one of them by the trust that Aodh made."""
    group = f"/v1/groups/heat:{it.stack.name}:{stacks.GROUP}/decisions"
    instance = Instance("vm", cloud.ada.project_id, it.stack.stack_id)
    async with ceilometer(cloud.rabbit.url) as bus:

        async def loaded(value: float, until: Callable[[], Awaitable[bool]], what: str) -> None:
            async def holds() -> bool:
                await bus.publish([instance.sample(value)])
                await asyncio.sleep(0.4)
                return await until()

            await stacks.until(holds, f"{what}\n{controller.log()}")

        before = await it.states()
        await bus.publish([instance.sample(90)])
        await asyncio.sleep(4 * GRANULARITY)
        shown = await it.alarms()
        assert {name: alarm["state"] for name, alarm in shown.items()} == before
        for name in STATES:
            assert IMPORTED in shown[name]["state_reason"]
        assert (await it.alarming.get(group)).status_code == 404  # nothing was ever tried

        async def is_busy() -> bool:
            states = await it.states()
            return (states["busy"], states["idle"]) == ("alarm", "ok")

        began = time.monotonic()
        await loaded(90, is_busy, "busy in alarm")
        await stacks.resting(it.stack, 2)
        print(f"grown by an imported alarm: {time.monotonic() - began:.1f} s after the load began")

        async def is_calm() -> bool:
            return (await it.states())["busy"] == "ok"

        await loaded(50, is_calm, "busy ok")
        event = {"event_type": "compute.instance.update", "traits": {"state": "error"}}
        assert (await it.alarming.post("/v1/events", json=event)).status_code == 202
        await stacks.resting(it.stack, 3)
        names = [(await it.alarms())[name]["name"] for name in ("busy", "broken")]

        async def are_told() -> bool:
            made = (await it.alarming.get(group)).json()
            return [each["alarm"] for each in reversed(made) if each["reason"] == "signalled"] == names

        await stacks.until(are_told, f"both signals are confirmed\n{controller.log()}", seconds=60)

    async def is_silent() -> bool:
        states = await it.states()
        return states["busy"] == states["idle"] == "insufficient data"

    await stacks.until(is_silent, "no state that may still change")


async def lives_on_in_aodh(it: Seen, before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> None:
    """Aodh shows what the controller showed, and goes on with it."""
    shown = await it.alarms()
    assert shown.keys() == after.keys()
    for name, ours in after.items():
        same(shown[name], ours)
    assert (await it.alarming.get(f"/v2/alarms/{before['old']['alarm_id']}")).status_code == 404
    await stacks.checked(it.stack)
    await stacks.updated(it.stack, a_template(60, new=on_mean("gt", 85, UP, **WINDOW)))
    changed = await it.alarms()
    thresholds = {
        name: changed[name]["gnocchi_aggregation_by_resources_threshold_rule"]["threshold"] for name in ("busy", "new")
    }
    assert thresholds == {"busy": 60, "new": 85}
    assert {name: (alarm["alarm_id"], alarm["state"]) for name, alarm in changed.items()} == {
        name: (alarm["alarm_id"], alarm["state"]) for name, alarm in after.items()
    }
