"""The report of a shadow, as people and programs read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from autoscaler.cli import client
from tests.unit.cli.conftest import Shell

REPORT: dict[str, Any] = {
    "began": "2027-01-15T08:00:00Z",
    "alarms": 1,
    "agreed": 3,
    "disagreed": 1,
    "agreement": {"decisions": 75.0, "time": 92.25},
    "earlier": {"median": 21.3, "p95": 58.0},
    "differences": {"values differ": 1},
    "uncompared": {"alarm was changed": 2},
    "open": 0,
    "notices": 9,
    "not_understood": 0,
    "disagreements": [
        {
            "alarm_id": "a1",
            "name": None,
            "side": "aodh",
            "time": "2027-01-15T08:01:40Z",
            "previous": "ok",
            "state": "alarm",
            "reason": "most recent: 60",
            "beside": "most recent: 30",
            "actions": ["http://hooks.example.org/a"],
            "difference": "values differ",
            "text": "the most recent value was 30 here and 60 at Aodh",
        }
    ],
}
NOTHING = {"decisions": None, "time": None}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is answered, and then what was asked."""
    found: list[dict[str, Any]] = [json.loads(json.dumps(REPORT))]

    def get(_api: str, at: str, **params: Any) -> Any:
        found.append({"at": at, **params})
        return found[0]

    monkeypatch.setattr(client, "get", get)
    return found


def test_people_get_the_totals_and_then_the_differences(shell: Shell, asked: list[dict[str, Any]]) -> None:
    shown = shell.run("shadow", "report")

    assert shown.exit_code == 0
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "agreed 3 (75 % of decisions)" in lines
    assert "same state 92.25 % of the time" in lines
    assert "earlier than Aodh median 21.3 s, p95 58 s" in lines
    assert "values differ 1" in lines
    text = " ".join(lines)
    assert "ok -> alarm" in text
    assert "a1" in text
    assert asked[1] == {"at": "/v1/shadow", "alarm": None, "limit": 20}


def test_programs_get_what_the_api_said(shell: Shell, asked: list[dict[str, Any]]) -> None:
    shown = shell.run("shadow", "report", "--alarm", "a1", "--limit", "5", "--format", "json")

    assert json.loads(shown.stdout) == REPORT
    assert asked[1] == {"at": "/v1/shadow", "alarm": "a1", "limit": 5}


def test_a_shadow_that_has_seen_nothing(shell: Shell, asked: list[dict[str, Any]]) -> None:
    asked[0] |= {"agreed": 0, "disagreed": 0, "differences": {}, "uncompared": {}, "disagreements": []}
    asked[0] |= {"agreement": NOTHING, "earlier": {"median": None, "p95": None}}
    lines = [" ".join(line.split()) for line in shell.run("shadow", "report").stdout.splitlines()]

    assert "agreed 0 (-)" in lines
    assert "earlier than Aodh -" in lines
    assert lines[-1] == "none"
