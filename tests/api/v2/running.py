"""The v2 API on the real engine, with a store in memory and a clock that is set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import httpx
from fastapi import FastAPI

from autoscaler.adapters.memory import MemoryStore
from autoscaler.api import faults
from autoscaler.api.authentication import Authentication, noauth
from autoscaler.api.callers import RequestIds
from autoscaler.api.identity import Identity
from autoscaler.api.v2 import Options, router
from autoscaler.declarations import Declarations, load
from autoscaler.engine.controller import Controller
from autoscaler.engine.run import Wake
from autoscaler.engine.service import Service
from autoscaler.errors import TrustScopedError
from tests.api.running import begun
from tests.api.standing import Standing

NOW = 1_800_000_000.0
PROJECT = "224b40564b204ac58bb4b4285c600ad8"
MEMBER = {"X-User-Id": "u1", "X-Project-Id": PROJECT, "X-Roles": "member"}
READER = MEMBER | {"X-Roles": "reader"}
ADMIN = {"X-User-Id": "adm", "X-Project-Id": PROJECT, "X-Roles": "admin"}
OTHER = {"X-User-Id": "u2", "X-Project-Id": "other", "X-Roles": "member"}
SERVICE_PROJECT = "5e55"

DECLARED = """
alarms:
  - name: declared
    type: threshold
    project_id: 224b40564b204ac58bb4b4285c600ad8
    rule: {metric: cpu, resource_id: vm-1, aggregation_method: mean, granularity: 60, threshold: 70}
  - name: everywhere
    type: aggregation
    project_id: any
    rule: {metric: cpu, match: {server_group: web}, aggregation_method: mean, granularity: 60, threshold: 70}
groups:
  - {name: web, project_id: 224b40564b204ac58bb4b4285c600ad8, min_size: 1, max_size: 5, target: {type: dry_run}}
  - {name: theirs, project_id: other, min_size: 1, max_size: 5, target: {type: dry_run}}
  - {name: ours, min_size: 1, max_size: 5, target: {type: dry_run}}
policies:
  - {name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 1}
  - {name: elsewhere, group: theirs, adjustment_type: change_in_capacity, scaling_adjustment: 1}
  - {name: operators, group: ours, adjustment_type: change_in_capacity, scaling_adjustment: 1}
"""


@dataclass
class Trusts:
    """Numbered trusts, as Keystone would hold them."""

    scoped: bool = False
    held: dict[str, str] = field(default_factory=dict)
    made: int = 0

    async def make(self, identity: Identity) -> str:
        if self.scoped:
            raise TrustScopedError("by a trust")
        self.made += 1
        self.held[f"trust{self.made}"] = identity.user_id
        return f"trust{self.made}"

    async def drop(self, trust_id: str) -> None:
        self.held.pop(trust_id, None)


@dataclass
class Api:
    """A running controller and a client of its API."""

    app: FastAPI
    client: httpx.AsyncClient
    service: Service
    store: MemoryStore
    controller: Controller
    trusts: Trusts
    now: list[float]

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = MEMBER, **more: Any
    ) -> httpx.Response:
        """One request; the clock goes on, so that no two of them are of the same time."""
        self.now[0] += 1.25
        content = {} if body is None else {"json": body}
        return await self.client.request(method, path, headers=headers, **content, **more)

    async def make(self, headers: Mapping[str, str] = MEMBER, **changes: Any) -> dict[str, Any]:
        """An alarm that is made."""
        answer = await self.ask("POST", "/v2/alarms", an_alarm(**changes), headers)
        assert answer.status_code == 201, answer.text
        return answer.json()


def an_alarm(**changes: Any) -> dict[str, Any]:
    """A body that is taken; None takes a key away."""
    body = {
        "name": "a",
        "type": "gnocchi_resources_threshold",
        "gnocchi_resources_threshold_rule": a_rule(),
    } | changes
    return {key: value for key, value in body.items() if value is not ...}


def a_rule(**changes: Any) -> dict[str, Any]:
    """The rule of an alarm on one resource; ``...`` takes a key away."""
    rule = {
        "metric": "m",
        "resource_id": "r",
        "resource_type": "instance",
        "threshold": 1,
        "aggregation_method": "mean",
    } | changes
    return {key: value for key, value in rule.items() if value is not ...}


def of(kind: str, **rule: Any) -> dict[str, Any]:
    """The body of an alarm of another type."""
    return an_alarm(type=kind, gnocchi_resources_threshold_rule=...) | {f"{kind}_rule": rule}


def by_resources(query: str = "{}", **changes: Any) -> dict[str, Any]:
    """The body of an alarm over resources that are searched for."""
    rule = a_rule(resource_id=..., **changes) | {"query": query}
    return of("gnocchi_aggregation_by_resources_threshold", **rule)


def message(answer: httpx.Response) -> str:
    """What an error says."""
    error = answer.json()["error_message"]
    assert error.keys() == {"faultcode", "faultstring", "debuginfo"}
    assert error["faultcode"] == ("Client" if answer.status_code < 500 else "Server")
    return str(error["faultstring"])


@cache
def _declared() -> Declarations:
    return load({"declared.yaml": DECLARED})


def _app(service: Any, options: Options) -> FastAPI:
    async def service_project() -> str:
        return SERVICE_PROJECT

    app = FastAPI(redoc_url=None)
    app.include_router(router(service, replace(options, service_project=service_project)))
    faults.install(app)
    app.add_middleware(Authentication, authenticate=noauth())
    app.add_middleware(RequestIds)
    return app


@cache
def _shared() -> tuple[FastAPI, Standing, Standing]:
    service, trusts = Standing(), Standing()
    return _app(service, Options(trusts=trusts)), service, trusts


@asynccontextmanager
async def running(options: Options | None = None, *, keystone: bool = True) -> AsyncIterator[Api]:
    """A controller with declarations; its loops stand still."""
    now, wake, trusts = [NOW], Wake(), Trusts()
    store = MemoryStore(lambda: now[0])
    controller, runner = await begun(_declared(), store, now, wake)
    service = Service(controller, runner)

    if options or not keystone:
        app = _app(service, replace(options or Options(), trusts=trusts if keystone else None))
    else:
        app, standing, their_trusts = _shared()
        standing.present, their_trusts.present = lambda: service, lambda: trusts
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield Api(app, client, service, store, controller, trusts, now)
