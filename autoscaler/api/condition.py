"""How the controller is: for probes, for Prometheus, and for people."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse, PlainTextResponse

from autoscaler import __version__
from autoscaler.api.asked import NO_QUERY
from autoscaler.api.authentication import METRICS
from autoscaler.api.callers import MONITORS, OPERATES
from autoscaler.api.identity import Asker
from autoscaler.api.metrics import CONTENT_TYPE, Metrics
from autoscaler.api.wire import ReadyAnswer, ReplicaAnswer, SourceAnswer, StatusAnswer
from autoscaler.errors import TemporaryError
from autoscaler.scaling.guards import iso

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.engine.service import GroupView, Service
    from autoscaler.ports import Source

PATIENCE: Final = 3.0
"""Seconds that a probe or a scrape waits for the store; shorter than what probes usually wait."""


UNTOLD: Final = "something; the log and /v1/status say what"
"""In the place of names of files and hosts, where strangers ask."""


def router(
    service: Service, metrics: Metrics, readiness: Callable[[], Awaitable[list[str]]], *, metrics_open: bool
) -> APIRouter:
    """The paths."""
    paths = APIRouter(tags=["condition"])

    @paths.get("/healthz", dependencies=[NO_QUERY])
    async def healthz() -> dict[str, str]:
        """That the process turns; nothing else is asked."""
        return {"status": "ok"}

    @paths.get("/readyz", dependencies=[NO_QUERY], response_model=ReadyAnswer, responses={503: {"model": ReadyAnswer}})
    async def readyz(asker: Asker) -> Response:
        """Whether the controller does its work; the operator is told what is missing where it does not."""
        missing = await _missing(readiness)
        shown = missing if asker.sees_all else [UNTOLD][: len(missing)]
        return JSONResponse({"missing": shown}, 503 if missing else 200)

    monitors = [] if metrics_open else [MONITORS]

    @paths.get(METRICS, dependencies=[NO_QUERY, *monitors], response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """For Prometheus, in its text format."""
        return Response(metrics.text(service.runner, await _groups(service)), media_type=CONTENT_TYPE)

    @paths.get("/v1/status", dependencies=[NO_QUERY, OPERATES])
    async def status() -> StatusAnswer:
        """This controller, its replicas and its sources."""
        return _status(service, await _missing(readiness))

    return paths


async def _missing(readiness: Callable[[], Awaitable[list[str]]]) -> list[str]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await readiness()
    except TimeoutError:
        return [f"the store has not answered within {PATIENCE:g} s"]
    except TemporaryError as error:
        return [str(error)]


async def _groups(service: Service) -> Sequence[GroupView]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await service.groups()
    except (TimeoutError, TemporaryError):
        return ()


def _status(service: Service, missing: list[str]) -> StatusAnswer:
    runner = service.runner
    replicas = [
        ReplicaAnswer(
            replica=replica.replica,
            version=replica.version,
            clock=iso(replica.clock),
            caught_up=replica.caught_up or replica.prompt,
            behind=replica.behind,
        )
        for replica in runner.replicas
    ]
    # what is taken over several links is one source to people
    named: dict[str, list[Source]] = {}
    for source in runner.sources:
        named.setdefault(source.name, []).append(source)
    behind = runner.behind()
    sources = [
        SourceAnswer(
            name=name,
            connected=all(source.connected for source in links),
            waiting=sum(source.waiting for source in links),
            behind=behind.get(name),
        )
        for name, links in named.items()
    ]
    return StatusAnswer(
        version=__version__,
        missing=missing,
        generation=service.generation,
        replicas=replicas,
        lag=runner.lag.newest,
        pending=runner.lag.pending,
        skew=runner.skew,
        store_error=runner.store_error or None,
        sources=sources,
    )
