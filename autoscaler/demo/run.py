"""The demo as a whole: broker, controller, queue, load, and somebody who watches."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import structlog
from rich.console import Console

import autoscaler
from autoscaler.adapters import http
from autoscaler.adapters.clock import now
from autoscaler.adapters.targets.process import ProcessTarget
from autoscaler.demo.bus import GROUP, Bus, Measure, measure
from autoscaler.demo.load import CURVE, Level, rise_and_fall
from autoscaler.demo.observe import Kind, Observer
from autoscaler.demo.queue import JobQueue, percentile
from autoscaler.demo.show import LiveView, Picture, PlainView, View, counted
from autoscaler.errors import AutoscalerError
from autoscaler.scaling.group import Group

Missing = Callable[[], Awaitable[str]]
"""Answers what is missing, "" when nothing is."""

START_DEADLINE = 30.0
"""Seconds in which broker, controller and first worker must be there, each."""

LOOK_INTERVAL = 0.25
"""Seconds between two looks at everything."""

MEASURE_INTERVAL = 0.5
"""Seconds between two measures of the queue."""

SILENT_AFTER = 2.0
"""Seconds after which a worker that publishes nothing is left out of the picture."""


class DemoError(AutoscalerError):
    """The demo cannot be shown."""


def run_demo(duration: float | None, state_dir: Path | None, *, plain: bool) -> int:
    """Show the demo until SIGINT, SIGTERM or ``duration`` seconds; the exit status.

    Args:
        duration: seconds, None for ever.
        state_dir: where the controller keeps its state and its log; None means a folder that is removed at the end.
        plain: lines only, also on a terminal.
    """
    # what the controller logs goes to its own file, and our processes are told of in the demo's own words
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    console = Console()
    view: View = PlainView(_line) if plain or not console.is_terminal else LiveView(console)
    try:
        return asyncio.run(_show(duration, state_dir, view))
    except* (DemoError, OSError) as errors:
        for error in _leaves(errors):
            sys.stderr.write(f"The demo cannot be shown: {error}\n")
    return 1


def _line(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is what the user sees


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


async def _show(duration: float | None, state_dir: Path | None, view: View) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    began = loop.time()
    if duration is not None:
        loop.call_later(duration, ended.set)
    with _folder(state_dir) as folder:
        async with JobQueue() as queue, ProcessTarget() as processes, http.client(timeout=5) as client:
            ports = Ports(queue.port, *_free_ports(2))
            demo = Demo(folder, queue, processes, ports, view, began)
            demo.observer = Observer(client, f"http://127.0.0.1:{ports.api}", now(), demo.tell)
            with view:
                await demo.play(ended)
            summary = demo.summary()
            view.write("Ending: the controller and its workers, then the broker.")
            await demo.stop()
    view.write(summary)
    return 0


def _folder(state_dir: Path | None) -> AbstractContextManager[str]:
    """A folder that is removed at the end, or the user's own, which stays."""
    if state_dir is None:
        return tempfile.TemporaryDirectory(prefix="autoscaler-demo-")
    state_dir.mkdir(parents=True, exist_ok=True)
    return nullcontext(str(state_dir))


class _Over(Exception):  # noqa: N818 - nothing is wrong
    """It is time to end."""


@asynccontextmanager
async def _until(ended: asyncio.Event) -> AsyncIterator[None]:
    """Cancel what is inside once ``ended`` is set, and go on after it."""

    async def watch() -> None:
        await ended.wait()
        raise _Over

    try:
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(watch())
            yield
            watcher.cancel()
    except* _Over:
        pass


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on this machine."""

    queue: int
    mqtt: int
    api: int


def _free_ports(number: int) -> list[int]:
    """Ports that nobody listens on, found all at once so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports: list[int] = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def shipped(kind: str) -> Path:
    """The demo's own ``rules`` or ``policies`` file, in a wheel or in the repository.

    Raises:
        DemoError: there is none.
    """
    package = Path(autoscaler.__file__).parent
    for path in (package / "shipped" / kind / "demo.yaml", package.parent / kind / "demo.yaml"):
        if path.is_file():
            return path
    raise DemoError(f"{kind}/demo.yaml is not installed")


