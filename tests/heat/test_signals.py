"""Alarms whose actions signal the policies of a real Heat: held, followed, never doubled, explained."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from autoscaler.alarms.alarm import TRUST_GONE
from tests.e2e.controller import ControllerProcess
from tests.heat.cloud import HeatCloud, Person
from tests.heat.stacks import Stack, a_stack, events, members, metadata, outputs, patched, resting, shown, until
from tests.heat.templates import a_group

pytestmark = [pytest.mark.heat, pytest.mark.timeout(300)]


@dataclass
class Alarming:
    """A controller, as somebody sees it."""

    api: httpx.AsyncClient
    controller: ControllerProcess

    async def alarm(self, url: str, name: str = "high", **more: Any) -> str:
        """An alarm on ``load`` of ``vm``; its id."""
        rule = {
            "metric": "load", "resource_id": "vm", "resource_type": "instance", "aggregation_method": "mean",
            "comparison_operator": "gt", "threshold": 50, "granularity": 1, "evaluation_periods": 1,
        }  # fmt: skip
        body = {
            "name": name, "type": "gnocchi_resources_threshold", "gnocchi_resources_threshold_rule": rule,
            "alarm_actions": [url], **more,
        }  # fmt: skip
        answer = await self.api.post("/v2/alarms", json=body)
        assert answer.status_code == 201, answer.text
        alarm_id: str = answer.json()["alarm_id"]
        return alarm_id

    async def load(self, value: float) -> None:
        """A measure of a second that is over."""
        measure = {"metric": "load", "resource_id": "vm", "value": value, "timestamp": time.time() - 1}
        answer = await self.api.post("/v1/measures", json=measure)
        assert answer.status_code == 202, answer.text

    async def decisions(self, stack: Stack, group: str = "group") -> list[dict[str, Any]]:
        """Oldest first; none while nothing is known of the group."""
        answer = await self.api.get(f"/v1/groups/heat:{stack.name}:{group}/decisions?limit=200")
        return [] if answer.status_code == 404 else list(reversed(answer.json()))

    async def reasons(self, stack: Stack) -> list[str]:
        return [made["reason"] for made in await self.decisions(stack)]

    async def loaded(self, stack: Stack, *reasons: str, seconds: float = 120) -> dict[str, Any]:
        """Keep the load up until a decision with one of the reasons is there."""

        async def is_told() -> bool:
            await self.load(90)
            await asyncio.sleep(0.4)
            return bool(set(reasons) & set(await self.reasons(stack)))

        try:
            await until(is_told, f"one of {reasons} under load", seconds=seconds)
        except AssertionError as error:
            lines = [f"{made['time']} {made['reason']}: {made['text']}" for made in await self.decisions(stack)]
            raise AssertionError("\n".join((str(error), *lines, self.controller.log()))) from error
        return [made for made in await self.decisions(stack) if made["reason"] in reasons][-1]

    async def told(self, stack: Stack, reason: str, seconds: float = 60) -> dict[str, Any]:
        """Wait for a decision with a reason."""
        found: list[dict[str, Any]] = []

        async def is_told() -> bool:
            found[:] = [made for made in await self.decisions(stack) if made["reason"] == reason]
            return bool(found)

        await until(is_told, f"{reason}\n{self.controller.log()}", seconds=seconds)
        return found[-1]


@pytest.fixture(scope="module")
def controller(cloud: HeatCloud, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("signals")
    settings = {
        "OPENSTACK_URL": cloud.rabbit.url, "HEAT_WEDGED_AFTER": "40", "HEAT_REPAIR": "true", "LOG_LEVEL": "debug",
    }  # fmt: skip
    with cloud.controller(folder, **settings, **cloud.open_to_receivers) as found:
        found.until_ready()
        yield found


@asynccontextmanager
async def seen_by(cloud: HeatCloud, controller: ControllerProcess, person: Person) -> AsyncIterator[Alarming]:
    async with cloud.alarming(person) as api:
        yield Alarming(api, controller)


@pytest.fixture
async def alarming(cloud: HeatCloud, controller: ControllerProcess) -> AsyncIterator[Alarming]:
    """As ada sees it, without any alarms of hers before or after."""
    async with seen_by(cloud, controller, cloud.ada) as found:
        yield found
        for alarm in (await found.api.get("/v2/alarms")).json():
            await found.api.delete(f"/v2/alarms/{alarm['alarm_id']}")


async def signal_url(stack: Stack) -> str:
    return f"trust+{(await outputs(stack))['up_signal']}"


async def alarm_url(stack: Stack) -> str:
    return str((await outputs(stack))["up_url"])


@pytest.mark.parametrize("url_of", [alarm_url, signal_url], ids=["signed", "by-a-trust"])
async def test_a_signal_is_confirmed_and_heat_says_why(
    heat: httpx.AsyncClient, alarming: Alarming, url_of: Callable[[Stack], Any]
) -> None:
    async with a_stack(heat, a_group()) as stack:
        await alarming.alarm(await url_of(stack))
        await alarming.load(90)
        made = await alarming.told(stack, "signalled")
        await resting(stack, 2)
        said = [event["resource_status_reason"] for event in await events(stack) if event["resource_name"] == "up"]

    assert (made["from"], made["to"], made["policy"], made["alarm"]) == (1, 2, "up", "high")
    assert (
        "alarm state changed from insufficient data to alarm (Transition to alarm due to 1 samples outside" in said[-1]
    )


async def test_a_signal_is_held_until_the_cooldown_of_heat_is_over(heat: httpx.AsyncClient, alarming: Alarming) -> None:
    async with a_stack(heat, a_group(cooldown=10)) as stack:  # its creation has recorded one
        await alarming.alarm(await alarm_url(stack))
        await alarming.load(90)
        held = await alarming.told(stack, "cooldown")
        assert len(await members(stack)) == 1
        last = await alarming.loaded(stack, "signalled")  # on newer measures, when the signal is looked at again
        await resting(stack, 2)

    assert held["text"].startswith("Heat cools the group down until ")
    assert held["inputs"]["cooldown_by"] == "ExactCapacity : 1"
    assert (last["reason"], last["to"]) == ("signalled", 2)


async def test_ten_alarms_at_once_are_one_resize(heat: httpx.AsyncClient, alarming: Alarming) -> None:
    async with a_stack(heat, a_group(max_size=20)) as stack:
        url = await alarm_url(stack)
        for number in range(10):
            await alarming.alarm(url, f"high-{number}")
        await alarming.load(90)

        made: list[dict[str, Any]] = []

        async def are_over() -> bool:
            ends = {"signalled", "superseded"}
            made[:] = [each for each in await alarming.decisions(stack) if each["reason"] in ends]
            return len(made) >= 10

        await until(are_over, "ten answers")
        await resting(stack, 2)

    assert sorted(each["alarm"] for each in made) == [f"high-{number}" for number in range(10)]
    assert [each["reason"] for each in made].count("signalled") == 1


async def test_a_signal_at_a_bound_is_dropped_by_heat_and_that_is_told(
    heat: httpx.AsyncClient, alarming: Alarming
) -> None:
    async with a_stack(heat, a_group(max_size=1)) as stack:
        await alarming.alarm(await alarm_url(stack))
        await alarming.load(90)
        made = await alarming.told(stack, "dropped by Heat")

    assert made["text"] == "dropped by Heat: already at max_size 1"


async def test_an_answer_that_is_swallowed_doubles_nothing(
    cloud: HeatCloud, heat: httpx.AsyncClient, alarming: Alarming
) -> None:
    async with a_stack(heat, a_group()) as stack, swallowing(cloud.api.port) as (port, swallowed):
        there = urlsplit((await outputs(stack))["up_signal"])
        through = urlunsplit(there._replace(netloc=f"127.0.0.1:{port}"))
        await alarming.alarm(f"trust+{through}", repeat_actions=False)
        await alarming.load(90)
        made = await alarming.told(stack, "signalled")
        await resting(stack, 2)
        await asyncio.sleep(5)
        assert len(await members(stack)) == 2

    assert (made["from"], made["to"]) == (1, 2)
    assert swallowed == [b"HTTP/1.1 200 OK"]


async def test_heat_away_for_a_while_is_signalled_afterwards_and_once(
    cloud: HeatCloud, heat: httpx.AsyncClient, alarming: Alarming
) -> None:
    async with a_stack(heat, a_group()) as stack:
        await alarming.alarm(await alarm_url(stack))
        cloud.api.kill()
        try:
            end = time.monotonic() + 12
            while time.monotonic() < end:
                await alarming.load(90)
                await asyncio.sleep(0.5)
        finally:
            await asyncio.to_thread(cloud.api.restart)
        made = await alarming.loaded(stack, "signalled")
        await resting(stack, 2)

    assert (made["from"], made["to"]) == (1, 2)


async def test_keystone_away_for_a_while_loses_no_signal(
    cloud: HeatCloud, heat: httpx.AsyncClient, alarming: Alarming
) -> None:
    async with a_stack(heat, a_group()) as stack:
        await alarming.alarm(await signal_url(stack))
        cloud.keystone.kill()
        try:
            end = time.monotonic() + 8
            while time.monotonic() < end:
                await alarming.load(90)
                await asyncio.sleep(0.5)
        finally:
            await asyncio.to_thread(cloud.keystone.restart)
        await alarming.loaded(stack, "signalled")
        await resting(stack, 2)


async def test_a_group_whose_engine_was_killed_over_a_resize_is_told_of_and_freed(
    cloud: HeatCloud, heat: httpx.AsyncClient, alarming: Alarming
) -> None:
    async with a_stack(heat, a_group(max_size=9)) as stack:
        await alarming.alarm(await alarm_url(stack), repeat_actions=True)
        await alarming.load(90)

        async def is_scaling() -> bool:
            return bool((await metadata(stack)).get("scaling_in_progress"))

        await until(is_scaling, "a resize")
        cloud.engine.kill()
        await asyncio.to_thread(cloud.engine.restart)
        assert await is_scaling()
        wedged = await alarming.told(stack, "wedged")
        repaired = await alarming.told(stack, "repaired")

        async def is_free() -> bool:
            return not await is_scaling()

        await until(is_free, "a group that takes signals again")
        made = await alarming.loaded(stack, "signalled")
        await resting(stack, made["to"])
        statuses = {each["resource_status"] for each in (await members(stack)).values()}

    assert "its engine died over it" in wedged["text"]
    assert repaired["decision"] == "scale"
    assert not any(status.endswith("_FAILED") for status in statuses)


async def test_another_project_sees_and_moves_nothing(
    cloud: HeatCloud, controller: ControllerProcess, heat: httpx.AsyncClient, alarming: Alarming
) -> None:
    async with a_stack(heat, a_group()) as stack, seen_by(cloud, controller, cloud.eve) as eves:
        await alarming.alarm(await alarm_url(stack))
        await alarming.load(90)
        await alarming.told(stack, "signalled")
        await resting(stack, 2)
        assert await eves.decisions(stack) == []
        assert (await eves.api.get("/v1/groups")).json() == []
        (hers,) = (await alarming.api.get("/v1/groups")).json()
        # her own alarm, with the address of another's policy, by her own trust
        mine = await eves.alarm(await signal_url(stack), "mine")
        await eves.load(90)

        async def is_told() -> bool:
            return bool((await eves.api.get("/v1/groups")).json())

        await until(is_told, "a refusal")
        (hidden,) = (await eves.api.get("/v1/groups")).json()
        said = (await eves.api.get(f"/v1/groups/{hidden['name']}/decisions")).json()
        await asyncio.sleep(2)
        assert len(await members(stack)) == 2
        assert {made["alarm"] for made in await alarming.decisions(stack)} == {"high"}
        await eves.api.delete(f"/v2/alarms/{mine}")

    assert (hers["project_id"], hers["stack"]) == (cloud.ada.project_id, f"{stack.name}/group")
    assert [(made["reason"], made["alarm"]) for made in said] == [("refused", "mine")]


async def test_the_trust_of_a_user_who_was_disabled_is_told_of_once(
    cloud: HeatCloud, controller: ControllerProcess, heat: httpx.AsyncClient, alarming: Alarming
) -> None:
    user_id = cloud.admin.user("mallory", cloud.ada.project_id, "member")
    mallory = Person(cloud.admin, "mallory", cloud.ada.project, user_id, cloud.ada.project_id)
    async with a_stack(heat, a_group()) as stack:
        async with seen_by(cloud, controller, mallory) as hers:
            alarm_id = await hers.alarm(await signal_url(stack), repeat_actions=True)
        cloud.admin.call("PATCH", f"/users/{user_id}", json={"user": {"enabled": False}})
        await alarming.load(90)

        async def is_marked() -> bool:
            shown = (await alarming.api.get(f"/v2/alarms/{alarm_id}")).json()
            return TRUST_GONE in shown["state_reason"]

        await until(is_marked, f"a mark\n{controller.log()}")
        assert len(await members(stack)) == 1
        # whoever changes the alarm gives it a trust of their own
        shown = (await alarming.api.get(f"/v2/alarms/{alarm_id}")).json()
        changed = await alarming.api.put(f"/v2/alarms/{alarm_id}", json=shown | {"description": "ada's by now"})
        assert changed.status_code == 200, changed.text
        assert TRUST_GONE not in changed.json()["state_reason"]
        await alarming.load(10)
        await asyncio.sleep(1.5)
        await alarming.load(90)
        await resting(stack, 2)


async def test_a_stack_that_is_being_updated_is_waited_for(heat: httpx.AsyncClient, alarming: Alarming) -> None:
    template = a_group(desired_capacity={"get_param": "desired"}, max_size=30)
    template["parameters"] = {"desired": {"type": "number", "default": 1}}
    async with a_stack(heat, template) as stack:
        await alarming.alarm(await alarm_url(stack))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(patched(stack, desired=8))

            async def is_changing() -> bool:
                return str((await shown(stack))["stack_status"]) == "UPDATE_IN_PROGRESS"

            await until(is_changing, "an update")
            await alarming.loaded(stack, "in flight")
        await alarming.loaded(stack, "signalled")
        await resting(stack, 9)


@asynccontextmanager
async def swallowing(port: int) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A way to Heat that takes signals there, and loses their answers."""
    swallowed: list[bytes] = []

    async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, answers = await asyncio.open_connection("127.0.0.1", port)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
            answers.write(head + await reader.readexactly(int(fields[b"content-length"])))
            swallowed.append((await there.readuntil(b"\r\n")).strip())
        finally:
            answers.close()
            writer.close()

    server = await asyncio.start_server(through, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], swallowed
