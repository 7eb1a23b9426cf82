"""Why the API turns requests away before any path sees them: counted by reason, since nobody is told of each."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Refusal(StrEnum):
    """Label of the counter ``autoscaler_api_refused_total``."""

    NO_TOKEN = "no token"  # noqa: S105 - a reason
    WRONG_TOKEN = "wrong token"  # noqa: S105 - a reason
    TOO_MANY_WRONG_TOKENS = "too many wrong tokens"
    TOO_MANY_CONNECTIONS = "too many connections"
    NO_HTTP = "no http"
    TOO_SLOW = "too slow"
    HEADERS_TOO_LONG = "headers too long"
    URL_TOO_LONG = "url too long"
    BODY_TOO_LONG = "body too long"


Refused = Callable[[Refusal], None]
"""Told of each."""
