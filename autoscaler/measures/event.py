"""An event: something that happened once, as Ceilometer tells it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

Trait = str | int | float | datetime
"""A date and time is naive and in UTC, as Aodh compares them."""


class Event(msgspec.Struct, frozen=True):
    """One event.

    Attributes:
        message_id: unique for ever; the same event told again has the same.
        event_type: e.g. ``compute.instance.update``.
        project_id: of its traits ``tenant_id`` or ``project_id``; "" where none came or its source is not trusted.
        traits: by name.
        document: as it was told; alarms pass it on.
    """

    message_id: str
    event_type: str
    project_id: str
    traits: Mapping[str, Trait]
    document: Mapping[str, Any]
