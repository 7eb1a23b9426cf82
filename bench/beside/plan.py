"""What is measured when: the same for whoever is looked at."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field

AGENTS = 20
"""Collectors that report in turns, each on its share of the resources, in one batch."""
LOW, HIGH, THRESHOLD = 10.0, 90.0, 50.0


@dataclass
class Plan:
    """Resources of one metric, each measured once per interval, of which some breach their threshold.

    Attributes:
        interval: seconds between two measures of a resource.
        seconds: length of the stretch in which the breaches fall.
        resources: ids.
        breaches: by resource, seconds into the stretch from which on it is high, and stays so.
    """

    alarms: int
    interval: float
    breaching: int
    seconds: float
    resources: list[str] = field(init=False)
    breaches: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        draw = random.Random(1)
        self.resources = [str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in range(self.alarms)]
        drawn = draw.sample(self.resources, self.breaching)
        self.breaches = {resource: draw.uniform(0, self.seconds) for resource in drawn}

    def first(self, now: float) -> float:
        """When the first batch is due, the others following a step apart: midway between the ends of granules."""
        step = self.interval / AGENTS
        return (now // step + 1.5) * step

    def batch(self, number: int, into: float) -> dict[str, float]:
        """Values of the batch of that number, by resource, so many seconds into the stretch (negative before it)."""
        return {
            resource: HIGH if into >= self.breaches.get(resource, float("inf")) else LOW
            for resource in self.resources[number % AGENTS :: AGENTS]
        }
