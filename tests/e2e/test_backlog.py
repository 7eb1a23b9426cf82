"""Two controllers that find a quarter of an hour of measures at the broker come to what is right."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from autoscaler.adapters.redis import RedisStore
from autoscaler.declarations import Declarations, load
from autoscaler.scaling.guards import iso
from tests.e2e.controller import ControllerProcess
from tests.e2e.test_kill import replayed
from tests.servers import RabbitServer, RedisServer, free_port

LASTS = 960.0
"""Seconds of event time that wait."""
QUIET = 60.0
"""Seconds before now at which it ends."""
INTERVAL = 0.25
MEMBERS = 4
NAMES = ("busy", "idle")

DOCUMENT = """
alarms:
  - name: busy
    type: aggregation
    rule: {metric: cpu_util, match: {server_group: web}, aggregation_method: mean, granularity: 5,
           evaluation_periods: 2, comparison_operator: gt, threshold: 70, window: aligned, evaluate: boundary}
    alarm_actions: ["log://"]
  - name: idle
    type: threshold
    rule: {metric: cpu_util, resource_id: web-1, aggregation_method: max, granularity: 10,
           evaluation_periods: 1, comparison_operator: lt, threshold: 30, window: aligned, evaluate: boundary}
    alarm_actions: ["log://"]
"""


def backlog(ends: float) -> list[dict[str, Any]]:
    """A load that goes up and down every half minute, with a gap every three minutes."""
    begins = ends - LASTS
    times = [begins + number * INTERVAL for number in range(round(LASTS / INTERVAL))]
    return [
        {
            "metric": "cpu_util",
            "resource_id": f"web-{number % MEMBERS}",
            "timestamp": at,
            "value": (90 if (at - begins) % 60 < 30 else 10) + number % 7,
            "metadata": {"server_group": "web"},
        }
        for number, at in enumerate(times)
        if (at - begins) % 180 < 155
    ]


async def publish(url: str, queue: str, measures: list[dict[str, Any]]) -> None:
    """Have them wait in a queue, as the broker keeps them while no controller is there."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(queue, durable=True)
        for start in range(0, len(measures), 200):
            async with asyncio.TaskGroup() as group:
                for measure in measures[start : start + 200]:
                    message = aio_pika.Message(json.dumps(measure).encode())
                    group.create_task(channel.default_exchange.publish(message, queue))


async def transitions(url: str, declared: Declarations) -> dict[str, list[tuple[str, str]]]:
    store = RedisStore(url)
    try:
        return {
            alarm.name: [
                (str(entry.detail["state"]), iso(entry.timestamp))
                for entry in reversed(await store.history(alarm_id, limit=1000))
                if entry.type == "state transition"
            ]
            for alarm_id, alarm in declared.alarms.items()
        }
    finally:
        await store.close()


async def until_told(url: str, declared: Declarations, count: int) -> dict[str, list[tuple[str, str]]]:
    """The transitions, as soon as there are so many, or after some time those that there are."""
    end = time.monotonic() + 45
    while True:
        found = await transitions(url, declared)
        if sum(map(len, found.values())) >= count or time.monotonic() > end:
            return found
        await asyncio.sleep(0.2)


def taken(controller: ControllerProcess) -> int:
    """Measures that a controller has read."""
    with urllib.request.urlopen(f"http://127.0.0.1:{controller.port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("autoscaler_measures_received_total"))


@pytest.mark.service
@pytest.mark.timeout(150)
def test_a_backlog_is_evaluated_as_if_it_had_been_read_in_time(rabbit: RabbitServer, tmp_path: Path) -> None:
    declared = load({"rules.yaml": DOCUMENT})
    (tmp_path / "rules.yaml").write_text(DOCUMENT)
    with RedisServer(None, "--appendonly", "yes") as redis, ExitStack() as stack:
        settings = {"RULES": str(tmp_path / "rules.yaml"), "REDIS_URL": redis.url, "AMQP_URL": rabbit.url}
        # few in hand at a time, so that there is some for both
        settings |= {"AMQP_QUEUE": f"backlog-{redis.port}", "AMQP_PREFETCH": "20"}
        measures = backlog(time.time() - QUIET)
        asyncio.run(publish(rabbit.url, settings["AMQP_QUEUE"], measures))
        expected = asyncio.run(replayed(declared, measures))
        count = sum(map(len, expected.values()))
        controllers = []
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            process = ControllerProcess(tmp_path / str(number), port=free_port(), settings=settings)
            controllers.append(stack.enter_context(process))
        for controller in controllers:
            controller.until_ready()
        begun = time.monotonic()
        found = asyncio.run(until_told(redis.url, declared, count))
        took = time.monotonic() - begun
        shares = [taken(controller) for controller in controllers]

    assert count > len(NAMES) * LASTS / 60
    assert found == expected
    assert sum(shares) >= len(measures)
    print(f"{len(measures)} measures read by two as {shares}, {count} transitions within {took:.1f} s of readiness")
