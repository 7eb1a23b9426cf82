"""One suite over every action, and a real receiver at the other end of the webhook."""

import asyncio
import gc
import json
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import structlog
from msgspec.structs import replace
from structlog.testing import capture_logs

from autoscaler.adapters import http
from autoscaler.adapters.actions.heat import HeatAction
from autoscaler.adapters.actions.log import LogAction
from autoscaler.adapters.actions.memory import MemoryAction
from autoscaler.adapters.actions.trust import TrustAction
from autoscaler.adapters.actions.webhook import WebhookAction, tls_clients
from autoscaler.adapters.actions.zaqar import ZaqarAction
from autoscaler.adapters.heat import Heat
from autoscaler.adapters.openstack import Service
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import OutboxRow
from tests.cloud import Cloud
from tests.receiver import Answer, answering, dripping, flooding, hanging, receiver, resetting

pytestmark = pytest.mark.slow  # a second or more in all

BODY = {
    "reason_data": {"type": "threshold", "disposition": "outside", "count": 1, "most_recent": 100.0},
    "alarm_name": "büsy",
    "alarm_id": "77b9",
    "severity": "low",
    "previous": "insufficient data",
    "current": "alarm",
    "reason": "Transition to alarm due to 1 samples outside threshold, most recent: 100.0",
}

AODH_BYTES = (
    rb'{"alarm_name": "b\u00fcsy", "alarm_id": "77b9", "severity": "low", "previous": "insufficient data", '
    rb'"current": "alarm", '
    rb'"reason": "Transition to alarm due to 1 samples outside threshold, most recent: 100.0", '
    rb'"reason_data": {"type": "threshold", "disposition": "outside", "count": 1, "most_recent": 100.0}}'
)


def row(url: str, number: int = 0) -> OutboxRow:
    return OutboxRow(id=f"77b9:3:{number}", alarm_id="77b9", url=url, body=BODY, created=0.0)


