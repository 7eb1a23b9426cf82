"""``POST /v1/measures``: a plain route, since it is asked thousands of times a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoscaler.api.intake import Decode, IntakeEndpoint
from autoscaler.declarations.tokens import Sends

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.engine.service import Service

__all__ = ["DESCRIBED", "SOURCE", "Decode", "MeasuresEndpoint"]

SOURCE: Final = "http"

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
            "401": {"description": "There is no valid token."},
            "403": {"description": "Only members of a project may send measures."},
            "413": {"description": "The body is too long."},
            "503": {"description": "The store is away; send the same again."},
        },
    }
}
"""This path in OpenAPI, of which a plain route says nothing."""


class MeasuresEndpoint(IntakeEndpoint):
    """Takes measures and answers when they are written."""

    def __init__(self, service: Service, decode: Decode) -> None:
        super().__init__(service, decode, source=SOURCE, sends=Sends.MEASURES)
