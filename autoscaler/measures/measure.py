"""A measure: one value of one metric of one resource at one time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from typing import Final

NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})


class Measure(msgspec.Struct, frozen=True, gc=False):
    """One (timestamp, value) of a metric, with what is needed to route it.

    Attributes:
        metric: name of the metric, e.g. ``cpu_util``.
        resource_id: the thing that was measured.
        timestamp: Unix seconds, UTC, event time.
        value: finite.
        project_id: "" where none came, or where its source is not trusted to name one.
        unit: as sent, for people only.
        metadata: flat; values as text. What rules match on.
    """

    metric: str
    resource_id: str
    timestamp: float
    value: float
    project_id: str = ""
    unit: str = ""
    metadata: Mapping[str, str] = NO_METADATA


def as_json(measure: Measure) -> str:
    """A measure as its sender would have written it, for people who look at what was not taken. Total."""
    return msgspec.json.encode(measure, enc_hook=dict).decode()  # no metadata is no dictionary
