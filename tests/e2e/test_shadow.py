"""`autoscaler run --shadow` beside a live controller that stands for Aodh, on the same broker and the same Redis."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import httpx
import pytest

from tests.e2e.controller import ControllerProcess
from tests.receiver import Receiver, answering_json, receiver
from tests.servers import RabbitServer, RedisServer, free_port

pytestmark = pytest.mark.service

MEMBER = {"X-User-Id": "alice", "X-Project-Id": "shop", "X-Roles": "member"}
KIND = "gnocchi_resources_threshold"
SCALING = """
groups:
  - {{name: web, min_size: 1, max_size: 5, cooldown: 1, target: {{type: http, url: "{url}", poll_interval: 1}}}}
policies:
  - {{name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 1}}
"""
RULES = """
alarms:
  - name: declared
    type: threshold
    project_id: any
    rule: {metric: load, resource_id: vm-1, aggregation_method: mean, granularity: 2, threshold: 50,
           comparison_operator: gt, evaluate: measure, window: aligned}
    alarm_actions: ["policy://out"]
"""


@dataclass
class Beside:
    """A live controller and its shadow."""

    live: httpx.AsyncClient
    shadow: httpx.AsyncClient
    process: ControllerProcess
    hooks: Receiver
    group: Receiver
    bus: aio_pika.abc.AbstractChannel
    sent: int = 0

    async def publish(self, value: float) -> None:
        """A measure by AMQP and a sample by Ceilometer."""
        at = time.time()
        measure = {"metric": "load", "resource_id": "vm-1", "timestamp": at, "value": value, "project_id": "shop"}
        await self._publish("measures", "vm-1", json.dumps(measure))
        sample = {
            "counter_name": "cpu",
            "counter_volume": value,
            "resource_id": "vm-1",
            "project_id": "shop",
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
        }
        inner = json.dumps({"event_type": "metering", "priority": "SAMPLE", "payload": [sample]})
        await self._publish("ceilometer", "metering.sample", json.dumps({"oslo.version": "2.0", "oslo.message": inner}))
        self.sent += 1

    async def _publish(self, exchange: str, key: str, body: str) -> None:
        await (await self.bus.get_exchange(exchange)).publish(aio_pika.Message(body.encode()), key)


async def until(seconds: float, condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.1)


async def samples(client: httpx.AsyncClient) -> dict[str, float]:
    lines = (await client.get("/metrics")).text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def received(found: dict[str, float]) -> list[float]:
    """How many measures came from each broker."""
    return sorted(
        count for name, count in found.items() if name.startswith('autoscaler_measures_received_total{source="amqp')
    )


@pytest.fixture
async def it(tmp_path: Path, rabbit: RabbitServer) -> AsyncIterator[Beside]:
    async with receiver() as hooks, receiver() as group, beside(tmp_path, rabbit, hooks, group) as found:
        yield found


@asynccontextmanager
async def beside(folder: Path, rabbit: RabbitServer, hooks: Receiver, group: Receiver) -> AsyncIterator[Beside]:
    group.on("GET /web", answering_json({"size": 1}))
    policies, rules, ports = folder / "policies.yaml", folder / "rules.yaml", (free_port(), free_port())
    policies.write_text(SCALING.format(url=f"{group.base}/web"))
    rules.write_text(RULES)
    with RedisServer(None, "--appendonly", "yes") as redis:
        settings = {
            "REDIS_URL": redis.url,
            "AMQP_URL": rabbit.url,
            "OPENSTACK_URL": rabbit.url,
            "NOTIFY_URL": rabbit.url,
            "TRUSTED_SOURCES": "amqp,openstack",
        }
        for name in ("live", "shadow"):
            (folder / name).mkdir()
        shadow = settings | {
            "SHADOW_EVALUATION_INTERVAL": "2",
            "RULES": str(rules),
            "POLICIES": str(policies),
        }
        with (
            ControllerProcess(folder / "live", port=ports[0], settings=settings) as live,
            ControllerProcess(folder / "shadow", port=ports[1], settings=shadow, options=["--shadow"]) as process,
        ):
            for each in (live, process):
                await asyncio.to_thread(each.until_ready)
            clients = [httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) for port in ports]
            async with clients[0], clients[1], await aio_pika.connect(rabbit.url) as connection:
                channel = await connection.channel()
                yield Beside(clients[0], clients[1], process, hooks, group, channel)


def alarm(url: str, metric: str) -> dict[str, Any]:
    rule = {
        "metric": metric,
        "resource_id": "vm-1",
        "resource_type": "instance",
        "threshold": 50,
        "comparison_operator": "gt",
        "aggregation_method": "mean",
        "granularity": 2,
    }
    return {"name": metric, "type": KIND, f"{KIND}_rule": rule, "alarm_actions": [url], "ok_actions": [url]}


async def test_a_shadow_takes_nothing_calls_nobody_and_reports(it: Beside) -> None:
    made = [
        (await it.live.post("/v2/alarms", json=alarm(it.hooks.url, metric), headers=MEMBER)).json()["alarm_id"]
        for metric in ("load", "cpu")
    ]

    async def followed() -> bool:
        return (await it.shadow.get("/v1/shadow")).json()["alarms"] == 2

    await until(30, followed)
    for value in (90, 90, 90, 90, 10, 10, 10, 10):
        await it.publish(value)
        await asyncio.sleep(1.2)

    async def agreed() -> bool:
        report = (await it.shadow.get("/v1/shadow")).json()
        return report["agreed"] >= 4 and report["open"] == 0

    await until(30, agreed)
    histories = [(await it.live.get(f"/v2/alarms/{alarm_id}/history", headers=MEMBER)).json() for alarm_id in made]
    transitions = [line for history in histories for line in history if line["type"] == "state transition"]

    async def called() -> bool:
        told = [line for line in transitions if json.loads(line["detail"])["state"] != "insufficient data"]
        return len(it.hooks.received) >= len(told)

    await until(30, called)
    report = (await it.shadow.get("/v1/shadow")).json()
    live, shadow = await samples(it.live), await samples(it.shadow)
    decisions = (await it.shadow.get("/v1/groups/web/decisions")).json()

    # each has every message
    assert received(live) == received(shadow) == [it.sent, it.sent]
    # whoever is called is called by one of them
    told = [line for line in transitions if json.loads(line["detail"])["state"] != "insufficient data"]
    assert len(it.hooks.received) == len(told)
    assert len({each.headers["idempotency-key"] for each in it.hooks.received}) == len(told)
    assert shadow['autoscaler_actions_total{outcome="recorded",scheme="http"}'] >= 4
    assert not any("delivered" in name for name in shadow if name.startswith("autoscaler_actions_total"))
    # the group was moved in thought only
    assert [decision["reason"] for decision in decisions if decision["decision"] == "scale"]
    assert {request.partition(" ")[0] for request in it.group.requests} == {"GET"}
    # and the report is right
    assert (report["disagreed"], report["differences"]) == (0, {})
    assert report["agreed"] == len(transitions)
    assert report["agreement"]["decisions"] == 100
    assert report["agreement"]["time"] > 80
    assert report["not_understood"] == 0
    assert shadow["autoscaler_shadow_agreements_total"] == report["agreed"]


def second_is_refused(first: ControllerProcess, folder: Path) -> None:
    """Another of the same namespace does not start."""
    (folder / "second").mkdir()
    settings = first.settings | {"REPLICA": "second"}
    with (
        ControllerProcess(folder / "second", port=free_port(), settings=settings, options=["--shadow"]) as second,
        pytest.raises(AssertionError, match=r"another shadow runs in autoscaler\.shadow"),
    ):
        second.until_ready()


async def test_what_is_changed_there_is_changed_here_and_here_nothing_can_be(it: Beside, tmp_path: Path) -> None:
    made = (await it.live.post("/v2/alarms", json=alarm(it.hooks.url, "load"), headers=MEMBER)).json()
    path = f"/v2/alarms/{made['alarm_id']}"
    await it.live.put(path, json=alarm(it.hooks.url, "cpu") | {"name": "renamed"}, headers=MEMBER)
    await it.live.put(f"{path}/state", json="alarm", headers=MEMBER)

    async def followed() -> bool:
        found = (await it.shadow.get(path, headers=MEMBER)).json()
        return (found.get("name"), found.get("state")) == ("renamed", "alarm")

    await until(30, followed)
    refused = await it.shadow.delete(path, headers=MEMBER)
    assert refused.status_code == 409
    assert "shadow" in refused.json()["error_message"]["faultstring"]
    command = [sys.executable, "-m", "autoscaler", "shadow", "report", "--api", str(it.shadow.base_url)]
    shown = await asyncio.to_thread(subprocess.check_output, [*command, "--format", "json"])
    assert json.loads(shown)["alarms"] == 1
    await asyncio.to_thread(second_is_refused, it.process, tmp_path)
    await it.live.delete(path, headers=MEMBER)

    async def gone() -> bool:
        return (await it.shadow.get(path, headers=MEMBER)).status_code == 404

    await until(30, gone)
    assert await asyncio.to_thread(it.process.end) == 0
    assert "shadow summed up" in it.process.log()
