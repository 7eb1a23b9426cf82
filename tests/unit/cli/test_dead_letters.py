"""``autoscaler dead-letters`` against a running controller."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from autoscaler.ports import DeadLetter, OutboxRow
from tests.unit.cli.conftest import Running, Shell

pytestmark = pytest.mark.service


def _json(shell: Shell, *words: str, status: int = 0) -> Any:
    found = shell.run("dead-letters", *words, "--format", "json")
    assert found.exit_code == status, found.output
    return json.loads(found.stdout)


@pytest.fixture
def shell(asking: Shell, controller: Running) -> Shell:
    """A shell, and what was buried: an action, a notice and two things that nobody can read."""
    asking.run("dead-letters", "drop", "--all")
    row = OutboxRow(id="a:1:0", alarm_id="a", url="https://me:secret@h/x", body={"current": "alarm"}, created=1.0)
    plain = {"time": 1.0, "detail": "d", "source": "s"}
    kept = controller.api.store._letters
    letters = [
        DeadLetter(kind="action", reason="given up", payload=msgspec.json.encode(row).decode(), **plain),
        DeadLetter(kind="measure", reason="undecodable", payload="x", **plain),
        DeadLetter(kind="measure", reason="wrong type", payload="{}", **plain),
        DeadLetter(kind="notice", reason="undecodable\x1b]0;evil\x07\x1b[2J", payload="x", **plain),
    ]
    for number, letter in enumerate(letters):
        kept.setdefault(letter.kind, []).append(msgspec.structs.replace(letter, id=f"{letter.kind}-{number}"))
        controller.api.store._letter_bytes.setdefault(letter.kind, 0)
    return asking


def test_they_are_listed_by_kind_and_reason(shell: Shell) -> None:
    assert len(_json(shell, "list")) == 4
    assert [letter["id"] for letter in _json(shell, "list", "--kind", "notice")] == ["notice-3"]
    assert [letter["id"] for letter in _json(shell, "list", "--reason", "wrong type")] == ["measure-2"]
    assert "action-0" in shell.run("dead-letters", "list").stdout


def test_nothing_of_them_is_taken_for_more_than_text_by_a_terminal(shell: Shell) -> None:
    shown = shell.run("dead-letters", "list", "--kind", "notice").stdout

    assert "\\x1b" in shown
    assert not {"\x1b", "\x07"} & set(shown)


def test_one_is_shown_without_its_secrets(shell: Shell) -> None:
    found = shell.run("dead-letters", "show", "action-0")
    missing = shell.run("dead-letters", "show", "action-7")

    assert "https://***@h/x" in found.stdout
    assert "secret" not in found.stdout
    assert (missing.exit_code, "no dead letter action-7" in missing.output) == (1, True)


def test_what_is_replayed_is_told_and_what_cannot_be_fails_the_command(shell: Shell) -> None:
    replayed = shell.run("dead-letters", "replay", "action-0")
    again = shell.run("dead-letters", "replay", "action-0")
    every = _json(shell, "replay", "--all", "--kind", "measure", status=1)

    assert (replayed.exit_code, replayed.stdout) == (0, "1 replayed\n")
    assert (again.exit_code, again.stdout) == (0, "1 gone\n")
    assert [(each["id"], each["fate"]) for each in every] == [("measure-1", "refused"), ("measure-2", "refused")]
    assert len(_json(shell, "list")) == 3


def test_what_is_dropped_is_named_or_all_of_it_is(shell: Shell) -> None:
    assert shell.run("dead-letters", "drop", "measure-1", "notice-3").stdout == "2 dropped\n"
    assert shell.run("dead-letters", "drop", "--all", "--reason", "given up").stdout == "1 dropped\n"
    assert shell.run("dead-letters", "drop", "--all").stdout == "1 dropped\n"
    assert shell.run("dead-letters", "drop", "--all").stdout == "none\n"
    assert _json(shell, "list") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("drop",), "expected either ids of letters, or --all", id="nothing"),
        pytest.param(("drop", "a", "--all"), "expected either ids of letters, or --all", id="both"),
        pytest.param(("replay", "a", "--kind", "action"), "expected only with --all", id="kind"),
    ],
)
def test_what_is_meant_must_be_said(shell: Shell, words: tuple[str, ...], said: str) -> None:
    found = shell.run("dead-letters", *words)

    assert (found.exit_code, said in found.output) == (2, True)
    assert len(_json(shell, "list")) == 4