@dataclass(slots=True)
class Demo:
    """All that runs, and what was seen of it."""

    folder: str
    queue: JobQueue
    processes: ProcessTarget
    ports: Ports
    view: View
    began: float
    observer: Observer = field(init=False)
    level: Level = CURVE[0]
    risen_at: float | None = None  # loop time
    risen_now: float = 0.0  # Unix seconds
    grown_at: float | None = None  # loop time
    capacity: list[int] = field(default_factory=list)
    workers: dict[str, int] = field(default_factory=dict)
    controller_pid: int | None = None
    highest: int = 0
    heard: dict[str, tuple[float, float]] = field(default_factory=dict)  # member -> timestamp, percent

    # --- what runs ---------------------------------------------------------------------------------------------------

    async def play(self, ended: asyncio.Event) -> None:
        """Run everything until ``ended``."""
        with Bus(self.ports.mqtt, "demo", self._hear) as bus:
            async with _until(ended):
                await self._start()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(rise_and_fall(self.queue, self._load_changed))
                    tasks.create_task(self._publish(bus))
                    tasks.create_task(self._watch())

    async def stop(self) -> None:
        """End the controller and with it the workers, then the broker."""
        await self.processes.release(self._group("controller", ()))
        await self.processes.release(self._group("broker", ()))

    async def _start(self) -> None:
        if find_spec("amqtt") is None:
            raise DemoError("its MQTT broker is not installed: pip install 'autoscaler[demo]'")
        self.tell(Kind.NOTE, f"starting an MQTT broker on port {self.ports.mqtt}")
        python = [sys.executable, "-m"]
        await self._spawn("broker", [*python, "autoscaler.demo.broker", str(self.ports.mqtt)])
        await self._until_there("the broker", self._broker_missing)
        self.tell(Kind.NOTE, f"starting the controller with {shipped('rules')} and {shipped('policies')}")
        command = [
            *python, "autoscaler", "run",
            "--rules", str(shipped("rules")),
            "--policies", str(shipped("policies")),
            "--mqtt", f"mqtt://127.0.0.1:{self.ports.mqtt}",
            "--api", f"127.0.0.1:{self.ports.api}",
        ]  # fmt: skip
        await self._spawn("controller", command)
        await self._until_there("the controller", self.observer.ready)
        self._compare_controller()
        await self._until_there("the first worker", self._worker_missing)
        self.view.write(self._hints())

    async def _spawn(self, name: str, command: Sequence[str]) -> None:
        """Start a process whose output goes to a file, and again whenever it dies."""
        log = f"{self.folder}/{name}.log"
        logged = ("/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1 </dev/null', log, *command)
        await self.processes.resize(self._group(name, logged), 1, fence=1, deadline=10)

    def _group(self, name: str, command: Sequence[str]) -> Group:
        environment = {
            "AUTOSCALER_STATE_DIR": f"{self.folder}/state",
            "DEMO_QUEUE_PORT": str(self.ports.queue),
            "DEMO_MQTT_PORT": str(self.ports.mqtt),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }
        options: Mapping[str, object] = {"command": tuple(command), "env": environment, "graceful_stop": 20.0}
        return Group(name=name, min_size=0, max_size=1, target_type="process", target=options)

    async def _until_there(self, what: str, missing: Missing) -> None:
        """Wait until nothing is missing.

        Raises:
            DemoError: with what is missing, and the end of the logs.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_DEADLINE
        while problem := await missing():
            if loop.time() > deadline:
                raise DemoError(f"{what} is not there after {START_DEADLINE:.0f} s: {problem}\n{self._logged()}")
            await asyncio.sleep(0.05)

    async def _broker_missing(self) -> str:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.ports.mqtt)
        except OSError as error:
            return str(error)
        writer.close()
        return ""

    async def _worker_missing(self) -> str:
        return "" if self.queue.workers else "no worker has connected to the queue"

    def _logged(self) -> str:
        logs = sorted(Path(self.folder).glob("*.log"))
        return "\n".join(f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-15:])

    # --- what is measured and seen -----------------------------------------------------------------------------------

    async def _publish(self, bus: Bus) -> None:
        """Publish what the queue really is like."""
        while True:
            await asyncio.sleep(MEASURE_INTERVAL)
            at = now()
            measures = [measure("queue.length", "jobs", self.queue.length, unit="job", now=at)]
            recent = self.queue.recent()
            measures += [
                measure(f"job.latency.p{percent}", "jobs", latency, unit="s", now=at)
                for percent in (50, 95)
                if (latency := percentile(recent, percent)) is not None
            ]
            bus.publish(measures)

    def _hear(self, measures: Sequence[Measure]) -> None:
        for one in measures:
            if one["metric"] == "worker.utilisation":
                self.heard[one["resource_id"]] = (one["timestamp"], one["value"])

    async def _watch(self) -> None:
        while True:
            await self.observer.look()
            self._compare_controller()
            self._compare_workers()
            self.view.show(self._picture())
            await asyncio.sleep(LOOK_INTERVAL)

    def _compare_controller(self) -> None:
        pid = next(iter(self.processes.pids("controller").values()), None)
        if pid is not None and pid != self.controller_pid:
            again = "" if self.controller_pid is None else " again, knowing what it knew"
            self.tell(Kind.NOTE, f"the controller runs{again} (pid {pid})")
        self.controller_pid = pid or self.controller_pid

    def _compare_workers(self) -> None:
        workers = dict(sorted(self.queue.workers.items()))
        while len(self.capacity) <= self._elapsed():
            self.capacity.append(len(workers))
        if workers == self.workers:
            return
        names = ", ".join(f"{member} (pid {pid})" for member, pid in workers.items()) or "nobody"
        self.tell(Kind.CAPACITY, f"{len(self.workers)} -> {counted(len(workers), 'worker')}: {names}")
        if self.risen_at is not None and self.grown_at is None and len(workers) > len(self.workers) > 0:
            self.grown_at = asyncio.get_running_loop().time()
        self.workers, self.highest = workers, max(self.highest, len(workers))

    def _load_changed(self, level: Level, before: Level | None) -> None:
        if before is None:
            self.tell(Kind.LOAD, f"{level.rate:g} jobs/s")
        else:
            self.tell(Kind.LOAD, f"{before.rate:g} -> {level.rate:g} jobs/s, for {level.seconds:.0f} s")
        self.level = level
        if before is not None and level.rate > before.rate and self.risen_at is None:
            self.risen_at, self.risen_now = asyncio.get_running_loop().time(), now()

    def _picture(self) -> Picture:
        recent, at = self.queue.recent(), now()
        return Picture(
            elapsed=self._elapsed(),
            load=self.level.rate,
            utilisation={who: share for who, (time, share) in self.heard.items() if at - time < SILENT_AFTER},
            waiting=self.queue.length,
            in_hand=self.queue.in_hand,
            p50=percentile(recent, 50),
            p95=percentile(recent, 95),
            capacity=self.capacity,
            alarms=self.observer.alarms,
            group=self.observer.group if self.observer.answering else None,
            controller=self.controller_pid if self.observer.answering else None,
        )

    # --- what is said ------------------------------------------------------------------------------------------------

    def tell(self, kind: Kind, text: str) -> None:
        """Show a happening with its moment."""
        self.view.tell(self._elapsed(), kind, text)

    def _elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self.began

    def _hints(self) -> str:
        pid = next(iter(self.processes.pids("controller").values()), "PID")
        path = "" if which("autoscaler") else f"  export PATH={Path(sys.executable).parent}:$PATH\n"
        return (
            f"\nIn another terminal:\n{path}"
            f"  export AUTOSCALER_API=127.0.0.1:{self.ports.api}\n"
            f"  autoscaler groups show {GROUP}\n"
            f"  autoscaler groups decisions {GROUP}                            why it did, or did not, scale\n"
            f"  autoscaler groups pause {GROUP} --for 1m --reason 'look at me'\n"
            f"  kill -9 {pid}                                         the controller: watch it carry on\n"
        )

    def summary(self) -> str:
        """What came of it, in a few lines."""
        lines = ["", f"{self.queue.served} jobs were served, by at most {counted(self.highest, 'worker')} at a time."]
        if self.risen_at is not None:
            lines += self._rise(self.risen_at)
        return "\n".join(lines)

    def _rise(self, risen_at: float) -> list[str]:
        lines = []
        decided = self.observer.first_rise
        if decided is not None:
            lines.append(f"First scale-out decided {decided - self.risen_now:.1f} s after the load rose.")
        if self.grown_at is not None:
            lines.append(f"The new worker took jobs {self.grown_at - risen_at:.1f} s after the load rose.")
        end = asyncio.get_running_loop().time()
        before = percentile(self.queue.latencies(self.began, risen_at), 95)
        worst = max(self.queue.latencies(risen_at), default=None)
        after = percentile(self.queue.latencies(max(risen_at, end - 10), end), 95)
        known = [
            f"{value:.2f} s {when}"
            for value, when in ((before, "before (p95)"), (worst, "at worst"), (after, "in the last 10 s (p95)"))
            if value is not None
        ]
        return [*lines, f"Latency of jobs: {', '.join(known)}."]
