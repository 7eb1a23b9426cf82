"""Strangers, proxies and tokens at a running controller."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from autoscaler.declarations.tokens import line, new_token
from tests.e2e.controller import ControllerProcess
from tests.servers import free_port

pytestmark = pytest.mark.service

ADMIN = new_token()
MOST = 6


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    path.write_text(line(ADMIN, "ops", roles=["admin"]) + "\n")
    return path


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> Iterator[ControllerProcess]:
    settings = {
        "AUTH": "tokens",
        "TOKENS": str(tokens),
        "AUTH_FAILURES": str(MOST),
        "TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
        "METRICS_OPEN": "false",
        "TOKEN": ADMIN,
    }
    with ControllerProcess(tmp_path_factory.mktemp("controller"), port=free_port(), settings=settings) as found:
        found.until_ready()
        yield found


@pytest.fixture
def client(controller: ControllerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{controller.port}") as found:
        yield found


def test_a_token_is_good_while_it_is_in_the_file(
    controller: ControllerProcess, client: httpx.Client, tokens: Path
) -> None:
    before = tokens.read_text()
    made = controller.command("token", "make", "guest", "--role", "reader", "--project", "p", "--file", str(tokens))
    headers = {"authorization": f"Bearer {made.strip()}"}
    _until(client, headers, 200)
    tokens.write_text(before)
    _until(client, headers, 401)

    assert controller.command("alarms", "list", "--format", "json") == "[]\n"


def test_a_broken_file_is_said_and_locks_nobody_out(client: httpx.Client, tokens: Path) -> None:
    before, ours = tokens.read_text(), {"x-auth-token": ADMIN}
    tokens.write_text(before + "{\n")
    end = time.monotonic() + 20
    while not (missing := client.get("/v1/status", headers=ours).json()["missing"]) and time.monotonic() < end:
        time.sleep(0.1)
    unready = client.get("/readyz")
    tokens.write_text(before)
    while (ready := client.get("/readyz")).status_code != 200 and time.monotonic() < end:
        time.sleep(0.1)

    assert missing == [f"tokens: {tokens}:2:1: token: expected an object in JSON, on one line"]
    assert (unready.status_code, str(tokens) in unready.text) == (503, False)
    assert ready.status_code == 200


def _until(client: httpx.Client, headers: dict[str, str], status: int) -> None:
    end = time.monotonic() + 20
    while (answer := client.get("/v1/alarms", headers=headers)).status_code != status:
        assert time.monotonic() < end, answer.text
        time.sleep(0.1)


def test_behind_a_proxy_each_client_has_an_address_of_its_own(client: httpx.Client) -> None:
    def guess(number: int, forwarded: str) -> int:
        headers = {"x-auth-token": f"guess {number}", "x-forwarded-for": forwarded}
        return client.get("/v1/alarms", headers=headers).status_code

    # what the client itself has written before the proxy's word is not believed, nor what the proxies are
    tried = [guess(number, f"192.0.2.{number}, 198.51.100.1, 10.1.2.3") for number in range(MOST + 2)]
    neighbour = guess(100, "198.51.100.2")
    good = client.get("/v1/alarms", headers={"x-auth-token": ADMIN, "x-forwarded-for": "198.51.100.3"})

    assert tried == [401] * MOST + [429] * 2
    assert (neighbour, good.status_code) == (401, 200)


def test_metrics_are_shown_to_whoever_may_see_them(client: httpx.Client) -> None:
    assert client.get("/metrics").status_code == 401
    assert "autoscaler_build_info" in client.get("/metrics", headers={"x-auth-token": ADMIN}).text


def test_a_stranger_learns_little(client: httpx.Client) -> None:
    answers = [client.get(path) for path in ("/healthz", "/readyz", "/v1/alarms", "/v1/measures", "/nix")]

    assert [answer.status_code for answer in answers] == [200, 200, 401, 401, 401]
    assert not any("server" in answer.headers for answer in answers)
