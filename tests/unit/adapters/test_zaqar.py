"""Messages in queues, against a server that speaks Zaqar's API v2."""

from typing import Any

import pytest

from autoscaler.adapters import http
from autoscaler.adapters.actions.zaqar import CLIENT_ID, ZaqarAction
from autoscaler.adapters.openstack import Service
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import OutboxRow
from tests.cloud import Cloud
from tests.receiver import Receiver, answering, answering_json, receiver

TOLD = {"alarm_name": "a", "alarm_id": "77b9", "severity": "low", "current": "alarm", "reason_data": {"type": "x"}}
BODY = {**TOLD, "note": "not for others"}
SIGNED = "queue_name=Q&project_id=p1&paths=/messages,/subscriptions&methods=POST,GET&expires=1970-01-01T00:00Z"


async def deliver(there: Receiver, url: str, cloud: Cloud | None) -> None:
    if cloud is not None:
        cloud.url = there.base
    row = OutboxRow(id="77b9:3:0", alarm_id="77b9", url=url, body=BODY, created=0.0)
    async with http.client() as client:
        known = there.base if cloud is None else ""
        await ZaqarAction(Service("messaging", cloud, client, url=known)).deliver(row)


async def test_a_topic_is_a_queue_of_the_alarms_own_that_each_subscriber_is_told_of() -> None:
    cloud = Cloud()
    async with receiver() as there:
        there.on("POST /v2/queues/77b9-T/subscriptions", answering_json({"subscription_id": "1"}, 201))
        there.on("POST /v2/queues/77b9-T/messages", answering_json({"resources": []}, 201))
        url = "zaqar://?topic=T&subscriber=mailto%3A//a%40example.com&subscriber=http%3A//b&ttl=60"
        await deliver(there, url, cloud)
    first, second, message = there.received
    assert first.json == {"subscriber": "mailto://a@example.com", "ttl": 60, "options": {}}
    assert second.json == {"subscriber": "http://b", "ttl": 60, "options": {}}
    assert message.json == {"messages": [{"body": TOLD}]}
    assert {got.headers["x-auth-token"] for got in there.received} == {"token--1"}
    assert {got.headers["client-id"] for got in there.received} == {CLIENT_ID}
    assert cloud.asked[0] == ("messaging", "")


async def test_a_subscription_lasts_an_hour_unless_told_and_may_be_there_already() -> None:
    async with receiver() as there:
        there.on("POST /v2/queues/77b9-T/subscriptions", answering(409))
        there.on("POST /v2/queues/77b9-T/messages", answering(201))
        await deliver(there, "zaqar://?topic=T&subscriber=http%3A//b", Cloud())
    assert there.received[0].json["ttl"] == 3600
    assert there.requests[1] == "POST /v2/queues/77b9-T/messages"


async def test_a_queue_that_is_signed_is_posted_to_without_a_token() -> None:
    async with receiver() as there:
        there.on("POST /v2/queues/Q/messages", answering(201))
        await deliver(there, f"zaqar://?{SIGNED}&signature=abc", None)
    (got,) = there.received
    assert got.json == {"messages": [{"body": TOLD}]}
    assert "x-auth-token" not in got.headers
    assert {name: value for name, value in got.headers.items() if name.startswith(("url-", "x-project"))} == {
        "url-signature": "abc",
        "url-expires": "1970-01-01T00:00Z",
        "url-methods": "POST,GET",
        "url-paths": "/messages,/subscriptions",
        "x-project-id": "p1",
    }


async def test_a_trusted_queue_is_posted_to_as_the_alarms_owner() -> None:
    cloud = Cloud()
    async with receiver() as there:
        there.on("POST /v2/queues/Q/messages", answering(401), answering(201))
        await deliver(there, "trust+zaqar://abc:delete@?queue_name=Q", cloud)
    assert [got.headers["x-auth-token"] for got in there.received] == ["token-abc-1", "token-abc-2"]
    assert there.received[1].json == {"messages": [{"body": TOLD}]}
    assert cloud.asked == [("messaging", "abc")]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        pytest.param("zaqar://", r"expected \?topic=TOPIC", id="nothing"),
        pytest.param("zaqar://?topic=T&ttl=soon", "expected ttl in whole seconds", id="ttl"),
        pytest.param("zaqar://?queue_name=Q", "needs signature, expires, methods, paths, project_id", id="unsigned"),
        pytest.param(f"zaqar://?{SIGNED}", "needs signature too", id="half-signed"),
        pytest.param("trust+zaqar://?queue_name=Q", "there is no trust", id="no-trust"),
        pytest.param("trust+zaqar://abc@?topic=T", r"expected \?queue_name=QUEUE", id="no-queue"),
    ],
)
async def test_a_url_that_lacks_something_is_final(url: str, said: str) -> None:
    async with receiver() as there:
        with pytest.raises(PermanentError, match=said) as caught:
            await deliver(there, url, Cloud())
        assert there.received == []
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [pytest.param(400, PermanentError, id="refused"), pytest.param(503, TemporaryError, id="away")],
)
async def test_what_zaqar_answers_decides(status: int, kind: type[Exception]) -> None:
    async with receiver() as there:
        there.answer = answering(status, "words of its own")
        with pytest.raises(kind, match="words of its own"):
            await deliver(there, "zaqar://?topic=T", Cloud())


@pytest.mark.parametrize("url", ["zaqar://?topic=T", "trust+zaqar://abc@?queue_name=Q"])
async def test_without_keystone_only_signed_queues_work(url: str) -> None:
    async with receiver() as there:
        with pytest.raises(PermanentError, match="AUTOSCALER_KEYSTONE_URL is not set"):
            await deliver(there, url, None)


async def test_the_name_of_a_queue_leads_nowhere_else() -> None:
    async with receiver() as there:
        there.answer = answering(201)
        await deliver(there, "trust+zaqar://abc@?queue_name=..%2F..%2Fother%3Fx", Cloud())
    assert there.requests == ["POST /v2/queues/..%2F..%2Fother%3Fx/messages"]


def test_every_kind_of_url_is_carried_out() -> None:
    empty: Any = None
    assert ZaqarAction(empty).schemes == {"zaqar", "trust+zaqar"}
