"""How many controllers and how much Redis a load takes: ``docs/guides/capacity.md``.

    python -m bench.capacity [--figures docs/performance] [--series 100000 --every 10 --alarms 100000 --batch 100]

Worked out from what ``make bench-plots`` has measured on one machine, in CPU time; nothing is measured here.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

BUSY: Final = 0.6
"""Share of a core that a process is planned to take: what comes in bursts is to be caught up with."""
POINT: Final = 16
"""Bytes of a point in a window."""
Figures = Mapping[str, Sequence[Mapping[str, Any]]]
"""By axis, what :mod:`bench.growth` writes for each of its points."""


@dataclass(frozen=True)
class Costs:
    """What one of each takes.

    Attributes:
        message: µs of a controller, of a message of AMQP beside its measures.
        measure: µs of a controller, of a measure that falls into a window which others of its batch fall into, too.
        window: µs of a controller, of a window that is written, looked at and done.
        stored_measure, stored_window: µs of Redis for the same.
        base_mib, alarm_kib: resident in each controller, whatever it does; for each alarm that there is.
        alarm_bytes: in Redis, of an alarm with a window of its own, without the points.
    """

    message: float
    measure: float
    window: float
    stored_measure: float
    stored_window: float
    base_mib: float
    alarm_kib: float
    alarm_bytes: float

    @classmethod
    def of(cls, figures: Figures) -> Costs:
        """What the measured points say.

        In one group of all series a batch writes one window; with as many series as measures each measure writes a
        window of its own. A message of one measure shows what the message takes.
        """
        shared, own = figures["members"][-1], figures["series"][-1]
        single, full = figures["batch"][0], figures["batch"][-1]
        message = max(0.0, (single["controller"] - own["controller"]) / (1 - 1 / full["at"]))
        measure = max(0.0, shared["controller"] - message / full["at"])
        few, many = figures["alarms"][0], figures["alarms"][-1]
        more = many["alarms"] - few["alarms"]
        alarm_kib = (many["resident_mib"] - few["resident_mib"]) * 1024 / more
        return cls(
            message=message,
            measure=measure,
            window=own["controller"] - shared["controller"],
            stored_measure=shared["redis"],
            stored_window=own["redis"] - shared["redis"],
            base_mib=few["resident_mib"] - few["alarms"] * alarm_kib / 1024,
            alarm_kib=alarm_kib,
            alarm_bytes=(many["stored_mib"] - few["stored_mib"]) * 2**20 / more,
        )


@dataclass(frozen=True)
class Load:
    """What is asked of it.

    Attributes:
        series: that report.
        every: seconds between two measures of a series.
        alarms: each of one series, which has no other.
        batch: measures of a message.
        points: that a window keeps of a series.
    """

    series: int
    every: float = 10.0
    alarms: int = 0
    batch: int = 100
    points: int = 30

    @property
    def rate(self) -> float:
        """Measures a second."""
        return self.series / self.every


@dataclass(frozen=True)
class Needs:
    """What it takes.

    Attributes:
        controllers: processes, each on a core that it has for itself.
        redis: primaries of Redis, likewise.
        messages: a second, for the broker.
        resident_mib: of each controller.
        stored_mib: of all primaries together.
    """

    controllers: int
    redis: int
    messages: float
    resident_mib: float
    stored_mib: float


def needs(costs: Costs, load: Load) -> Needs:
    """What a load takes, where it comes evenly and each measure of an alarm's series is a batch's only one of it."""
    watched = load.rate * min(1.0, load.alarms / load.series)
    controller = load.rate * (costs.message / load.batch + costs.measure) + watched * costs.window
    store = watched * (costs.stored_measure + costs.stored_window)
    return Needs(
        controllers=max(1, math.ceil(controller / 1e6 / BUSY)),
        redis=max(1, math.ceil(store / 1e6 / BUSY)),
        messages=load.rate / load.batch,
        resident_mib=costs.base_mib + load.alarms * costs.alarm_kib / 1024,
        stored_mib=load.alarms * (costs.alarm_bytes + load.points * POINT) / 2**20,
    )


def figures_in(folder: Path) -> Figures:
    """What :mod:`bench.growth` has left there."""
    return {
        axis: json.loads((folder / f"growth-{axis}.json").read_text())
        for axis in ("series", "members", "alarms", "batch")
    }


def table(costs: Costs, loads: Sequence[Load]) -> str:
    """For people."""
    lines = [
        "| series | every | alarms | measures/s | messages/s | controllers | MiB each | Redis primaries | MiB in all |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for load in loads:
        need = needs(costs, load)
        lines.append(
            f"| {load.series:,} | {load.every:g} s | {load.alarms:,} | {load.rate:,.0f} | {need.messages:,.0f} "
            f"| {need.controllers:,} | {need.resident_mib:,.0f} | {need.redis:,} | {need.stored_mib:,.0f} |"
        )
    return "\n".join(lines).replace(",", " ")


SCALES: Final = (
    Load(1_000, 10, 1_000),
    Load(10_000, 10, 10_000),
    Load(100_000, 60, 100_000),
    Load(100_000, 10, 100_000),
    Load(1_000_000, 60, 100_000),
    Load(1_000_000, 10, 1_000_000),
    Load(10_000_000, 10, 10_000_000),
)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path, default=Path("docs/performance"), help="folder of growth-*.json")
    parser.add_argument("--series", type=int, help="of one load; else of some of all sizes")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two measures of a series")
    parser.add_argument("--alarms", type=int, help="one for each series, unless it is said")
    parser.add_argument("--batch", type=int, default=100, help="measures of a message")
    parser.add_argument("--points", type=int, default=30, help="of a series that its window keeps")
    asked = parser.parse_args()
    costs = Costs.of(figures_in(asked.figures))
    loads: Sequence[Load] = SCALES
    if asked.series is not None:
        alarms = asked.series if asked.alarms is None else asked.alarms
        loads = [Load(asked.series, asked.every, alarms, asked.batch, asked.points)]
    for name, value in vars(costs).items():
        print(f"{name:16} {value:10.2f}")
    print(f"\n{table(costs, loads)}")


if __name__ == "__main__":
    main()
