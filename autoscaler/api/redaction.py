"""Undelivered actions as they may be shown: without what opens a door."""

from __future__ import annotations

import json

from autoscaler.redaction import HIDDEN, redacted


def shown_row(payload: str) -> str:
    """An undelivered action's payload with its URL redacted; total."""
    try:
        row = json.loads(payload)
    except ValueError:
        return HIDDEN  # cut off in the middle, perhaps of the URL
    if isinstance(row, dict) and isinstance(row.get("url"), str):
        row["url"] = redacted(row["url"])
    return json.dumps(row)
