"""The controller as a service for tenants: it signs what the operator sends, and is nobody's way into the network."""

import asyncio
import ipaddress
import json
import socket
import time
from pathlib import Path

import httpx
import pytest
from standardwebhooks.webhooks import Webhook
from typer.testing import CliRunner

from autoscaler.cli.main import app
from tests.e2e.controller import ControllerProcess
from tests.receiver import receiver
from tests.servers import free_port

pytestmark = pytest.mark.service

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def a_rule() -> dict[str, object]:
    return {
        "metric": "load", "resource_id": "vm", "aggregation_method": "mean", "granularity": 60, "threshold": 50,
        "comparison_operator": "gt", "evaluation_periods": 1,
    }  # fmt: skip


def a_token(folder: Path, *words: str) -> dict[str, str]:
    made = CliRunner().invoke(app, ["token", "make", *words, "--file", str(folder / "tokens")])
    assert made.exit_code == 0, made.output
    return {"X-Auth-Token": made.stdout.strip()}


def name_of_this_machine() -> str:
    """A name of which nobody can tell by looking at it where it leads."""
    name = socket.gethostname()
    try:
        found = {ipaddress.ip_address(address[0]) for *_, address in socket.getaddrinfo(name, None)}
    except OSError:
        pytest.skip("this machine does not know its own name")
    if name == "localhost" or any(address.is_global for address in found):
        pytest.skip("this machine's name leads out of it, or is none")
    return name


async def test_the_operators_webhooks_are_signed_and_tenants_reach_nothing_inside(tmp_path: Path) -> None:
    name, port = name_of_this_machine(), free_port()
    hers = a_token(tmp_path, "ada", "--project", "shop", "--role", "member")
    operator = a_token(tmp_path, "root", "--role", "admin")
    async with receiver() as there, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        (tmp_path / "secret").write_text(SECRET)
        (tmp_path / "endpoints.yaml").write_text("signing: [{file: secret}]")
        rule = a_rule() | {"window": "aligned", "evaluate": "measure"}
        ours = {"name": "ours", "project_id": "shop", "type": "threshold", "rule": rule, "alarm_actions": [there.url]}
        (tmp_path / "rules.yaml").write_text(json.dumps({"alarms": [ours]}))
        settings = {
            "AUTH": "tokens", "TOKENS": str(tmp_path / "tokens"), "RULES": str(tmp_path / "rules.yaml"),
            "ENDPOINTS": str(tmp_path / "endpoints.yaml"),
        }  # fmt: skip
        with ControllerProcess(tmp_path, port=port, settings=settings) as controller:
            await asyncio.to_thread(controller.until_ready)
            alarm = {"name": "theirs", "type": "gnocchi_resources_threshold"}
            alarm["gnocchi_resources_threshold_rule"] = {**a_rule(), "resource_type": "instance"}
            hopeless = await client.post("/v2/alarms", json=alarm | {"alarm_actions": [there.url]}, headers=hers)
            url = f"http://{name}:{there.port}/hook"
            made = await client.post("/v2/alarms", json=alarm | {"alarm_actions": [url]}, headers=hers)
            measure = {"metric": "load", "resource_id": "vm", "value": 90, "timestamp": time.time() // 60 * 60 - 60}
            later = measure | {"timestamp": measure["timestamp"] + 60.0}
            await client.post("/v1/measures", json=[measure, later], headers=hers)
            async with asyncio.timeout(60):
                while not (letters := (await client.get("/v1/dead-letters", headers=operator)).json()):
                    await asyncio.sleep(0.05)
                while not there.received:
                    await asyncio.sleep(0.05)
            theirs = await client.get("/v1/dead-letters", headers=hers)

    assert (hopeless.status_code, made.status_code) == (400, 201), (hopeless.text, made.text)
    assert "alarms may not call this address" in hopeless.text
    assert [(each["reason"], each["detail"]) for each in letters] == [
        ("address refused", f"POST {url}: address refused")
    ]
    assert theirs.status_code == 403
    (got,) = there.received
    assert Webhook(SECRET).verify(got.body, got.headers)["alarm_name"] == "ours"
