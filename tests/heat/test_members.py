"""A group whose members are alarms: those that scaling makes are made by a token that stands for a trust."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.heat import stacks
from tests.heat.cloud import HeatCloud
from tests.heat.templates import Resource, a_group

pytestmark = [pytest.mark.heat, pytest.mark.timeout(300)]

MEMBER: Resource = {
    "type": "OS::Aodh::GnocchiResourcesAlarm",
    "properties": {
        "metric": "cpu",
        "resource_type": "instance",
        "resource_id": "vm",
        "threshold": 80,
        "alarm_actions": ["trust+http://127.0.0.1:9/hook"],
    },
}


async def test_an_alarm_that_a_scaling_group_makes_is_taken_without_a_trust(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    with cloud.controller(tmp_path, **cloud.open_to_receivers) as controller:
        await asyncio.to_thread(controller.until_ready)
        async with cloud.alarming(cloud.ada) as alarming, stacks.a_stack(heat, a_group(member=MEMBER)) as stack:
            trusts = cloud.trusts(cloud.ada)
            assert (await heat.post((await stacks.outputs(stack))["up_signal"])).status_code == 200
            await stacks.resting(stack, 2)
            alarms = (await alarming.get("/v2/alarms")).json()
            trusts_after = cloud.trusts(cloud.ada)
        left = cloud.trusts(cloud.ada)

    assert [alarm["alarm_actions"] for alarm in alarms] == [["trust+http://127.0.0.1:9/hook"]] * 2
    assert {(alarm["user_id"], alarm["project_id"]) for alarm in alarms} == {(cloud.ada.user_id, cloud.ada.project_id)}
    assert len(trusts) == 1
    assert trusts_after == trusts
    assert left == []
