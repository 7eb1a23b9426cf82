"""A running controller under a real Keystone: who may do what, and actions that act for whoever made the alarm."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.controller import ControllerProcess
from tests.keystone_server import PASSWORD, Cloud, KeystoneServer
from tests.receiver import receiver
from tests.servers import free_port

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(300)]


def body(url: str) -> dict[str, Any]:
    rule = {
        "metric": "load", "resource_id": "vm-1", "resource_type": "instance", "aggregation_method": "mean",
        "comparison_operator": "gt", "threshold": 50, "granularity": 1, "evaluation_periods": 1,
    }  # fmt: skip
    return {
        "name": "hot", "type": "gnocchi_resources_threshold", "alarm_actions": [url],
        "gnocchi_resources_threshold_rule": rule,
    }  # fmt: skip


async def test_an_alarm_acts_for_whoever_made_it_as_long_as_it_is_there(tmp_path: Path) -> None:
    port = free_port()
    with KeystoneServer() as server:
        cloud = Cloud(server)
        service, shop, other = (cloud.project(name) for name in ("service", "shop", "other"))
        cloud.user("autoscaler", service, "service")
        ada = cloud.user("ada", shop, "member")
        cloud.user("eve", other, "member")
        settings = {
            "AUTH": "keystone", "KEYSTONE_URL": server.url, "KEYSTONE_USERNAME": "autoscaler",
            "KEYSTONE_PASSWORD": PASSWORD, "WEBHOOK_ALLOW": "127.0.0.0/8",
        }  # fmt: skip
        with ControllerProcess(tmp_path, port=port, settings=settings) as controller:
            await asyncio.to_thread(controller.until_ready)
            async with receiver() as hooks, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                hers = {"X-Auth-Token": cloud.token("ada", PASSWORD, "shop")}
                eves = {"X-Auth-Token": cloud.token("eve", PASSWORD, "other")}
                url = f"trust+{hooks.url}"
                made = (await client.post("/v2/alarms", json=body(url), headers=hers)).json()
                path = f"/v2/alarms/{made['alarm_id']}"
                (trust,) = cloud.call("GET", f"/OS-TRUST/trusts?trustor_user_id={ada}").json()["trusts"]
                nobodys = await client.get(path)
                inside = await client.post("/v2/alarms", json=body("http://169.254.169.254/"), headers=hers)
                strangers = await client.get(path, headers=eves)
                measure = {"metric": "load", "resource_id": "vm-1", "value": 90, "timestamp": time.time() - 2}
                # what another project sends of a resource with the same id moves nothing
                await client.post("/v1/measures", json=measure | {"project_id": shop}, headers=eves)
                untouched = (await client.get(f"{path}/state", headers=hers)).json()
                await client.post("/v1/measures", json=measure, headers=hers)
                async with asyncio.timeout(30):
                    while not hooks.received:
                        await asyncio.sleep(0.02)
                call = hooks.received[0]
                shown = cloud.call("GET", "/auth/tokens", headers={"X-Subject-Token": call.headers["x-auth-token"]})
                deleted = await client.delete(path, headers=hers)
                left = cloud.call("GET", f"/OS-TRUST/trusts?trustor_user_id={ada}").json()["trusts"]
        cloud.close()

    assert made["alarm_actions"] == [url]
    assert (made["user_id"], made["project_id"]) == (ada, shop)
    assert (trust["project_id"], trust["impersonation"]) == (shop, True)
    assert (nobodys.status_code, nobodys.json()["error_message"]["faultcode"]) == (401, "Client")
    assert strangers.status_code == 404
    assert inside.status_code == 400
    assert "alarms may not call this address" in inside.text
    assert untouched == "insufficient data"
    assert call.json["current"] == "alarm"
    token = shown.json()["token"]
    assert (token["user"]["id"], token["project"]["id"], token["OS-TRUST:trust"]["id"]) == (ada, shop, trust["id"])
    assert deleted.status_code == 204
    assert left == []
