"""A worker: takes jobs from the queue, one at a time, and publishes how busy it really is.

Started by the controller's process target as ``python -m autoscaler.demo.worker``, with its name in AUTOSCALER_MEMBER
and the ports of queue and broker in DEMO_QUEUE_PORT and DEMO_MQTT_PORT. On SIGTERM it finishes the job in hand.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter, process_time

from autoscaler.adapters.clock import now
from autoscaler.demo.bus import Bus, measure

INTERVAL = 0.5
"""Seconds over which utilisation is measured, and after which it is published."""


class Busy:
    """How much of the time something was being worked on; times are any clock's that runs evenly."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._begun: float | None = None
        self._total = 0.0

    def begin(self, now: float) -> None:
        """A job was taken."""
        self._begun = now

    def end(self, now: float) -> None:
        """The job is done."""
        if self._begun is not None:
            self._total += now - max(self._begun, self._since)
            self._begun = None

    def share(self, now: float) -> float:
        """Percent of the time since it was asked last, a job in hand included."""
        elapsed, begun = now - self._since, self._begun
        self.end(now)
        total = self._total
        self._since, self._begun, self._total = now, None if begun is None else now, 0.0
        return 100.0 * min(1.0, total / elapsed) if elapsed > 0 else 0.0


async def work(waiting: float, computing: float) -> None:
    """Do one job: compute for ``computing`` seconds of CPU, wait for ``waiting``, as for a database or a disk."""
    end = process_time() + computing
    while process_time() < end:
        sum(range(1000))
    await asyncio.sleep(waiting)


async def serve(member: str, queue_port: int, busy: Busy, ended: asyncio.Event) -> None:
    """Take jobs until the queue or ``ended`` says that it is enough."""
    reader, writer = await asyncio.open_connection("127.0.0.1", queue_port)
    writer.write(f"hello {member} {os.getpid()}\n".encode())
    try:
        while not ended.is_set() and (line := await _line(reader, ended)):
            _, number, waiting, computing = line.split()
            busy.begin(perf_counter())
            await work(float(waiting), float(computing))
            busy.end(perf_counter())
            writer.write(f"done {number}\n".encode())
            await writer.drain()
    finally:
        writer.close()


async def _line(reader: asyncio.StreamReader, ended: asyncio.Event) -> str:
    """The next line, or "" when there will be none or it is time to end."""
    line = ""

    async def read() -> None:
        nonlocal line
        with suppress(ConnectionError):
            line = (await reader.readline()).decode()
        watcher.cancel()

    async def watch() -> None:
        await ended.wait()
        listener.cancel()

    async with asyncio.TaskGroup() as tasks:
        listener = tasks.create_task(read())
        watcher = tasks.create_task(watch())
    return line


async def report(publish: Callable[[float], None], busy: Busy) -> None:
    """Publish the utilisation for ever."""
    while True:
        await asyncio.sleep(INTERVAL)
        publish(busy.share(perf_counter()))


async def main() -> None:
    """Work and report until told to stop."""
    member = os.environ["AUTOSCALER_MEMBER"]
    ended, busy = asyncio.Event(), Busy(perf_counter())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    with Bus(int(os.environ["DEMO_MQTT_PORT"]), member) as bus:

        def publish(share: float) -> None:
            bus.publish([measure("worker.utilisation", member, share, unit="%", now=now())])

        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(report(publish, busy))
            with suppress(ConnectionError):
                await serve(member, int(os.environ["DEMO_QUEUE_PORT"]), busy, ended)
            reporting.cancel()


if __name__ == "__main__":
    if not {"AUTOSCALER_MEMBER", "DEMO_QUEUE_PORT", "DEMO_MQTT_PORT"} <= os.environ.keys():
        sys.exit("This is a worker of `autoscaler demo`, which starts it; it cannot run alone.")
    asyncio.run(main())
