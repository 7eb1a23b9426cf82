from __future__ import annotations

import re

import pytest

from autoscaler.adapters.sources.memory import MemorySource
from autoscaler.errors import TemporaryError
from autoscaler.ports import GroupState
from tests.api.running import Api, running


async def test_a_living_process_is_healthy(api: Api) -> None:
    assert (await api.client.get("/healthz")).status_code == 200


async def test_ready_means_that_nothing_is_missing(api: Api) -> None:
    ready = await api.client.get("/readyz")
    api.missing.append("mqtt is not connected")
    unready = await api.client.get("/readyz")

    assert (ready.status_code, ready.json()) == (200, {"missing": []})
    assert (unready.status_code, unready.json()) == (503, {"missing": ["mqtt is not connected"]})


async def test_status_tells_of_replicas_and_sources(api: Api) -> None:
    found = (await api.client.get("/v1/status")).json()

    assert found["generation"] == api.service.generation
    assert [replica["replica"] for replica in found["replicas"]] == ["here"]
    assert (found["pending"], found["store_error"], found["sources"]) == (0, None, [])


async def test_what_is_taken_over_several_links_is_one_source() -> None:
    links = [MemorySource(now=lambda: 0.0), MemorySource(now=lambda: 0.0)]
    async with running(sources=links) as api:
        (found,) = (await api.client.get("/v1/status")).json()["sources"]

    assert found["name"] == links[0].name


async def _samples(api: Api) -> dict[str, float]:
    lines = (await api.client.get("/metrics")).text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


async def test_metrics_count_what_happened(api: Api) -> None:
    await api.client.post("/v1/measures", json=[api.measure(), api.measure(metric="other"), {}])
    await api.client.post("/v1/policies/in/execute")
    await api.settled()

    found = await _samples(api)

    assert found['autoscaler_measures_received_total{source="http"}'] == 2
    assert found["autoscaler_measures_unrouted_total"] == 1
    assert found['autoscaler_measures_rejected_total{reason="missing key"}'] == 1
    assert found['autoscaler_transitions_total{current="alarm",previous="insufficient data"}'] == 1
    assert found['autoscaler_actions_total{outcome="delivered",scheme="policy"}'] == 1
    assert found["autoscaler_evaluations_total"] >= 1
    assert found["autoscaler_batch_lag_seconds_count"] == 1
    assert sum(value for name, value in found.items() if name.startswith("autoscaler_decisions_total{")) == 2


async def test_metrics_show_how_groups_stand(api: Api) -> None:
    await api.client.post("/v1/groups/web/pause")

    found = await _samples(api)

    gauges = {name: found[f'autoscaler_group_{name}{{group="web"}}'] for name in ("desired", "size", "ready", "paused")}
    assert gauges == {"desired": 2, "size": 2, "ready": 2, "paused": 1}
    assert found["autoscaler_replicas"] == 1


async def test_a_size_that_cannot_be_read_is_not_shown(api: Api) -> None:
    async def away(_: str) -> GroupState:
        raise TemporaryError("the store is away")

    found = await _samples(api)
    reading = api.store.group
    api.store.group = away
    without = await _samples(api)
    refused = await api.client.get("/v1/groups")
    api.store.group = reading

    assert 'autoscaler_group_size{group="web"}' in found
    assert not any(name.startswith("autoscaler_group_size") for name in without)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


async def test_every_answer_carries_a_request_id(api: Api) -> None:
    own = await api.client.get("/healthz")
    given = await api.client.get("/nix", headers={"x-openstack-request-id": "req-7"})
    odd = await api.client.get("/healthz", headers={"x-openstack-request-id": "a b\tc"})

    assert re.fullmatch(r"req-[0-9a-f-]{36}", own.headers["x-openstack-request-id"])
    assert given.headers["x-openstack-request-id"] == "req-7"
    assert odd.headers["x-openstack-request-id"].startswith("req-")


async def test_a_page_of_another_origin_changes_nothing(api: Api) -> None:
    foreign = await api.client.post("/v1/freeze", headers={"origin": "https://evil.example.org"})
    own = await api.client.post("/v1/freeze", headers={"origin": "http://api"})

    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "forbidden")
    assert "access-control-allow-origin" not in foreign.headers
    assert own.status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example.org:8042", 403),
        ("127.0.0.1.evil.example.org", 403),
        ("evil.example.org@127.0.0.1", 403),
        ("localhost.evil.example.org", 403),
        ("[::1", 403),
        ("[::1]:8042", 200),
        ("127.0.0.1:8042", 200),
        ("LOCALHOST:8042", 200),
        ("ops.example.org", 200),
    ],
)
async def test_a_page_that_leads_its_own_name_to_this_machine_learns_and_changes_nothing(
    host: str, status: int
) -> None:
    """Such a page is of the API's own origin, as far as the browser and the ``Origin`` header tell."""
    page = {"host": host, "origin": f"http://{host}"}
    async with running(own_names=True, cors_origins=["https://ops.example.org"]) as api:
        read = await api.client.get("/v1/groups", headers=page)
        changed = await api.client.post("/v1/freeze", headers=page)

        assert (read.status_code, changed.status_code) == (status, status)


async def test_a_page_of_an_allowed_origin_may_ask_and_change() -> None:
    origin = {"origin": "https://ops.example.org"}
    async with running(["https://ops.example.org"]) as api:
        preflight = await api.client.options("/v1/freeze", headers={**origin, "access-control-request-method": "POST"})
        answer = await api.client.post("/v1/freeze", headers=origin)
        foreign = await api.client.post("/v1/freeze", headers={"origin": "https://evil.example.org"})

    assert preflight.headers["access-control-allow-origin"] == "https://ops.example.org"
    assert answer.status_code == 200
    assert foreign.status_code == 403
