"""What receivers of webhooks are shown, verified by the package that they would verify it with."""

import asyncio
import base64
import json
import os
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from autoscaler.adapters.actions.endpoints import EndpointBook
from autoscaler.adapters.actions.webhook import WebhookAction, tls_clients
from autoscaler.adapters.clock import now
from autoscaler.errors import DeclarationError, TemporaryError
from autoscaler.ports import OutboxRow
from tests.receiver import Receiver, answering, receiver

pytestmark = pytest.mark.slow  # a second or more in all


def row(url: str, number: int = 0, *, declared: bool = True) -> OutboxRow:
    body = {"alarm_name": "büsy", "current": "alarm", "reason_data": {"most_recent": 1e300}}
    return OutboxRow(id=f"77b9:3:{number}", alarm_id="77b9", url=url, body=body, created=0.0, declared=declared)


def a_secret(size: int = 32) -> str:
    return "whsec_" + base64.b64encode(os.urandom(size)).decode()


def verified(there: Receiver, secret: str, at: int = -1) -> object:
    got = there.received[at]
    return Webhook(secret).verify(got.body, got.headers)


def book(folder: Path, text: str) -> EndpointBook:
    (folder / "endpoints.yaml").write_text(text)
    return EndpointBook(folder / "endpoints.yaml", now=now)


async def test_a_webhook_is_verified_by_the_package_of_standard_webhooks(tmp_path: Path) -> None:
    secret = a_secret()
    (tmp_path / "secret").write_text(f"{secret}\n")
    async with receiver() as there:
        endpoints = book(tmp_path, f"endpoints: [{{url: '{there.base}', signing: [{{file: secret}}]}}]")
        async with WebhookAction(endpoints=endpoints) as action:
            await action.deliver(row(there.url))
            there.answer = answering(503)
            with pytest.raises(TemporaryError):
                await action.deliver(row(there.url))

    assert verified(there, secret) == json.loads(there.received[0].body)
    assert verified(there, secret, 0) == {
        "alarm_name": "büsy",
        "current": "alarm",
        "reason_data": {"most_recent": 1e300},
    }
    ids = {got.headers["webhook-id"] for got in there.received}
    assert ids == {"77b9:3:0"} == {got.headers["idempotency-key"] for got in there.received}
    with pytest.raises(WebhookVerificationError):
        verified(there, a_secret())
    there.received[0].body += b" "
    with pytest.raises(WebhookVerificationError):
        verified(there, secret, 0)


async def test_a_secret_is_changed_while_the_controller_runs_and_no_call_goes_unverified(tmp_path: Path) -> None:
    old, new = a_secret(), a_secret(24)
    file, older = tmp_path / "secret", tmp_path / "older"
    file.write_text(old)
    older.write_text(old)
    async with receiver() as there:
        text = f"endpoints: [{{url: '{there.base}', signing: [{{file: secret}}, {{file: older}}]}}]"
        async with WebhookAction(endpoints=book(tmp_path, text)) as action:
            await action.deliver(row(there.url))
            file.with_suffix(".new").write_text(new)
            file.with_suffix(".new").replace(file)
            await action.deliver(row(there.url, 1))
            older.write_text(new)
            await action.deliver(row(there.url, 2))
            file.unlink()
            with pytest.raises(TemporaryError, match="secret: no such file") as away:
                await action.deliver(row(there.url, 3))

    assert verified(there, old, 0)
    assert verified(there, old, 1) == verified(there, new, 1)  # whoever has not changed yet, and whoever has
    assert verified(there, new, 2)
    with pytest.raises(WebhookVerificationError):
        verified(there, old, 2)
    assert (away.value.tried, new in str(away.value), len(there.received)) == (False, False, 3)


async def test_headers_and_credentials_are_shown_to_whom_they_are_meant_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "t0ken")
    (tmp_path / "password").write_text("p:w\n")
    async with receiver() as there, receiver() as other:
        text = f"""
        signing: [{{plain: {a_secret()}}}]
        endpoints:
          - {{url: '{there.base}', headers: {{X-Team: ops, X-Key: {{env: HOOK}}}}, auth: {{bearer: {{env: HOOK}}}}}}
          - {{url: '{there.base}/basic', auth: {{basic: {{username: me, password: {{file: password}}}}}}}}
        """
        async with WebhookAction(endpoints=book(tmp_path, text)) as action:
            for url in (there.url, f"{there.base}/basic", f"{there.base}/basic/x", f"{there.base}/basics", other.url):
                await action.deliver(row(url))
    seen = [got.headers.get("authorization") for got in there.received]
    assert seen == ["Bearer t0ken", "Basic bWU6cDp3", "Basic bWU6cDp3", "Bearer t0ken"]
    assert (there.received[0].headers["x-team"], there.received[0].headers["x-key"]) == ("ops", "t0ken")
    assert "authorization" not in other.received[0].headers
    assert "webhook-signature" in other.received[0].headers


STRANGE = [
    "http://127.0.0.1:OTHER/", "http://127.0.0.1:PORT@127.0.0.1:OTHER/", "http://127.0.0.1:OTHER/http://127.0.0.1:PORT/",
    "http://127.0.0.1:OTHER?@127.0.0.1:PORT/", "http://127.0.0.1:OTHER#@127.0.0.1:PORT/", "http://127.1:PORT/",
    "http://localhost:PORT/", "http://127.0.0.1.:PORT/",
]  # fmt: skip


