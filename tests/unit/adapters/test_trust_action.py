"""Actions that bear a token for a trust, against a real receiver, and Keystone's real client."""

import asyncio

import pytest
import structlog
from structlog.testing import capture_logs

from autoscaler.adapters.actions.trust import TrustAction, Trusted, trusted
from autoscaler.adapters.actions.webhook import WebhookAction
from autoscaler.adapters.keystone import Keystone, PasswordCredentials
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import OutboxRow
from tests.cloud import Cloud
from tests.receiver import Receiver, answering, answering_json, hanging, receiver

BODY = {"alarm_name": "a", "alarm_id": "77b9", "current": "alarm", "reason_data": {}, "note": "not for others"}


def row(there: Receiver, user: str = "abc:delete@", query: str = "") -> OutboxRow:
    url = f"trust+http://{user}127.0.0.1:{there.port}/v1/signal{query}"
    return OutboxRow(id="77b9:3:0", alarm_id="77b9", url=url, body=BODY, created=0.0)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("trust+http://abc@h/x?y=z", Trusted("abc", "http://h/x?y=z"), id="trust"),
        pytest.param("trust+https://abc:delete@h:1/x", Trusted("abc", "https://h:1/x"), id="to-be-deleted"),
        pytest.param("trust+http://h/x", Trusted("", "http://h/x"), id="none"),
        pytest.param("trust+http://:delete@h/x", Trusted("", "http://h/x"), id="empty"),
        pytest.param("trust+zaqar://abc@?queue_name=q", Trusted("abc", "zaqar:?queue_name=q"), id="no-host"),
    ],
)
def test_a_trusted_url_has_two_parts(url: str, expected: Trusted) -> None:
    assert trusted(url) == expected


def test_what_is_no_url_is_final() -> None:
    with pytest.raises(PermanentError, match="not a URL"):
        trusted("trust+http://[::1/x")


async def test_a_trusted_url_is_called_as_a_webhook_with_a_token() -> None:
    async with receiver() as there, WebhookAction() as webhook:
        await TrustAction(webhook, Cloud()).deliver(row(there, query="?a=b"))
    (got,) = there.received
    assert got.request_line == "POST /v1/signal?a=b HTTP/1.1"
    assert got.headers["x-auth-token"] == "token-abc-1"
    assert "authorization" not in got.headers
    assert got.headers["idempotency-key"] == "77b9:3:0"
    assert got.json == {key: BODY[key] for key in ("alarm_name", "alarm_id", "current", "reason_data")}


async def test_a_refused_token_is_renewed_once() -> None:
    async with receiver() as there, WebhookAction() as webhook:
        there.on("POST /v1/signal", answering(401), answering(200))
        await TrustAction(webhook, Cloud()).deliver(row(there))
    assert [got.headers["x-auth-token"] for got in there.received] == ["token-abc-1", "token-abc-2"]


async def test_a_token_that_is_refused_twice_is_final() -> None:
    async with receiver() as there, WebhookAction() as webhook:
        there.answer = answering(401)
        with pytest.raises(PermanentError, match="answered 401"):
            await TrustAction(webhook, Cloud()).deliver(row(there))
    assert len(there.received) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [pytest.param(404, PermanentError, id="no-such-policy"), pytest.param(503, TemporaryError, id="away")],
)
async def test_other_answers_are_a_webhooks(status: int, kind: type[Exception]) -> None:
    async with receiver() as there, WebhookAction() as webhook:
        there.answer = answering(status)
        with pytest.raises(kind):
            await TrustAction(webhook, Cloud()).deliver(row(there))
    assert len(there.received) == 1


async def test_a_url_without_a_trust_is_called_without_a_token_and_the_log_says_so() -> None:
    structlog.reset_defaults()
    async with receiver() as there, WebhookAction() as webhook:
        with capture_logs() as lines:
            await TrustAction(webhook, Cloud()).deliver(row(there, user=""))
    assert "x-auth-token" not in there.received[0].headers
    assert [line["event"] for line in lines] == ["action sent without a token"]


