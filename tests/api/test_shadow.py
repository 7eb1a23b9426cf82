"""The API of a shadow: its report, and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

import httpx
import pytest
from fastapi import FastAPI

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.sources.decode import decode
from autoscaler.alarms.notice import Notice, Told
from autoscaler.api import create_app
from autoscaler.api.metrics import Metrics
from autoscaler.api.v2.stored import definition_of_stored
from autoscaler.declarations import load
from autoscaler.engine.run import Wake
from autoscaler.engine.service import Service
from autoscaler.engine.shadow import Shadow
from tests.api.running import DECLARED, Api, begun, decoders
from tests.api.standing import Standing
from tests.engine.test_shadow import BEGAN, ME, Bus, stored

ADMIN = {"X-User-Id": "adm", "X-Project-Id": "p0", "X-Roles": "admin"}
MEMBER = {"X-User-Id": "alice", "X-Project-Id": "p1", "X-Roles": "member"}
CHANGES = [
    ("POST", "/v2/alarms"),
    ("PUT", "/v2/alarms/a1"),
    ("PUT", "/v2/alarms/a1/state"),
    ("DELETE", "/v2/alarms/a1"),
    ("POST", "/v2/quotas"),
    ("DELETE", "/v2/quotas/p1"),
    ("POST", "/v1/groups/web/pause"),
    ("POST", "/v1/groups/web/resume"),
    ("POST", "/v1/freeze"),
    ("POST", "/v1/unfreeze"),
    ("POST", "/v1/policies/out/execute"),
]


@dataclass
class Beside:
    """A shadow with one alarm of Aodh's."""

    client: httpx.AsyncClient
    shadow: Shadow
    now: list[float]


@cache
def _shared() -> tuple[FastAPI, Standing, Standing, Standing]:
    service, metrics, shadow = Standing(), Standing(), Standing()

    async def readiness() -> list[str]:
        return []

    app = create_app(
        service,
        decode=lambda body: decode(body, now=BEGAN, trusted=True),
        decoders=decoders(trusted=True),
        metrics=metrics,
        readiness=readiness,
        beside=shadow,
    )
    return app, service, metrics, shadow


@asynccontextmanager
async def beside() -> AsyncIterator[Beside]:
    now, metrics = [BEGAN], Metrics()
    store = MemoryStore(lambda: now[0])
    shadow = Shadow(Bus(connected=True), definition_of_stored, poll=60, tolerance=None, counted=metrics.compared)
    controller, runner = await begun(load({"declared.yaml": DECLARED}), store, now, Wake(), metrics, shadow)
    assert await shadow.start(controller, runner.carry_out, ME)

    service = Service(controller, runner)
    app, standing, told, aside = _shared()
    standing.present, told.present, aside.present = lambda: service, lambda: metrics, lambda: shadow
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        found = Beside(client, shadow, now)
        await shadow.take([Notice("e1", "a1", Told.CREATION, stored(), now[0])])
        yield found


@pytest.fixture
async def it() -> AsyncIterator[Beside]:
    async with beside() as found:
        yield found


async def disagree(it: Beside) -> None:
    it.now[0] += 100
    detail = {"state": "alarm", "transition_reason": "because"}
    await it.shadow.take([Notice("e2", "a1", Told.STATE_TRANSITION, detail, it.now[0])])
    it.now[0] += 1000
    await it.shadow.look()


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_nothing_can_be_changed_at_a_shadow(it: Beside, method: str, path: str) -> None:
    answer = await it.client.request(method, path, headers=ADMIN, json={})

    assert answer.status_code == 409
    said = answer.json()
    text = said["error_message"]["faultstring"] if path.startswith("/v2") else said["error"]["message"]
    assert text.startswith("this controller is a shadow (AUTOSCALER_SHADOW): it follows Aodh's alarms")


async def test_who_may_not_is_told_so_first(it: Beside) -> None:
    headers = ADMIN | {"X-Project-Id": "any"}

    assert (await it.client.post("/v1/freeze", headers=headers)).status_code == 400


async def test_it_can_be_read_and_asked(it: Beside) -> None:
    assert (await it.client.get("/v2/alarms/a1", headers=MEMBER)).json()["name"] == "busy"
    query = {"filter": '{"=": {"name": "busy"}}'}
    (found,) = (await it.client.post("/v2/query/alarms", json=query, headers=MEMBER)).json()
    assert found["alarm_id"] == "a1"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/measures"),
        ("POST", "/v1/samples"),
        ("POST", "/v1/events"),
        ("POST", "/api/v1/write"),
        ("POST", "/v1/batch/resources/metrics/measures"),
        ("PATCH", "/v1/resource/generic/r1"),
        ("POST", "/gnocchi/v1/resource/generic"),
    ],
)
async def test_whoever_sends_measures_gets_past_the_shadow(it: Beside, method: str, path: str) -> None:
    answer = await it.client.request(method, path, headers=ADMIN, content=b"?")

    assert answer.status_code not in {405, 409}


async def test_the_report(it: Beside) -> None:
    await disagree(it)
    found = (await it.client.get("/v1/shadow", headers=ADMIN)).json()
    (line,) = found.pop("disagreements")

    assert found == {
        "began": "2027-01-15T08:00:00Z",
        "alarms": 1,
        "agreed": 0,
        "disagreed": 1,
        "agreement": {"decisions": 0.0, "time": 9.09},
        "earlier": {"median": None, "p95": None},
        "differences": {"no data here": 1},
        "uncompared": {},
        "open": 0,
        "notices": 2,
        "not_understood": 0,
    }
    assert line == {
        "alarm_id": "a1",
        "name": "busy",
        "side": "aodh",
        "time": "2027-01-15T08:01:40Z",
        "previous": "insufficient data",
        "state": "alarm",
        "reason": "because",
        "beside": "Remaining as insufficient data due to 0 samples outside threshold, most recent: None",
        "actions": ["http://***@hooks.example.org/a?token=***"],
        "difference": "no data here",
        "text": "our window had too little data while Aodh's had enough",
    }


async def test_the_report_of_one_alarm(it: Beside) -> None:
    await disagree(it)

    assert (await it.client.get("/v1/shadow", params={"alarm": "a1"}, headers=ADMIN)).json()["disagreed"] == 1
    assert (await it.client.get("/v1/shadow", params={"alarm": "x"}, headers=ADMIN)).status_code == 404
    assert (await it.client.get("/v1/shadow", params={"limit": 0}, headers=ADMIN)).status_code == 400


async def test_the_report_is_the_operators(it: Beside) -> None:
    assert (await it.client.get("/v1/shadow", headers=MEMBER)).status_code == 403


async def test_metrics_count_differences_by_reason(it: Beside) -> None:
    await disagree(it)
    text = (await it.client.get("/metrics")).text

    assert 'autoscaler_shadow_disagreements_total{reason="no data here"} 1.0' in text
    assert "autoscaler_shadow_agreements_total 0.0" in text


async def test_a_controller_at_work_has_no_such_report(api: Api) -> None:
    answer = await api.client.get("/v1/shadow")

    assert answer.status_code == 404
    assert "AUTOSCALER_SHADOW" in answer.json()["error"]["message"]