@pytest.mark.parametrize("url", STRANGE)
async def test_credentials_go_to_exactly_that_place_and_nowhere_else(url: str, tmp_path: Path) -> None:
    async with receiver() as there, receiver() as other:
        text = f"endpoints: [{{url: '{there.base}', auth: {{bearer: {{plain: t}}}}, tenants: true}}]"
        called = url.replace("PORT", str(there.port)).replace("OTHER", str(other.port))
        async with WebhookAction(1.0, endpoints=book(tmp_path, text)) as action:
            for declared in (True, False):
                with suppress(TemporaryError):  # a name that leads nowhere
                    await action.deliver(row(called, declared=declared))
    assert all(got.headers.get("authorization", "").removeprefix("Bearer ") != "t" for got in other.received)
    assert not any("Bearer" in got.headers.get("authorization", "") for got in there.received)


@pytest.mark.parametrize(
    "path",
    [
        "/../admin",
        "/%2e%2e/admin",
        "/%2E./admin",
        "/..%2fadmin",
        "/..%5cadmin",
        "/..\\admin",
        "/..;/admin",
        "/%252e%252e/admin",
    ],
)
async def test_credentials_of_a_path_go_nowhere_above_it(path: str, tmp_path: Path) -> None:
    async with receiver() as there:
        text = f"endpoints: [{{url: '{there.base}/hooks', auth: {{bearer: {{plain: t}}}}, tenants: true}}]"
        async with WebhookAction(endpoints=book(tmp_path, text)) as action:
            await action.deliver(row(f"{there.base}/hooks{path}", declared=False))
            await action.deliver(row(f"{there.base}/hooks/a%2eb/..c", declared=False))
    assert ["authorization" in got.headers for got in there.received] == [False, True]


async def test_a_redirect_takes_no_credentials_along(tmp_path: Path) -> None:
    async with receiver() as there, receiver() as other:
        there.answer = answering(307, location=other.url)
        text = f"endpoints: [{{url: '{there.base}', auth: {{bearer: {{plain: t}}}}}}]"
        async with WebhookAction(endpoints=book(tmp_path, text)) as action:
            with pytest.raises(Exception, match="redirects are not followed"):
                await action.deliver(row(there.url))
    assert other.received == []


async def test_alarms_of_tenants_act_in_the_controllers_name_only_where_that_is_said(tmp_path: Path) -> None:
    secret = a_secret()
    async with receiver() as there:
        text = f"""
        signing: [{{plain: {secret}}}]
        endpoints:
          - {{url: '{there.base}/ours', auth: {{bearer: {{plain: t}}}}}}
          - {{url: '{there.base}/theirs', auth: {{bearer: {{plain: t}}}}, signing: [{{plain: {secret}}}],
              tenants: true}}
        """
        async with WebhookAction(endpoints=book(tmp_path, text)) as action:
            for path in ("ours", "theirs"):
                await action.deliver(row(f"{there.base}/{path}", declared=False))
    shown = [{"authorization", "webhook-signature"} & got.headers.keys() for got in there.received]
    assert shown == [set(), {"authorization", "webhook-signature"}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("signing: [{file: nowhere}]", "signing: endpoints: file .*nowhere: no such file", id="no-file"),
        pytest.param("signing: [{env: NOT_SET}]", "variable NOT_SET is empty or not set", id="not-set"),
        pytest.param("signing: [{plain: s3cret}]", "expected whsec_ and 24 to 64 bytes in base64", id="no-secret"),
        pytest.param("signing: [{plain: whsec_c2hvcnQ=}]", "expected whsec_ and 24 to 64 bytes", id="short"),
        pytest.param("endpoints: [{url: 'https://h', ca: nowhere.pem}]", "certificates of https://h", id="ca"),
        pytest.param("endpoints: [{url: 'https://h', headers: {X: {plain: 'ü'}}}]", "one line of ASCII", id="header"),
        pytest.param("endpoint: []", "unknown key", id="document"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_starts(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=told) as caught:
        book(tmp_path, text)
    assert "s3cret" not in str(caught.value)


async def test_a_client_certificate_is_shown_and_read_again_when_it_changes(tmp_path: Path) -> None:
    await certificate(tmp_path, "me", "first")
    await certificate(tmp_path, "other", "second")
    await certificate(tmp_path, "server", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tmp_path / "me.pem")
    context.load_verify_locations(tmp_path / "other.pem")
    shown: list[object] = []

    async def whose(writer: asyncio.StreamWriter) -> None:
        subject = writer.get_extra_info("peercert")["subject"]
        shown.append(dict(pair for part in subject for pair in part)["commonName"])
        await answering(200)(writer)

    async with receiver(context) as there:
        there.answer = whose
        url = f"https://127.0.0.1:{there.port}"
        text = (
            f"endpoints: [{{url: '{url}', ca: server.pem, client_certificate: {{certificate: me.pem, key: me.key}}}}]"
        )
        endpoints = book(tmp_path, text)
        async with WebhookAction(5.0, tls_clients(), endpoints=endpoints) as action:
            await action.deliver(row(url))
            for end in ("key", "pem"):
                (tmp_path / f"other.{end}").replace(tmp_path / f"me.{end}")
            await action.deliver(row(url))
            await action.deliver(row(url))
            assert len(action._clients) == 1

    assert shown == ["first", "second", "second"]


async def certificate(folder: Path, file: str, name: str) -> None:
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name}"
    process = await asyncio.create_subprocess_exec(
        *command.split(), "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", str(folder / f"{file}.key"), "-out", str(folder / f"{file}.pem"), stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0
