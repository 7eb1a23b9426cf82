"""Parts of the cloud that are away for a while: nothing is lost meanwhile, and nothing is done twice."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.heat.bus import METRIC, Instance, ceilometer
from tests.heat.cloud import HeatCloud
from tests.receiver import Receiver, receiver

pytestmark = [pytest.mark.heat, pytest.mark.timeout(600)]

OUTAGE = 60.0
"""Seconds."""


def alarm(*actions: str) -> dict[str, Any]:
    rule = {
        "metric": METRIC, "aggregation_method": "mean", "granularity": 1, "evaluation_periods": 1,
        "resource_type": "instance", "resource_id": "vm", "comparison_operator": "gt", "threshold": 80,
    }  # fmt: skip
    kind = "gnocchi_resources_threshold"
    return {"name": "a", "type": kind, f"{kind}_rule": rule, "alarm_actions": actions, "ok_actions": actions}


async def called(hooks: Receiver, path: str, count: int) -> list[str]:
    """The states that a webhook was told of, once there are so many."""

    def states() -> list[str]:
        return [call.json["current"] for call in hooks.received if call.request_line.split()[1] == path]

    async with asyncio.timeout(OUTAGE + 60):
        while len(states()) < count:
            await asyncio.sleep(0.05)
    return states()


async def test_keystone_is_away_for_a_minute(cloud: HeatCloud, tmp_path: Path) -> None:
    """What needs no token goes on meanwhile; what needs one is told afterwards, all of it and in order."""
    instance = Instance("vm", cloud.ada.project_id, "")
    with cloud.controller(tmp_path, OPENSTACK_URL=cloud.rabbit.url, **cloud.open_to_receivers) as controller:
        await asyncio.to_thread(controller.until_ready)
        async with receiver() as hooks, ceilometer(cloud.rabbit.url) as bus, cloud.alarming(cloud.ada) as alarming:
            made = await alarming.post("/v2/alarms", json=alarm(f"{hooks.base}/plain", f"trust+{hooks.base}/trusted"))
            assert made.status_code == 201, made.text
            await bus.publish([instance.sample(10)])
            before = await called(hooks, "/plain", 1), await called(hooks, "/trusted", 1)
            # a token for the trust that is still good would hide that Keystone is away
            await asyncio.to_thread(controller.end)
            controller.start()
            await asyncio.to_thread(controller.until_ready)
            await asyncio.to_thread(cloud.keystone.kill)
            away = time.monotonic()
            try:
                for number, value in enumerate((90, 10, 90), start=2):
                    await asyncio.sleep(1.5)  # each in a granule of its own
                    await bus.publish([instance.sample(value)])
                    plain = await called(hooks, "/plain", number)
                trusted_meanwhile = await called(hooks, "/trusted", 1)
                await asyncio.sleep(away + OUTAGE - time.monotonic())
            finally:
                await asyncio.to_thread(cloud.keystone.restart)
            trusted = await called(hooks, "/trusted", 4)
            deleted = await alarming.delete(f"/v2/alarms/{made.json()['alarm_id']}")

    assert before == (["ok"], ["ok"])
    assert plain == ["ok", "alarm", "ok", "alarm"]
    assert trusted_meanwhile == ["ok"]
    assert trusted == plain
    assert deleted.status_code == 204
