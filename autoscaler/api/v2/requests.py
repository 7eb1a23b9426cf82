"""Reading what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from autoscaler.api.documents import document_of
from autoscaler.api.v2.errors import FaultError, unknown_argument

if TYPE_CHECKING:
    from typing import Final

MAX_BYTES: Final = 1024 * 1024
JSON: Final = frozenset(("", "application/json", "text/javascript", "application/javascript"))
FORM: Final = "application/x-www-form-urlencoded"


async def decoded(request: Request, argument: str) -> Any:
    """The body, which is JSON.

    Args:
        argument: what Aodh calls it where it is missing.

    Raises:
        FaultError: it is something else, nothing, or too long.
    """
    sent = await _bytes(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent and kind == FORM:
        # what curl says unless told otherwise
        names = [name for name, _ in parse_qsl(sent.decode(errors="replace"), keep_blank_values=True)]
        raise unknown_argument([name[:1000] for name in names] or ["body"])
    if not sent:
        raise FaultError(400, f'Missing argument: "{argument}"')
    if kind not in JSON:
        raise FaultError(415, f"Unknown mimetype: {kind}")
    try:
        return document_of(sent)
    except ValueError as error:
        raise FaultError(400, f"Request is not in valid JSON format: {error}") from error


async def _bytes(request: Request) -> bytes:
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > MAX_BYTES:
            raise FaultError(413, f"A request may have at most {MAX_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)
