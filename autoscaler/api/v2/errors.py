"""What goes wrong on Aodh's paths, as Aodh says it: ``{"error_message": {"faultcode", "faultstring", "debuginfo"}}``.

Heat shows ``faultstring`` to its users and fails on a body of another form.

Source:
    wsme/exc.py, 0.13.0, and aodh/api/controllers/v2/base.py, 23.0.0, for the texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

SHOWN = 255
"""Characters of a wrong value that are said back."""


class FaultError(Exception):
    """A request that cannot be done, with what is answered.

    Args:
        headers: sent beside the body.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


def answer(status: int, document: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A document as JSON."""
    return Response(msgspec.json.encode(document), status, dict(headers or {}), media_type="application/json")


def fault(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that failed."""
    faultcode = "Server" if status >= 500 else "Client"
    return answer(status, {"error_message": {"faultcode": faultcode, "faultstring": text, "debuginfo": None}}, headers)


def invalid(field: str, value: object, why: str) -> FaultError:
    """A value that its field does not take."""
    return FaultError(400, f"Invalid input for field/attribute {field}. Value: '{_shortened(str(value))}'. {why}")


def missing(field: str) -> FaultError:
    """A value that must be there."""
    return invalid(field, None, "Mandatory field missing.")


def unknown_attributes(place: str, names: Collection[str]) -> FaultError:
    """Keys of an object that it does not have."""
    plural = "s" if len(names) > 1 else ""
    return FaultError(400, f"Unknown attribute{plural} for argument {place}: {_shortened(', '.join(sorted(names)))}")


def unknown_argument(names: Collection[str], why: str = "") -> FaultError:
    """Parameters that a path does not have."""
    return FaultError(400, f'Unknown argument: "{", ".join(names)}"{": " if why else ""}{why}')


def not_found(alarm_id: str) -> FaultError:
    """There is no such alarm, or not for whoever asks."""
    return FaultError(404, f"Alarm {alarm_id} not found")


def forbidden() -> FaultError:
    """A role is missing."""
    return FaultError(403, "RBAC Authorization Failed")


def foreign(aspect: str, name: object) -> FaultError:
    """Something of another project or user was named."""
    return FaultError(401, f"Not Authorized to access {aspect} {name}")


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
