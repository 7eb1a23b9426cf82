"""Servers and quotas, against a server that answers as Nova and Neutron do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from autoscaler.adapters import http
from autoscaler.adapters.nova import Nova, Room, Server
from autoscaler.adapters.openstack import Service
from autoscaler.errors import TemporaryError
from tests.cloud import Cloud
from tests.receiver import Receiver, answering, answering_json, receiver

SERVERS = "GET /v2.1/servers/detail?"
LIMITS = {
    "maxTotalInstances": 10, "totalInstancesUsed": 7, "maxTotalCores": -1, "totalCoresUsed": 28,
    "maxTotalRAMSize": 51200, "totalRAMUsed": 60000, "maxServerMeta": 128,
}  # fmt: skip


@asynccontextmanager
async def nova(there: Receiver, project_id: str = "") -> AsyncIterator[Nova]:
    async with http.client() as client:
        compute = Service("compute", Cloud(url=f"{there.base}/v2.1"), client)
        network = Service("network", Cloud(url=f"{there.base}/net"), client)
        yield Nova(compute, network, project_id)


def server(name: str, **changes: Any) -> dict[str, Any]:
    addresses = [{"addr": "192.0.2.1", "OS-EXT-IPS-MAC:mac_addr": "fa:1"}]
    described = {
        "id": name,
        "status": "ACTIVE",
        "OS-EXT-STS:task_state": None,
        "flavor": {"vcpus": 2, "ram": 512, "disk": 1, "original_name": "small"},
        "addresses": {"net": addresses},
    }
    return described | changes


@pytest.mark.parametrize(
    ("changes", "moving"),
    [
        pytest.param({}, False, id="active"),
        pytest.param({"status": "ERROR"}, False, id="error"),
        pytest.param({"status": "SHUTOFF", "OS-EXT-STS:task_state": "powering-off"}, False, id="switched-off"),
        pytest.param({"status": "MIGRATING", "OS-EXT-STS:task_state": "migrating"}, True, id="live-migration"),
        pytest.param({"OS-EXT-STS:task_state": "migrating"}, True, id="about-to-migrate"),
        pytest.param({"status": "REBUILD", "OS-EXT-STS:task_state": "rebuild_spawning"}, True, id="evacuated"),
        pytest.param({"OS-EXT-STS:task_state": "rebuilding"}, True, id="about-to-be-rebuilt"),
        pytest.param({"status": "RESIZE", "OS-EXT-STS:task_state": "resize_prep"}, True, id="resized"),
        pytest.param({"status": "VERIFY_RESIZE"}, True, id="to-be-confirmed"),
    ],
)  # fmt: skip
async def test_who_is_being_moved(changes: dict[str, Any], *, moving: bool) -> None:
    async with receiver() as there, nova(there) as asked:
        there.on(SERVERS, answering_json({"servers": [server("a", **changes), server("stranger")]}))
        found = await asked.servers(["a", "gone"])

    assert found == [Server("a", moving, cores=2, ram=512, ports=1)]
    assert there.received[0].headers["openstack-api-version"] == "compute 2.47"


async def test_every_page_is_read_and_another_project_is_named() -> None:
    asking = "GET /v2.1/servers/detail?project_id=p2&all_tenants=1"
    following = {"rel": "next", "href": "http://nova.internal/v2.1/servers/detail?project_id=p2&all_tenants=1&marker=a"}
    two_ports = {"net": [{"addr": "192.0.2.1", "OS-EXT-IPS-MAC:mac_addr": mac} for mac in ("fa:1", "fa:2", "fa:2")]}
    async with receiver() as there, nova(there, "p2") as asked:
        there.on(asking, answering_json({"servers": [server("a")], "servers_links": [following]}))
        there.on(f"{asking}&marker=a", answering_json({"servers": [server("b", addresses=two_ports)]}))
        found = await asked.servers(["a", "b"])

    assert [(each.id, each.ports) for each in found] == [("a", 1), ("b", 2)]


async def test_quotas_without_a_limit_are_none_and_what_is_overdrawn_leaves_nothing() -> None:
    async with receiver() as there, nova(there) as asked:
        there.on("GET /v2.1/limits", answering_json({"limits": {"rate": [], "absolute": LIMITS}}))
        found = await asked.quotas()

    assert found == [Room("instances", 10, 7), Room("ram", 51200, 60000)]
    assert [room.free for room in found] == [3, 0]


async def test_another_projects_quotas_are_asked_for_by_its_name() -> None:
    async with receiver() as there, nova(there, "p2") as asked:
        there.on("GET /v2.1/limits?tenant_id=p2", answering_json({"limits": {"rate": [], "absolute": {}}}))

        assert await asked.quotas() == []


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        pytest.param({"limit": 50, "used": 44, "reserved": 2}, Room("ports", 50, 46), id="some"),
        pytest.param({"limit": -1, "used": 44, "reserved": 2}, None, id="no-limit"),
    ],
)
async def test_reserved_ports_are_used_ones(quota: dict[str, int], expected: Room | None) -> None:
    async with receiver() as there, nova(there) as asked:
        details = {"quota": {"port": quota, "network": {"limit": 1, "used": 1, "reserved": 0}}}
        there.on("GET /net/v2.0/quotas/p1/details.json", answering_json(details))

        assert await asked.ports("p1") == expected


async def test_an_answer_that_is_none_is_no_number() -> None:
    async with receiver() as there, nova(there) as asked:
        for answer in ("<html>", b'{"\xff'):
            there.on("GET /v2.1/limits", answering(200, answer))
            with pytest.raises(TemporaryError, match="the answer cannot be read"):
                await asked.quotas()
