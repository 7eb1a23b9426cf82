"""The controller's own tokens at its API: who asks by them, and what may be sent by them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from autoscaler.adapters.tokens import TokenFile
from autoscaler.api import authentication
from autoscaler.api.failures import Failures
from autoscaler.declarations.tokens import Sends, line, new_token
from autoscaler.ports import DeadLetter
from tests.api.running import NOW, Api, running
from tests.api.test_permissions import DECLARED, EVERYTHING, Tokens
from tests.api.test_senders import PROMETHEUS, write_request

pytestmark = pytest.mark.slow  # many small ones, each with an API of its own


@dataclass
class Owners:
    """Tokens by name, all in one file."""

    path: Path
    tokens: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, **what: Any) -> None:
        self.tokens[name] = new_token()
        with self.path.open("a") as stream:
            stream.write(line(self.tokens[name], name, **what) + "\n")

    def file(self) -> TokenFile:
        return TokenFile(self.path, clock=lambda: NOW)

    def of(self, name: str) -> dict[str, str]:
        return {"x-auth-token": self.tokens[name]}


@pytest.fixture
def owners(tmp_path: Path) -> Owners:
    found = Owners(tmp_path / "tokens")
    for role in ("admin", "member", "reader", "service", "monitor"):
        found.add(role, project="shop", roles=[role])
    found.add("operator", roles=["admin"])
    found.add("agent", project="shop", sends={Sends.MEASURES: ["cpu", "mem.*"]})
    found.add("prometheus", project="shop", sends={Sends.REMOTE_WRITE: ["node_*"]})
    found.add("ceilometer", project="shop", sends={Sends.SAMPLES: ["*"], Sends.EVENTS: ["compute.*"]})
    found.add("gnocchi", project="shop", sends={Sends.GNOCCHI: ["cpu"]})
    return found


@pytest.fixture
async def api(owners: Owners) -> AsyncIterator[Api]:
    asked = authentication.by_tokens(owners.file())
    async with running(declared=DECLARED, authenticate=asked, trusted=True) as found:
        yield found


@pytest.fixture
async def beside(owners: Owners) -> AsyncIterator[tuple[Api, Tokens]]:
    """The same beside Keystone."""
    tokens = Tokens()
    asked = authentication.keystone(tokens, "http://k:5000/v3", own=owners.file())
    async with running(declared=DECLARED, authenticate=asked, trusted=True) as found:
        yield found, tokens


def shown(token: str) -> dict[str, dict[str, str]]:
    """All the ways in which a token can be shown."""
    return {
        "x-auth-token": {"X-Auth-Token": token},
        "bearer": {"Authorization": f"Bearer {token}"},
        "bearer-in-small": {"authorization": f"bearer {token}"},
        "basic": {"Authorization": f"Basic {base64.b64encode(f'anybody:{token}'.encode()).decode()}"},
    }


async def names(api: Api, headers: Mapping[str, str]) -> list[str]:
    answer = await api.client.get("/v1/alarms", headers=headers)
    return [found["name"] for found in answer.json()] if answer.is_success else [str(answer.status_code)]


async def test_a_token_may_be_shown_in_each_way(api: Api, owners: Owners) -> None:
    for way, headers in shown(owners.tokens["reader"]).items():
        assert await names(api, headers) == ["busy", "slow"], way


async def test_roles_and_projects_are_the_tokens(api: Api, owners: Owners) -> None:
    assert await names(api, owners.of("operator")) == EVERYTHING
    assert await names(api, owners.of("member")) == ["busy", "slow"]
    assert await names(api, owners.of("monitor")) == ["403"]
    assert (await api.client.post("/v1/groups/web/pause", headers=owners.of("reader"))).status_code == 403
    paused = await api.client.post("/v1/groups/web/pause", headers=owners.of("member"))
    assert paused.json()["paused"]["by"] == "token:member"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-auth-token": "ast_" + "x" * 43},
        {"authorization": "Bearer "},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        {"authorization": "Digest x"},
        {"x-user-id": "ada", "x-roles": "admin", "x-project-id": "shop"},
    ],
    ids=str,
)
async def test_without_a_token_nobody_is_let_in(api: Api, headers: dict[str, str]) -> None:
    answer = await api.client.get("/v1/alarms", headers=headers)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="autoscaler"')
    assert answer.json()["error"]["message"].startswith("expected a token of this controller's, ")


async def test_a_token_in_the_url_is_none(api: Api, owners: Owners) -> None:
    answer = await api.client.get(f"/v1/alarms?token={owners.tokens['admin']}")

    assert answer.status_code == 401
    assert owners.tokens["admin"] not in answer.text


async def test_beside_keystone_both_are_let_in(beside: tuple[Api, Tokens], owners: Owners) -> None:
    api, tokens = beside
    of_keystone = await names(api, {"x-auth-token": "rita:shop:reader"})
    asked = list(tokens.asked)
    of_ours = await names(api, owners.of("reader"))
    wrong = await api.client.get("/v1/alarms", headers={"authorization": "Bearer gAAAAA"})

    assert of_keystone == of_ours == ["busy", "slow"]
    assert wrong.status_code == 401
    assert wrong.headers["www-authenticate"] == 'Keystone uri="http://k:5000/v3", Bearer realm="autoscaler"'
    assert asked == tokens.asked == ["rita:shop:reader"]  # neither ours nor what may be a password is told Keystone


async def test_keystone_is_not_asked_about_ours_while_it_is_away(beside: tuple[Api, Tokens], owners: Owners) -> None:
    api, tokens = beside
    tokens.away = True

    assert await names(api, owners.of("operator")) == EVERYTHING
    assert await names(api, {"x-auth-token": "ast_" + "x" * 43}) == ["401"]
    assert await names(api, {"x-auth-token": "rita:shop:reader"}) == ["503"]


# --- strangers -------------------------------------------------------------------------------------------------------


async def test_who_shows_many_wrong_tokens_has_to_wait_and_nobody_else(owners: Owners) -> None:
    tokens, clock = Tokens(), [0.0]
    asked = authentication.keystone(tokens, "http://k:5000/v3", own=owners.file())
    failures = Failures(6, clock=lambda: clock[0])
    async with running(declared=DECLARED, authenticate=asked, failures=failures) as api:
        good = [{"x-auth-token": "rita:shop:reader"}, owners.of("operator")]
        before = [await names(api, headers) for headers in good]
        guesses = [await api.client.get("/v1/alarms", headers={"x-auth-token": f"guess{n}"}) for n in range(9)]
        asked_by_then = len(tokens.asked)
        meanwhile = [await names(api, headers) for headers in good]
        unseen = await api.client.get("/v2/alarms", headers=owners.of("reader"))
        probes = [(await api.client.get(path, headers=owners.of("reader"))).status_code for path in ("/healthz", "/")]
        clock[0] += float(unseen.headers["retry-after"])
        later = await names(api, owners.of("reader"))
        metrics = (await api.client.get("/metrics")).text

    assert [answer.status_code for answer in guesses] == [401] * 6 + [429] * 3
    assert guesses[-1].json()["error"]["code"] == "too many requests"
    assert asked_by_then == 1 + 6  # Keystone was not asked about the others
    assert meanwhile == before == [["busy", "slow"], EVERYTHING]
    assert (unseen.status_code, unseen.headers["retry-after"]) == (429, "10")
    assert unseen.json()["error_message"]["faultcode"] == "Client"
    assert (probes, later) == ([200, 200], ["busy", "slow"])
    assert 'autoscaler_api_refused_total{reason="wrong token"} 6.0' in metrics
    assert 'autoscaler_api_refused_total{reason="too many wrong tokens"} 4.0' in metrics


async def test_a_keystone_that_is_away_makes_nobody_a_failure() -> None:
    tokens = Tokens(away=True)
    failures = Failures(3, clock=lambda: 0.0)
    asked = authentication.keystone(tokens, "http://k:5000/v3")
    async with running(declared=DECLARED, authenticate=asked, failures=failures) as api:
        away = [await names(api, {"x-auth-token": f"u{number}:shop:reader"}) for number in range(9)]
        tokens.away = False
        back = await names(api, {"x-auth-token": "u9:shop:reader"})

    assert (away, back) == ([["503"]] * 9, ["busy", "slow"])


@pytest.mark.parametrize(
    ("who", "status"), [("", 401), ("reader", 403), ("member", 403), ("agent", 403), ("monitor", 200), ("admin", 200)]
)
async def test_metrics_may_be_closed_to_strangers(owners: Owners, who: str, status: int) -> None:
    asked = authentication.by_tokens(owners.file())
    async with running(authenticate=asked, metrics_open=False) as api:
        answer = await api.client.get("/metrics", headers=owners.of(who) if who else {})

    assert answer.status_code == status
    assert ("autoscaler_group_size" in answer.text) is (status == 200)


async def test_strangers_are_not_told_what_is_missing(api: Api, owners: Owners) -> None:
    api.missing += ["redis://10.0.0.7 is away", "declarations: /etc/autoscaler/rules/a.yaml:1:1: …"]
    for headers in ({}, owners.of("reader")):
        answer = await api.client.get("/readyz", headers=headers)
        told = {"missing": ["something; the log and /v1/status say what"]}
        assert (answer.status_code, answer.json()) == (503, told)

    assert (await api.client.get("/v1/status", headers=owners.of("operator"))).json()["missing"] == api.missing
    assert (await api.client.get("/v1/status", headers=owners.of("member"))).status_code == 403


# --- sending ---------------------------------------------------------------------------------------------------------


async def letters(api: Api, kind: str = "measure") -> list[DeadLetter]:
    return await api.store.dead_letters(kind, limit=100)


async def test_a_measure_out_of_scope_is_rejected_by_its_index_and_counted(api: Api, owners: Owners) -> None:
    sent = [
        api.measure(metric="disk"),
        api.measure(project_id="bank"),
        api.measure(value="x"),
        api.measure(metric="mem.free"),
        api.measure(metric="mem"),
    ]
    answer = await api.client.post("/v1/measures", json=sent, headers=owners.of("agent"))
    shops = await api.client.get("/v1/alarms/busy", headers=owners.of("member"))
    vault = await api.client.get("/v1/alarms/vault", headers=owners.of("operator"))
    metrics = (await api.client.get("/metrics")).text

    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 2,
        "rejected": [
            {"index": 0, "reason": "out of scope", "detail": "this token may not send the metric 'disk'"},
            {"index": 2, "reason": "wrong type", "detail": "value: expected a number, found the text 'x'"},
            {"index": 4, "reason": "out of scope", "detail": "this token may not send the metric 'mem'"},
        ],
    }
    assert shops.json()["state"] == "alarm"  # the token's project, whatever the measure says
    assert vault.json()["state"] == "insufficient data"
    assert 'autoscaler_measures_rejected_total{reason="out of scope"} 2.0' in metrics
    assert {letter.reason for letter in await letters(api)} == {"out of scope", "wrong type"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/alarms"),
        ("GET", "/v1/groups"),
        ("GET", "/v1/policies"),
        ("GET", "/v1/status"),
        ("GET", "/v1/dead-letters"),
        ("POST", "/v1/groups/web/pause"),
        ("POST", "/v1/policies/out/execute"),
        ("POST", "/v1/freeze"),
        ("POST", "/v1/events"),
        ("POST", "/v1/samples"),
        ("POST", "/api/v1/write"),
        ("POST", "/v1/resource/generic"),
        ("GET", "/gnocchi/"),
        ("GET", "/v2/alarms"),
        ("POST", "/v2/alarms"),
        ("GET", "/v2/quotas"),
    ],
)
async def test_who_may_send_measures_may_nothing_else(api: Api, owners: Owners, method: str, path: str) -> None:
    headers = owners.of("agent") | {"content-type": "application/x-protobuf", "content-encoding": "snappy"}

    answer = await api.client.request(method, path, headers=headers, content=b"[]" if method == "POST" else None)

    assert answer.status_code == 403, answer.text


async def test_events_out_of_scope_are_rejected_by_their_index(api: Api, owners: Owners) -> None:
    sent: list[dict[str, Any]] = [
        {"event_type": "network.floatingip.create", "message_id": "1", "traits": {"a": "\ud800"}},
        {"event_type": 5},
        {"event_type": "compute.instance.update", "message_id": "2"},
        {"event_type": "image.update", "message_id": "3"},
    ]
    headers = owners.of("ceilometer")
    answer = await api.client.post("/v1/events", content=json.dumps(sent), headers=headers)

    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == 1
    assert [(found["index"], found["reason"]) for found in answer.json()["rejected"]] == [
        (0, "undecodable"),
        (1, "wrong type"),
        (3, "out of scope"),
    ]
    assert sorted(letter.reason for letter in await letters(api, "event")) == [
        "out of scope",
        "undecodable",
        "wrong type",
    ]


async def test_ceilometers_samples_come_with_a_password(api: Api, owners: Owners) -> None:
    sample = {
        "name": "cpu",
        "type": "gauge",
        "unit": "%",
        "volume": 90,
        "resource_id": "vm-1",
        "project_id": "bank",
        "timestamp": "2027-01-15T08:00:00",
    }
    auth = httpx.BasicAuth("ceilometer", owners.tokens["ceilometer"])
    answer = await api.client.post("/v1/samples", json=[sample], auth=auth)
    shops = await api.client.get("/v1/alarms/busy", headers=owners.of("member"))

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    assert shops.json()["state"] == "alarm"


async def test_prometheus_writes_with_a_bearers_token(api: Api, owners: Owners) -> None:
    headers = PROMETHEUS | {"authorization": f"Bearer {owners.tokens['prometheus']}"}
    for name in (b"node_load1", b"up"):
        sent = await api.client.post("/api/v1/write", content=write_request(name=name), headers=headers)
        assert sent.status_code == 204, sent.text

    assert [(letter.reason, letter.source, "up" in letter.payload) for letter in await letters(api)] == [
        ("out of scope", "prometheus", True)
    ]


async def test_gnocchis_measures_are_within_the_scope(api: Api, owners: Owners) -> None:
    ours = owners.of("gnocchi")
    made = await api.client.post("/v1/resource/instance", json={"id": "vm-1", "project_id": "bank"}, headers=ours)
    points = {"vm-1": {name: [{"timestamp": NOW, "value": 90}] for name in ("cpu", "disk")}}
    answer = await api.client.post("/v1/batch/resources/metrics/measures", json=points, headers=ours)
    shops = await api.client.get("/v1/alarms/busy", headers=owners.of("member"))
    vault = await api.client.get("/v1/alarms/vault", headers=owners.of("operator"))

    assert (made.status_code, answer.status_code) == (201, 202)
    assert (shops.json()["state"], vault.json()["state"]) == ("alarm", "insufficient data")
    assert [letter.detail for letter in await letters(api)] == ["this token may not send the metric 'disk'"]
