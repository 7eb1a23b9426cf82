"""``make chaos``: faults by the hundred, and whether anything was lost. See ``docs/guides/chaos.md``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.controller import BROKEN, REVEALING
from tests.chaos.faults import BY_NAME, KILLS
from tests.chaos.report import table, write
from tests.chaos.rig import KINDS, Plan
from tests.chaos.run import AT_ONCE, run


def main() -> int:
    """0 where nothing is violated; of a build that is broken on purpose, where something is."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same faults (default 1)")
    parser.add_argument("--replicas", type=int, default=3, choices=(1, 2, 3))
    parser.add_argument("--store", choices=sorted(KINDS), default="redis")
    parser.add_argument("--only", default="", help="kinds, separated by commas; 'kills' for all kills")
    parser.add_argument("--broken", choices=sorted(BROKEN), default="", help="a build that must be found out")
    parser.add_argument("--lateness", type=float, default=60.0, help="seconds that exact alarms wait (default 60)")
    parser.add_argument("--rate", type=float, default=10.0, help="measures a second, of each broker (default 10)")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help=f"faults under way at a time (default {AT_ONCE})")
    parser.add_argument("--dead-for", type=float, default=0.0, help="seconds until who was killed is started again")
    parser.add_argument("--partitions", type=int, default=0, help="of the AMQP broker, in place of one queue")
    parser.add_argument("--folder", type=Path, help="for records and logs (default: a new one)")
    parser.add_argument("--json", type=Path, help="where the table goes for programs")
    asked = parser.parse_args()
    names = KILLS if asked.only == "kills" else tuple(name.strip() for name in asked.only.split(",") if name.strip())
    if asked.broken and not names:
        names = (REVEALING[asked.broken],)
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(BY_NAME)}")
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    plan = Plan(
        folder,
        asked.seed,
        asked.replicas,
        asked.store,
        asked.lateness,
        asked.broken,
        asked.rate,
        asked.dead_for,
        asked.partitions,
    )
    print(f"records and logs are in {folder}", file=sys.stderr)
    # as by Ctrl-C: everything that was started is ended
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    result = asyncio.run(run(plan, asked.faults, names, at_once=asked.at_once))
    print(table(result))
    write(result, asked.json or folder / "result.json")
    return 0 if bool(result.outcome.violations) == bool(plan.broken) else 1


if __name__ == "__main__":
    sys.exit(main())
