"""Alarms that were taken out of the files while no controller ran."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest
import redis

from autoscaler.declarations import load
from tests.e2e.controller import ControllerProcess
from tests.servers import RedisServer, free_port

pytestmark = pytest.mark.service


def declared(*names: str) -> str:
    rule = {
        "metric": "cpu", "resource_id": "vm-1", "aggregation_method": "last", "granularity": 1, "evaluation_periods": 1,
        "comparison_operator": "gt", "threshold": 50, "window": "aligned", "evaluate": "measure",
    }  # fmt: skip
    return json.dumps({"alarms": [{"name": name, "type": "threshold", "rule": rule} for name in names]})


def test_what_was_declared_before_the_restart_is_forgotten(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(declared("stays", "goes"))
    ids = {alarm.name: alarm_id for alarm_id, alarm in load({"": rules.read_text()}).alarms.items()}
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        settings = {"REDIS_URL": server.url, "RULES": str(rules), "ALLOW_VOLATILE_REDIS": "true"}

        def stored(name: str) -> int:
            return len(client.keys(f"*:alarm:{ids[name]}"))

        with ControllerProcess(tmp_path, port=free_port(), settings=settings) as controller:
            controller.until_ready()
            measure = {"metric": "cpu", "resource_id": "vm-1", "timestamp": time.time(), "value": 90}
            answer = httpx.post(f"http://127.0.0.1:{controller.port}/v1/measures", json=measure, timeout=20)
            assert answer.status_code == 202
            end = time.monotonic() + 20
            while not (stored("stays") and stored("goes")) and time.monotonic() < end:
                time.sleep(0.02)
            assert (stored("stays"), stored("goes")) == (1, 1)
            controller.end()
            rules.write_text(declared("stays"))
            controller.start()
            controller.until_ready()

            assert (stored("stays"), stored("goes")) == (1, 0)
