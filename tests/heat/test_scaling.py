"""Groups of a real Heat that grow and shrink by what Ceilometer measures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.heat import stacks
from tests.heat.bus import Ceilometer, Instance, ceilometer, notifications
from tests.heat.cloud import HeatCloud
from tests.heat.templates import DOWN, UP, a_group, on_mean

pytestmark = [pytest.mark.heat, pytest.mark.timeout(600)]

GRANULARITY = 10
"""Seconds of a granule; each instance is measured once in each, as Ceilometer's interval and Gnocchi's archive are
set alike."""


@dataclass
class Load:
    """Ceilometer, which measures each instance of a group once per granule.

    Attributes:
        value: what it finds.
        since: when the present value was found first, in Unix seconds.
    """

    bus: Ceilometer
    instances: Callable[[], Awaitable[Iterable[Instance]]]
    value: float
    since: float = 0.0
    _told: float | None = None

    async def run(self) -> None:
        done: set[tuple[str, int]] = set()
        while True:
            granule = int(time.time() // GRANULARITY)
            due = [each for each in await self.instances() if (each.instance_id, granule) not in done]
            if due:
                if self._told != self.value:
                    self._told, self.since = self.value, time.time()
                await self.bus.publish([each.sample(self.value) for each in due])
                done |= {(each.instance_id, granule) for each in due}
            await asyncio.sleep(0.2)


async def test_a_group_grows_to_three_and_shrinks_to_one(
    cloud: HeatCloud, heat: httpx.AsyncClient, tmp_path: Path
) -> None:
    template = a_group(
        {
            "busy": on_mean("gt", 80, UP, granularity=GRANULARITY),
            "idle": on_mean("lt", 20, DOWN, granularity=GRANULARITY),
        },
        max_size=3,
    )
    with cloud.controller(tmp_path, OPENSTACK_URL=cloud.rabbit.url) as controller:
        await asyncio.to_thread(controller.until_ready)
        async with (
            cloud.alarming(cloud.ada) as alarming,
            stacks.a_stack(heat, template) as stack,
            ceilometer(cloud.rabbit.url) as bus,
            notifications(cloud.rabbit.url) as told,
        ):

            async def instances() -> list[Instance]:
                names = await stacks.members(stack)
                return [Instance(f"{stack.stack_id}-{name}", cloud.ada.project_id, stack.stack_id) for name in names]

            load = Load(bus, instances, 50)
            resources = await stacks.resources(stack)
            ids = {name: resources[name]["physical_resource_id"] for name in ("busy", "idle")}

            async def state(name: str) -> str:
                return (await alarming.get(f"/v2/alarms/{ids[name]}/state")).json()

            async def signalled(name: str, size: int) -> None:
                """Say how long it took from the measure to the alarm's state, Heat's start and the new size."""
                await stacks.resting(stack, size)
                rested = time.time()
                changed = (await alarming.get(f"/v2/alarms/{ids[name]}")).json()["state_timestamp"]
                at = datetime.fromisoformat(changed).replace(tzinfo=UTC).timestamp()
                began = told.of("orchestration.autoscaling.start", stack.stack_id)[-1].time
                times = {"state": at, "start": began, "complete": rested}
                found = {key: round(each - load.since, 3) for key, each in times.items()}
                print(f"to {size} members, seconds from the measure: {found}")

            async with asyncio.TaskGroup() as tasks:
                measuring = tasks.create_task(load.run())
                for name in ids:

                    async def is_ok(name: str = name) -> bool:
                        return await state(name) == "ok"

                    await stacks.until(is_ok, f"{name} is ok")
                load.value = 90
                await signalled("busy", 2)
                await signalled("busy", 3)
                load.value = 10
                await signalled("idle", 2)
                await signalled("idle", 1)
                measuring.cancel()
            sizes = [each.payload["capacity"] for each in told.of("orchestration.autoscaling.end", stack.stack_id)]
            failed = told.of("orchestration.autoscaling.error", stack.stack_id)
            reasons = [
                event["resource_status_reason"]
                for event in await stacks.events(stack)
                if event["resource_name"] in {"up", "down"} and event["resource_status"] == "SIGNAL_COMPLETE"
            ]

    assert sizes == [2, 3, 2, 1]
    assert failed == []
    assert len(reasons) >= 4
    assert all("alarm" in reason for reason in reasons)
