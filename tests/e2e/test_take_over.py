"""Three installed controllers on one Redis: what one was killed or stopped over, another delivers within 5 s."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.e2e.controller import ControllerProcess
from tests.receiver import Receiver, answering, hanging, receiver
from tests.servers import RedisServer, free_port

REPLICAS = 3
WITHIN = 5.0
"""Seconds."""

ALARM = """
  - name: {name}
    type: aggregation
    rule: {{metric: {name}, match: {{server_group: web}}, aggregation_method: mean, granularity: 300,
           evaluation_periods: 1, comparison_operator: gt, threshold: 70, window: aligned, evaluate: measure}}
    alarm_actions: ["{hook}"]
    ok_actions: ["{hook}"]
"""


async def say(replica: ControllerProcess, metric: str, value: float, *, began: float) -> None:
    measure = {
        "metric": metric,
        "resource_id": "web-1",
        # one time for all, so that a later value replaces the earlier one
        "timestamp": began,
        "value": value,
        "metadata": {"server_group": "web"},
    }
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"http://127.0.0.1:{replica.port}/v1/measures", json=[measure])
    assert answer.json()["accepted"] == 1, answer.text


async def until_heard(hooks: Receiver, count: int) -> float:
    """When so many requests have come."""
    async with asyncio.timeout(30):
        while len(hooks.received) < count:
            await asyncio.sleep(0.01)
    return time.monotonic()


def said(hooks: Receiver, name: str) -> list[str]:
    """The states that were told of an alarm."""
    return [got.json["current"] for got in hooks.received if got.json["alarm_name"] == name]


async def killed(replica: ControllerProcess, other: ControllerProcess, hooks: Receiver) -> float:
    began = time.time()
    hooks.answer, before = hanging, len(hooks.received)
    await say(replica, "killed", 90, began=began)
    await until_heard(hooks, before + 1)
    # long enough that its lease was renewed
    await asyncio.sleep(1.5)
    hooks.answer, begun = answering(200), time.monotonic()
    replica.kill()
    took = await until_heard(hooks, before + 2) - begun
    first, second = hooks.received[before:]
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    await say(other, "killed", 10, began=began)
    await until_heard(hooks, before + 3)
    assert said(hooks, "killed") == ["alarm", "alarm", "ok"]
    return took


async def stopped(replica: ControllerProcess, other: ControllerProcess, hooks: Receiver) -> float:
    began = time.time()
    hooks.answer, before = hanging, len(hooks.received)
    await say(replica, "stopped", 90, began=began)
    await until_heard(hooks, before + 1)
    assert replica.pid is not None
    hooks.answer, begun = answering(200), time.monotonic()
    os.kill(replica.pid, signal.SIGSTOP)
    try:
        took = await until_heard(hooks, before + 2) - begun
        await say(other, "stopped", 10, began=began)
        await until_heard(hooks, before + 3)
    finally:
        os.kill(replica.pid, signal.SIGCONT)
    await asyncio.sleep(2)
    # it wakes with the first row in hand, and says nothing of it any more
    assert said(hooks, "stopped") == ["alarm", "alarm", "ok"]
    return took


@pytest.mark.service
@pytest.mark.timeout(180)
def test_a_delivery_in_hand_is_taken_over_within_five_seconds(redis_on_disk: RedisServer, tmp_path: Path) -> None:
    async def run() -> list[float]:
        async with receiver() as hooks:
            rules = tmp_path / "rules.yaml"
            documents = [ALARM.format(name=name, hook=hooks.url) for name in ("killed", "stopped")]
            rules.write_text("alarms:" + "".join(documents))
            with ExitStack() as stack:
                replicas = []
                for number in range(REPLICAS):
                    folder = tmp_path / str(number)
                    folder.mkdir()
                    settings = {"REDIS_URL": redis_on_disk.url, "RULES": str(rules), "REPLICA": f"replica-{number}"}
                    process = ControllerProcess(folder, port=free_port(), settings=settings)
                    replicas.append(stack.enter_context(process))
                for replica in replicas:
                    await asyncio.to_thread(replica.until_ready)
                one, other, third = replicas
                return [await killed(one, other, hooks), await stopped(other, third, hooks)]

    took = asyncio.run(run())
    print(f"taken over after {took[0]:.2f} s from one that was killed, {took[1]:.2f} s from one that was stopped")

    assert max(took) < WITHIN
