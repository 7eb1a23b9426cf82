"""oslo.messaging's envelope: version 2 holds the message as JSON in a text, version 1 is the message itself."""

from __future__ import annotations

from typing import Final

import msgspec

from autoscaler.adapters.sources.decode import brief, parsed, text_of
from autoscaler.errors import InvalidMeasureError, Rejection

_MESSAGE: Final = "oslo.message"
_VERSION: Final = "oslo.version"


def unwrapped(payload: bytes) -> object:
    """What a message holds, out of its envelope if it has one.

    Raises:
        InvalidMeasureError: it is no JSON, or of a version that is not known.
    """
    document = _json(payload)
    if not isinstance(document, dict) or _MESSAGE not in document:
        return document
    version, inner = document.get(_VERSION, "2.0"), document[_MESSAGE]
    if not isinstance(version, str) or version.partition(".")[0] not in {"1", "2"}:
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"{_VERSION}: expected 1.x or 2.x, found {brief(version)}")
    return _json(text_of(_MESSAGE, inner, 1 << 30).encode()) if isinstance(inner, str) else inner


def _json(document: bytes) -> object:
    try:
        return msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return parsed(document)  # NaN, or the reason in words
