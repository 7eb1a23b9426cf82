"""A real Prometheus writes to a running controller: an alarm fires and clears."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.controller import ControllerProcess
from tests.prometheus_server import Exporter, PrometheusServer
from tests.receiver import Receiver, receiver
from tests.servers import free_port

pytestmark = pytest.mark.service

PATIENCE = 60.0
RULES = """
alarms:
  - name: busy
    project_id: shop
    type: aggregation
    rule: {{metric: load, match: {{service: web}}, aggregation_method: mean, granularity: 1, evaluation_periods: 1,
           comparison_operator: gt, threshold: 70, window: aligned, evaluate: measure}}
    alarm_actions: ["{hook}/fired"]
    ok_actions: ["{hook}/cleared"]
"""


def exported(load: float) -> str:
    """Two instances of the shop's service, and one of another project's that must not count."""
    lines = [f'load{{project="shop",service="web",instance="web-{number}"}} {load}' for number in (1, 2)]
    return "\n".join([*lines, 'load{project="other",service="web",instance="web-3"} 100000', ""])


async def called(hooks: Receiver, path: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while True:
            for call in hooks.received:
                if call.request_line.split()[1] == path:
                    body: dict[str, Any] = call.json
                    return body
            await asyncio.sleep(0.02)


async def test_an_alarm_fires_and_clears_by_remote_write(tmp_path: Path) -> None:
    port = free_port()
    remote = (
        f"remote_write: [{{url: 'http://127.0.0.1:{port}/api/v1/write', queue_config: {{batch_send_deadline: 200ms}}}}]"
    )
    rules = tmp_path / "rules.yaml"
    with Exporter(exported(10)) as exporter:
        async with receiver() as hooks, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            rules.write_text(RULES.format(hook=hooks.base))
            settings = {"RULES": str(rules), "TRUSTED_SOURCES": "prometheus"}
            with ControllerProcess(tmp_path, port=port, settings=settings) as controller:
                await asyncio.to_thread(controller.until_ready)
                with PrometheusServer(exporter.port, remote) as prometheus:
                    assert (await called(hooks, "/cleared"))["current"] == "ok"
                    hooks.received.clear()

                    exporter.text = exported(90)
                    fired = await called(hooks, "/fired")
                    hooks.received.clear()

                    exporter.text = exported(10)
                    cleared = await called(hooks, "/cleared")
                    said = prometheus.log()
                letters = (await client.get("/v1/dead-letters")).json()

    assert (fired["previous"], fired["current"]) == ("ok", "alarm")
    assert fired["reason_data"]["most_recent"] == 90
    assert cleared["current"] == "ok"
    assert "level=error" not in said
    assert letters == []
