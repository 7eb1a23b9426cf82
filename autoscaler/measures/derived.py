"""Metrics that are made of others, series by series, before anything is aggregated."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from typing import Final

PART: Final = "\x1f"
"""Between the resource id and the metric in the name of a series of any but the first metric of a window."""


class Rate(StrEnum):
    """What is taken of the base series; the spelling is that of the aggregation methods' prefixes."""

    NONE = ""
    PER_SECOND = "rate_per_second"


class Derivation(msgspec.Struct, frozen=True, kw_only=True):
    """value = scale x (base, or its change per second) / divisor, for each resource.

    Attributes:
        base: metric.
        rate: of the base.
        scale: factor.
        divisor: metric; "" for none. Where a sample of the base says the same in its metadata, that counts.
        divisor_metadata: keys of the base's metadata that hold the divisor, the first that is there.
    """

    base: str
    rate: Rate = Rate.NONE
    scale: float = 1.0
    divisor: str = ""
    divisor_metadata: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """What must be kept to work it out."""
        return (self.base, self.divisor) if self.divisor else (self.base,)


def series_name(resource_id: str, metric: str, first: str) -> str:
    """What a resource's series of ``metric`` is called in a window whose first metric is ``first``."""
    return resource_id if metric == first else f"{resource_id}{PART}{metric}"


def resource_of(name: str) -> str:
    """The resource that a series of a window belongs to."""
    return name.partition(PART)[0]
