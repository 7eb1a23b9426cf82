"""A shadow beside an Aodh that runs elsewhere: drawn load goes to its Gnocchi and to us, and both are compared.

``AUTOSCALER_TEST_AODH_URL`` and ``AUTOSCALER_TEST_GNOCCHI_URL`` name an Aodh 23 without Keystone (``auth_mode =
noauth``) and its Gnocchi (basic authentication), ``AUTOSCALER_TEST_AODH_BROKER`` the broker on which that Aodh tells
its changes (``[oslo_messaging_notifications] driver = messagingv2``), ``AUTOSCALER_TEST_AODH_INTERVAL`` its
``evaluation_interval``. ``AUTOSCALER_TEST_SHADOW_SECONDS`` says for how long; the report is printed (``pytest -s``).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import httpx
import pytest

from tests.e2e.controller import ControllerProcess
from tests.servers import free_port

AODH = os.environ.get("AUTOSCALER_TEST_AODH_URL", "")
GNOCCHI = os.environ.get("AUTOSCALER_TEST_GNOCCHI_URL", "")
BROKER = os.environ.get("AUTOSCALER_TEST_AODH_BROKER", "")
INTERVAL = float(os.environ.get("AUTOSCALER_TEST_AODH_INTERVAL", "60"))
SECONDS = float(os.environ.get("AUTOSCALER_TEST_SHADOW_SECONDS", "600"))
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        not (AODH and GNOCCHI and BROKER),
        reason="AUTOSCALER_TEST_AODH_URL, _GNOCCHI_URL and _AODH_BROKER name no Aodh to stand beside",
    ),
]

GRANULARITY = 10
REPORTS = 5.0
"""Seconds between two measures of a machine."""
MACHINES = 24
GROUPS = 4
METRIC = "cpu_util"
POOL = {"pool_id": "p", "stack_id": "s", "autoscaling_group_id": "g"}
NIGHT = {"name": "night", "start": "0 22 * * *", "duration": 3600, "timezone": "Europe/Paris", "description": "n"}
ADMIN = {"X-User-Id": "alice", "X-Project-Id": "shadowed", "X-Roles": "admin,member,reader"}


@dataclass
class Machine:
    """A machine whose load rests on a level for a while, then on another; sometimes it is silent."""

    number: int
    draw: random.Random
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    level: float = 30.0
    until: float = 0.0
    silent: bool = False

    @property
    def group(self) -> str:
        return f"group{self.number % GROUPS}"

    def value(self, now: float) -> float | None:
        """What it reports; None while it is silent."""
        if now >= self.until:
            self.level = self.draw.choice((20.0, 40.0, 60.0, 90.0))
            self.silent = self.draw.random() < 0.08
            self.until = now + self.draw.uniform(8, 90)
        return None if self.silent else round(max(0.0, self.draw.gauss(self.level, 4)), 3)


class Gnocchi:
    """Resources and measures in Gnocchi."""

    def __init__(self, client: httpx.AsyncClient, run: str) -> None:
        self._client = client
        self.type = f"shadowed_{run}"
        self.policy = f"shadowed-{run}"

    async def prepare(self, machines: Sequence[Machine]) -> None:
        policy = {
            "name": self.policy,
            "definition": [{"granularity": f"{GRANULARITY}s", "timespan": "1:00:00"}],
            "aggregation_methods": ["mean", "max"],
        }
        attributes = {"server_group": {"type": "string", "required": False}}
        await self._post("/v1/archive_policy", policy)
        await self._post("/v1/resource_type", {"name": self.type, "attributes": attributes})
        for machine in machines:
            resource = {
                "id": machine.id,
                "project_id": ADMIN["X-Project-Id"],
                "server_group": machine.group,
                "metrics": {METRIC: {"archive_policy_name": self.policy}},
            }
            await self._post(f"/v1/resource/{self.type}", resource)

    async def write(self, values: Mapping[str, float], at: float) -> None:
        measures = {machine: {METRIC: [{"timestamp": _iso(at), "value": value}]} for machine, value in values.items()}
        await self._post("/v1/batch/resources/metrics/measures", measures)

    async def _post(self, path: str, body: Any) -> None:
        answer = await self._client.post(path, json=body)
        assert answer.is_success, answer.text


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def alarms(machines: Sequence[Machine], gnocchi: Gnocchi, draw: random.Random) -> list[dict[str, Any]]:
    """Alarms on one machine and on groups, of several lengths."""
    found = []
    for machine in machines:
        rule = {"metric": METRIC, "resource_id": machine.id, "resource_type": gnocchi.type, **_compared(draw)}
        kind = "gnocchi_resources_threshold"
        found.append({"name": f"machine{machine.number}", "type": kind, f"{kind}_rule": rule})
    for group in range(GROUPS):
        for number in range(2):
            query = json.dumps({"=": {"server_group": f"group{group}"}})
            rule = {"metric": METRIC, "query": query, "resource_type": gnocchi.type, **_compared(draw)}
            kind = "gnocchi_aggregation_by_resources_threshold"
            found.append({"name": f"group{group}-{number}", "type": kind, f"{kind}_rule": rule})
    leaves = [
        {"type": "gnocchi_resources_threshold", "metric": METRIC, "resource_id": machine.id}
        | {"resource_type": gnocchi.type, **_compared(draw)}
        for machine in machines[:2]
    ]
    found.append({"name": "either", "type": "composite", "composite_rule": {"or": leaves}})
    return [alarm | {"alarm_actions": ["http://127.0.0.1:9/"]} for alarm in found]


def _compared(draw: random.Random) -> dict[str, Any]:
    return {
        "aggregation_method": "mean",
        "granularity": GRANULARITY,
        "evaluation_periods": draw.choice((1, 2, 3)),
        "comparison_operator": draw.choice(("gt", "gt", "lt")),
        "threshold": draw.choice((35.0, 50.0, 75.0)),
    }


async def load(machines: Sequence[Machine], gnocchi: Gnocchi, shadow: httpx.AsyncClient, seconds: float) -> int:
    """Drawn load, sent to both at once; how many measures."""
    sent, began = 0, time.time()
    while time.time() < began + seconds:
        at = time.time()
        values = {machine.id: value for machine in machines if (value := machine.value(at)) is not None}
        ours = [
            {
                "metric": METRIC,
                "resource_id": machine.id,
                "timestamp": at,
                "value": values[machine.id],
                "project_id": ADMIN["X-Project-Id"],
                "metadata": {"server_group": machine.group},
            }
            for machine in machines
            if machine.id in values
        ]
        async with asyncio.TaskGroup() as both:
            both.create_task(gnocchi.write(values, at))
            sending = both.create_task(shadow.post("/v1/measures", json=ours))
        taken = sending.result()
        assert taken.json()["accepted"] == len(ours), taken.text
        sent += len(ours)
        await asyncio.sleep(max(0.0, REPORTS - (time.time() - at)))
    return sent


class Listener:
    """Somebody else who listens to Aodh: every word must reach them, shadow or not."""

    def __init__(self) -> None:
        self.heard = 0

    async def listen(self) -> None:
        async with await aio_pika.connect(BROKER) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange("aodh", aio_pika.ExchangeType.TOPIC)
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(exchange, "notifications.info")
            async with queue.iterator() as messages:
                async for message in messages:
                    await message.ack()
                    self.heard += 1


@pytest.mark.timeout(SECONDS + 300)
async def test_a_shadow_agrees_with_aodh_or_says_why_not(tmp_path: Path) -> None:
    draw, run, port = random.Random(7), uuid.uuid4().hex[:8], free_port()
    machines = [Machine(number, random.Random(number)) for number in range(MACHINES)]
    settings = {
        "SHADOW": "true",
        "SHADOW_URL": BROKER,
        "SHADOW_EVALUATION_INTERVAL": str(INTERVAL),
        "NAMESPACE": f"live{run}",
        "TRUSTED_SOURCES": "http",
        "REPLICA": run,
    }
    listener = Listener()
    async with (
        httpx.AsyncClient(base_url=AODH, headers=ADMIN, limits=httpx.Limits(max_keepalive_connections=0)) as aodh,
        httpx.AsyncClient(
            base_url=GNOCCHI, auth=("admin", ""), limits=httpx.Limits(max_keepalive_connections=0)
        ) as metrics,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as ours,
    ):
        gnocchi = Gnocchi(metrics, run)
        await gnocchi.prepare(machines)
        with ControllerProcess(tmp_path, port=port, settings=settings) as shadow:
            await asyncio.to_thread(shadow.until_ready)
            listening = asyncio.ensure_future(listener.listen())
            await asyncio.sleep(1)
            made = []
            for alarm in alarms(machines, gnocchi, draw):
                answer = await aodh.post("/v2/alarms", json=alarm)
                assert answer.status_code == 201, answer.text
                made.append(answer.json()["alarm_id"])
            try:
                sent = await load(machines, gnocchi, ours, SECONDS)
                report = (await ours.get("/v1/shadow", params={"limit": 200})).json()
            finally:
                for alarm_id in made:
                    await aodh.delete(f"/v2/alarms/{alarm_id}")
            async with asyncio.timeout(60):
                while (after := (await ours.get("/v1/shadow")).json())["alarms"]:
                    await asyncio.sleep(0.2)
            await asyncio.sleep(1)
            listening.cancel()
            status = shadow.end()
            log = shadow.log()

    print(json.dumps(report, indent=1))
    print(f"{sent} measures; Aodh told {after['notices']}, another listener heard {listener.heard}")
    assert status == 0, log
    assert report["alarms"] == len(made)
    assert report["not_understood"] == 0
    assert after["notices"] == listener.heard
    assert report["agreed"] > 0
    assert report["agreement"]["decisions"] >= 75
    assert all(each["text"] for each in report["disagreements"])


async def test_what_is_changed_at_aodh_is_changed_here(tmp_path: Path) -> None:
    run, port = uuid.uuid4().hex[:8], free_port()
    settings = {"SHADOW": "true", "SHADOW_URL": BROKER, "NAMESPACE": f"live{run}", "REPLICA": run}
    member = ADMIN | {"X-Roles": "member,reader"}
    bodies: list[dict[str, Any]] = [
        {"type": "event", "event_rule": {"event_type": "compute.*"}},
        {"type": "prometheus", "prometheus_rule": {"query": "up", "threshold": 1}},
        {"type": "loadbalancer_member_health", "loadbalancer_member_health_rule": POOL},
    ]
    shown = ("name", "type", "severity", "enabled", "description", "alarm_actions", "time_constraints", "state")
    async with (
        httpx.AsyncClient(base_url=AODH, limits=httpx.Limits(max_keepalive_connections=0)) as aodh,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as ours,
    ):

        async def alike(path: str, **headers: str) -> None:
            """Wait until both tell the same of an alarm, up to how times and defaults are written."""
            async with asyncio.timeout(30):
                while True:
                    theirs, here = [await client.get(path, headers=headers) for client in (aodh, ours)]
                    assert theirs.status_code == 200, theirs.text
                    found = [{key: answer.json().get(key) for key in shown} for answer in (theirs, here)]
                    rules = [answer.json().get(f"{answer.json().get('type')}_rule") for answer in (theirs, here)]
                    if found[0] == found[1] and rules[0] == rules[1]:
                        return
                    await asyncio.sleep(0.2)

        with ControllerProcess(tmp_path, port=port, settings=settings) as shadow:
            await asyncio.to_thread(shadow.until_ready)
            for body in bodies:
                for headers in (ADMIN, member):
                    made = await aodh.post("/v2/alarms", json=body | {"name": "a"}, headers=headers)
                    path = f"/v2/alarms/{made.json()['alarm_id']}"
                    await alike(path, **headers)
                    changed = body | {"name": "b", "severity": "critical", "enabled": False}
                    changed |= {"alarm_actions": ["http://127.0.0.1:9/"], "time_constraints": [NIGHT]}
                    await aodh.put(path, json=changed, headers=headers)
                    await alike(path, **headers)
                    await aodh.put(f"{path}/state", json="alarm", headers=headers)
                    await alike(path, **headers)
                    await aodh.put(path, json=body | {"name": "c", "enabled": False}, headers=headers)
                    await alike(path, **headers)
                    await aodh.delete(path, headers=headers)
                    async with asyncio.timeout(30):
                        while (await ours.get(path, headers=headers)).status_code != 404:
                            await asyncio.sleep(0.2)
            report = (await ours.get("/v1/shadow")).json()
            log = shadow.log()

    assert (report["notices"], report["not_understood"]) == (5 * 2 * len(bodies), 0), log
