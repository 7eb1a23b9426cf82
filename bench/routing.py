"""How fast measures find their windows, and what it costs that alarms come and go meanwhile; nothing is stored.

Each series has an alarm of its own. With more alarms than series the others look elsewhere on the same metric, by one
equality each, which is the case that must not cost more.

    python bench/routing.py [--measures 20000] [--series 10000] [--alarms 10000 100000]
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.rules import Rule
from autoscaler.engine.route import Router
from autoscaler.measures.match import Equals
from autoscaler.measures.measure import Measure

REPEATS = 7


def alarm(number: int, attribute: str) -> Alarm:
    """One that looks at the series of the same number."""
    rule = Rule(
        metric="cpu",
        match=Equals(attribute, f"r{number}"),
        single=attribute == "resource_id",
        aggregation_method="mean",
        threshold=50.0,
    )
    return Alarm(alarm_id=f"a{number:06}", name=f"n{number}", type="threshold", rule=rule)


def seconds(what: Callable[[], object]) -> float:
    """The best of some runs, by the process' own clock."""
    best = float("inf")
    for _ in range(REPEATS):
        gc.collect()
        begun = time.process_time()
        what()
        best = min(best, time.process_time() - begun)
    return best


def measures_of(asked: argparse.Namespace, flavor: str) -> list[Measure]:
    """So many measures, each series in turn."""
    return [
        Measure(
            "cpu",
            f"r{number % asked.series}",
            1000.0 + number // asked.series,
            1.0,
            metadata={"server_group": f"r{number % asked.series}", "flavor": flavor},
        )
        for number in range(asked.measures)
    ]


def measure_routing(attribute: str, alarms: int, asked: argparse.Namespace) -> None:
    """Print what routing and changing cost with so many alarms."""
    declared = [alarm(number, attribute) for number in range(alarms)]
    measures, others = measures_of(asked, "m1"), measures_of(asked, "m2")
    gc.freeze()
    begun = time.process_time()
    router = Router(declared)
    added = (time.process_time() - begun) / alarms

    def route(batch: Sequence[Measure]) -> None:
        for measure in batch:
            router.route(measure)

    def change() -> None:
        for each in declared[:1000]:
            router.remove(each.alarm_id)
            router.put(each)

    route(others)
    known = seconds(lambda: route(others)) / asked.measures
    # each series says something else than the last time
    afresh = seconds(lambda: route([*measures[: asked.series], *others[: asked.series]])) / (2 * asked.series)
    changed = seconds(change) / (2 * min(1000, alarms))
    print(
        f"{attribute:12} {alarms:7} alarms: {known * 1e6:5.2f} us/measure, {afresh * 1e6:5.2f} of a series with new "
        f"metadata; {added * 1e6:5.1f} us/alarm added, {changed * 1e6:5.1f} us/change"
    )


def main() -> None:
    """Measure with few and with many alarms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measures", type=int, default=20_000)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--alarms", type=int, nargs="+", default=[10, 10_000, 100_000])
    asked = parser.parse_args()
    for attribute in ("resource_id", "server_group"):
        for alarms in asked.alarms:
            measure_routing(attribute, alarms, asked)


if __name__ == "__main__":
    main()
