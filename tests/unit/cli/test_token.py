"""Commands against a controller that asks for a token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.unit.cli.conftest import Shell

pytestmark = pytest.mark.service


class Guarded(HTTPServer):
    """Lets in whoever shows the token; keeps the headers of every request."""

    seen: list[dict[str, str]]


class _Handler(BaseHTTPRequestHandler):
    server: Guarded

    def do_GET(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        known = self.headers["X-Auth-Token"] == "ours"
        error = {"code": "unauthorized", "message": "expected a token of Keystone in X-Auth-Token, there is none"}
        body = json.dumps([] if known else {"error": error}).encode()
        self.send_response(200 if known else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    with Guarded(("127.0.0.1", 0), _Handler) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _shell(guarded: Guarded, **variables: str) -> Shell:
    return Shell({"AUTOSCALER_API": f"http://127.0.0.1:{guarded.server_port}", "OS_TOKEN": "", **variables})


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"AUTOSCALER_TOKEN": "ours"}, id="ours"),
        pytest.param({"OS_TOKEN": " ours\n"}, id="as-openstacks-client"),
        pytest.param({"AUTOSCALER_TOKEN": "ours", "OS_TOKEN": "another"}, id="ours-before-theirs"),
    ],
)
def test_a_token_in_the_environment_is_shown(guarded: Guarded, variables: dict[str, str]) -> None:
    found = _shell(guarded, **variables).run("groups", "list")

    assert (found.exit_code, found.stderr) == (0, "")
    assert "x-user-id" not in guarded.seen[0]


def test_without_a_token_the_controllers_words_are_said(guarded: Guarded) -> None:
    found = _shell(guarded).run("groups", "list")

    assert found.exit_code == 1
    assert found.stderr == "The controller refuses: expected a token of Keystone in X-Auth-Token, there is none\n"
    assert "x-auth-token" not in guarded.seen[0]


@pytest.mark.parametrize("token", ["two words", "se\ncret", "schlüssel"])
def test_what_is_no_token_is_not_sent_nor_shown(guarded: Guarded, token: str) -> None:
    found = _shell(guarded, AUTOSCALER_TOKEN=token).run("groups", "list")

    assert (found.exit_code, found.stderr) == (2, "AUTOSCALER_TOKEN: expected a token of Keystone\n")
    assert guarded.seen == []
