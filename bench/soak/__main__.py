"""An hour and more at a steady rate, over hours, nights, a leap day and changes of the clock, with floods between.

    python -m bench.soak [--seconds 3600] [--rate 200] [--out docs/performance/soak]

Real Redis, RabbitMQ and Mosquitto, two controllers, hundreds of alarms. Ends with 1 when something was lost, told twice
or out of order, when a schedule did not fire once, or when a curve that should be flat is not.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import json
import platform
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import psutil

from bench.soak.plots import Panel, svg
from bench.soak.run import Findings, Plan, soak
from bench.soak.verdict import CONTROLLERS, OTHERS

SERVERS = ("redis", "rabbitmq", "mosquitto")
PANELS = {
    "memory": [
        Panel("Memory of the controllers, resident, MiB", [f"{name} rss MiB" for name in CONTROLLERS]),
        Panel("Memory of Redis and the brokers, MiB", ["redis used MiB", *(f"{name} rss MiB" for name in SERVERS)]),
        Panel("Open file descriptors", [f"{name} fds" for name in (*CONTROLLERS, *SERVERS)]),
    ],
    "lag": [
        Panel("Measures a second, sent and received", ["sent a second", "received a second"]),
        Panel(
            "Waiting: messages at the broker, measures in the controllers",
            ["queue messages", *(f"{name} pending" for name in CONTROLLERS)],
        ),
        Panel(
            "Age of the newest measure when it was evaluated, s (cut off at 60)",
            [f"{name} lag s" for name in CONTROLLERS],
        ),
        Panel("Transitions a second", ["transitions a second"]),
        Panel("Programs of this and others that want a core (load average of the machine)", ["machine load"]),
        Panel("Cores used", [f"{name} cores" for name in (*CONTROLLERS, *SERVERS, "soak")]),
    ],
}
LAG_SHOWN = 60.0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--share", type=float, default=1.0, help="of the 592 alarms")
    parser.add_argument("--disturbed", type=float, default=60.0, help="seconds of a disturbance, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--out", type=Path, help="folder for soak.json, samples.csv and the plots")
    asked = parser.parse_args()
    plan = Plan(
        seconds=asked.seconds,
        rate=asked.rate,
        seed=asked.seed,
        share=asked.share,
        longest=asked.disturbed,
        interval=asked.interval,
    )
    findings = Findings()
    # whoever ends it otherwise would leave what it has started
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            asyncio.run(soak(plan, Path(folder), findings, said=lambda text: print(text, flush=True)))
    finally:
        if asked.out is not None:
            write(findings, plan, asked.out)
    for name, value in findings.figures.items():
        print(f"{name:48} {value:>14,.10g}")
    print(f"\n{'curve':28} {'median':>12} {'rise':>10} {'allowed':>10} {'highest':>12}")
    for line in findings.lines:
        print(f"{line.name:28} {line.median:12.2f} {line.rise:10.2f} {line.allowed:10.2f} {line.highest:12.2f}")
    for broken in findings.broken:
        print(f"BROKEN {broken}")
    return 1 if findings.broken else 0


def write(findings: Findings, plan: Plan, out: Path) -> None:
    """Samples as CSV, the sums as JSON, and the plots."""
    out.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for sample in findings.samples for name in sample))
    with (out / "samples.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(names)
        rows.writerows(
            [[f"{sample[name]:.10g}" if name in sample else "" for name in names] for sample in findings.samples]
        )
    summed = {
        "plan": asdict(plan),
        "machine": {
            "cores": psutil.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30),
            "python": platform.python_version(),
        },
        "figures": findings.figures,
        "lines": [asdict(line) for line in findings.lines],
        "stretches": [asdict(stretch) for stretch in findings.stretches],
        "broken": findings.broken,
    }
    (out / "soak.json").write_text(json.dumps(summed, indent=1) + "\n")
    samples = findings.samples
    for before, after in itertools.pairwise(samples):
        seconds = after["seconds"] - before["seconds"]
        for name in ("sent", "received", "transitions"):
            after[f"{name} a second"] = (after[name] - before[name]) / seconds
    shown = [
        sample | {name: min(value, LAG_SHOWN) for name, value in sample.items() if name.endswith(" lag s")}
        for sample in samples
    ]
    kinds = sorted({name for sample in samples for name in sample if name.startswith("keys ") and name != OTHERS})
    panels = {**PANELS, "redis": [Panel("Keys in Redis, all; entries of work", ["redis keys", "work items"])]}
    some_kinds = [kinds[start : start + 6] for start in range(0, len(kinds), 6)]
    panels["redis"] += [Panel("Keys in Redis, by kind", some) for some in some_kinds]
    for name, some in panels.items():
        (out / f"{name}.svg").write_text(svg(shown, some, findings.stretches))


if __name__ == "__main__":
    sys.exit(main())