# --- every action ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["webhook", "trust", "zaqar", "heat", "log", "memory"])
async def deliver(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    """Delivers a row with a number to a place where all is well; what was seen there is checked by the suite."""
    async with receiver() as there, WebhookAction(timeout=5) as webhook, http.client() as client:
        cloud = Cloud(url=there.base)
        action, url = {
            "webhook": (webhook, there.url),
            "trust": (TrustAction(webhook, cloud), f"trust+http://abc@127.0.0.1:{there.port}/hook"),
            "zaqar": (ZaqarAction(Service("messaging", cloud, client)), "zaqar://?topic=T"),
            "heat": (HeatAction(Heat(Service("orchestration", cloud, client))), "trust+heat://abc@"),
            "log": (LogAction(), "log://"),
            "memory": (MemoryAction(), "http://nowhere.example"),
        }[request.param]
        assert url.partition(":")[0] in action.schemes
        pool = {"stack_id": "s", "asg_id": "g", "unhealthy_members": []}
        yield lambda number: action.deliver(replace(row(url, number), body={**BODY, "reason_data": pool}))


async def test_a_delivery_that_succeeds_says_nothing(deliver: Callable[[int], Awaitable[object]]) -> None:
    assert await deliver(0) is None


async def test_the_same_row_can_be_delivered_again(deliver: Callable[[int], Awaitable[object]]) -> None:
    assert [await deliver(1), await deliver(1)] == [None, None]


async def test_rows_can_be_delivered_at_the_same_time(deliver: Callable[[int], Awaitable[object]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        several = [tasks.create_task(deliver(number)) for number in range(50)]
    assert [task.result() for task in several] == [None] * 50


async def test_what_a_delivery_leaves_goes_without_the_garbage_collector() -> None:
    # else fifty of them a second are a pause of a tenth of a second twice a minute
    async with receiver() as there, WebhookAction(timeout=5) as action:
        await action.deliver(row(there.url))
        gc.collect()
        gc.disable()
        try:
            for number in range(10):
                await action.deliver(row(there.url, number))
            found = gc.collect()
        finally:
            gc.enable()
    assert found == 0


async def test_a_connection_that_was_closed_or_spoken_on_meanwhile_is_not_used_again() -> None:
    async def timed_out(writer: asyncio.StreamWriter) -> None:
        await answering(200)(writer)
        await asyncio.sleep(0.02)  # by then it has been read
        writer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with receiver() as there, WebhookAction(timeout=5) as action:
        for _ in range(3):
            there.answer = timed_out
            await action.deliver(row(there.url))
            await asyncio.sleep(0.05)
            there.answer = None
            await action.deliver(row(there.url))
            await asyncio.sleep(0.05)
            for connection in list(there.connections):
                connection.cancel()
            await asyncio.sleep(0.05)
            await action.deliver(row(there.url))
    assert len(there.received) == 9


async def test_a_connection_that_was_reset_meanwhile_is_not_used_again() -> None:
    async def reset_later(writer: asyncio.StreamWriter) -> None:
        await answering(200)(writer)
        await asyncio.sleep(0.02)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with receiver() as there, WebhookAction(timeout=5) as action:
        there.answer = reset_later
        for _ in range(3):
            await action.deliver(row(there.url))
            await asyncio.sleep(0.1)
    assert len(there.received) == 3


# --- what the webhook sends ------------------------------------------------------------------------------------------


async def test_a_webhook_is_sent_as_aodh_sends_it() -> None:
    async with receiver() as there, WebhookAction() as action:
        await action.deliver(row(there.url + "?key=1"))
    (got,) = there.received
    assert got.request_line == "POST /hook?key=1 HTTP/1.1"
    assert got.body == AODH_BYTES
    assert list(json.loads(got.body)) == [
        "alarm_name", "alarm_id", "severity", "previous", "current", "reason", "reason_data"
    ]  # fmt: skip
    assert got.headers["content-type"] == "application/json"
    assert got.headers["idempotency-key"] == "77b9:3:0"


async def test_a_repeated_delivery_carries_the_same_ids_and_another_row_other_ones() -> None:
    async with receiver() as there, WebhookAction() as action:
        for number in (0, 0, 1):
            await action.deliver(row(there.url, number))
    ids = [(got.headers["x-openstack-request-id"], got.headers["idempotency-key"]) for got in there.received]
    assert ids[0] == ids[1]
    assert len({part for pair in ids for part in pair}) == 4
    assert ids[0][0].startswith("req-")


async def test_a_password_in_the_url_is_sent_as_basic_authentication() -> None:
    async with receiver() as there, WebhookAction() as action:
        await action.deliver(row(f"http://me:secret@127.0.0.1:{there.port}/hook"))
    assert there.received[0].headers["authorization"] == "Basic bWU6c2VjcmV0"


# --- what the webhook makes of the answer ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_an_answer_of_success_is_enough(status: int) -> None:
    async with receiver() as there, WebhookAction() as action:
        there.answer = answering(status)
        await action.deliver(row(there.url))
    assert len(there.received) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_an_answer_that_may_change_is_temporary(status: int) -> None:
    async with receiver() as there, WebhookAction() as action:
        there.answer = answering(status, "  try\nlater ")
        with pytest.raises(TemporaryError, match=rf"answered {status} \(try later\)") as caught:
            await action.deliver(row(there.url))
    assert caught.value.delay is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 422])
async def test_an_answer_that_will_not_change_is_permanent(status: int) -> None:
    async with receiver() as there, WebhookAction() as action:
        there.answer = answering(status, "no such hook")
        with pytest.raises(PermanentError, match=rf"answered {status} \(no such hook\)"):
            await action.deliver(row(there.url))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_says_where_it_led(status: int) -> None:
    async with receiver() as there, WebhookAction() as action:
        there.answer = answering(status, location="/elsewhere?token=secret")
        with pytest.raises(
            PermanentError, match=r"redirects are not followed, name http.*/elsewhere\?token=\*\*\* itself"
        ) as caught:
            await action.deliver(row(there.url))
    assert len(there.received) == 1
    assert "secret" not in str(caught.value)


DATE = "Fri, 20 Nov 2026 16:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "delay"),
    [
        pytest.param({"retry_after": "7"}, 7.0, id="seconds"),
        pytest.param({"retry_after": "Fri, 20 Nov 2026 16:01:30 GMT", "date": DATE}, 90.0, id="date"),
        pytest.param({"retry_after": "Fri, 20 Nov 2026 15:00:00 GMT", "date": DATE}, None, id="date-gone-by"),
        pytest.param({"retry_after": "Fri, 20 Nov 2026 16:01:30 GMT"}, None, id="date-against-no-date"),
        pytest.param({"retry_after": "soon"}, None, id="nonsense"),
        pytest.param({"retry_after": "-3"}, None, id="negative"),
        pytest.param({"retry_after": "nan"}, None, id="not-a-number"),
        pytest.param({"retry_after": "99999999"}, 3600.0, id="years"),
    ],
)
async def test_the_other_side_may_name_the_delay(headers: dict[str, str], delay: float | None) -> None:
    async with receiver() as there, WebhookAction() as action:
        there.answer = answering(503, **headers)
        with pytest.raises(TemporaryError) as caught:
            await action.deliver(row(there.url))
    assert caught.value.delay == delay


