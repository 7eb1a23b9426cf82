"""Every request that Heat 27.0.1 was seen to send to an ``alarming`` endpoint, and answers that it accepts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from tests.api.v2.running import MEMBER, Api
from tests.shared_data import shared_reference

pytestmark = pytest.mark.slow  # many small ones, each with an API of its own

SECTION = re.compile(r"^### (?P<title>.*)$", re.MULTILINE)
REQUEST = re.compile(r"^(?P<method>GET|POST|PUT|DELETE) /v2/alarms(?:/(?P<id>[0-9a-f-]+))?$", re.MULTILINE)
HEAT = MEMBER | {
    "User-Agent": "heat-engine keystoneauth1/5.18.1 python-requests/2.34.2 CPython/3.11.7",
    "Accept": "application/json",
}
READ_ONLY = ("alarm_id", "state", "state_timestamp", "timestamp", "state_reason", "user_id", "project_id")


@dataclass(frozen=True)
class Sent:
    """A request of a transcript; Heat's own part of its body."""

    method: str
    body: dict[str, Any] | None


def transcripts() -> dict[str, list[Sent]]:
    """What Heat sent, in order, by the title of the transcript."""
    parts = SECTION.split(shared_reference("heat-wire.md").read_text())[1:]
    return {title: _requests(text) for title, text in zip(parts[::2], parts[1::2], strict=True)}


def _requests(text: str) -> list[Sent]:
    found = []
    for request in REQUEST.finditer(text):
        rest = text[request.end() :]
        start = re.match(r"\n(?:[A-Za-z-]+: .*\n)*\n?(?=\{)", rest)
        body = json.JSONDecoder().raw_decode(rest, start.end())[0] if start else None
        found.append(Sent(request["method"], body))
    return found


TRANSCRIPTS = transcripts()


def test_every_transcript_is_read() -> None:
    assert len(TRANSCRIPTS) == 10
    assert sum(len(requests) for requests in TRANSCRIPTS.values()) == 35
    assert all(sent.body for requests in TRANSCRIPTS.values() for sent in requests if sent.method in {"POST", "PUT"})


@pytest.mark.parametrize("title", TRANSCRIPTS)
async def test_heat_is_answered_so_that_its_resource_completes(api: Api, title: str) -> None:
    document: dict[str, Any] = {}
    for sent in TRANSCRIPTS[title]:
        path = "/v2/alarms" if sent.method == "POST" else f"/v2/alarms/{document['alarm_id']}"
        body = sent.body
        if sent.method == "PUT":
            # Heat sends what it read with its changes in it
            assert body is not None
            body = document | {key: value for key, value in body.items() if key not in READ_ONLY}
        answer = await api.ask(sent.method, path, body, HEAT)
        if sent.method == "DELETE":
            assert answer.status_code == 204
            assert (await api.ask("GET", path, headers=HEAT)).status_code == 404
            assert (await api.ask("DELETE", path, headers=HEAT)).status_code == 404
            return
        assert answer.status_code == (201 if sent.method == "POST" else 200), answer.text
        document = answer.json()
        assert document["alarm_id"]
        if body is not None:
            _holds_what_was_sent(document, body)


def _holds_what_was_sent(document: dict[str, Any], body: dict[str, Any]) -> None:
    rule = f"{body['type']}_rule"
    assert document[rule].keys() >= body[rule].keys()
    for key, value in body.items():
        if key in {"state_timestamp", "timestamp", "evaluate_timestamp"} or value is None:
            continue
        if key == rule and body["type"].endswith("by_resources_threshold"):
            sent = {name: inner for name, inner in value.items() if name != "query" and inner is not None}
            assert {name: document[key][name] for name in sent} == sent
            continue
        if key == "threshold_rule":
            plain = {"op": "eq", "type": ""}
            assert document[key] == {"exclude_outliers": False} | value | {"query": [plain | i for i in value["query"]]}
            continue
        assert document[key] == value
    assert not [key for key, value in document.items() if value is None]
    assert not [key for key, value in document[rule].items() if value is None]


async def test_what_heat_read_a_moment_ago_does_not_undo_the_state(api: Api) -> None:
    create = TRANSCRIPTS["OS::Aodh::GnocchiResourcesAlarm"][0]
    made = (await api.ask("POST", "/v2/alarms", create.body, HEAT)).json()
    path = f"/v2/alarms/{made['alarm_id']}"
    read = (await api.ask("GET", path, headers=HEAT)).json()
    await api.ask("PUT", f"{path}/state", "alarm", HEAT)
    answer = await api.ask("PUT", path, read | {"enabled": False}, HEAT)
    assert answer.json()["state"] == "alarm"
    assert answer.json()["enabled"] is False
    assert (await api.ask("GET", f"{path}/state", headers=HEAT)).json() == "alarm"
