"""The load: low, then high, then low again, the same each time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.demo.queue import JobQueue

GOLDEN = 0.618033988749895
"""Steps of the golden ratio spread over [0, 1) evenly, whatever their number."""


@dataclass(frozen=True, slots=True)
class Level:
    """Jobs per second for some seconds."""

    name: str
    rate: float
    seconds: float


CURVE = (Level("low", 2.0, 10.0), Level("high", 14.0, 35.0), Level("low", 2.0, 75.0))
"""One round. One worker does 5 jobs a second, so the high level keeps about three of them busy all the time."""

COMPUTING = 0.003
"""Seconds of CPU that each job needs."""


def waiting(number: int) -> float:
    """Seconds that the job of this number waits: 0.1 to 0.3, 0.2 on average."""
    return 0.1 + 0.2 * (number * GOLDEN % 1.0)


async def rise_and_fall(queue: JobQueue, told: Callable[[Level, Level | None], None]) -> None:
    """Put jobs into the queue for ever; ``told`` hears of each level and the one before it."""
    loop = asyncio.get_running_loop()
    number, before, begins = 0, None, loop.time()
    while True:
        for level in CURVE:
            if before is None or level.rate != before.rate:
                told(level, before)
            before, ends = level, begins + level.seconds
            due = begins
            while due < ends:
                await asyncio.sleep(due - loop.time())
                number += 1
                await queue.put(waiting(number), COMPUTING)
                due += 1.0 / level.rate
            begins = ends
