"""``POST /v1/measures``: a plain route, since it is asked thousands of times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from autoscaler.api.faults import fault, unavailable
from autoscaler.errors import Rejection, TemporaryError
from autoscaler.ports import Batch, Undecoded

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.engine.service import Service
    from autoscaler.measures.measure import Measure

SOURCE: Final = "http"
MAX_BYTES: Final = 1024 * 1024
"""Of a body."""
PATIENCE: Final = 5.0
"""Seconds that a request waits for the store."""
MAX_PENDING: Final = 200_000
"""Measures that may wait to be written before senders are asked to come back."""
KEPT: Final = 65_536
"""Bytes of a body too long to be taken that are kept as a dead letter."""


class Decoded(Protocol):
    """A message taken apart."""

    @property
    def measures(self) -> Sequence[Measure]:
        """In the order of the message."""
        ...

    @property
    def indexes(self) -> Sequence[int]:
        """Of each measure in the message, from 0."""
        ...

    @property
    def rejected(self) -> Sequence[Undecoded]:
        """The others."""
        ...


DESCRIBED: Final[dict[str, Any]] = {
    "post": {
        "tags": ["measures"],
        "summary": "Measures",
        "description": "One measure, a list, or one per line; answered when they are written.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["metric", "resource_id", "timestamp", "value"],
                        "additionalProperties": False,
                        "properties": {
                            "metric": {"type": "string"},
                            "resource_id": {"type": "string"},
                            "timestamp": {"oneOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]},
                            "value": {"type": "number"},
                            "unit": {"type": "string"},
                            "project_id": {"type": "string"},
                            "metadata": {"type": "object"},
                        },
                    }
                }
            },
        },
        "responses": {
            "202": {"description": "How many were accepted, and for each rejected one its index and the reason."},
            "400": {"description": "Nothing of the body could be read."},
            "413": {"description": "The body is too long."},
            "503": {"description": "The store is away; send the same again."},
        },
    }
}
"""This path in OpenAPI, of which a plain route says nothing."""

Decode = Callable[[bytes], Decoded]
"""The measures of a body, and what of it could not be taken; never raises."""


class Rejected(msgspec.Struct, frozen=True):
    """A measure that was not taken; ``index`` counts from 0."""

    index: int
    reason: str
    detail: str


class Taken(msgspec.Struct, frozen=True):
    """The answer."""

    accepted: int
    rejected: list[Rejected]


class MeasuresEndpoint:
    """Takes measures and answers when they are written."""

    def __init__(self, service: Service, decode: Decode) -> None:
        self._service = service
        self._decode = decode

    async def post(self, request: Request) -> Response:
        """The answer to one POST."""
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            return fault(415, "expected a body without content-encoding")
        busy = self._busy()
        if busy:
            return unavailable(busy)
        try:
            body, whole = await _read(request)
        except ClientDisconnect:
            return fault(400, "the body ended too early")
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._took(body) if whole else await self._too_long(body)
        except (TimeoutError, TemporaryError):
            # whatever of it is stored after all is harmless when it is sent again
            return unavailable("the store is away; send the same measures again")

    def _busy(self) -> str:
        runner = self._service.runner
        if runner.store_error:
            return "the store is away; nothing of this was stored"
        if runner.lag.pending > MAX_PENDING:
            return f"{runner.lag.pending} measures wait to be written; nothing of this was stored"
        return ""

    async def _too_long(self, head: bytes) -> Response:
        message = f"the body is longer than {MAX_BYTES} bytes; nothing of it was stored"
        found = Undecoded(Rejection.TOO_LONG, message, head[:KEPT].decode(errors="replace"))
        await self._service.take(Batch((), (found,), SOURCE))
        return fault(413, message)

    async def _took(self, body: bytes) -> Response:
        decoded = self._decode(body)
        refused = await self._service.take(Batch(decoded.measures, decoded.rejected, SOURCE))
        whole = next((found for found in decoded.rejected if found.index is None), None)
        if whole is not None:
            return fault(400, f"{whole.rejection}: {whole.detail}")
        rejected = [Rejected(found.index or 0, found.rejection, found.detail) for found in decoded.rejected]
        if refused:
            rejected += _without_room(decoded, refused)
        taken = Taken(len(decoded.measures) - len(refused), sorted(rejected, key=lambda found: found.index))
        return Response(msgspec.json.encode(taken), status_code=202, media_type="application/json")


def _without_room(decoded: Decoded, refused: Sequence[Measure]) -> list[Rejected]:
    ids = {id(measure) for measure in refused}
    detail = "the window has as many series as it may have"
    return [
        Rejected(index, Rejection.TOO_MANY_SERIES, detail)
        for index, measure in zip(decoded.indexes, decoded.measures, strict=True)
        if id(measure) in ids
    ]


async def _read(request: Request) -> tuple[bytes, bool]:
    """The body, or its beginning and False where it is too long; no more of it is held than is taken."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            return bytes(body[:MAX_BYTES]), False
    return bytes(body), True
