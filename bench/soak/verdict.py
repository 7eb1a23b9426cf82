"""Whether curves are flat: a robust line through the samples of the steady stretches."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Sample = dict[str, float]
"""What was seen at one moment, by name."""
SHARE, LEAST_MIB, LEAST_COUNT = 0.05, 6.0, 3.0
"""A curve is flat when its line rises over the whole run by less than 5 % of its median, or by less than 6 MiB or 3."""
LEAST_SERIES = 12.0
"""Of metrics: a reason that comes up for the first time is a series that was not there before."""
KEPT_FOR_A_TIME = ("history", "window", "points")
"""Keys that outlive the alarm they are of: by ``AUTOSCALER_HISTORY_TTL``, and by an hour and a bit."""
OTHERS = "keys but those"
"""How many keys of other kinds there are."""
CONTROLLERS = ("first", "second")


@dataclass(frozen=True)
class Line:
    """A curve summed up.

    Attributes:
        median: of the steady samples.
        rise: of the line over the whole run, in the curve's unit.
        allowed: the most that still counts as flat.
        highest: of all samples, floods included.
    """

    name: str
    median: float
    rise: float
    allowed: float
    highest: float

    @property
    def is_flat(self) -> bool:
        """Whether it does not grow; one that falls is flat."""
        return self.rise <= self.allowed


def column(samples: Iterable[Sample], name: str) -> list[tuple[float, float]]:
    """(seconds, value) of the samples that have it; a kind of keys that was not there when keys were counted is 0."""
    counted = OTHERS if name.startswith("keys ") else name
    return [(sample["seconds"], sample.get(name, 0.0)) for sample in samples if counted in sample]


def curves(samples: Sequence[Sample]) -> list[str]:
    """Names of the curves that must be flat: of the controllers all, of the servers what they hold for us."""
    names = dict.fromkeys(name for sample in samples for name in sample)
    ours = tuple(f"{name} {what}" for name in CONTROLLERS for what in ("rss MiB", "uss MiB", "fds", "lag s", "pending"))
    single = ("redis used MiB", "redis fds", "rabbitmq fds", "queue messages", "metric series", "work items", OTHERS)
    kept = tuple(f"keys {kind}" for kind in KEPT_FOR_A_TIME)
    keys = [name for name in names if name.startswith("keys ") and name not in (*kept, OTHERS)]
    return [name for name in (*ours, *single) if name in names] + sorted(keys)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil and Sen's: the median of the slopes between all pairs; 0 for fewer than two points."""
    thinned = points[:: max(1, len(points) // 400)]
    slopes = [
        (second[1] - first[1]) / (second[0] - first[0])
        for number, first in enumerate(thinned)
        for second in thinned[number + 1 :]
        if second[0] > first[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


def line(samples: Sequence[Sample], name: str, seconds: float) -> Line:
    """The line of one curve; ``samples`` say by ``steady`` whether they count."""
    points = column([sample for sample in samples if sample["steady"]], name)
    median = statistics.median(value for _, value in points) if points else 0.0
    least = LEAST_MIB if name.endswith("MiB") else LEAST_SERIES if name == "metric series" else LEAST_COUNT
    everything = [value for _, value in column(samples, name)]
    return Line(name, median, slope(points) * seconds, max(SHARE * median, least), max(everything, default=0.0))