@pytest.mark.parametrize("bad", [hanging, dripping])
async def test_a_receiver_that_does_not_finish_is_given_up_at_the_deadline(bad: Answer) -> None:
    async with receiver() as there, WebhookAction(timeout=0.2) as action:
        there.answer = bad
        with pytest.raises(TemporaryError, match=r"no answer within 0\.[12]\d* s"):
            await action.deliver(row(there.url))


async def test_an_endless_answer_is_cut_off() -> None:
    async with receiver() as there, WebhookAction(timeout=5) as action:
        there.answer = flooding
        await action.deliver(row(there.url))
    assert len(there.received) == 1


async def test_a_reset_connection_is_temporary() -> None:
    async with receiver() as there, WebhookAction() as action:
        there.answer = resetting
        with pytest.raises(TemporaryError, match=r"POST http://127\.0\.0\.1:\d+/hook: "):
            await action.deliver(row(there.url))


async def test_a_receiver_that_comes_back_is_delivered_to() -> None:
    async with receiver() as there, WebhookAction() as action:
        there.answer = resetting
        with pytest.raises(TemporaryError):
            await action.deliver(row(there.url))
        there.answer = None
        await action.deliver(row(there.url))
    assert len(there.received) == 2


async def test_nobody_listening_is_temporary(unused_tcp_port: int) -> None:
    async with WebhookAction() as action:
        with pytest.raises(TemporaryError):
            await action.deliver(row(f"http://127.0.0.1:{unused_tcp_port}/"))


@pytest.mark.parametrize("url", ["http://", "http:///path", "http://[::1/x", "http://a:b:c/"])
async def test_a_url_that_leads_nowhere_is_permanent(url: str) -> None:
    async with WebhookAction() as action:
        with pytest.raises(PermanentError, match="not a URL"):
            await action.deliver(row(url))


@pytest.mark.parametrize("answer", [answering(500), answering(400), answering(302, location="/x"), resetting, hanging])
async def test_no_error_shows_a_password_or_a_signature(answer: Answer) -> None:
    async with receiver() as there, WebhookAction(timeout=0.3) as action:
        there.answer = answer
        with pytest.raises((TemporaryError, PermanentError)) as caught:
            await action.deliver(row(f"http://me:hunter2@127.0.0.1:{there.port}/hook?Signature=hunter2#hunter2"))
    assert "hunter2" not in str(caught.value)
    assert f"127.0.0.1:{there.port}/hook" in str(caught.value)


async def test_a_slow_host_is_not_overrun_and_holds_up_no_other() -> None:
    async with receiver() as slow, receiver() as quick, WebhookAction(timeout=0.5, per_host=3) as action:
        slow.answer = hanging
        async with asyncio.TaskGroup() as tasks:
            lost = [tasks.create_task(raised(action, row(slow.url, number))) for number in range(10)]
            while slow.concurrent < 3:
                await asyncio.sleep(0)
            await action.deliver(row(quick.url))
            assert not any(task.done() for task in lost)
            assert slow.concurrent == 3
        failures = [task.result() for task in lost]
        assert all(isinstance(failure, TemporaryError) for failure in failures)
        # those that only waited for their turn have not used up a try
        assert sum(failure.tried for failure in failures if isinstance(failure, TemporaryError)) == len(slow.received)
        assert len(quick.received) == 1


async def raised(action: WebhookAction, what: OutboxRow) -> Exception | None:
    try:
        await action.deliver(what)
    except (TemporaryError, PermanentError) as error:
        return error
    return None


async def test_connections_are_used_again() -> None:
    peers = set()

    async def noting(writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername"))
        await answering(204)(writer)

    async with receiver() as there, WebhookAction() as action:
        there.answer = noting
        for number in range(5):
            await action.deliver(row(there.url, number))
    assert len(peers) == 1


# --- https -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a key and a certificate for 127.0.0.1 that no authority has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [
            *command.split(),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            folder / "key",
            "-out",
            folder / "cert",
        ],
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return str(both)


