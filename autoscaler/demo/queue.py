"""The demo's job queue: a service that hands jobs to whoever connects, and knows how long they really took.

Lines over TCP on this machine: a worker says ``hello MEMBER PID``, is sent ``job NUMBER WAITING COMPUTING`` whenever
it is free, and answers ``done NUMBER``. The job of a worker that goes away is the next to be handed out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

RECENT = 5.0
"""Seconds of finished jobs that the present latency is taken from."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do.

    Attributes:
        waiting: seconds it waits, as for a disk.
        computing: seconds of CPU it needs.
        put_at: seconds, by the queue's clock.
    """

    number: int
    waiting: float
    computing: float
    put_at: float


@dataclass(frozen=True, slots=True)
class Finished:
    """When a job was done, and how long after it was put into the queue; seconds."""

    at: float
    latency: float


class JobQueue:
    """To be entered before use; its clock is the event loop's.

    Attributes:
        port: where workers connect.
        workers: process ids of those connected, by member id.
        served: jobs done so far.
        finished: all that were done, oldest first, as far as kept.
    """

    def __init__(self) -> None:
        self.port = 0
        self.workers: dict[str, int] = {}
        self.served = 0
        self.finished: deque[Finished] = deque(maxlen=100_000)
        self._jobs: deque[Job] = deque()
        self._arrived = asyncio.Condition()
        self._numbers = 0
        self._in_hand = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    @property
    def length(self) -> int:
        """Jobs that nobody works on yet."""
        return len(self._jobs)

    @property
    def in_hand(self) -> int:
        """Jobs that somebody works on."""
        return self._in_hand

    async def put(self, waiting: float, computing: float) -> None:
        """Add a job at the end."""
        self._numbers += 1
        await self._add(Job(self._numbers, waiting, computing, self._now()), self._jobs.append)

    def latencies(self, since: float, until: float | None = None) -> list[float]:
        """Seconds that jobs done in (since, until] took, sorted."""
        end = self._now() if until is None else until
        return sorted(done.latency for done in self.finished if since < done.at <= end)

    def recent(self) -> list[float]:
        """Latencies of the last few seconds, sorted."""
        recent = []
        since = self._now() - RECENT
        for done in reversed(self.finished):
            if done.at <= since:
                break
            recent.append(done.latency)
        return sorted(recent)

    async def _add(self, job: Job, add: Callable[[Job], None]) -> None:
        async with self._arrived:
            add(job)
            self._arrived.notify_all()  # one of them may be leaving, and a single word be lost on it

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            with suppress(ConnectionError, asyncio.CancelledError, ValueError):  # gone, at an end, or no worker
                greeting, member, pid = (await reader.readline()).decode().split()
                if greeting == "hello":
                    with self._registered(member, int(pid)):
                        await self._employ(reader, writer)
        finally:
            self._connections.discard(connection)
            writer.close()

    @contextmanager
    def _registered(self, member: str, pid: int) -> Iterator[None]:
        self.workers[member] = pid
        try:
            yield
        finally:
            if self.workers.get(member) == pid:
                del self.workers[member]

    async def _employ(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand out jobs, one at a time, until the worker goes away."""
        while (job := await self._next(reader)) is not None:
            self._in_hand += 1
            done = False
            try:
                writer.write(f"job {job.number} {job.waiting:.6f} {job.computing:.6f}\n".encode())
                answer = (await reader.readline()).decode()
                done = answer == f"done {job.number}\n"
            finally:
                self._in_hand -= 1
                if not done:
                    await asyncio.shield(self._add(job, self._jobs.appendleft))
            if not done:
                return
            self.served += 1
            at = self._now()
            self.finished.append(Finished(at, at - job.put_at))

    async def _next(self, reader: asyncio.StreamReader) -> Job | None:
        """The next job, None when the worker goes away before there is one."""
        job: Job | None = None

        async def wait() -> None:
            nonlocal job
            async with self._arrived:
                await self._arrived.wait_for(lambda: bool(self._jobs))
                job = self._jobs.popleft()
            watcher.cancel()

        async def watch() -> None:
            with suppress(ConnectionError):
                await reader.read(1)  # an idle worker says nothing: this is its end
            waiter.cancel()

        async with asyncio.TaskGroup() as tasks:
            waiter = tasks.create_task(wait())
            watcher = tasks.create_task(watch())
        return job

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def percentile(values: list[float], percent: float) -> float | None:
    """The nearest-rank percentile of sorted ``values``; None for none."""
    if not values:
        return None
    return values[min(len(values) - 1, int(len(values) * percent / 100))]
