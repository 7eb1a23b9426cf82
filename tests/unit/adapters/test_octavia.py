"""The health of a pool's members, against a server that answers as Octavia does."""

from typing import Any

import pytest

from autoscaler.adapters import http
from autoscaler.adapters.openstack import Service
from autoscaler.adapters.probes.octavia import OctaviaProbe
from autoscaler.alarms.observation import Observation, PoolMembers
from autoscaler.alarms.rules import PoolHealthRule, PrometheusRule
from autoscaler.errors import PermanentError, TemporaryError
from tests.cloud import Cloud
from tests.receiver import Receiver, answering, answering_json, receiver

NOW = 1_795_200_000.0  # 2026-11-20T18:40:00Z
OLD = "2026-11-20T18:00:00"
PATH = "GET /v2/lbaas/pools/pool-1/members"


def member(name: str, **changes: Any) -> dict[str, Any]:
    described = {
        "id": name,
        "admin_state_up": True,
        "operating_status": "ERROR",
        "provisioning_status": "ACTIVE",
        "created_at": OLD,
        "project_id": "p1",
        "address": "192.0.2.16",
        "protocol_port": 80,
    }
    return described | changes


async def look(there: Receiver, *, scope: str | None = None, pool: str = "pool-1", version: str = "") -> Observation:
    rule = PoolHealthRule(pool_id=pool, stack_id="s", autoscaling_group_id="g", scope_to_project=scope)
    async with http.client() as client:
        service = Service("load-balancer", Cloud(url=f"{there.base}{version}/"), client)
        return await OctaviaProbe(service, lambda: NOW).look(rule)


@pytest.mark.parametrize(
    ("changes", "unhealthy"),
    [
        pytest.param({}, True, id="error"),
        pytest.param({"operating_status": "ONLINE"}, False, id="online"),
        pytest.param({"operating_status": "OFFLINE"}, False, id="offline"),
        pytest.param({"operating_status": "NO_MONITOR"}, False, id="no-monitor"),
        pytest.param({"admin_state_up": False}, False, id="switched-off"),
        pytest.param({"created_at": "2026-11-20T18:38:00"}, True, id="just-old-enough"),
        pytest.param({"created_at": "2026-11-20T18:38:01"}, False, id="new"),
        pytest.param({"created_at": "2026-11-20T18:00:00+02:00"}, True, id="zones-are-not-looked-at"),
        pytest.param({"created_at": "yesterday"}, False, id="age-unknown"),
        pytest.param({"created_at": None}, False, id="no-age"),
    ],
)
async def test_a_member_is_unhealthy_that_is_on_in_error_and_not_new(
    changes: dict[str, Any], *, unhealthy: bool
) -> None:
    described = member("m", **changes)
    async with receiver() as there:
        there.on(PATH, answering_json({"members": [described]}))
        assert await look(there) == PoolMembers((described,) if unhealthy else ())
    assert there.received[0].headers["x-auth-token"] == "token--1"


async def test_every_page_is_read_from_where_octavia_was_asked() -> None:
    link = {"rel": "next", "href": "http://octavia.internal/v2/lbaas/pools/pool-1/members?limit=1&marker=a"}
    async with receiver() as there:
        there.on(PATH, answering_json({"members": [member("a")], "members_links": [link]}))
        there.on(f"{PATH}?limit=1&marker=a", answering_json({"members": [member("b")], "members_links": []}))
        seen = await look(there)
    assert isinstance(seen, PoolMembers)
    assert [found["id"] for found in seen.unhealthy] == ["a", "b"]


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [pytest.param(None, True, id="any"), pytest.param("p1", True, id="own"), pytest.param("p2", False, id="foreign")],
)
async def test_another_projects_pool_is_not_there(scope: str | None, *, allowed: bool) -> None:
    async with receiver() as there:
        there.on(PATH, answering_json({"members": [member("a")]}))
        if allowed:
            assert isinstance(await look(there, scope=scope), PoolMembers)
        else:
            with pytest.raises(PermanentError, match="pool pool-1 not found"):
                await look(there, scope=scope)


@pytest.mark.parametrize("version", ["", "/v2", "/v2.0"])
async def test_the_catalog_may_name_the_version(version: str) -> None:
    async with receiver() as there:
        there.on(PATH, answering_json({"members": []}))
        assert await look(there, version=version) == PoolMembers(())


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        pytest.param(answering(404, "Pool not found"), PermanentError, "Pool not found", id="no-such-pool"),
        pytest.param(answering(503), TemporaryError, "answered 503", id="away"),
        pytest.param(answering(200, "<html>"), TemporaryError, "cannot be read", id="nonsense"),
        pytest.param(answering_json({"members": None}), TemporaryError, "cannot be read", id="no-list"),
        pytest.param(answering(200, b'{"\x80"'), TemporaryError, "cannot be read", id="no-text"),
        pytest.param(answering(200, '{"members": [], "m": ' + "[" * 9999), TemporaryError, "cannot be read", id="bomb"),
    ],
)
async def test_what_octavia_cannot_say_is_no_health(answer: Any, kind: type[Exception], said: str) -> None:
    async with receiver() as there:
        there.on(PATH, answer)
        with pytest.raises(kind, match=f"failed to communicate with load balancing service: .*{said}"):
            await look(there)


async def test_the_id_of_a_pool_leads_nowhere_else() -> None:
    async with receiver() as there:
        there.on("GET /v2/lbaas/pools/..%2Fx%3Fy/members", answering_json({"members": []}))
        assert await look(there, pool="../x?y") == PoolMembers(())


async def test_octavia_is_asked_about_pools_only() -> None:
    async with http.client() as client:
        probe = OctaviaProbe(Service("load-balancer", Cloud(), client), lambda: NOW)
        with pytest.raises(PermanentError):
            await probe.look(PrometheusRule(query="up", threshold=1))
