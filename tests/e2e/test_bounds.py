"""Slow, long and many requests at a running controller, over plain sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest

from autoscaler.api.guard import SPARE
from tests.e2e.controller import ControllerProcess
from tests.servers import free_port

pytestmark = pytest.mark.service

MOST = 20
SECONDS = 1.5
"""For a request to arrive."""


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControllerProcess]:
    settings = {"API_CONNECTIONS": str(MOST), "API_TIMEOUT": str(SECONDS)}
    with ControllerProcess(tmp_path_factory.mktemp("controller"), port=free_port(), settings=settings) as found:
        found.until_ready()
        yield found


class Line:
    """A connection on which anything may be said."""

    def __init__(self, controller: ControllerProcess) -> None:
        self.socket = socket.create_connection(("127.0.0.1", controller.port), timeout=20)

    def say(self, text: str | bytes) -> None:
        self.socket.sendall(text.encode() if isinstance(text, str) else text)

    def heard(self) -> str:
        """All until the other side hangs up."""
        parts: list[bytes] = []
        try:
            while part := self.socket.recv(65_536):
                parts.append(part)
        except ConnectionResetError:
            pass  # it did not wait for what we still had to say
        return b"".join(parts).decode()


@contextmanager
def line(controller: ControllerProcess) -> Iterator[Line]:
    found = Line(controller)
    with found.socket:
        yield found


def healthy(controller: ControllerProcess) -> bool:
    return httpx.get(f"http://127.0.0.1:{controller.port}/healthz", timeout=5).status_code == 200


def refused(controller: ControllerProcess, reason: str) -> float:
    """How often the controller says that it has turned somebody away."""
    lines = httpx.get(f"http://127.0.0.1:{controller.port}/metrics").text.splitlines()
    wanted = f'autoscaler_api_refused_total{{reason="{reason}"}} '
    return next((float(each.removeprefix(wanted)) for each in lines if each.startswith(wanted)), 0.0)


def test_a_body_that_trickles_is_cut_off_in_time(controller: ControllerProcess) -> None:
    before, began = refused(controller, "too slow"), time.monotonic()
    with line(controller) as slow:
        slow.say("POST /v1/measures HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(4):
            slow.say("[")
            time.sleep(0.1)
        answer = slow.heard()

    assert answer.startswith("HTTP/1.1 408 ")
    assert '"the request has not arrived in time"' in answer
    assert SECONDS - 0.1 <= time.monotonic() - began < SECONDS + 5
    assert refused(controller, "too slow") == before + 1


def test_headers_that_trickle_are_cut_off_in_time(controller: ControllerProcess) -> None:
    began = time.monotonic()
    with line(controller) as slow:
        slow.say("GET /healthz HTTP/1.1\r\nhost: localhost\r\n")
        for number in range(200):
            try:
                slow.say(f"x-{number}: a\r\n")
            except OSError:
                break
            time.sleep(0.1)
        answer = slow.heard()

    assert not answer or answer.startswith("HTTP/1.1 408 ")
    assert time.monotonic() - began < SECONDS + 8


def test_a_second_request_that_trickles_is_cut_off_too(controller: ControllerProcess) -> None:
    began = time.monotonic()
    with line(controller) as slow:
        slow.say("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        slow.say("GET /healthz HTTP/1.1\r\nhost: localhost\r\n")
        answer = slow.heard()

    assert answer.count("HTTP/1.1 200 ") == 1
    assert time.monotonic() - began < SECONDS + 8


def test_a_connection_that_says_nothing_is_hung_up_on(controller: ControllerProcess) -> None:
    with line(controller) as silent:
        assert silent.heard() == ""


def test_who_keeps_to_the_time_may_use_a_connection_for_longer(controller: ControllerProcess) -> None:
    with line(controller) as steady:
        for _ in range(5):
            steady.say("POST /v1/measures HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n[")
            time.sleep(SECONDS / 3)
            steady.say("]")
            answer = steady.socket.recv(65_536)
            while not answer.endswith(b"}"):
                answer += steady.socket.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(
            "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + "a" * 40_000 + "\r\n\r\n", 431, id="long-header"
        ),
        pytest.param("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + "a" * 500_000, 431, id="endless-header"),
        pytest.param(
            "GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + "x: a\r\n" * 101 + "\r\n", 431, id="many-headers"
        ),
        pytest.param(
            "GET /" + "a" * 9000 + " HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", 414, id="long-path"
        ),
        pytest.param(
            "GET /?" + "a" * 9000 + " HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", 414, id="long-query"
        ),
        pytest.param("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, id="tls"),
        pytest.param("GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n", 400, id="negative"),
        pytest.param(
            "POST /v1/measures HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            400,
            id="two-lengths",
        ),
        pytest.param(
            "POST /v1/freeze HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\nconnection: close\r\n\r\n",
            413,
            id="announced",
        ),
        pytest.param(
            "POST /v1/freeze HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
            + ("4000\r\n" + "a" * 0x4000 + "\r\n") * 5
            + "0\r\n\r\n",
            413,
            id="in-pieces",
        ),
        pytest.param(
            "POST /v1/measures HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1100000\r\nconnection: close\r\n\r\n"
            + " " * 1_100_000,
            413,
            id="measures",
        ),
    ],
)
def test_what_is_too_long_or_no_request_is_refused_at_once(
    controller: ControllerProcess, request_: str, status: int
) -> None:
    began = time.monotonic()
    with line(controller) as rude:
        with suppress(BrokenPipeError, ConnectionResetError):  # it does not wait for the end
            rude.say(request_.encode("latin-1"))
        answer = rude.heard()

    assert answer.startswith(f"HTTP/1.1 {status} "), answer[:200]
    assert time.monotonic() - began < SECONDS + 5
    assert healthy(controller)


def test_one_connection_too_many_is_told_to_come_back_and_frees_nobodys_place(controller: ControllerProcess) -> None:
    before = refused(controller, "too many connections")
    with ExitStack() as stack:
        for _ in range(MOST + 10):
            stack.enter_context(line(controller))
        with line(controller) as late:
            late.say("GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n")
            answer = late.heard()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if healthy(controller):
                break
        except httpx.TransportError:
            time.sleep(0.1)

    assert answer.startswith("HTTP/1.1 503 ")
    assert "retry-after: 2" in answer
    assert refused(controller, "too many connections") >= before + 1


def test_whoever_takes_all_places_has_no_healthy_controller_restarted(controller: ControllerProcess) -> None:
    before = refused(controller, "too many connections")
    with ExitStack() as stack:
        for _ in range(MOST + 2 * SPARE):
            stack.enter_context(line(controller))
        answers = []
        for path in ("/healthz", "/readyz", "/healthz/../v1/status", "/v1/groups", "/healthz"):
            with line(controller) as probe:
                probe.say(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
                answers.append(probe.heard())

    assert [answer.split()[1] for answer in answers] == ["200", "200", "503", "503", "200"]
    assert all("connection: close" in answer for answer in answers)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{controller.port}/metrics", timeout=5).status_code == 200:
                break
    assert refused(controller, "too many connections") >= before + SPARE


def test_slow_loris_keeps_nobody_else_waiting(controller: ControllerProcess) -> None:
    with ExitStack() as stack:
        for _ in range(MOST - 5):
            stack.enter_context(line(controller)).say(
                "POST /v1/measures HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n"
            )
        for _ in range(20):
            assert healthy(controller)
