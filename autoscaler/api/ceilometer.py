"""``POST /v1/samples``: what Ceilometer's ``http://`` publisher sends, with its basic authentication or without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoscaler.api.intake import Decode, IntakeEndpoint
from autoscaler.declarations.tokens import Sends

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.engine.service import Service

PATH: Final = "/v1/samples"
SOURCE: Final = "http samples"

_SAMPLE: Final = {
    "type": "object",
    "required": ["name", "volume", "resource_id", "timestamp"],
    "properties": {
        "name": {"type": "string"},
        "type": {"type": "string"},
        "unit": {"type": "string"},
        "volume": {"type": "number"},
        "resource_id": {"type": "string"},
        "project_id": {"type": ["string", "null"]},
        "user_id": {"type": ["string", "null"]},
        "timestamp": {"type": "string", "format": "date-time"},
        "resource_metadata": {"type": "object"},
    },
}

DESCRIBED: Final[dict[str, Any]] = {
    "post": {
        "tags": ["measures"],
        "summary": "Ceilometer's samples",
        "description": "One sample or a list, as its http publisher sends them; answered when they are written.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": [_SAMPLE, {"type": "array", "items": _SAMPLE}]}},
            },
        },
        "responses": {
            "202": {"description": "How many were accepted, and for each rejected one its index and the reason."},
            "400": {"description": "Nothing of the body could be read."},
            "401": {"description": "There is no valid token."},
            "403": {"description": "Only members of a project may send samples."},
            "413": {"description": "The body is too long."},
            "415": {"description": "The body is compressed."},
            "503": {"description": "The store is away; send the same again."},
        },
    }
}
"""This path in OpenAPI, of which a plain route says nothing."""


class SamplesEndpoint(IntakeEndpoint):
    """Takes samples and answers when they are written."""

    def __init__(self, service: Service, decode: Decode) -> None:
        super().__init__(service, decode, source=SOURCE, sends=Sends.SAMPLES)
