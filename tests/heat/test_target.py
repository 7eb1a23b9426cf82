"""A real Heat's groups as groups of a controller's: exact sizes, and what others do to them meanwhile."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.controller import ControllerProcess
from tests.heat import stacks
from tests.heat.cloud import HeatCloud
from tests.heat.stacks import Stack
from tests.heat.templates import a_group
from tests.keystone_server import PASSWORD

pytestmark = [pytest.mark.heat, pytest.mark.timeout(300)]

SLOW = {"type": "OS::Heat::TestResource", "properties": {"value": "x", "wait_secs": 4}}
"""A member that takes its time, so that something can be done meanwhile."""
STEP = {"group": "web", "adjustment_type": "change_in_capacity", "scaling_adjustment": -1}
POLICIES = [
    *(
        {"name": f"to-{size}", "group": "web", "adjustment_type": "exact_capacity", "scaling_adjustment": size}
        for size in range(6)
    ),
    STEP | {"name": "out", "scaling_adjustment": 2},
    STEP | {"name": "youngest", "order": "newest"},
]


def by_parameter(**keys: Any) -> dict[str, Any]:
    """A template whose group takes its size from the parameter ``size``."""
    parameters = {"size": {"type": "number", "default": 1}}
    return a_group(desired_capacity={"get_param": "size"}, **keys) | {"parameters": parameters}


@dataclass(frozen=True)
class Scene:
    """A stack, and a controller that calls its group ``web``."""

    stack: Stack
    controller: ControllerProcess
    api: httpx.AsyncClient

    async def execute(self, policy: str) -> dict[str, Any]:
        """The decision."""
        return await self._answer("POST", f"/v1/policies/{policy}/execute")

    async def group(self) -> dict[str, Any]:
        return await self._answer("GET", "/v1/groups/web")

    async def was_looked_at(self) -> bool:
        found = await self.group()
        return found["desired_capacity"] is not None or found["unreachable"] is not None

    async def decisions(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return (await self._answer("GET", "/v1/groups/web/decisions"))[::-1]

    async def _answer(self, method: str, path: str) -> Any:
        """An answer of the controller's, whose store may be slow where many servers share a machine."""
        headers = {"idempotency-key": uuid.uuid4().hex} if method == "POST" else {}
        for _ in range(20):
            answer = await self.api.request(method, path, headers=headers)
            if answer.status_code != 503:
                break
            await asyncio.sleep(0.5)
        return answer.raise_for_status().json()

    async def moves(self) -> list[tuple[int, int, str]]:
        found = [each for each in await self.decisions() if each["decision"] == "scale"]
        return [(each["from"], each["to"], each["reason"]) for each in found]

    async def rests(self, size: int, *, seconds: float = stacks.PATIENCE) -> dict[str, Any]:
        """The group once it has so many members, wants no others, and nothing is under way."""
        seen: list[dict[str, Any]] = []

        async def resting() -> bool:
            seen[:] = [await self.group()]
            found = seen[0]
            return found["size"] == found["desired_capacity"] == size and not found["resizing"] and not found["busy"]

        try:
            await stacks.until(resting, f"web rests at {size}", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {json.dumps(seen, indent=1)}\n{self.controller.log()}") from error
        return seen[0]

    async def parameter(self) -> str:
        return (await stacks.shown(self.stack))["parameters"]["size"]

    async def updates(self) -> int:
        """How often the stack was updated so far."""
        events = await stacks.events(self.stack)
        of_stack = [each for each in events if each["physical_resource_id"] == self.stack.stack_id]
        return len([each for each in of_stack if each["resource_status"] == "UPDATE_IN_PROGRESS"])

    async def ages(self) -> list[str]:
        """Names of the members, oldest first."""
        found = await stacks.members(self.stack)
        return sorted(found, key=lambda name: (found[name]["creation_time"], name))


@asynccontextmanager
async def scene(
    cloud: HeatCloud,
    heat: httpx.AsyncClient,
    folder: Path,
    template: Mapping[str, Any],
    *,
    alarms: list[dict[str, Any]] | None = None,
    target: Mapping[str, Any] | None = None,
    clouds: Mapping[str, Any] | None = None,
    settings: Mapping[str, str] | None = None,
    **group: Any,
) -> AsyncIterator[Scene]:
    async with stacks.a_stack(heat, template) as stack:
        named = f"{stack.name}/{stack.stack_id}" if "project_id" in (target or {}) else stack.name
        options = {"type": "heat", "stack": named, "group": "group", "cloud": "ada", "poll_interval": 1}
        declared = {"name": "web", "min_size": 0, "max_size": 5, "target": {**options, **(target or {})}, **group}
        policies, rules, file = folder / "policies.yaml", folder / "rules.yaml", folder / "clouds.yaml"
        policies.write_text(json.dumps({"groups": [declared], "policies": POLICIES}))
        rules.write_text(json.dumps({"alarms": alarms or []}))
        file.write_text(json.dumps({"clouds": clouds or {"ada": as_ada(cloud)}}))
        told = {"AUTH": "noauth", "POLICIES": str(policies), "RULES": str(rules), "CLOUDS": str(file)}
        with cloud.controller(folder, **told, **(settings or {})) as controller:
            await asyncio.to_thread(controller.until_ready)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{controller.port}", timeout=20) as api:
                it = Scene(stack, controller, api)
                await stacks.until(it.was_looked_at, "somebody has looked at the group")
                yield it


def as_ada(cloud: HeatCloud) -> dict[str, Any]:
    """An entry of ``clouds.yaml``."""
    auth = {"auth_url": cloud.keystone.url, "username": "ada", "password": PASSWORD, "project_id": cloud.ada.project_id}
    return {"auth": auth, "interface": "public"}


# --- exact sizes -----------------------------------------------------------------------------------------------------


async def test_a_parameter_gives_exact_sizes_and_no_update_of_the_stack_resets_them(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with scene(cloud, heat, tmp_path, by_parameter(), cooldown=0) as it:
        found = await it.rests(1)
        assert found["facts"]["resized by"] == "parameter size"
        for size in (4, 2, 5):
            await it.execute(f"to-{size}")
            await it.rests(size)
        assert await it.updates() == 3
        await stacks.patched(it.stack)
        await asyncio.sleep(3)

        assert len((await it.rests(5))["members"]) == 5
        assert len(await stacks.members(it.stack)) == 5
        assert await it.moves() == [(1, 4, "executed"), (4, 2, "executed"), (2, 5, "executed")]


async def test_a_pair_of_policies_gives_exact_sizes_down_to_nobody(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with scene(cloud, heat, tmp_path, a_group(min_size=0)) as it:
        found = await it.rests(0)
        assert found["facts"]["resized by"] == "policies up, down"
        for size in (3, 1, 0):
            await it.execute(f"to-{size}")
            await it.rests(size)

        assert await it.moves() == [(0, 3, "executed"), (3, 1, "executed"), (1, 0, "executed")]
        said = {each["resource_status_reason"] for each in await stacks.events(it.stack)}
        assert "alarm state changed from ok to alarm (autoscaler: group web from 0 to 3)" in said


async def test_heats_own_cooldown_is_waited_for_and_shown(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with scene(cloud, heat, tmp_path, a_group(cooldown=6)) as it:
        await it.execute("to-3")
        waiting: list[str] = []

        async def told() -> bool:
            found = await it.group()
            waiting.append(found["error"] or "")
            return not found["resizing"]

        await stacks.until(told, "the resize is over")
        await it.rests(3)
        decision = await it.execute("to-4")

        assert any(text.startswith("Heat itself cools down until ") for text in waiting)
        assert "heat cools down until" in decision["inputs"]["facts"]


async def test_the_newest_member_goes_first_where_the_policy_says_so(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with scene(cloud, heat, tmp_path, by_parameter()) as it:
        await it.execute("to-2")
        await it.rests(2)
        await asyncio.sleep(1.1)  # Heat counts ages in seconds
        await it.execute("to-4")
        await it.rests(4)
        ages = await it.ages()
        for left in (3, 2):
            await it.execute("youngest")
            await it.rests(left)
            assert await it.ages() == ages[:left]

        await it.execute("to-1")
        await it.rests(1)
        assert await it.ages() == ages[1:2]  # in Heat's own order the oldest goes


async def test_a_bound_of_the_template_is_told_before_it_is_run_into(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with scene(cloud, heat, tmp_path, by_parameter(max_size=2)) as it:
        await it.rests(1)
        first = await it.execute("to-4")
        await it.rests(2)
        second = await it.execute("to-4")

        assert (first["to"], first["text"]) == (2, "+1 by to-4, and not +3: the template's max_size is 2")
        assert (second["reason"], second["text"]) == ("no room", "already 2: the template's max_size is 2")


# --- whose word counts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("enforce", "size"), [(False, 3), (True, 2)], ids=["respected", "enforced"])
async def test_an_operators_own_update_is_noticed(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path, *, enforce: bool, size: int
) -> None:
    async with scene(cloud, heat, tmp_path, by_parameter(), enforce=enforce) as it:
        await it.execute("to-2")
        await it.rests(2)
        await stacks.patched(it.stack, size=3)

        async def noticed() -> bool:
            return any(each["reason"] == "out of band" for each in await it.decisions())

        await stacks.until(noticed, "the update is noticed")
        await it.rests(size)
        assert (await it.parameter(), len(await stacks.members(it.stack))) == (str(size), size)
        said = "set back to 2" if enforce else "respected"
        assert (await it.decisions())[-1]["text"] == f"somebody else made it 3; {said}"


async def test_what_heats_own_policies_do_is_respected_and_outlives_the_next_update(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with scene(cloud, heat, tmp_path, by_parameter()) as it:
        await it.rests(1)
        url = (await stacks.outputs(it.stack))["up_signal"]
        await heat.post(url, json={"current": "alarm"})
        await it.rests(2)
        assert await it.parameter() == "2"
        await stacks.patched(it.stack)

        assert len(await stacks.members(it.stack)) == 2
        assert (await it.decisions())[-1]["text"] == (
            "somebody else made it 2; respected, and kept: the target would go back to 1"
        )


async def test_a_size_that_the_template_sets_itself_is_warned_of_and_left_alone(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with scene(cloud, heat, tmp_path, a_group(desired_capacity=1)) as it:
        await it.execute("to-2")
        found = await it.rests(2)

        warned = (
            "desired_capacity of group group is set by the number 1: each update of the stack resets the size to that"
        )
        assert found["facts"]["warning"] == warned
        assert (await it.updates(), it.controller.log().count(warned)) == (0, 1)


# --- failures --------------------------------------------------------------------------------------------------------


REPAIRED = {"HEAT_WEDGED_AFTER": "10", "HEAT_REPAIR": "true"}


async def test_an_update_that_an_engine_died_in_is_told_and_made_a_second_time(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with scene(cloud, heat, tmp_path, by_parameter(member=SLOW), settings=REPAIRED) as it:
        await it.rests(1)
        await it.execute("to-3")
        await stacks.until(lambda: _has(it, "size", 3), "Heat has begun")
        await asyncio.to_thread(cloud.engine.kill)
        during = await it.group()
        await asyncio.to_thread(cloud.engine.restart)

        assert during["resizing"]
        assert len((await it.rests(3))["members"]) == 3
        assert "nothing has moved since" in it.controller.log()
        assert await it.moves() == [(1, 3, "executed")]


async def test_a_group_whose_engine_died_in_heats_own_scaling_is_freed_by_the_parameter(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    settings = {"HEAT_WEDGED_AFTER": "10"}
    async with scene(cloud, heat, tmp_path, by_parameter(member=SLOW), settings=settings) as it:
        await it.rests(1)
        url = (await stacks.outputs(it.stack))["up_signal"]
        await heat.post(url, json={"current": "alarm"})
        await stacks.until(lambda: _has(it, "size", 2), "Heat has begun")
        await asyncio.to_thread(cloud.engine.kill)
        await asyncio.to_thread(cloud.engine.restart)
        held = await it.execute("to-4")
        await it.rests(2)
        freed = await stacks.metadata(it.stack)

        assert (held["reason"], held["text"]) == ("in flight", "the target is busy: Heat is scaling group group itself")
        assert (freed["scaling_in_progress"], await it.parameter()) == (False, "2")


async def _has(it: Scene, key: str, value: object) -> bool:
    return (await it.group())[key] == value


async def test_heat_away_during_a_decision_and_the_resize_is_made_afterwards_and_once(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    seldom = {"poll_interval": 3600}  # so that nobody has noticed when it is decided
    async with scene(cloud, heat, tmp_path, by_parameter(), target=seldom) as it:
        await it.rests(1)
        await asyncio.sleep(2)  # the last look is over
        await asyncio.to_thread(cloud.api.kill)
        decided = await it.execute("to-3")

        async def noticed() -> bool:
            return (await it.group())["unreachable"] is not None

        await stacks.until(noticed, "Heat is away")
        held, found = await it.execute("to-4"), await it.group()
        await asyncio.to_thread(cloud.api.restart)
        await it.rests(3)

        assert (decided["decision"], held["reason"]) == ("scale", "size unknown")
        assert (found["size"], found["desired_capacity"]) == (1, 3)
        assert await it.updates() == 1


async def test_keystone_away_for_a_while_and_nothing_is_lost(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    seldom = {"poll_interval": 3600}
    async with scene(cloud, heat, tmp_path, by_parameter(), target=seldom) as it:
        await it.rests(1)
        await asyncio.to_thread(cloud.keystone.kill)
        try:
            decided = await it.execute("to-3")
            await asyncio.sleep(5)
            assert (await it.group())["size"] in {1, 3}
        finally:
            await asyncio.to_thread(cloud.keystone.restart)
        await it.rests(3)

        assert decided["decision"] == "scale"
        assert await it.moves() == [(1, 3, "executed")]
        assert await it.updates() == 1


async def test_ten_alarms_at_once_are_one_resize_and_the_others_are_told_why(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    rule = {
        "metric": "load", "resource_id": "r", "aggregation_method": "mean", "granularity": 60,
        "comparison_operator": "gt", "threshold": 1, "window": "aligned", "evaluate": "measure",
    }  # fmt: skip
    alarms = [
        {"name": f"a{number}", "type": "threshold", "rule": rule, "alarm_actions": ["policy://out"]}
        for number in range(10)
    ]
    async with scene(cloud, heat, tmp_path, by_parameter(member=SLOW), alarms=alarms, cooldown=60) as it:
        await it.rests(1)
        for ago in (70, 0):
            now = (await it.api.get("/v1/groups/web")).headers["date"]
            at = parsedate_to_datetime(now).timestamp() - ago
            measure = {"metric": "load", "resource_id": "r", "timestamp": at, "value": 9}
            (await it.api.post("/v1/measures", json=measure)).raise_for_status()
        await stacks.until(lambda: _any_move(it), "somebody has decided")
        await it.rests(3)
        decisions = await it.decisions()

        assert await it.moves() == [(1, 3, "policy")]
        assert await it.updates() == 1
        assert {each["reason"] for each in decisions} <= {"policy", "in flight", "cooldown", "stale data"}
        assert sum(each["times"] for each in decisions) >= 10


async def _any_move(it: Scene) -> bool:
    return bool(await it.moves())


# --- credentials -----------------------------------------------------------------------------------------------------


async def test_an_application_credential_a_trust_and_the_controllers_own_rights_do_as_well(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    ada, operator = cloud.ada, cloud.operator
    async with httpx.AsyncClient(base_url=cloud.keystone.url, headers=ada.headers, timeout=20) as keystone:
        asked = {"application_credential": {"name": "autoscaler", "roles": [{"name": "member"}]}}
        answer = await keystone.post(f"/users/{ada.user_id}/application_credentials", json=asked)
        credential = answer.raise_for_status().json()["application_credential"]
        trust = {
            "trustor_user_id": ada.user_id, "trustee_user_id": operator.user_id, "project_id": ada.project_id,
            "roles": [{"name": "member"}], "impersonation": True,
        }  # fmt: skip
        answer = await keystone.post("/OS-TRUST/trusts", json={"trust": trust})
        trust_id = answer.raise_for_status().json()["trust"]["id"]
    secret = {"application_credential_id": credential["id"], "application_credential_secret": credential["secret"]}
    trusted = {"username": operator.name, "password": PASSWORD, "trust_id": trust_id}
    url = {"auth_url": cloud.keystone.url}
    clouds = {
        "credential": {"auth_type": "v3applicationcredential", "auth": url | secret},
        "trust": {"auth": url | trusted},
    }
    for size, target in (
        (2, {"cloud": "credential"}),
        (3, {"cloud": "trust"}),
        (2, {"cloud": None, "project_id": ada.project_id}),
    ):
        folder = tmp_path / f"{size}{target['cloud']}"
        folder.mkdir()
        settings = {"KEYSTONE_INTERFACE": "public"}
        async with scene(cloud, heat, folder, by_parameter(), target=target, clouds=clouds, settings=settings) as it:
            await it.execute(f"to-{size}")
            await it.rests(size)


async def test_another_tenants_group_is_not_there(cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path) -> None:
    auth = {"auth_url": cloud.keystone.url, "username": "eve", "password": PASSWORD, "project_name": "other"}
    async with scene(cloud, heat, tmp_path, by_parameter(), clouds={"ada": {"auth": auth}}) as it:

        async def refused() -> bool:
            return "could not be found" in ((await it.group())["unreachable"] or "")

        await stacks.until(refused, "eve sees no such stack")
        held = await it.execute("to-3")

        assert held["reason"] == "size unknown"
        assert len(await stacks.members(it.stack)) == 1
