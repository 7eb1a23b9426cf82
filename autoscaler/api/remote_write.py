"""``POST /api/v1/write``: Prometheus' remote write 1.0.

Prometheus sends again what is answered with 5xx and drops what is answered with 4xx, so only a store that is away may
be a 5xx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from autoscaler.api.faults import fault
from autoscaler.api.intake import Decode, Intake, status_of
from autoscaler.declarations.tokens import Sends

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.api.identity import Identity
    from autoscaler.engine.service import Service

PATH: Final = "/api/v1/write"
SOURCE: Final = "prometheus"
MAX_BYTES: Final = 4 * 1024 * 1024
"""Of a body, compressed."""
TYPE: Final = "application/x-protobuf"
PROTO: Final = "prometheus.WriteRequest"

DESCRIBED: Final[dict[str, Any]] = {
    "post": {
        "tags": ["measures"],
        "summary": "Prometheus' remote write 1.0",
        # a schema would say nothing of it, and generators of requests stumble over the type
        "description": f"The body is a write request as {TYPE}, packed with snappy; answered when it is written.",
        "responses": {
            "204": {"description": "Taken; what of it could not be is in the dead letters."},
            "400": {"description": "Nothing of the body could be read."},
            "401": {"description": "There is no valid token."},
            "403": {"description": "Only members of a project may send measures."},
            "413": {"description": "The body is too long."},
            "415": {"description": "Not remote write 1.0."},
            "503": {"description": "The store is away; send the same again."},
        },
    }
}
"""This path in OpenAPI, of which a plain route says nothing."""


class RemoteWriteEndpoint:
    """Takes write requests and answers when they are written."""

    def __init__(self, service: Service, decode: Decode) -> None:
        self._intake = Intake(service, SOURCE, sends=Sends.REMOTE_WRITE, max_bytes=MAX_BYTES, encoding="snappy")
        self._decode = decode

    async def post(self, request: Request) -> Response:
        """The answer to one POST."""
        kind, _, parameters = request.headers.get("content-type", "").partition(";")
        proto = parameters.replace(" ", "").removeprefix("proto=") or PROTO
        if kind.strip().lower() != TYPE or proto != PROTO:
            return fault(415, f"expected remote write 1.0: {TYPE}, a {PROTO}")
        return await self._intake.answered(request, self._took)

    async def _took(self, body: bytes, identity: Identity) -> Response:
        message = self._intake.owned(self._decode(body), identity)
        await self._intake.write(message)
        whole = next((found for found in message.rejected if found.index is None), None)
        if whole is not None:
            return fault(status_of(whole), f"{whole.rejection}: {whole.detail}")
        return Response(status_code=204)