async def test_a_refused_call_without_a_trust_is_final_and_unconfirmed() -> None:
    async with receiver() as there, WebhookAction() as webhook:
        there.answer = answering(401)
        with pytest.raises(PermanentError, match=r"unconfirmed: sent without a token.*answered 401"):
            await TrustAction(webhook, Cloud()).deliver(row(there, user=""))
    assert len(there.received) == 1


async def test_without_keystone_a_trust_is_of_no_use() -> None:
    async with receiver() as there, WebhookAction() as webhook:
        with pytest.raises(PermanentError, match=r"trust\+http://\*\*\*@.*AUTOSCALER_KEYSTONE_URL is not set"):
            await TrustAction(webhook, None).deliver(row(there))
    assert there.received == []


async def test_token_and_call_are_over_within_the_deadline() -> None:
    class Slow(Cloud):
        async def token(self, trust_id: str = "") -> str:
            await asyncio.sleep(0.2)
            return await super().token(trust_id)

    async with receiver() as there, WebhookAction(timeout=0.3) as webhook:
        there.answer = hanging
        with pytest.raises(TemporaryError, match=r"not done within 0\.3 s") as caught:
            await TrustAction(webhook, Slow()).deliver(row(there))
    assert "abc" not in str(caught.value)


# --- with Keystone's client ------------------------------------------------------------------------------------------

DOMAIN = {"id": "default", "name": "Default"}
TOKEN = {
    "user": {"id": "u", "name": "autoscaler", "domain": DOMAIN},
    "project": {"id": "p", "name": "service", "domain": DOMAIN},
    "roles": [{"id": "r", "name": "service"}],
    "expires_at": "2026-11-20T21:00:00.000000Z",
}
NOW = 1_795_200_000.0


def keystone(there: Receiver) -> Keystone:
    return Keystone(there.base, PasswordCredentials("autoscaler", "secret"), clock=lambda: NOW)


async def test_a_token_for_the_trust_comes_from_keystone() -> None:
    async with receiver() as there, keystone(there) as tokens, WebhookAction() as webhook:
        there.on("POST /v3/auth/tokens?nocatalog", answering_json({"token": TOKEN}, 201, x_subject_token="fresh"))
        there.on("POST /v1/signal", answering(200))
        await TrustAction(webhook, tokens).deliver(row(there))
    asked, signalled = there.received
    assert asked.json["auth"]["scope"] == {"OS-TRUST:trust": {"id": "abc"}}
    assert signalled.headers["x-auth-token"] == "fresh"


@pytest.mark.parametrize("status", [403, 404])
async def test_a_trust_that_is_gone_is_final_and_says_so(status: int) -> None:
    async with receiver() as there, keystone(there) as tokens, WebhookAction() as webhook:
        refusal = answering_json({"error": {"message": "no trust"}}, status)
        ours = answering_json({"token": TOKEN}, 201, x_subject_token="ours")
        there.on("POST /v3/auth/tokens?nocatalog", refusal, ours)
        with pytest.raises(PermanentError, match="the trust is gone"):
            await TrustAction(webhook, tokens).deliver(row(there))
    assert set(there.requests) == {"POST /v3/auth/tokens?nocatalog"}


async def test_a_keystone_that_is_away_is_temporary() -> None:
    async with receiver() as there, keystone(there) as tokens, WebhookAction() as webhook:
        there.on("POST /v3/auth/tokens?nocatalog", answering(503))
        with pytest.raises(TemporaryError) as caught:
            await TrustAction(webhook, tokens).deliver(row(there))
    # so that it is waited for as long as it takes, and a signal is known not to have been sent
    assert (caught.value.tried, caught.value.reached, caught.value.delay) == (False, False, 5.0)
