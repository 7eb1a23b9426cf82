"""Commands against a running controller."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from tests.unit.cli.conftest import Shell

pytestmark = pytest.mark.service


def _json(shell: Shell, *words: str) -> Any:
    found = shell.run(*words, "--format", "json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(("alarms", "list"), "shop/slow", id="alarms"),
        pytest.param(("alarms", "list", "--state", "alarm"), "none", id="no-alarms"),
        pytest.param(("alarms", "show", "shop/slow"), "aggregation", id="alarm"),
        pytest.param(("alarms", "history", "busy"), "creation", id="history"),
        pytest.param(("groups", "list"), "desired", id="groups"),
        pytest.param(("groups", "show", "web"), "cooldown_until", id="group"),
        pytest.param(("policies", "list"), "change_in_capacity", id="policies"),
        pytest.param(("dead-letters", "list", "--kind", "action"), "none", id="dead-letters"),
    ],
)
def test_people_get_tables(asking: Shell, words: tuple[str, ...], expected: str) -> None:
    found = asking.run(*words)

    assert found.exit_code == 0
    assert expected in found.stdout


def test_programs_get_json(asking: Shell) -> None:
    assert [alarm["name"] for alarm in _json(asking, "alarms", "list")] == ["busy", "shop/slow"]
    assert _json(asking, "alarms", "show", "busy")["severity"] == "critical"
    assert _json(asking, "groups", "show", "web")["max_size"] == 5


def test_a_group_is_paused_and_resumed(asking: Shell) -> None:
    words = ("groups", "pause", "web", "--for", "2h", "--reason", "look", "--direction", "in")
    paused = _json(asking, *words)["paused"]
    listed = asking.run("groups", "list").stdout
    held = asking.run("policies", "execute", "in")
    resumed = asking.run("groups", "resume", "web")

    assert (paused["reason"], paused["direction"]) == ("look", "in")
    assert "paused by" in listed
    assert (held.exit_code, held.stdout.startswith("web is held at ")) == (0, True)
    assert resumed.stdout == "web may move again.\n"
    assert _json(asking, "groups", "show", "web")["paused"] is None


def test_everything_is_frozen_and_unfrozen(asking: Shell) -> None:
    frozen = asking.run("freeze", "--reason", "moving")
    listed = asking.run("groups", "list").stdout
    thawed = asking.run("unfreeze")

    assert frozen.stdout == "Every group is held until `unfreeze`.\n"
    assert "frozen by" in listed
    assert thawed.stdout == "Groups may move again.\n"


def test_an_executed_policy_is_decided_once_per_key(asking: Shell) -> None:
    words = ("policies", "execute", "out", "--force", "--idempotency-key", "once")

    first, again = _json(asking, *words), _json(asking, *words)

    assert first == again
    assert first["decision"] == "scale"
    assert _json(asking, "groups", "decisions", "web", "--limit", "1") == [first]
    assert "executed" in asking.run("groups", "decisions", "web").stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(("groups", "show", "nix"), "The controller refuses: no group named nix\n", id="unknown-group"),
        pytest.param(
            ("groups", "pause", "web", "--for", "2x"),
            "The controller refuses: for: expected a duration such as 90s, 30m or 2h, got '2x'\n",
            id="duration",
        ),
    ],
)
def test_a_refusal_is_one_sentence(asking: Shell, words: tuple[str, ...], sentence: str) -> None:
    found = asking.run(*words)

    assert (found.exit_code, found.stdout, found.stderr) == (1, "", sentence)


def test_a_controller_that_is_not_there_is_said_to_be_unreachable(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]

    found = shell.run("groups", "list", "--api", f"127.0.0.1:{port}")

    assert found.exit_code == 3
    assert found.stderr.startswith(f"Cannot reach the controller at http://127.0.0.1:{port} (")
    assert "autoscaler run" in found.stderr


def test_an_api_that_is_no_url_is_a_wrong_use(shell: Shell) -> None:
    found = shell.run("groups", "list", "--api", "http://host:port")

    assert (found.exit_code, found.stderr.startswith("--api: expected a URL")) == (2, True)
