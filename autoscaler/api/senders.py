"""The paths that OpenStack's and Prometheus' senders use, together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from autoscaler.api import ceilometer, events, gnocchi, remote_write

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.api.intake import Decode
    from autoscaler.engine.service import Service


@dataclass(frozen=True, slots=True)
class Decoders:
    """How their bodies are taken apart; whether projects that they name count is decided there.

    Attributes:
        gnocchi_trusted: whether resources may name their project where nobody says who asks.
        clock: Unix seconds.
    """

    samples: Decode
    events: Decode
    remote_write: Decode
    gnocchi: gnocchi.Decoder
    gnocchi_trusted: bool
    clock: Callable[[], float]


def routes(service: Service, decoders: Decoders) -> list[Route]:
    """Plain routes, to be put before FastAPI's own."""
    samples = ceilometer.SamplesEndpoint(service, decoders.samples)
    heard = events.EventsEndpoint(service, decoders.events)
    written = remote_write.RemoteWriteEndpoint(service, decoders.remote_write)
    resources = gnocchi.GnocchiEndpoints(
        service, decoders.gnocchi, trusted=decoders.gnocchi_trusted, clock=decoders.clock
    )
    return [
        Route(ceilometer.PATH, samples.post, methods=["POST"]),
        Route(events.PATH, heard.post, methods=["POST"]),
        Route(remote_write.PATH, written.post, methods=["POST"]),
        *resources.routes(),
    ]


DESCRIBED: Final[Mapping[str, dict[str, Any]]] = {
    ceilometer.PATH: ceilometer.DESCRIBED,
    events.PATH: events.DESCRIBED,
    remote_write.PATH: remote_write.DESCRIBED,
    **gnocchi.DESCRIBED,
}
"""These paths in OpenAPI, of which plain routes say nothing."""
