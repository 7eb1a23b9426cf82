"""What was seen of something that is asked rather than told: a Prometheus server, a load balancer's pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of the answer to an instant query.

    Attributes:
        labels: as the server names them, ``__name__`` too.
        value: may be NaN or infinite, as Prometheus has them.
    """

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Samples:
    """The answer to an instant query."""

    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class PoolMembers:
    """The members of a pool that are unhealthy, as the load balancer describes them."""

    unhealthy: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing could be seen; ``reason`` is shown to the alarm's owner."""

    reason: str


Observation = Samples | PoolMembers | Unknown