@pytest.mark.parametrize(
    ("options", "query", "leave", "trusted"),
    [
        pytest.param({}, "", True, False, id="unknown-authority"),
        pytest.param({}, "?aodh-alarm-ssl-verify=1", True, False, id="the-url-insists"),
        pytest.param({}, "?aodh-alarm-ssl-verify=0", True, True, id="the-url-does-not-mind-and-may"),
        pytest.param({}, "?aodh-alarm-ssl-verify=0", False, False, id="the-url-does-not-mind-and-may-not"),
        pytest.param({"verify": False}, "", False, True, id="nobody-minds"),
        pytest.param({"verify": False}, "?aodh-alarm-ssl-verify=1", False, False, id="only-the-url-minds"),
        pytest.param({"verify": False}, "?aodh-alarm-ssl-verify=0", False, True, id="neither-minds"),
        pytest.param({"ca": "itself"}, "", False, True, id="known-authority"),
    ],
)
async def test_a_certificate_is_verified_unless_told_otherwise(
    certificate: str, options: dict[str, Any], query: str, *, leave: bool, trusted: bool
) -> None:
    options = {key: certificate if value == "itself" else value for key, value in options.items()}
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(certificate)
    webhook = WebhookAction(clients=tls_clients(**options), allow_unverified=leave)
    async with receiver(served) as there, webhook as action:
        outcome = await raised(action, row(there.url.replace("http:", "https:") + query))
        assert len(there.received) == int(trusted)
    if trusted:
        assert outcome is None
    else:
        assert isinstance(outcome, TemporaryError)
        assert "CERTIFICATE_VERIFY_FAILED" in str(outcome)


async def test_a_wish_to_go_unverified_that_is_not_granted_is_logged_once() -> None:
    structlog.reset_defaults()
    async with receiver() as there, WebhookAction() as action:
        with capture_logs() as lines:
            for number in range(3):
                await action.deliver(row(there.url + "?aodh-alarm-ssl-verify=0", number))
    (line,) = lines
    assert line["event"] == "wish of an action to go unverified ignored"
    assert "AUTOSCALER_WEBHOOK_ALLOW_UNVERIFIED" in line["detail"]


async def test_a_certificate_of_our_own_is_shown(certificate: str) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate)
    served.load_cert_chain(certificate)
    served.verify_mode = ssl.CERT_REQUIRED
    async with receiver(served) as there:
        url = there.url.replace("http:", "https:")
        async with WebhookAction(clients=tls_clients(ca=certificate, certificate=certificate)) as action:
            assert await raised(action, row(url)) is None
        async with WebhookAction(clients=tls_clients(ca=certificate)) as action:
            assert isinstance(await raised(action, row(url)), TemporaryError)


# --- the others ------------------------------------------------------------------------------------------------------


async def test_a_log_action_is_one_line_with_all_that_is_known() -> None:
    structlog.reset_defaults()
    with capture_logs() as lines:
        await LogAction().deliver(row("log://"))
    (line,) = lines
    assert line["event"] == "alarm action logged"
    assert line["log_level"] == "info"
    assert {key: line[key] for key in BODY} == BODY
    assert line["row_id"] == "77b9:3:0"


async def test_the_memory_action_fails_as_told_and_then_delivers() -> None:
    action = MemoryAction()
    action.failures.append(TemporaryError("away", delay=3))
    with pytest.raises(TemporaryError, match="away"):
        await action.deliver(row("http://x"))
    await action.deliver(row("http://x"))
    assert [done.id for done in action.delivered] == ["77b9:3:0"]


async def test_the_memory_action_waits_while_it_is_closed() -> None:
    action = MemoryAction()
    action.open.clear()
    async with asyncio.TaskGroup() as tasks:
        delivery = tasks.create_task(action.deliver(row("http://x")))
        await asyncio.sleep(0)
        assert not delivery.done()
        action.open.set()
    assert len(action.delivered) == 1


async def test_a_memory_action_with_a_limit_keeps_the_newest() -> None:
    action = MemoryAction({"test"}, limit=2)
    for number in range(5):
        await action.deliver(row("test://", number))
    assert [done.id for done in action.delivered] == ["77b9:3:3", "77b9:3:4"]
