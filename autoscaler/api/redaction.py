"""Action URLs as they may be shown: without what opens a door."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing import Final

HIDDEN: Final = "***"


def shown(url: str) -> str:
    """``url`` with user, password and every value of its query hidden; total.

    Every value, since nobody can list the names under which signatures and tokens travel.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    place = parts.netloc.rpartition("@")
    netloc = f"{HIDDEN}@{place[2]}" if place[1] else parts.netloc
    text = url.partition("?")[0].partition("#")[0]
    if place[1]:
        text = text.replace(parts.netloc, netloc, 1)
    return text + (f"?{_query(parts.query)}" if parts.query else "") + (f"#{HIDDEN}" if parts.fragment else "")


def _query(query: str) -> str:
    return "&".join(
        f"{pair.partition('=')[0]}={HIDDEN}" if "=" in pair else HIDDEN for pair in query.split("&") if pair
    )


def shown_row(payload: str) -> str:
    """An undelivered action's payload with its URL as :func:`shown`; total."""
    try:
        row = json.loads(payload)
    except ValueError:
        return HIDDEN  # cut off in the middle, perhaps of the URL
    if isinstance(row, dict) and isinstance(row.get("url"), str):
        row["url"] = shown(row["url"])
    return json.dumps(row)
