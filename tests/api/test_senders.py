"""Samples, events and write requests over HTTP."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import cramjam
import pytest

from autoscaler.api.identity import Identity
from autoscaler.api.intake import MAX_BYTES
from tests.api.running import NOW
from tests.api.senders import Senders, keystone, sending

pytestmark = pytest.mark.slow  # a second or more in all

TIME = "2027-01-15T08:00:00"  # NOW


def sample(**changes: Any) -> dict[str, Any]:
    return {
        "name": "cpu",
        "type": "gauge",
        "unit": "%",
        "volume": 90,
        "resource_id": "vm-1",
        "project_id": "p1",
        "timestamp": TIME,
        "resource_metadata": {"user_metadata": {"server_group": "web"}},
        **changes,
    }


def event(**changes: Any) -> dict[str, Any]:
    return {"message_id": "m-1", "event_type": "e", "traits": [["tenant_id", 1, "p1"]], **changes}


def write_request(value: float = 90, name: bytes = b"cpu") -> bytes:
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    at, stamp = round(NOW * 1000), b""
    while at > 0x7F:
        stamp, at = stamp + bytes([at & 0x7F | 0x80]), at >> 7
    stamp += bytes([at])
    labels = b"".join(
        field(1, field(1, key) + field(2, text))
        for key, text in ((b"__name__", name), (b"instance", b"vm-1"), (b"project", b"p1"))
    )
    series = labels + field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + stamp)
    return bytes(cramjam.snappy.compress_raw(field(1, series)))


PROMETHEUS = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}


@pytest.fixture
async def senders() -> AsyncIterator[Senders]:
    async with sending() as found:
        yield found


# --- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [pytest.param([sample()], id="batch"), pytest.param(sample(), id="one")])
async def test_a_sample_is_taken(senders: Senders, body: Any) -> None:
    answer = await senders.client.post("/v1/samples", json=body, auth=("user", "password"))

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    (measure,) = senders.measures
    assert (measure.resource_id, measure.value, measure.project_id) == ("vm-1", 90, "p1")
    assert measure.metadata["server_group"] == "web"


async def test_faulty_samples_are_told_by_their_index_and_kept(senders: Senders) -> None:
    answer = await senders.client.post("/v1/samples", json=[sample(), {"name": "cpu"}])

    assert answer.status_code == 202
    assert answer.json()["accepted"] == 1
    assert [(each["index"], each["reason"]) for each in answer.json()["rejected"]] == [(1, "missing key")]
    assert len(await senders.api.store.dead_letters("measure", limit=10)) == 1


# --- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(event(), id="as-ceilometer-sends-it"),
        pytest.param({"event_type": "e", "traits": {"tenant_id": "p1"}}, id="plain"),
    ],
)
async def test_an_event_is_taken(senders: Senders, body: Any) -> None:
    answer = await senders.client.post("/v1/events", json=body)

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    ((found,),) = [batch.events for batch in senders.service.batches]
    assert (found.event_type, found.project_id) == ("e", "p1")
    assert found.message_id


async def test_raw_payloads_are_no_events_and_each_is_told(senders: Senders) -> None:
    answer = await senders.client.post("/v1/events", json=[{"instance_id": "i"}, event()])

    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert [(each["index"], each["detail"]) for each in answer.json()["rejected"]] == [(0, "event_type")]
    assert len(await senders.api.store.dead_letters("event", limit=10)) == 1


# --- remote write ----------------------------------------------------------------------------------------------------


async def test_a_write_request_is_taken(senders: Senders) -> None:
    answer = await senders.client.post("/api/v1/write", content=write_request(), headers=PROMETHEUS)

    assert (answer.status_code, answer.content) == (204, b"")
    (measure,) = senders.measures
    assert (measure.metric, measure.resource_id, measure.value, measure.project_id) == ("cpu", "vm-1", 90, "p1")


@pytest.mark.parametrize(
    ("headers", "content", "status", "message"),
    [
        pytest.param(PROMETHEUS, b"plain", 400, "undecodable", id="no-snappy"),
        pytest.param(PROMETHEUS, b"x" * (4 * MAX_BYTES + 1), 413, "longer than", id="too-long"),
        pytest.param(PROMETHEUS | {"content-encoding": "gzip"}, b"", 415, "encoded as snappy", id="gzip"),
        pytest.param(
            PROMETHEUS | {"content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"},
            b"",
            415,
            "expected remote write 1.0",
            id="version-2",
        ),
        pytest.param(PROMETHEUS | {"content-type": "text/plain"}, b"", 415, "expected remote write 1.0", id="text"),
    ],
)
async def test_what_prometheus_must_not_send_again_is_a_4xx(
    senders: Senders, headers: dict[str, str], content: bytes, status: int, message: str
) -> None:
    answer = await senders.client.post("/api/v1/write", content=content, headers=headers)

    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


async def test_version_1_may_be_named(senders: Senders) -> None:
    headers = PROMETHEUS | {"content-type": "application/x-protobuf; proto=prometheus.WriteRequest"}

    answer = await senders.client.post("/api/v1/write", content=write_request(), headers=headers)

    assert answer.status_code == 204


# --- all of them -----------------------------------------------------------------------------------------------------

SENDS: list[Any] = [
    pytest.param("/v1/samples", json.dumps(sample(project_id="p2")).encode(), {}, id="sample"),
    pytest.param("/v1/events", json.dumps(event(traits={"tenant_id": "p2"})).encode(), {}, id="event"),
    pytest.param("/api/v1/write", write_request().replace(b"p1", b"p2"), PROMETHEUS, id="write-request"),
]


@pytest.mark.parametrize(
    ("who", "project_id"),
    [
        pytest.param(keystone("member"), "p1", id="a-member-speaks-for-its-project"),
        pytest.param(keystone("admin"), "p2", id="an-admin-for-any"),
        pytest.param(keystone("service"), "p2", id="a-service-for-any"),
    ],
)
@pytest.mark.parametrize(("path", "body", "headers"), SENDS)
async def test_keystone_decides_on_the_project(
    senders: Senders, path: str, body: bytes, headers: dict[str, str], who: Identity, project_id: str
) -> None:
    senders.who = who

    assert (await senders.client.post(path, content=body, headers=headers)).is_success

    (batch,) = senders.service.batches
    assert [each.project_id for each in (*batch.measures, *batch.events)] == [project_id]


@pytest.mark.parametrize(("path", "body", "headers"), SENDS)
async def test_readers_may_not_send(senders: Senders, path: str, body: bytes, headers: dict[str, str]) -> None:
    senders.who = keystone("reader")

    assert (await senders.client.post(path, content=body, headers=headers)).status_code == 403
    assert senders.service.batches == []


@pytest.mark.parametrize(("path", "body", "headers"), SENDS)
async def test_a_project_does_not_count_where_nobody_is_trusted(
    path: str, body: bytes, headers: dict[str, str]
) -> None:
    async with sending(trusted=False) as senders:
        assert (await senders.client.post(path, content=body, headers=headers)).is_success

        (batch,) = senders.service.batches
        assert [each.project_id for each in (*batch.measures, *batch.events)] == [""]


@pytest.mark.parametrize(("path", "body", "headers"), [SENDS[0], SENDS[2]])
async def test_senders_are_asked_to_come_back_while_the_store_is_away(
    monkeypatch: pytest.MonkeyPatch, path: str, body: bytes, headers: dict[str, str]
) -> None:
    async with sending(trusted=False) as senders:  # what is of no project is what the declared alarm looks at
        monkeypatch.setattr("autoscaler.api.intake.PATIENCE", 0.05)
        senders.api.store.away = True

        answer = await senders.client.post(path, content=body, headers=headers)
        senders.api.store.away = False

        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


@pytest.mark.parametrize(("path", "body", "headers"), [SENDS[0], SENDS[2]])
async def test_what_was_sent_is_evaluated_at_once(path: str, body: bytes, headers: dict[str, str]) -> None:
    async with sending(trusted=False) as senders:
        await senders.client.post(path, content=body, headers=headers)

        assert (await senders.api.client.get("/v1/alarms/busy")).json()["state"] == "alarm"
