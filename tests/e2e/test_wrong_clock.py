"""A controller whose clock is an hour behind takes every measure, and says that its clock is wrong."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest

from tests.chaos.nursery import Nursery, NurseryController
from tests.servers import RedisServer, free_port

HOUR = 3600.0
RULES = """
alarms:
  - {name: busy, type: threshold, rule: {metric: load, resource_id: web-1, threshold: 1, aggregation_method: mean,
     granularity: 60, evaluation_periods: 1, comparison_operator: gt, window: aligned, evaluate: measure}}
"""


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.parametrize("offset", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_a_controller_with_a_wrong_clock_takes_every_measure_and_is_not_ready(tmp_path: Path, offset: float) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "clock").write_text("0")
    with RedisServer(None, "--appendonly", "yes") as redis, Nursery() as nursery:
        settings = {"RULES": str(tmp_path / "rules.yaml"), "REDIS_URL": redis.url, "TEST_CHAOS": str(tmp_path)}
        with NurseryController(nursery, tmp_path, port=free_port(), settings=settings) as controller:
            controller.until_ready()
            base = f"http://127.0.0.1:{controller.port}"
            (tmp_path / "clock").write_text(repr(offset))

            answer = posted(f"{base}/v1/measures", {"resource_id": "web-1", "timestamp": time.time(), "value": 5.0})

            assert answer["accepted"] == 1, answer
            assert until_said(f"{base}/readyz", "off the store's")


def posted(url: str, measure: dict[str, object]) -> dict[str, int]:
    body = json.dumps([{"metric": "load", **measure}]).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, int] = json.load(response)
        return answer


def until_said(url: str, text: str) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except urllib.error.HTTPError as error:
            if text in error.read().decode():
                return True
        time.sleep(0.1)
    return False
