"""Undelivered actions as they may be shown: without what opens a door."""

from __future__ import annotations

import json

from autoscaler.redaction import HIDDEN, without_secrets


def shown_row(payload: str) -> str:
    """An undelivered action's payload without secrets, in its URL or its body; total.

    What is told of an alarm on the bus holds the URLs of its actions.
    """
    try:
        return json.dumps(without_secrets(json.loads(payload)))
    except (ValueError, RecursionError):
        return HIDDEN  # cut off in the middle, perhaps of the URL
