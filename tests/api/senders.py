"""The paths that OpenStack's and Prometheus' senders use, on a running controller, and whoever sends to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from fastapi import FastAPI
from starlette.requests import Request

from autoscaler.api import faults
from autoscaler.api.authentication import Authentication
from autoscaler.api.callers import RequestIds
from autoscaler.api.identity import Identity, with_implied
from autoscaler.api.senders import routes
from autoscaler.engine.service import Service
from autoscaler.measures.measure import Measure
from autoscaler.ports import Batch
from tests.api.running import Api, decoders, running

OPERATOR = Identity("", "", frozenset(), operator=True)


def keystone(*roles: str, project_id: str = "p1") -> Identity:
    """Somebody whom Keystone knows."""
    return Identity("u1", project_id, with_implied(frozenset(roles)), token="t", checked=True)


def noauth(*roles: str, project_id: str = "p1") -> Identity:
    """Somebody whose headers are believed."""
    return Identity("u1", project_id, with_implied(frozenset(roles)))


class Watched(Service):
    """A service that tells what it was given."""

    batches: list[Batch]

    @classmethod
    def of(cls, api: Api) -> Watched:
        watched = cls(api.controller, api.runner)
        watched.batches = []
        return watched

    async def take(self, batch: Batch) -> list[Measure]:
        self.batches.append(batch)
        return await super().take(batch)


@dataclass
class Senders:
    """A client of these paths.

    Attributes:
        who: whoever asks from now on.
    """

    api: Api
    client: httpx.AsyncClient
    service: Watched
    who: Identity = field(default=OPERATOR)

    @property
    def measures(self) -> list[Measure]:
        """All that were taken so far."""
        return [measure for batch in self.service.batches for measure in batch.measures]


@asynccontextmanager
async def sending(*, trusted: bool = True) -> AsyncIterator[Senders]:
    """A controller at work, and these paths on it; sources are trusted where nobody says who asks."""
    async with running() as api:
        service = Watched.of(api)
        app = FastAPI(openapi_url=None)
        faults.install(app)
        senders: list[Senders] = []

        async def authenticate(_: Request) -> Identity:
            return senders[0].who

        app.add_middleware(Authentication, authenticate=authenticate)
        app.add_middleware(RequestIds)
        app.router.routes.extend(routes(service, decoders(trusted=trusted)))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            senders.append(Senders(api, client, service))
            yield senders[0]
