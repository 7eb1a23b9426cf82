"""A running controller in place of Aodh: a tenant's alarms, a real Prometheus, word on a real bus."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aio_pika
import httpx
import pytest

from tests.e2e.controller import ControllerProcess
from tests.prometheus_server import Exporter, PrometheusServer
from tests.receiver import Receiver, receiver
from tests.servers import RabbitServer, free_port

pytestmark = pytest.mark.service

MEMBER = {"X-User-Id": "alice", "X-Project-Id": "shop", "X-Roles": "member"}


async def called(hooks: Receiver, state: str, *, after: int = 0) -> dict[str, Any]:
    """The first webhook that says so."""
    async with asyncio.timeout(60):
        while True:
            for call in hooks.received[after:]:
                body: dict[str, Any] = call.json
                if body["current"] == state:
                    return body
            await asyncio.sleep(0.02)


def exported(shop: float) -> str:
    return f'load{{project="shop",vm="1"}} {shop}\nload{{project="other",vm="2"}} 1000\n'


def alarm(url: str, **rule: object) -> Mapping[str, Any]:
    return {
        "name": "loaded",
        "type": "prometheus",
        "alarm_actions": [url],
        "ok_actions": [url],
        "prometheus_rule": {"query": "load", "threshold": 50, "comparison_operator": "gt", **rule},
    }


async def test_a_prometheus_alarm_fires_and_clears_and_sees_its_project_only(tmp_path: Path) -> None:
    port = free_port()
    with Exporter(exported(10)) as exporter, PrometheusServer(exporter.port) as prometheus:
        settings = {"PROMETHEUS_URL": prometheus.url, "PROBE_INTERVAL": "1"}
        with ControllerProcess(tmp_path, port=port, settings=settings) as controller:
            await asyncio.to_thread(controller.until_ready)
            async with (
                receiver() as hooks,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=MEMBER) as client,
            ):
                made = (await client.post("/v2/alarms", json=alarm(hooks.url))).json()
                await called(hooks, "ok")
                exporter.text = exported(90)
                fired = await called(hooks, "alarm")
                seen = len(hooks.received)
                exporter.text = exported(10)
                await called(hooks, "ok", after=seen)
                history = (await client.get(f"/v2/alarms/{made['alarm_id']}/history")).json()

    assert fired["reason_data"] == {"type": "threshold", "disposition": "outside", "count": 1, "most_recent": 90.0}
    states = [json.loads(entry["detail"])["state"] for entry in history]
    assert states == ["ok", "alarm", "ok", "insufficient data"]


async def test_changes_of_alarms_are_told_on_the_bus(tmp_path: Path, rabbit: RabbitServer) -> None:
    port = free_port()
    settings = {"NOTIFY_URL": rabbit.url, "NOTIFY_EXCHANGE": "told"}
    connection = await aio_pika.connect(rabbit.url)
    async with connection, connection.channel() as channel:
        exchange = await channel.declare_exchange("told", aio_pika.ExchangeType.TOPIC)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, "notifications.info")
        with ControllerProcess(tmp_path, port=port, settings=settings) as controller:
            await asyncio.to_thread(controller.until_ready)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=MEMBER) as client:
                made = (await client.post("/v2/alarms", json=alarm("http://127.0.0.1:9/"))).json()
                path = f"/v2/alarms/{made['alarm_id']}"
                await client.put(path, json={**alarm("http://127.0.0.1:9/"), "name": "very"})
                await client.put(f"{path}/state", json="alarm")
                await client.delete(path)
                told = []
                async with asyncio.timeout(30), queue.iterator() as messages:
                    async for message in messages:
                        envelope = json.loads(message.body)
                        told.append(json.loads(envelope["oslo.message"]))
                        await message.ack()
                        if told[-1]["event_type"] == "alarm.deletion":
                            break

    # without a Prometheus the state that was set does not last, which the evaluator may tell in between
    assert [each["event_type"] for each in told if each["publisher_id"] == "aodh.api"] == [
        "alarm.creation",
        "alarm.rule_change",
        "alarm.state_transition",
        "alarm.deletion",
    ]
    assert told[0]["payload"]["detail"]["name"] == "loaded"
    assert told[1]["payload"]["detail"] == {"name": "very"}
    assert {each["payload"]["alarm_id"] for each in told} == {made["alarm_id"]}
