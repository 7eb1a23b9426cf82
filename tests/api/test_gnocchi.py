"""Gnocchi's paths as Ceilometer's publisher and Gnocchi's client use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from autoscaler.api.gnocchi import MAX_METRICS
from autoscaler.ports import Batch
from tests.api.running import NOW
from tests.api.senders import Senders, keystone, noauth, sending

pytestmark = pytest.mark.slow  # a second or more in all

VM = "4f2b6f0e-0d3e-4b1a-9b5c-1f1f5b2f7d10"
BATCH = "/v1/batch/resources/metrics/measures"
TIME = "2027-01-15T08:00:00"  # NOW


def measures(*values: float) -> list[dict[str, Any]]:
    return [{"timestamp": NOW + number, "value": value} for number, value in enumerate(values)]


def resource(**attributes: Any) -> dict[str, Any]:
    return {"id": VM, "user_id": "u", "project_id": "p2", "server_group": "web", **attributes}


@pytest.fixture
async def senders() -> AsyncIterator[Senders]:
    async with sending() as found:
        yield found


async def made(senders: Senders, **attributes: Any) -> httpx.Response:
    answer = await senders.client.post("/v1/resource/instance", json=resource(**attributes))
    assert answer.status_code == 201, answer.text
    return answer


async def sent(senders: Senders, resource_id: str = VM, **series: Any) -> httpx.Response:
    return await senders.client.post(f"{BATCH}?create_metrics=True", json={resource_id: series})


@pytest.mark.parametrize("prefix", ["", "/gnocchi"])
async def test_the_publishers_conversation_ends_with_measures_that_bear_attributes(
    senders: Senders, prefix: str
) -> None:
    body = {VM: {"cpu": {"measures": measures(1, 2), "archive_policy_name": "ceilometer-low-rate", "unit": "ns"}}}
    path = f"{prefix}{BATCH}?create_metrics=True"

    unknown = await senders.client.post(path, json=body)
    await senders.client.post(f"{prefix}/v1/resource/instance", json=resource(display_name="vm", vcpus=2))
    taken = await senders.client.post(path, json=body)

    assert unknown.status_code == 400
    assert unknown.json()["description"] == {
        "cause": "Unknown resources",
        "detail": [{"resource_id": VM, "original_resource_id": VM}],
    }
    assert (taken.status_code, taken.content) == (202, b"")
    first, second = senders.measures
    assert (first.metric, first.resource_id, first.timestamp, first.value) == ("cpu", VM, NOW, 1)
    assert (second.value, second.unit, second.project_id) == (2, "ns", "p2")
    assert first.metadata == {"server_group": "web", "display_name": "vm", "vcpus": "2", "user_id": "u"}


async def test_nothing_of_a_batch_with_unknown_resources_is_taken(senders: Senders) -> None:
    await made(senders)

    answer = await senders.client.post(BATCH, json={VM: {"cpu": measures(1)}, "other": {"cpu": [{"value": 1}]}})

    assert answer.status_code == 400
    assert senders.service.batches == []


async def test_a_document_of_more_levels_than_can_be_shown_again_is_refused(senders: Senders) -> None:
    deep = b'{"name": "a", "definition": ' + b"[" * 950 + b"]" * 950 + b"}"

    answer = await senders.client.post("/v1/archive_policy", content=deep)

    assert (answer.status_code, answer.json()["title"]) == (400, "Bad Request")
    assert "too many levels" in str(answer.json()["description"])


async def test_changed_attributes_count_from_the_next_measure_on(senders: Senders) -> None:
    await made(senders)
    await sent(senders, cpu=measures(1))
    changed = await senders.client.patch(f"/v1/resource/instance/{VM}", json={"server_group": "db", "project_id": "p3"})
    await sent(senders, cpu=measures(2))

    assert (changed.status_code, changed.json()["server_group"]) == (200, "db")
    assert [(each.metadata["server_group"], each.project_id) for each in senders.measures] == [
        ("web", "p2"),
        ("db", "p3"),
    ]


async def test_an_attribute_that_is_made_null_is_gone(senders: Senders) -> None:
    await made(senders)

    await senders.client.patch(f"/v1/resource/instance/{VM}", json={"server_group": None})

    assert "server_group" not in (await senders.client.get(f"/v1/resource/instance/{VM}")).json()


async def test_a_resource_is_shown_as_gnocchi_shows_it(senders: Senders) -> None:
    answer = await made(senders, metrics={"cpu": {"unit": "ns"}})

    shown = answer.json()
    assert answer.headers["location"] == f"/v1/resource/instance/{VM}"
    assert (shown["id"], shown["type"], shown["project_id"], shown["ended_at"]) == (VM, "instance", "p2", None)
    assert list(shown["metrics"]) == ["cpu"]
    assert (await senders.client.get(f"/v1/resource/generic/{VM.upper()}")).json() == shown


async def test_a_resource_that_has_ended_is_forgotten_and_may_be_made_again(senders: Senders) -> None:
    await made(senders)

    ended = await senders.client.patch(f"/v1/resource/instance/{VM}", json={"ended_at": TIME})

    assert (ended.status_code, ended.json()["ended_at"]) == (200, TIME)
    assert (await senders.client.get(f"/v1/resource/instance/{VM}")).status_code == 404
    assert (await sent(senders, cpu=measures(1))).json()["description"]["cause"] == "Unknown resources"
    await made(senders)


async def test_a_resource_can_be_deleted(senders: Senders) -> None:
    await made(senders)

    assert (await senders.client.delete(f"/v1/resource/generic/{VM}")).status_code == 204
    assert (await senders.client.delete(f"/v1/resource/generic/{VM}")).status_code == 404


async def test_the_parts_of_an_instance_are_found(senders: Senders) -> None:
    for part in ("vda", "vdb"):
        body = {"id": f"{VM}-{part}", "instance_id": VM, "name": part}
        await senders.client.post("/v1/resource/instance_disk", json=body)

    found = await senders.client.post("/v1/search/resource/instance_disk?", json={"=": {"instance_id": VM}})
    other = await senders.client.post("/v1/search/resource/instance", json={"=": {"instance_id": VM}})
    odd = await senders.client.post("/v1/search/resource/instance", json={">": {"vcpus": 1}})

    assert [each["id"] for each in found.json()] == [f"{VM}-vda", f"{VM}-vdb"]
    assert other.json() == []
    assert odd.status_code == 400


# --- metrics by id ---------------------------------------------------------------------------------------------------


async def test_measures_are_taken_by_metric_id(senders: Senders) -> None:
    metric_id = (await made(senders, metrics={"cpu": {"unit": "ns"}})).json()["metrics"]["cpu"]

    batch = await senders.client.post("/v1/batch/metrics/measures", json={metric_id: measures(1)})
    one = await senders.client.post(f"/v1/metric/{metric_id}/measures", json=measures(2))
    named = await senders.client.post(f"/v1/resource/instance/{VM}/metric/cpu/measures", json=measures(3))

    assert [batch.status_code, one.status_code, named.status_code] == [202, 202, 202]
    assert [(each.metric, each.resource_id, each.value) for each in senders.measures] == [
        ("cpu", VM, 1),
        ("cpu", VM, 2),
        ("cpu", VM, 3),
    ]
    assert {each.metadata["server_group"] for each in senders.measures} == {"web"}


async def test_a_metric_is_made_for_a_resource_and_shown(senders: Senders) -> None:
    await made(senders)

    made_here = await senders.client.post(f"/v1/resource/instance/{VM}/metric/", json={"cpu": {"unit": "ns"}})
    again = await senders.client.post(f"/v1/resource/instance/{VM}/metric", json={"cpu": {}})
    shown = await senders.client.get(f"/v1/resource/instance/{VM}/metric/cpu")

    assert (made_here.status_code, again.status_code) == (200, 409)
    assert again.json()["description"] == "Named metric cpu already exists"
    assert [shown.json()] == made_here.json()


async def test_a_resource_has_so_many_metrics_and_no_more(senders: Senders) -> None:
    """They are kept, and a body of one request holds a hundred thousand."""
    many = {f"m{number}": {} for number in range(MAX_METRICS)}
    at_once = await senders.client.post("/v1/resource/instance", json=resource(metrics={**many, "last": {}}))
    await made(senders, metrics=many)
    later = await senders.client.post(f"/v1/resource/instance/{VM}/metric", json={"last": {}})

    assert (at_once.status_code, later.status_code) == (400, 400)
    assert "at most 1000 are taken of a resource" in later.text


async def test_a_metric_may_stand_alone(senders: Senders) -> None:
    metric_id = (await senders.client.post("/v1/metric", json={"name": "load"})).json()["id"]

    await senders.client.post("/v1/batch/metrics/measures", json={metric_id: measures(1)})

    assert [(each.metric, each.resource_id) for each in senders.measures] == [("load", metric_id)]


async def test_unknown_metrics_are_named(senders: Senders) -> None:
    answer = await senders.client.post("/v1/batch/metrics/measures", json={VM: measures(1)})

    assert (answer.status_code, answer.json()["description"]) == (400, f"Unknown metrics: {VM}")


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "description"),
    [
        pytest.param("POST", "/v1/resource/instance", resource(), 409, f"Resource {VM} already exists", id="again"),
        pytest.param("GET", "/v1/resource/instance/x", None, 404, "Resource x does not exist", id="no-resource"),
        pytest.param("PATCH", "/v1/resource/instance/x", {}, 404, "Resource x does not exist", id="nothing-to-patch"),
        pytest.param("POST", "/v1/resource/instance", {}, 400, "id: expected a name", id="no-id"),
        pytest.param("POST", "/v1/resource/instance", [], 400, "expected an object", id="no-object"),
        pytest.param("POST", "/v1/resource/instance", {"id": "a/b"}, 400, "without /", id="slash"),
        pytest.param("POST", "/v1/resource/i", {"id": "a", "x": "y" * 1025}, 400, "x: expected a text", id="long"),
        pytest.param("POST", "/v1/resource/i", {"id": "a", "x": {}}, 400, "x: expected a text", id="nested"),
        pytest.param("POST", BATCH, [], 400, "resources: expected an object", id="batch-of-another-shape"),
        pytest.param("GET", "/v1/archive_policy/x", None, 404, "Archive policy x does not exist", id="no-policy"),
        pytest.param("GET", "/v1/resource_type/x", None, 404, "Resource type x does not exist", id="no-type"),
    ],
)
async def test_errors_are_as_gnocchis_client_reads_them(
    senders: Senders, method: str, path: str, body: Any, status: int, description: str
) -> None:
    await made(senders)

    answer = await senders.client.request(method, path, json=body)

    assert answer.status_code == status
    assert answer.json()["code"] == status
    assert description in str(answer.json()["description"])


async def test_faulty_measures_cost_only_themselves_and_are_kept(senders: Senders) -> None:
    await made(senders)

    answer = await sent(senders, cpu=[*measures(1), {"timestamp": "soon", "value": 1}])

    assert answer.status_code == 202
    assert len(senders.measures) == 1
    assert len(await senders.api.store.dead_letters("measure", limit=10)) == 1


# --- archive policies and resource types -----------------------------------------------------------------------------


async def test_archive_policies_and_types_are_kept_as_they_are(senders: Senders) -> None:
    policy = {"name": "ceilometer-low", "definition": [{"granularity": "5 minutes", "timespan": "30 days"}]}
    kind = {"name": "instance", "attributes": {"host": {"type": "string"}}}

    for path, document in (("archive_policy", policy), ("resource_type", kind)):
        first = await senders.client.post(f"/v1/{path}/", json=document)
        again = await senders.client.post(f"/v1/{path}/", json=document)
        assert (first.status_code, again.status_code) == (201, 409)
        assert "already exists" in again.json()["description"]
        assert (await senders.client.get(f"/v1/{path}/{document['name']}")).json() == document

    added = [{"op": "add", "path": "/attributes/az", "value": {"type": "string", "options": {"fill": ""}}}]
    changed = await senders.client.patch("/v1/resource_type/instance", json=added)
    assert changed.json()["attributes"] == {"host": {"type": "string"}, "az": {"type": "string"}}
    assert (await senders.client.patch("/v1/resource_type/instance", json=[{"op": "move"}])).status_code == 400
    told = await senders.api.service.audit.entries(limit=10)
    assert [(entry.change, entry.kind, entry.target) for entry in told] == [
        ("replaced", "resource type", "instance"),
        ("created", "resource type", "instance"),
        ("created", "archive policy", "ceilometer-low"),
    ]
    assert told[0].before == {"attributes": {"host": {"type": "string"}}}


async def test_the_version_that_ceilometer_asks_for_is_told(senders: Senders) -> None:
    assert (await senders.client.get("/gnocchi/")).json()["build"] == "4.7.1"


# --- who may ---------------------------------------------------------------------------------------------------------


async def test_a_member_cannot_touch_the_resources_of_others(senders: Senders) -> None:
    senders.who = keystone("service", project_id="service")
    await made(senders, metrics={"cpu": {}})
    metric_id = (await senders.client.get(f"/v1/resource/instance/{VM}")).json()["metrics"]["cpu"]
    senders.who = keystone("member", project_id="p1")

    assert (await senders.client.get(f"/v1/resource/instance/{VM}")).status_code == 404
    assert (await senders.client.patch(f"/v1/resource/instance/{VM}", json={"server_group": "x"})).status_code == 404
    assert (await senders.client.post(f"/v1/metric/{metric_id}/measures", json=measures(1))).status_code == 404
    assert (await senders.client.post("/v1/batch/metrics/measures", json={metric_id: measures(1)})).status_code == 400

    await made(senders, server_group="mine")  # of its own, though of the same id
    await sent(senders, cpu=measures(1))
    senders.who = keystone("service", project_id="service")
    await sent(senders, cpu=measures(2))

    assert [(each.project_id, each.metadata["server_group"]) for each in senders.measures] == [
        ("p1", "mine"),
        ("p2", "web"),
    ]


async def test_a_member_by_headers_has_resources_of_their_own_too(senders: Senders) -> None:
    await made(senders)
    senders.who = noauth("member", project_id="p1")

    assert (await senders.client.get(f"/v1/resource/instance/{VM}")).status_code == 404
    assert (await senders.client.delete(f"/v1/resource/instance/{VM}")).status_code == 404
    await made(senders, server_group="mine")  # of its own, though of the same id
    metric_id = (await senders.client.post("/v1/metric", json={"name": "load"})).json()["id"]
    assert (await senders.client.post(f"/v1/metric/{metric_id}/measures", json=measures(1))).status_code == 202

    senders.who = noauth("member", project_id="p3")
    assert (await senders.client.post(f"/v1/metric/{metric_id}/measures", json=measures(1))).status_code == 404
    senders.who = noauth("member", project_id="")
    assert (await senders.client.get(f"/v1/resource/instance/{VM}")).status_code == 403
    senders.who = noauth("service", project_id="")
    assert (await senders.client.get(f"/v1/resource/instance/{VM}")).json()["server_group"] == "web"


async def test_only_an_operator_makes_policies_and_types(senders: Senders) -> None:
    senders.who = keystone("member")

    for path in ("archive_policy", "resource_type"):
        answer = await senders.client.post(f"/v1/{path}", json={"name": "x"})
        assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")


async def test_a_project_is_not_believed_where_nobody_is_trusted() -> None:
    async with sending(trusted=False) as senders:
        await made(senders)
        await sent(senders, cpu=measures(1))

        assert [batch.measures[0].project_id for batch in senders.service.batches] == [""]


async def test_publishers_are_asked_to_come_back_while_the_store_is_away(
    senders: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(senders)
    monkeypatch.setattr("autoscaler.api.intake.PATIENCE", 0.05)
    senders.api.store.away = True
    body = {"vm-1": {"cpu": measures(1)}}
    await senders.client.post("/v1/resource/instance", json={"id": "vm-1"})

    answer = await senders.client.post(BATCH, json=body)
    senders.api.store.away = False

    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, 503, "2")
    assert all(isinstance(batch, Batch) for batch in senders.service.batches)
