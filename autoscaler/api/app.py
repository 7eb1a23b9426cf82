"""The application: every path of the API, made of one :class:`autoscaler.engine.service.Service`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from autoscaler import __version__
from autoscaler.api import alarms, audit, condition, faults, groups, letters, measures, policies, senders, shadow, v2
from autoscaler.api.authentication import METRICS, OPEN, Authentication, noauth
from autoscaler.api.bounds import Bounds
from autoscaler.api.callers import REQUEST_ID, OwnNames, RequestIds, SameOrigin

if TYPE_CHECKING:
    from autoscaler.api.failures import Failures
    from autoscaler.api.identity import Authenticate
    from autoscaler.api.intake import Decode
    from autoscaler.api.metrics import Metrics
    from autoscaler.engine.service import Service
    from autoscaler.engine.shadow import Shadow

Readiness = Callable[[], Awaitable[list[str]]]
"""What is missing before the controller does its work; empty when nothing is."""

DESCRIPTION = "Alarms, groups and policies of a running controller. Times are ISO 8601, UTC."


def create_app(
    service: Service,
    *,
    decode: Decode,
    decoders: senders.Decoders,
    metrics: Metrics,
    readiness: Readiness,
    cors_origins: Sequence[str] = (),
    authenticate: Authenticate | None = None,
    failures: Failures | None = None,
    metrics_open: bool = True,
    own_names: bool = False,
    aodh: v2.Options | None = None,
    beside: Shadow | None = None,
) -> FastAPI:
    """The API.

    Args:
        service: what it asks.
        decode: takes the body of ``POST /v1/measures`` apart.
        decoders: take apart what OpenStack's and Prometheus' senders send.
        metrics: what ``/metrics`` shows.
        readiness: what ``/readyz`` shows.
        cors_origins: origins whose pages may ask; none may change anything but these and the API's own.
        authenticate: who asks; None believes everybody's headers.
        failures: makes those wait who show many wrong tokens; None makes nobody wait.
        metrics_open: whether ``/metrics`` is shown to everybody.
        own_names: whether it is asked by addresses and this machine's own name only, see :class:`OwnNames`.
        aodh: settings of Aodh's API.
        beside: of a controller that changes nothing.
    """
    app = FastAPI(title="autoscaler", version=__version__, description=DESCRIPTION, redoc_url=None)
    taking = measures.MeasuresEndpoint(service, decode)
    sending = [Route("/v1/measures", taking.post, methods=["POST"]), *senders.routes(service, decoders)]
    app.router.routes.extend(sending)
    for router in (
        alarms.router(service),
        groups.router(service),
        policies.router(service),
        letters.router(service),
        audit.router(service),
        shadow.router(service, beside),
        condition.router(service, metrics, readiness, metrics_open=metrics_open),
        v2.router(service, aodh or v2.Options()),
    ):
        app.include_router(router)
    faults.install(app)
    _describe(app, {"/v1/measures": measures.DESCRIBED} | dict(senders.DESCRIBED))
    if beside is not None:
        app.add_middleware(shadow.Unchanging, open_routes=sending)
    # the last that is added is the first that is asked; a page's preflight bears no token
    app.add_middleware(
        Authentication,
        authenticate=authenticate or noauth(),
        failures=failures,
        refused=metrics.refused,
        open_paths=OPEN | {METRICS} if metrics_open else OPEN,
    )
    app.add_middleware(SameOrigin, allowed=cors_origins)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=[REQUEST_ID, "Location"],
        )
    if own_names:
        app.add_middleware(OwnNames, allowed=cors_origins)
    app.add_middleware(Bounds, sending=sending, refused=metrics.refused)
    app.add_middleware(RequestIds)
    return app


def _describe(app: FastAPI, described: Mapping[str, Mapping[str, Any]]) -> None:
    """Have OpenAPI tell of plain routes too."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generated()
        for path, methods in described.items():
            schema["paths"].setdefault(path, dict(methods))
        for path, methods in schema["paths"].items():
            if path not in described and not path.startswith("/v2") and path not in {"/", "/healthcheck"}:
                for operation in methods.values():
                    _describe_faults(operation["responses"])
        return schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to extend it


def _describe_faults(responses: dict[str, Any]) -> None:
    """Put what :mod:`autoscaler.api.faults` answers in the place of what FastAPI would."""
    responses.pop("422", None)
    for status, code in faults.CODES.items():
        if status == 500:
            continue  # nobody is promised one
        responses.setdefault(
            str(status), {"description": code.capitalize(), "content": {"application/json": {"schema": faults.SCHEMA}}}
        )
