"""Three installed controllers on one Redis: alarms are made, changed and removed at all of them while they are killed.

Whatever was answered holds on every replica, and everything that happened is told once: in the history, by webhooks and
on the bus.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import httpx
import pytest

from autoscaler.adapters.redis import RedisStore
from tests.e2e.controller import ControllerProcess
from tests.e2e.neighbours import Neighbours
from tests.servers import RabbitServer, RedisServer, free_port

SECONDS = float(os.environ.get("AUTOSCALER_TEST_DYING_SECONDS", "4"))
SEED = int(os.environ.get("AUTOSCALER_TEST_SEED", "1"))
REPLICAS = 3
PROJECT = "p1"
HEADERS = {"X-User-Id": "u1", "X-Project-Id": PROJECT, "X-Roles": "admin"}
EXCHANGE = "aodh"
BUSY = 50.0
UNANSWERED = (httpx.HTTPError,)


@dataclass
class Cluster:
    """What is asked of the controllers, and what they have answered.

    Attributes:
        made: documents that were sent last, by alarm id, of alarms whose last change was answered.
        doubtful: ids of alarms whose last change was not.
        removed: ids of those whose removal was answered.
        events: message ids of events that were answered.
    """

    replicas: list[ControllerProcess]
    hooks: str
    drawn: random.Random
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)
    serial: int = 0

    def base(self, replica: ControllerProcess | None = None) -> str:
        return f"http://127.0.0.1:{(replica or self.drawn.choice(self.replicas)).port}"

    def threshold(self, number: int) -> dict[str, Any]:
        rule = {
            "metric": "cpu",
            "resource_id": f"vm-{number % 5}",
            "resource_type": "instance",
            "comparison_operator": "gt",
            "threshold": BUSY + number % 9,
            "aggregation_method": "mean",
            "evaluation_periods": 1,
            "granularity": 1,
        }
        url = f"{self.hooks}/threshold"
        actions = {"alarm_actions": [url], "ok_actions": [url], "insufficient_data_actions": [url]}
        kind = "gnocchi_resources_threshold"
        return {"name": f"t{number}", "type": kind, f"{kind}_rule": rule, **actions}

    def event(self) -> dict[str, Any]:
        rule = {"event_type": "compute.*"}
        action = {"repeat_actions": True, "alarm_actions": [f"{self.hooks}/event"]}
        return {"name": "event", "type": "event", "event_rule": rule, **action}

    async def make(self, client: httpx.AsyncClient, document: dict[str, Any] | None = None) -> str | None:
        self.serial += 1
        document = document or self.threshold(self.serial)
        answer = await client.post(f"{self.base()}/v2/alarms", json=document)
        if answer.status_code != 201:
            assert answer.status_code == 503, answer.text
            return None
        alarm_id: str = answer.json()["alarm_id"]
        self.made[alarm_id] = document
        return alarm_id

    async def change(self, client: httpx.AsyncClient) -> None:
        alarm_id = self._any()
        if alarm_id is None:
            return
        self.serial += 1
        document = self.threshold(self.serial)
        self.made.pop(alarm_id)
        self.doubtful.add(alarm_id)
        answer = await client.put(f"{self.base()}/v2/alarms/{alarm_id}", json=document)
        if answer.status_code == 200:
            self.doubtful.discard(alarm_id)
            self.made[alarm_id] = document
        else:
            assert answer.status_code == 503, (alarm_id, answer.text)

    async def remove(self, client: httpx.AsyncClient) -> None:
        alarm_id = self._any()
        if alarm_id is None:
            return
        self.made.pop(alarm_id)
        self.doubtful.add(alarm_id)
        answer = await client.delete(f"{self.base()}/v2/alarms/{alarm_id}")
        if answer.status_code == 204:
            self.doubtful.discard(alarm_id)
            self.removed.add(alarm_id)
        else:
            assert answer.status_code == 503, (alarm_id, answer.text)

    async def set_state(self, client: httpx.AsyncClient) -> None:
        alarm_id = self._any()
        if alarm_id is None:
            return
        state = self.drawn.choice(("ok", "alarm", "insufficient data"))
        answer = await client.put(f"{self.base()}/v2/alarms/{alarm_id}/state", json=state)
        # another task may have removed it
        assert answer.status_code in {200, 404, 503}, answer.text

    async def measure(self, client: httpx.AsyncClient) -> None:
        now = time.time()
        value = 90.0 if now % 4 < 2 else 10.0
        sent = [
            {"metric": "cpu", "resource_id": f"vm-{number}", "timestamp": now, "value": value, "project_id": PROJECT}
            for number in range(5)
        ]
        await client.post(f"{self.base()}/v1/measures", json=sent)

    async def happen(self, client: httpx.AsyncClient) -> None:
        """An event, told until it was heard, and sometimes once more."""
        message_id = str(uuid.UUID(int=self.drawn.getrandbits(128)))
        event = {"message_id": message_id, "event_type": "compute.delete", "traits": {"project_id": PROJECT}}
        heard, wanted = 0, self.drawn.choice((1, 1, 2))
        while heard < wanted:
            try:
                answer = await client.post(f"{self.base()}/v1/events", json=event)
                heard += answer.status_code == 202
            except UNANSWERED:
                await asyncio.sleep(0.05)
        self.events.append(message_id)

    def _any(self) -> str | None:
        known = sorted(alarm_id for alarm_id, made in self.made.items() if made["type"] != "event")
        return self.drawn.choice(known) if known else None


async def again_and_again(
    once: Callable[[httpx.AsyncClient], Awaitable[Any]], until: float, *, pause: float = 0.02
) -> None:
    async with httpx.AsyncClient(headers=HEADERS, timeout=15, trust_env=False) as client:
        while time.monotonic() < until:
            try:
                await once(client)
            except UNANSWERED:
                await asyncio.sleep(0.05)
            await asyncio.sleep(pause)


async def disturbing(cluster: Cluster, redis: RedisServer, until: float) -> None:
    """One replica is killed and started again, another held up; and once the server crashes."""
    crash = True
    while time.monotonic() < until - 1.5:
        await asyncio.sleep(cluster.drawn.uniform(0.3, 0.8))
        replica, other = cluster.drawn.sample(cluster.replicas, 2)
        replica.kill()
        assert other.pid is not None
        os.kill(other.pid, signal.SIGSTOP)
        await asyncio.sleep(cluster.drawn.uniform(0.2, 1.0))
        os.kill(other.pid, signal.SIGCONT)
        replica.start()
        if crash:
            crash = False
            redis.kill()
            redis.restart()
        await asyncio.to_thread(replica.until_ready)


async def listed(cluster: Cluster) -> list[dict[str, dict[str, Any]]]:
    """All alarms by id, as each replica lists them."""
    found = []
    async with httpx.AsyncClient(headers=HEADERS, timeout=15, trust_env=False) as client:
        for replica in cluster.replicas:
            answer = await client.get(f"{cluster.base(replica)}/v2/alarms")
            assert answer.status_code == 200, answer.text
            found.append({alarm["alarm_id"]: alarm for alarm in answer.json()})
    return found


LIVE = {"state", "state_reason", "state_timestamp", "evaluate_timestamp"}


async def check_definitions(cluster: Cluster) -> None:
    first, *others = [
        {alarm_id: {key: alarm[key] for key in alarm.keys() - LIVE} for alarm_id, alarm in alarms.items()}
        for alarms in await listed(cluster)
    ]
    for other in others:
        assert other == first, "replicas disagree"
    assert not cluster.removed & first.keys(), "removed alarms are listed"
    assert cluster.made.keys() <= first.keys(), "alarms are lost"
    for alarm_id, document in cluster.made.items():
        assert first[alarm_id]["name"] == document["name"], "a change is lost"


async def check_histories(store: RedisStore, told: dict[str, set[str]]) -> dict[str, int]:
    """Nothing was told twice, and everything on the bus too; transitions by alarm id."""
    transitions: dict[str, int] = defaultdict(int)
    for alarm_id in await store.histories(None):
        entries = list(reversed(await store.history(alarm_id, limit=10_000)))
        ids = [entry.event_id for entry in entries]
        assert len(set(ids)) == len(ids), "history doubled"
        assert [entry.type for entry in entries].count("creation") <= 1
        state = "insufficient data"
        for entry in entries:
            assert len(told[entry.event_id]) == 1, f"{entry.type} not told on the bus, or as two"
            if "state" in entry.detail and entry.type in {"state transition", "rule change"}:
                assert entry.detail["state"] != state or state == "alarm", "a transition to where it was"
                state = entry.detail["state"]
                transitions[alarm_id] += entry.type == "state transition"
    return transitions


async def check_records(redis: RedisServer, store: RedisStore, cluster: Cluster, event_alarm: str) -> None:
    """No zombies, and no work for what is not there any more."""
    for alarm_id in cluster.removed:
        assert await store.alarms([alarm_id]) == [None], "a removed alarm has a record"
    client = RedisStore(redis.url)._caller
    keys: list[bytes] = await client.plain("", "KEYS", "*:alarm:*")
    await client.close()
    defined = {definition.alarm_id for definition in (await store.definitions()).definitions}
    assert {key.decode().rpartition(":")[2] for key in keys} == defined
    assert event_alarm in defined


def check_webhooks(neighbours: Neighbours, cluster: Cluster) -> int:
    bodies: dict[str, bytes] = {}
    for post in neighbours.posts:
        assert bodies.setdefault(post.key, post.body) == post.body, "one key, two bodies"
    fired = [json.loads(body) for body in bodies.values()]
    heard = [body["reason_data"]["event"]["message_id"] for body in fired if body["alarm_name"] == "event"]
    assert sorted(heard) == sorted(cluster.events), "an event was lost, or fired twice"
    return len(neighbours.posts) - len(bodies)


async def until_quiet(store: RedisStore) -> None:
    """Wait until every action was carried out, and no alarm turns any more: the last turn when nothing is measured."""
    before, since = -1, time.monotonic()
    async with asyncio.timeout(45):
        while True:
            alarms = await store.histories(None)
            waiting = [lanes for alarm_id in alarms if (lanes := await store.lanes(alarm_id))]
            turned = sum([len(await store.history(alarm_id, limit=10_000)) for alarm_id in alarms])
            if waiting or turned != before:
                before, since = turned, time.monotonic()
            elif time.monotonic() - since > 2.5:
                return
            await asyncio.sleep(0.2)


@dataclass
class Bus:
    """What was told on it: message ids by the id of the event that they tell."""

    told: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    async def listen(self, url: str, ready: asyncio.Event) -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            topic = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=False)
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(topic, "notifications.info")
            ready.set()
            async with queue.iterator(no_ack=True) as messages:
                async for message in messages:
                    inner = json.loads(json.loads(message.body)["oslo.message"])
                    self.told[inner["payload"]["event_id"]].add(inner["message_id"])


async def scenario(cluster: Cluster, redis: RedisServer, rabbit_url: str, neighbours: Neighbours) -> None:
    bus, ready, store = Bus(), asyncio.Event(), RedisStore(redis.url)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        stack.push_async_callback(store.close)
        listening = group.create_task(bus.listen(rabbit_url, ready))
        await ready.wait()
        async with httpx.AsyncClient(headers=HEADERS, timeout=15, trust_env=False) as client:
            event_alarm = await cluster.make(client, cluster.event())
        assert event_alarm is not None
        await asyncio.sleep(1)  # every replica knows it: from now on no event may be lost
        until = time.monotonic() + SECONDS
        async with asyncio.TaskGroup() as senders:
            for once in (cluster.make, cluster.make, cluster.change, cluster.remove, cluster.set_state):
                senders.create_task(again_and_again(once, until))
            senders.create_task(again_and_again(cluster.measure, until, pause=0.1))
            senders.create_task(again_and_again(cluster.happen, until, pause=0.1))
            senders.create_task(disturbing(cluster, redis, until))
        for replica in cluster.replicas:
            await asyncio.to_thread(replica.until_ready)
        await asyncio.sleep(1)

        await check_definitions(cluster)
        await until_quiet(store)
        transitions = await check_histories(store, bus.told)
        await check_records(redis, store, cluster, event_alarm)
        repeated = check_webhooks(neighbours, cluster)
        listening.cancel()
    print(
        f"{len(cluster.made)} alarms, {len(cluster.removed)} removed, {len(cluster.doubtful)} in doubt; "
        f"{len(cluster.events)} events, {sum(transitions.values())} transitions, {len(neighbours.posts)} webhooks "
        f"({repeated} repeated), {len(bus.told)} told on the bus"
    )


@pytest.mark.service
@pytest.mark.timeout(60 + 3 * SECONDS)
def test_replicas_that_die_agree_on_all_alarms_and_tell_everything_once(
    redis_on_disk: RedisServer, rabbit: RabbitServer, tmp_path: Path
) -> None:
    with Neighbours() as neighbours, ExitStack() as stack:
        settings = {"REDIS_URL": redis_on_disk.url, "NOTIFY_URL": rabbit.url, "NOTIFY_EXCHANGE": EXCHANGE}
        replicas = []
        for number in range(REPLICAS):
            folder = tmp_path / str(number)
            folder.mkdir()
            replicas.append(stack.enter_context(ControllerProcess(folder, port=free_port(), settings=settings)))
        for replica in replicas:
            replica.until_ready()
        cluster = Cluster(replicas, neighbours.url, random.Random(SEED))
        asyncio.run(scenario(cluster, redis_on_disk, rabbit.url, neighbours))
        for replica in replicas:
            assert replica.end() == 0
            assert "Traceback" not in replica.log()
