"""Who is measured: controllers and references, each a process that stands still unless it is its turn."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Protocol

import psutil
import redis

from autoscaler.adapters.redis import RedisStore
from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.definition import Definition
from bench.alarms import MARKER_ID, define, marker, rules
from bench.publish import Publisher, marking
from tests.e2e.controller import ControllerProcess
from tests.servers import RedisCluster, RedisServer, free_port

PATIENCE: Final = 60.0
"""Seconds that a round may take."""
LOOK: Final = 0.003
"""Seconds between two looks whether a controller is through."""
SOON: Final = 20.0
"""Seconds within which a mark that was not looked at yet would be due."""
SETTLING: Final = 600.0
"""Seconds that a controller may need for its first look at all that it has."""


class Contestant(Protocol):
    """A process that takes what is published."""

    name: str

    def halt(self) -> None:
        """Let it stand still."""
        ...

    def go(self) -> None:
        """Let it run."""
        ...

    async def through(self) -> None:
        """Wait until it has taken the last message of the round, and whatever follows from it."""
        ...


class Controller:
    """A real controller on a Redis of its own.

    Args:
        folder: for its files.
        settings: as of :class:`ControllerProcess`, for its sources.
        alarms: declared in a file, beside the marker.
        beside: one whose Redis is used; None for one of its own.
        cluster: whether its own is a cluster of three nodes.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        settings: dict[str, str],
        alarms: Iterable[dict[str, Any]] = (),
        beside: Controller | None = None,
        *,
        cluster: bool = False,
    ) -> None:
        self.name = name
        self.redis: RedisServer | RedisCluster
        if beside is not None:
            self.redis = beside.redis
        else:
            self.redis = RedisCluster() if cluster else RedisServer()
        self._folder = folder / name
        (self._folder / "rules").mkdir(parents=True)
        (self._folder / "rules" / "bench.yaml").write_text(rules([marker(), *alarms]))
        self._settings = settings
        self._process: ControllerProcess
        self._state = AlarmState.INSUFFICIENT_DATA
        self.store: RedisStore

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        name: str,
        folder: Path,
        settings: dict[str, str],
        definitions: Iterable[Definition] = (),
        alarms: Iterable[dict[str, Any]] = (),
        beside: Controller | None = None,
        *,
        cluster: bool = False,
    ) -> AsyncIterator[Controller]:
        """One that is ready, and stands still.

        Args:
            definitions: of alarms that were made through the API before it starts.
        """
        controller = cls(name, folder, settings, alarms, beside, cluster=cluster)
        with controller.redis if beside is None else nullcontext():
            await define(controller.redis.url, definitions)
            controller.store = RedisStore(controller.redis.url)
            controller._process = ControllerProcess(
                controller._folder,
                port=free_port(),
                settings={
                    "REDIS_URL": controller.redis.url, "ALLOW_VOLATILE_REDIS": "true", "LOG_LEVEL": "warning",
                    "RULES": str(controller._folder / "rules"), **settings,
                },
            )  # fmt: skip
            try:
                with controller._process:
                    controller._process.until_ready()
                    controller.halt()
                    yield controller
            finally:
                await controller.store.close()

    @property
    def redis_ports(self) -> list[int]:
        """Of its Redis, each node's."""
        return [node.port for node in (self.redis.nodes if isinstance(self.redis, RedisCluster) else [self.redis])]

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def halt(self) -> None:
        """See :class:`Contestant`."""
        os.kill(self.pid, signal.SIGSTOP)

    def go(self) -> None:
        """See :class:`Contestant`."""
        os.kill(self.pid, signal.SIGCONT)

    async def through(self) -> None:
        """See :class:`Contestant`: the alarm that the last measure turns has turned."""
        end = time.monotonic() + PATIENCE
        while True:
            (record,) = await self.store.alarms([MARKER_ID])
            if record is not None and record.state not in {self._state, AlarmState.INSUFFICIENT_DATA}:
                self._state = record.state
                return
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name}: not through after {PATIENCE:g} s\n{self._process.log()}")
            await asyncio.sleep(LOOK)

    async def looked_at_all(self, server: redis.Redis, patience: float = PATIENCE) -> None:
        """Wait until nothing that is due now is still to be looked at."""
        end = time.monotonic() + patience
        soon = await self.store.now() + SOON
        works = list(server.scan_iter("*:work", count=1000))
        while True:
            pipeline = server.pipeline(transaction=False)
            for work in works:
                pipeline.zcount(work, "-inf", soon)
            if not any(pipeline.execute()):
                return
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name}: not all windows were looked at after {patience:g} s")
            await asyncio.sleep(LOOK)

    async def settled(self) -> None:
        """It has looked at all that it was made with, and stands still again: that happens once."""
        self.go()
        for port in self.redis_ports:
            with redis.Redis(port=port) as server:
                await self.looked_at_all(server, SETTLING)
        self.halt()

    def end(self) -> None:
        """Have it end in its own time; its Redis stays."""
        self.go()
        self._process.end()

    def started(self) -> float:
        """Seconds from its start until it is ready."""
        began = time.perf_counter()
        self._process.start()
        self._process.until_ready()
        return time.perf_counter() - began

    def resident(self) -> float:
        """MiB."""
        return psutil.Process(self.pid).memory_info().rss / 2**20

    def cpu_seconds(self) -> float:
        """That it has taken so far."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


class Reference:
    """One of :mod:`bench.reference`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self._process = process

    @classmethod
    @asynccontextmanager
    async def running(cls, *words: str) -> AsyncIterator[Reference]:
        """One that is ready, and stands still."""
        command = [sys.executable, "-m", "bench.reference", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        try:
            reference = cls(words[0], process)
            await reference._heard("ready")
            reference.halt()
            yield reference
        finally:
            process.kill()
            process.wait(30)

    def halt(self) -> None:
        """See :class:`Contestant`."""
        self._process.send_signal(signal.SIGSTOP)

    def go(self) -> None:
        """See :class:`Contestant`."""
        self._process.send_signal(signal.SIGCONT)

    async def through(self) -> None:
        """See :class:`Contestant`."""
        await self._heard("done")

    async def _heard(self, word: str) -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            said = await asyncio.to_thread(self._process.stdout.readline)
        if said.decode().strip() != word:
            raise RuntimeError(f"the reference {self.name} said {said!r} instead of {word}")


class Race:
    """Rounds in which contestants take the same messages, one after another."""

    def __init__(self, publisher: Publisher, contestants: Sequence[Contestant]) -> None:
        self._publisher = publisher
        self._contestants = list(contestants)
        self._rounds = 0

    async def run(self, messages: Sequence[bytes]) -> dict[str, float]:
        """Seconds that each needs for all of them, by name; who begins changes from round to round."""
        self._rounds += 1
        await self._publisher.publish([*messages, marking(self._rounds % 2 * 100.0)])
        found = {}
        for contestant in self._contestants:
            began = time.perf_counter()
            contestant.go()
            await contestant.through()
            found[contestant.name] = time.perf_counter() - began
            contestant.halt()
        self._contestants.reverse()
        return found
