"""A real Ceilometer publishes to a running controller, every way it can, and alarms fire.

Its publishers are called in a virtualenv of its own, which ``make ceilometer`` makes.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aio_pika
import httpx
import pytest

from tests.e2e.controller import ControllerProcess
from tests.receiver import Receiver, receiver
from tests.servers import RabbitServer, free_port

pytestmark = pytest.mark.oracle

HERE = Path(__file__).parent / "ceilometer"
IN_REPOSITORY = Path(__file__).parents[2] / ".venv-ceilometer" / "bin" / "python"
# read on import: within a test no AUTOSCALER_ variable is left
PYTHON = Path(os.environ.get("AUTOSCALER_TEST_CEILOMETER_PYTHON", IN_REPOSITORY))
PATIENCE = 60.0
GROUP = "my_asg"
SECRET = "a secret of the cloud"

RULES = """
alarms:
  - name: busy
    project_id: p1
    type: aggregation
    rule: {{metric: memory.usage, match: {{server_group: {group}}}, aggregation_method: mean, granularity: 60,
           evaluation_periods: 1, comparison_operator: gt, threshold: 70, window: aligned, evaluate: measure}}
    alarm_actions: ["{hook}/busy"]
"""


@dataclass
class Cloud:
    """A broker, a controller on it, and whoever is called by its alarms."""

    rabbit: RabbitServer
    controller: ControllerProcess
    udp: int
    hooks: Receiver

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.controller.port}"

    async def called(self, path: str) -> dict[str, Any]:
        """The body of the first call of a webhook."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for call in self.hooks.received:
                    if call.request_line.split()[1] == path:
                        body: dict[str, Any] = call.json
                        return body
                await asyncio.sleep(0.02)

    async def publish(self, publisher: str, kind: str, things: Sequence[dict[str, Any]], *extra: str) -> None:
        """Have Ceilometer publish, as a line of its pipeline would."""
        configuration = [
            "[DEFAULT]",
            f"transport_url=rabbit://guest:guest@127.0.0.1:{self.rabbit.port}/",
            "[publisher]",
            f"telemetry_secret={SECRET}",
            *extra,
        ]
        asked = {"publisher": publisher, "kind": kind, "things": list(things), "configuration": configuration}
        process = await asyncio.create_subprocess_exec(
            str(PYTHON),
            str(HERE / "publish.py"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            _, said = await process.communicate(json.dumps(asked).encode())
        assert process.returncode == 0, said.decode()[-4000:]
        problems = [line for line in said.decode().splitlines() if " ERROR " in line or " WARNING " in line]
        assert problems == []


def sample(value: float = 90.0) -> dict[str, Any]:
    """Of an instance of the group, as the compute agent makes it."""
    return {
        "name": "memory.usage",
        "type": "gauge",
        "unit": "MB",
        "volume": value,
        "user_id": "u1",
        "project_id": "p1",
        "resource_id": str(uuid.uuid4()),
        "timestamp": datetime.now(UTC).isoformat(),
        "resource_metadata": {
            "display_name": "vm-1",
            "host": "a1b2",
            "flavor": {"id": "1", "name": "m1.small", "vcpus": 1, "ram": 2048},
            "user_metadata": {"server_group": GROUP},
        },
    }


@pytest.fixture(autouse=True)
def _ceilometer() -> None:
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing; `make ceilometer` makes it, or set AUTOSCALER_TEST_CEILOMETER_PYTHON")


@asynccontextmanager
async def a_cloud(rabbit: RabbitServer, folder: Path) -> AsyncIterator[Cloud]:
    async with receiver() as hooks:
        rules = folder / "rules.yaml"
        rules.write_text(RULES.format(group=GROUP, hook=hooks.base))
        udp = free_port()
        settings = {
            "RULES": str(rules),
            "OPENSTACK_URL": rabbit.url,
            "OPENSTACK_QUEUE": f"autoscaler.{uuid.uuid4().hex}",
            "TELEMETRY_SECRET": SECRET,
            "UDP": f"127.0.0.1:{udp}",
            "TRUSTED_SOURCES": "openstack,udp,http,gnocchi",
        }
        with ControllerProcess(folder, port=free_port(), settings=settings) as controller:
            await asyncio.to_thread(controller.until_ready)
            yield Cloud(rabbit, controller, udp, hooks)


@pytest.fixture
async def cloud(rabbit: RabbitServer, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with a_cloud(rabbit, tmp_path) as found:
        yield found


Publisher = Callable[[Cloud], tuple[str, Sequence[str]]]


def notifier(_: Cloud) -> tuple[str, Sequence[str]]:
    return "notifier://", ()


def old_notifier(_: Cloud) -> tuple[str, Sequence[str]]:
    return "notifier://", ("[publisher_notifier]", "telemetry_driver=messaging")


def http(cloud: Cloud) -> tuple[str, Sequence[str]]:
    return f"{cloud.api.replace('//', '//user:password@')}/v1/samples", ()


def http_one_by_one(cloud: Cloud) -> tuple[str, Sequence[str]]:
    return f"{cloud.api}/v1/samples?batch=False&timeout=5", ()


def udp(cloud: Cloud) -> tuple[str, Sequence[str]]:
    return f"udp://127.0.0.1:{cloud.udp}", ()


def gnocchi(cloud: Cloud) -> tuple[str, Sequence[str]]:
    credentials = ["auth_type=gnocchi-noauth", "user_id=ceilometer", "project_id=service", "roles=admin"]
    endpoint = f"endpoint={cloud.api}/gnocchi"
    return "gnocchi://?enable_filter_project=false", ("[service_credentials]", *credentials, endpoint)


@pytest.mark.parametrize(
    "publisher",
    [
        pytest.param(notifier, id="notifier"),
        pytest.param(old_notifier, id="notifier-with-envelope-1"),
        pytest.param(http, id="http"),
        pytest.param(http_one_by_one, id="http-one-by-one"),
        pytest.param(udp, id="udp"),
        pytest.param(gnocchi, id="gnocchi"),
    ],
)
async def test_samples_fire_an_alarm(cloud: Cloud, publisher: Publisher) -> None:
    url, extra = publisher(cloud)

    await cloud.publish(url, "sample", [sample(80), sample(90)], *extra)

    body = await cloud.called("/busy")
    assert (body["alarm_name"], body["previous"], body["current"]) == ("busy", "insufficient data", "alarm")


async def test_an_event_fires_an_event_alarm(cloud: Cloud) -> None:
    alarm = {
        "name": "failed",
        "type": "event",
        "event_rule": {
            "event_type": "compute.instance.*",
            "query": [{"field": "traits.state", "op": "eq", "value": "error", "type": "string"}],
        },
        "alarm_actions": [f"{cloud.hooks.base}/failed"],
    }
    member = {"X-Project-Id": "p1", "X-User-Id": "u1", "X-Roles": "member"}
    async with httpx.AsyncClient(base_url=cloud.api, headers=member) as client:
        made = await client.post("/v2/alarms", json=alarm)
        assert made.status_code == 201, made.text
    event = {
        "message_id": "m-1",
        "event_type": "compute.instance.update",
        "generated": datetime.now(UTC).isoformat(),
        "traits": [["state", 1, "error"], ["tenant_id", 1, "p1"]],
        "raw": {},
    }

    await cloud.publish("notifier://?topic=alarm.all", "event", [event])

    body = await cloud.called("/failed")
    assert body["current"] == "alarm"
    assert body["reason_data"]["event"]["message_id"] == "m-1"
    assert len(cloud.hooks.received) == 1


async def test_another_consumer_still_gets_every_sample_and_event(cloud: Cloud) -> None:
    """Ceilometer's publishers declare queues that are named like the routing keys; Aodh's listener takes from one."""
    samples = [sample() for _ in range(20)]
    event = {"message_id": "m", "event_type": "e", "generated": None, "traits": [], "raw": {}}
    async with await aio_pika.connect(cloud.rabbit.url) as connection:
        channel = await connection.channel()
        for name in ("metering.sample", "alarm.all.sample"):
            await (await channel.declare_queue(name)).purge()

        await cloud.publish("notifier://", "sample", samples)
        await cloud.publish("notifier://?topic=alarm.all", "event", [event] * 5)
        await cloud.called("/busy")

        taken = {name: await _payloads(channel, name) for name in ("metering.sample", "alarm.all.sample")}

    assert [each["resource_id"] for each in taken["metering.sample"]] == [each["resource_id"] for each in samples]
    assert len(taken["alarm.all.sample"]) == 5


async def _payloads(channel: aio_pika.abc.AbstractChannel, name: str) -> list[dict[str, Any]]:
    queue = await channel.declare_queue(name, passive=True)
    found: list[dict[str, Any]] = []
    while (message := await queue.get(no_ack=True, fail=False)) is not None:
        found += json.loads(json.loads(message.body)["oslo.message"])["payload"]
    return found


async def test_a_sample_that_is_not_signed_with_the_clouds_secret_fires_nothing(cloud: Cloud) -> None:
    await cloud.publish("notifier://", "sample", [sample()], "[publisher]", "telemetry_secret=another")

    async with asyncio.timeout(PATIENCE), httpx.AsyncClient(base_url=cloud.api) as client:
        while not (letters := (await client.get("/v1/dead-letters")).json()):
            await asyncio.sleep(0.05)
    assert letters[0]["reason"] == "bad signature"
    assert cloud.hooks.received == []


async def test_gnocchis_publisher_ends_and_makes_resources(cloud: Cloud) -> None:
    """Its events: an instance that is deleted takes its disks with it, and comes again with the next sample."""
    url, extra = gnocchi(cloud)
    vm = sample()
    disk = {
        **vm,
        "name": "disk.device.read.bytes",
        "type": "cumulative",
        "resource_id": f"{vm['resource_id']}-vda",
        "resource_metadata": {"disk_name": "vda", "instance_id": vm["resource_id"]},
        "timestamp": (datetime.now(UTC) - timedelta(seconds=1)).isoformat(),
    }
    traits = [["instance_id", 1, vm["resource_id"]], ["project_id", 1, "p1"], ["user_id", 1, "u1"]]
    deleted = {
        "message_id": "d",
        "event_type": "compute.instance.delete.start",
        "generated": None,
        "traits": traits,
        "raw": {},
    }
    async with httpx.AsyncClient(base_url=cloud.api) as client:
        await cloud.publish(url, "sample", [vm, disk], *extra)
        shown = (await client.get(f"/v1/resource/instance/{vm['resource_id']}")).json()
        of_disk = (await client.get(f"/v1/resource/instance_disk/{disk['resource_id']}")).json()
        await cloud.publish(url, "event", [deleted], *extra)
        gone = [
            (await client.get(f"/v1/resource/{path}")).status_code
            for path in (f"instance/{vm['resource_id']}", f"instance_disk/{disk['resource_id']}")
        ]

    assert (shown["server_group"], shown["project_id"], shown["display_name"]) == (GROUP, "p1", "vm-1")
    assert of_disk["instance_id"] == vm["resource_id"]
    assert gone == [404, 404]
