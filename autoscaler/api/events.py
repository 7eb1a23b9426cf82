"""``POST /v1/events``: events as Ceilometer's ``http://`` publisher sends them, or as anybody would write them.

An event without ``message_id`` is given one that is made of its content: the same told twice is one event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoscaler.api.intake import Decode, IntakeEndpoint
from autoscaler.declarations.tokens import Sends

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.engine.service import Service

PATH: Final = "/v1/events"
SOURCE: Final = "http events"

_EVENT: Final = {
    "type": "object",
    "required": ["event_type"],
    "properties": {
        "event_type": {"type": "string"},
        "message_id": {"type": "string"},
        "generated": {"type": "string", "format": "date-time"},
        "traits": {
            "oneOf": [
                {"type": "object", "description": "Values by name."},
                {
                    "type": "array",
                    "description": "[name, type, value]; type is 1 text, 2 integer, 3 float or 4 datetime.",
                    "items": {"type": "array", "minItems": 3, "maxItems": 3},
                },
            ]
        },
    },
}

DESCRIBED: Final[dict[str, Any]] = {
    "post": {
        "tags": ["events"],
        "summary": "Events",
        "description": "One event or a list; answered when every alarm that waits for them has heard them.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": [_EVENT, {"type": "array", "items": _EVENT}]}},
            },
        },
        "responses": {
            "202": {"description": "How many were accepted, and for each rejected one its index and the reason."},
            "400": {"description": "Nothing of the body could be read."},
            "401": {"description": "There is no valid token."},
            "403": {"description": "Only members of a project may send events."},
            "413": {"description": "The body is too long."},
            "415": {"description": "The body is compressed."},
            "503": {"description": "The store is away; send the same again."},
        },
    }
}
"""This path in OpenAPI, of which a plain route says nothing."""


class EventsEndpoint(IntakeEndpoint):
    """Takes events and answers when they were heard."""

    def __init__(self, service: Service, decode: Decode) -> None:
        super().__init__(service, decode, source=SOURCE, sends=Sends.EVENTS, kind="event")
