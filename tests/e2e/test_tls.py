"""A controller that speaks TLS to everybody: clients, Redis and the bus."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from autoscaler.adapters.redis import RedisStore, RedisTls
from autoscaler.errors import TemporaryError
from tests.e2e.controller import ControllerProcess
from tests.servers import RabbitServer, RedisServer, free_port

pytestmark = pytest.mark.service


class Authority:
    """An authority, a server's certificate and a client's, all as files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        ca = trustme.CA()
        self.ca, self.server, self.client, self.key = (
            str(folder / name) for name in ("ca.pem", "server.pem", "client.pem", "client.key")
        )
        ca.cert_pem.write_to_path(self.ca)
        server, client = ca.issue_cert("127.0.0.1", "localhost"), ca.issue_cert("client@example.org")
        server.private_key_and_cert_chain_pem.write_to_path(self.server)
        client.private_key_and_cert_chain_pem.write_to_path(self.client)
        client.private_key_pem.write_to_path(self.key)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "others")


@pytest.fixture(scope="module")
def redis(ours: Authority) -> Iterator[str]:
    port = free_port()
    files = ("--tls-cert-file", ours.server, "--tls-key-file", ours.server, "--tls-ca-cert-file", ours.ca)
    with RedisServer(None, "--tls-port", str(port), *files, "--tls-auth-clients", "yes", "--appendonly", "yes"):
        yield f"rediss://127.0.0.1:{port}/0"


async def now_of(url: str, tls: RedisTls) -> float:
    store = RedisStore(url, tls=tls)
    try:
        return await store.now()
    finally:
        await store.close()


async def test_redis_is_known_and_knows_us(redis: str, ours: Authority, others: Authority) -> None:
    assert await now_of(redis, RedisTls(ours.ca, ours.client, ours.key)) > 0
    for wrong in (
        RedisTls(others.ca, ours.client, ours.key),
        RedisTls(ours.ca),
        RedisTls(ours.ca, others.client, others.key),
        RedisTls("", ours.client, ours.key),
    ):
        with pytest.raises(TemporaryError):
            await now_of(redis, wrong)


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory, redis: str, ours: Authority) -> Iterator[ControllerProcess]:
    amqps = free_port()
    files = [f"ssl_options.{name} = {file}" for name, file in (
        ("cacertfile", ours.ca), ("certfile", ours.server), ("keyfile", ours.server)
    )]  # fmt: skip
    checks = ["ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true"]
    with RabbitServer(f"listeners.ssl.local = 127.0.0.1:{amqps}", *files, *checks):
        settings = {
            "API_CERT": ours.server,
            "API_KEY": ours.server,
            "API_CLIENT_CA": ours.ca,
            "REDIS_URL": redis,
            "REDIS_CA": ours.ca,
            "REDIS_CERT": ours.client,
            "REDIS_KEY": ours.key,
            "ALLOW_VOLATILE_REDIS": "true",
            "AMQP_URL": f"amqps://guest:guest@127.0.0.1:{amqps}",
            "NOTIFY_URL": f"amqps://guest:guest@127.0.0.1:{amqps}",
            "AMQP_CA": ours.ca,
            "AMQP_CERT": ours.client,
            "AMQP_KEY": ours.key,
            "COMMANDS_CA": ours.ca,
            "COMMANDS_CERT": ours.client,
        }
        port = free_port()
        with ControllerProcess(tmp_path_factory.mktemp("controller"), port=port, settings=settings) as found:
            found.until_ready(_context(ours.ca, ours.client))
            yield found


def _context(ca: str, certificate: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if certificate:
        context.load_cert_chain(certificate)
    return context


def test_a_controller_is_ready_with_tls_on_every_side(controller: ControllerProcess, ours: Authority) -> None:
    url = f"https://127.0.0.1:{controller.port}"
    with httpx.Client(base_url=url, verify=_context(ours.ca, ours.client)) as client:
        status = client.get("/v1/status").json()

    assert (status["missing"], [source["connected"] for source in status["sources"]]) == ([], [True])
    controller.settings["API"] = url
    assert controller.command("alarms", "list", "--api", url, "--format", "json") == "[]\n"


def test_who_is_not_known_is_not_let_in(controller: ControllerProcess, ours: Authority, others: Authority) -> None:
    url = f"https://127.0.0.1:{controller.port}/healthz"
    for context in (_context(ours.ca), _context(ours.ca, others.client), _context(others.ca, ours.client)):
        with pytest.raises(httpx.TransportError), httpx.Client(verify=context) as client:
            client.get(url)
    with pytest.raises(httpx.TransportError):
        httpx.get(url.replace("https", "http"))


def test_a_certificate_that_is_none_is_said_at_once(tmp_path: Path, ours: Authority) -> None:
    settings = {"API_CERT": ours.ca, "API_KEY": ours.key}
    process = ControllerProcess(tmp_path, port=free_port(), settings=settings)

    assert "AUTOSCALER_API_CERT, _KEY, _CLIENT_CA" in process.command("run", status=1)
