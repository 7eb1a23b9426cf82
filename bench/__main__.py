"""How fast it is, held against what is physically there, in the same run: ``docs/performance.md``.

    python -m bench [--rounds 5] [--only batches] [--json FILE] [--flame FILE]

Real Redis, RabbitMQ and Mosquitto on loopback, and controllers as they are installed. In each round of a row both
the controller and its reference get the same, one after another; the other stands still meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import platform
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import psutil

from bench.due import due
from bench.latency import latency
from bench.rows import BY_KEY, ROWS, Measured, table
from bench.throughput import alarms, amqp, batches, mqtt
from bench.world import World

MEASURING: Final[dict[tuple[str, ...], Callable[[World], Awaitable[list[Measured]]]]] = {
    ("amqp",): amqp,
    ("mqtt",): mqtt,
    ("batches", "groups"): batches,
    ("alarms", "resident", "start"): alarms,
    ("due", "stored"): due,
    ("p50", "p99"): latency,
}
"""Which rows are measured together, and by what."""


async def measured(world: World, only: list[str]) -> list[Measured]:
    """The rows that are wanted, and those that are measured with them, in their order."""
    found: list[Measured] = []
    for keys, measure in MEASURING.items():
        if not only or set(keys) & set(only):
            print(", ".join(keys), flush=True)
            try:
                found += await measure(world)
            except TimeoutError as error:  # what else was measured is not lost
                print(f"  not measured: {error}", flush=True)
    return sorted(found, key=lambda each: ROWS.index(each.row))


def main() -> int:
    """The command; 1 where some row could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each row, beside the one to warm up")
    parser.add_argument("--only", nargs="*", default=[], choices=sorted(BY_KEY), metavar="ROW", help=", ".join(BY_KEY))
    parser.add_argument("--json", type=Path, help="file for the figures of every round")
    parser.add_argument("--flame", type=Path, help="file for a flame graph of the controller in the row `batches`")
    asked = parser.parse_args()
    load = psutil.getloadavg()[0]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nobody is left behind
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as servers:
        world = World(Path(folder), asked.rounds, servers, asked.flame)
        found = asyncio.run(measured(world, asked.only))
    print(f"\n{table(found)}")
    if asked.json is not None:
        machine = {
            "cores": psutil.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30),
            "python": platform.python_version(),
            "programs_that_want_a_core": round(load, 1),
        }
        rows = [each.document() for each in found]
        asked.json.write_text(json.dumps({"machine": machine, "rounds": asked.rounds, "rows": rows}, indent=1) + "\n")
    wanted = {key for keys in MEASURING if not asked.only or set(keys) & set(asked.only) for key in keys}
    return 0 if {each.row.key for each in found} == wanted else 1


if __name__ == "__main__":
    sys.exit(main())
