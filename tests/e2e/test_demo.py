"""The demo: its parts on their own, and all of it as a user starts it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from autoscaler.declarations.loading import load
from autoscaler.demo.bus import Bus, Measure, measure
from autoscaler.demo.load import CURVE, Level, rise_and_fall, waiting
from autoscaler.demo.observe import Kind
from autoscaler.demo.queue import JobQueue, percentile
from autoscaler.demo.run import shipped
from autoscaler.demo.show import LiveView, Picture, PlainView, sparkline
from autoscaler.demo.worker import Busy
from tests.servers import listens

# --- how busy a worker is --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spans", "at", "share"),
    [
        pytest.param([], 1.0, 0.0, id="idle"),
        pytest.param([(0.0, 1.0)], 1.0, 100.0, id="always"),
        pytest.param([(0.2, 0.4), (0.5, 0.8)], 1.0, 50.0, id="two-jobs"),
        pytest.param([(0.75, None)], 1.0, 25.0, id="job-in-hand"),
        pytest.param([(0.0, None)], 2.0, 100.0, id="long-job-in-hand"),
    ],
)
def test_a_worker_is_as_busy_as_its_jobs(spans: list[tuple[float, float | None]], at: float, share: float) -> None:
    busy = Busy(0.0)
    for begin, end in spans:
        busy.begin(begin)
        if end is not None:
            busy.end(end)
    assert busy.share(at) == pytest.approx(share)


def test_a_job_that_spans_two_reports_counts_in_both_by_its_part() -> None:
    busy = Busy(0.0)
    busy.begin(0.5)
    assert busy.share(1.0) == pytest.approx(50)
    busy.end(1.25)
    assert busy.share(2.0) == pytest.approx(25)
    assert busy.share(3.0) == 0


# --- the queue -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def a_worker(queue: JobQueue, name: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", queue.port)
    writer.write(f"hello {name} {len(name)}\n".encode())
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_job_is_handed_out_once_and_counted_when_it_is_done() -> None:
    async with JobQueue() as queue, a_worker(queue, "a") as (reader, writer):
        await queue.put(0.25, 0.5)
        await queue.put(1.0, 0.0)
        assert await reader.readline() == b"job 1 0.250000 0.500000\n"
        assert (queue.length, queue.in_hand, queue.served) == (1, 1, 0)
        writer.write(b"done 1\n")
        assert await reader.readline() == b"job 2 1.000000 0.000000\n"
        assert (queue.length, queue.in_hand, queue.served) == (0, 1, 1)
        assert len(queue.recent()) == 1
        assert queue.workers == {"a": 1}


async def test_workers_share_the_jobs_in_order() -> None:
    async with JobQueue() as queue, a_worker(queue, "a") as (one, _), a_worker(queue, "bb") as (two, _):
        await until(lambda: len(queue.workers) == 2)
        for _ in range(3):
            await queue.put(0.1, 0.0)
        taken = {(await one.readline()).split()[1], (await two.readline()).split()[1]}
        assert taken == {b"1", b"2"}
        assert queue.length == 1


async def test_the_job_of_a_worker_that_died_is_the_next_to_be_handed_out() -> None:
    async with JobQueue() as queue:
        async with a_worker(queue, "a") as (reader, _):
            for _ in range(2):
                await queue.put(0.1, 0.0)
            assert (await reader.readline()).startswith(b"job 1 ")
        await until(lambda: not queue.workers)
        assert (queue.length, queue.served) == (2, 0)
        async with a_worker(queue, "bb") as (reader, _):
            assert (await reader.readline()).startswith(b"job 1 ")


async def test_an_idle_worker_that_leaves_takes_no_job_with_it() -> None:
    async with JobQueue() as queue:
        async with a_worker(queue, "a"):
            await until(lambda: "a" in queue.workers)
        await until(lambda: not queue.workers)
        await queue.put(0.1, 0.0)
        assert queue.length == 1


@pytest.mark.parametrize("line", [b"nonsense\n", b"hello a many words\n", b"hello a notapid\n", b"\xff\xfe\n", b""])
async def test_a_stranger_gets_no_jobs_and_disturbs_nobody(line: bytes) -> None:
    async with JobQueue() as queue:
        reader, writer = await asyncio.open_connection("127.0.0.1", queue.port)
        writer.write(line)
        writer.write_eof()
        await queue.put(0.1, 0.0)
        assert await reader.read() == b""
        writer.close()
        assert (queue.length, queue.workers) == (1, {})


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 50, None), ([3.0], 95, 3.0), ([1.0, 2.0, 3.0, 4.0], 50, 3.0), ([1.0, 2.0], 100, 2.0)],
)
def test_percentiles_are_values_that_were_there(values: list[float], percent: float, expected: float | None) -> None:
    assert percentile(values, percent) == expected


# --- the load --------------------------------------------------------------------------------------------------------


def test_one_worker_can_bear_the_low_load_and_three_cannot_bear_the_high_one_for_long() -> None:
    low, high = min(level.rate for level in CURVE), max(level.rate for level in CURVE)
    seconds = sum(waiting(number) for number in range(1000)) / 1000
    assert seconds == pytest.approx(0.2, rel=0.01)
    assert low * seconds < 0.5
    assert high * seconds > 2.5


def test_a_round_is_over_within_two_minutes() -> None:
    assert sum(level.seconds for level in CURVE) <= 120


async def test_the_load_puts_jobs_at_its_rate_and_tells_of_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoscaler.demo.load.CURVE", (Level("low", 20, 0.2), Level("high", 100, 0.2)))
    told: list[tuple[str, str]] = []
    async with JobQueue() as queue:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await rise_and_fall(
                    queue, lambda level, before: told.append((before.name if before else "", level.name))
                )
        assert told == [("", "low"), ("low", "high"), ("high", "low")]
        assert queue.length == pytest.approx(4 + 20 + 2, abs=2)


# --- what is seen ----------------------------------------------------------------------------------------------------

PICTURE = Picture(
    elapsed=12.0,
    load=14.0,
    utilisation={"web-1": 100.0, "web-2": 50.0},
    waiting=7,
    in_hand=2,
    p50=0.2,
    p95=None,
    capacity=[1, 1, 2],
    alarms=[{"name": "workers-busy", "state": "alarm"}],
    group={
        "desired_capacity": 2, "size": 2, "ready": 2, "min_size": 1, "max_size": 6,
        "cooldown_until": "2026-11-20T16:00:00Z", "paused": {"reason": "x"},
    },
    controller=42,
)  # fmt: skip


def test_plain_lines_carry_their_moment_and_kind() -> None:
    lines: list[str] = []
    with PlainView(lines.append) as view:
        view.tell(3.25, Kind.REFUSAL, "web-out held at 1 (cooldown): cooling down")
        view.show(PICTURE)
        view.show(PICTURE)
    assert lines == [
        "[   3.2 s] refusal   web-out held at 1 (cooldown): cooling down",
        "[  12.0 s] note      2 workers 75 % busy, 7 jobs waiting, latency p50 0.20 s p95 -",
    ]


def test_the_live_picture_shows_measures_alarms_and_capacity() -> None:
    console = Console(force_terminal=True, width=120, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    with LiveView(console) as view:
        view.tell(1.0, Kind.CAPACITY, "1 -> 2 workers")
        view.show(PICTURE)
    text = console.export_text()
    console.file.close()
    for part in (
        "1 -> 2 workers", "14 jobs/s", "75 % mean", "web-2 50 %", "7 waiting, 2 in hand", "p50 0.20 s", "▅▅█  2",
        "workers-busy", "2 wanted, 2 there, 2 ready", "PAUSED", "pid 42",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(("numbers", "bars"), [([], ""), ([0], "▁"), ([1, 2, 4], "▃▅█"), ([6] * 100, "█" * 60)])
def test_a_sparkline_is_as_tall_as_its_highest_number(numbers: list[int], bars: str) -> None:
    assert sparkline(numbers) == bars


def test_the_shipped_declarations_load_and_are_the_demos_group() -> None:
    texts = {str(path): path.read_text() for path in (shipped("rules"), shipped("policies"))}
    declarations = load(texts)
    assert list(declarations.groups) == ["web"]
    assert declarations.groups["web"].cooldown == 5


# --- a real broker and real workers ----------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port: int = opened.getsockname()[1]
        return port


@pytest.fixture
def broker() -> Iterator[int]:
    port = free_port()
    running = subprocess.Popen([sys.executable, "-m", "autoscaler.demo.broker", str(port)])
    end = time.monotonic() + 30
    while not listens(port) and time.monotonic() < end:
        time.sleep(0.02)
    yield port
    running.terminate()
    assert running.wait(10) == 0


@pytest.mark.service
async def test_a_worker_does_real_jobs_publishes_its_utilisation_and_finishes_what_it_has(broker: int) -> None:
    heard: deque[Measure] = deque()
    environment = os.environ | {"AUTOSCALER_MEMBER": "web-1", "DEMO_MQTT_PORT": str(broker)}
    async with JobQueue() as queue:
        with Bus(broker, "test", heard.extend):
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "autoscaler.demo.worker",
                env=environment | {"DEMO_QUEUE_PORT": str(queue.port)},
            )  # fmt: skip
            await until(lambda: queue.workers == {"web-1": worker.pid})
            # what it says before its broker has answered is lost
            await until(lambda: bool(heard))
            for _ in range(8):
                await queue.put(0.15, 0.002)
            await until(lambda: queue.served == 8)
            # what it said while it worked may come late
            await until(lambda: any(one["value"] > 80 for one in heard))
            await queue.put(0.3, 0.0)
            await until(lambda: queue.in_hand == 1)
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0
            assert queue.served == 9
    first = heard[0]
    assert {**first, "timestamp": 0, "value": 0} == measure("worker.utilisation", "web-1", 0, unit="%", now=0)
    values = [one["value"] for one in heard]
    assert all(0 <= value <= 100 for value in values)
    assert min(queue.latencies(0)) >= 0.15


@pytest.mark.service
async def test_a_worker_ends_when_its_queue_does(broker: int) -> None:
    environment = os.environ | {"AUTOSCALER_MEMBER": "web-1", "DEMO_MQTT_PORT": str(broker)}
    async with JobQueue() as queue:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "autoscaler.demo.worker",
            env=environment | {"DEMO_QUEUE_PORT": str(queue.port)},
        )  # fmt: skip
        await until(lambda: bool(queue.workers))
    assert await worker.wait() == 0


def test_a_worker_cannot_be_started_by_hand() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "autoscaler.demo.worker"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "cannot run alone" in result.stderr


# --- all of it -------------------------------------------------------------------------------------------------------


@dataclass
class Shown:
    """A running demo, as a user starts it."""

    process: asyncio.subprocess.Process
    mark: str
    folder: Path
    lines: list[str] = field(default_factory=list)

    async def until(self, *patterns: str) -> None:
        """Read on until each pattern was seen."""
        missing = [pattern for pattern in patterns if not self.seen(pattern)]
        assert self.process.stdout
        async with asyncio.timeout(90):
            while missing:
                line = (await self.process.stdout.readline()).decode()
                assert line, "\n".join([f"ended without {missing}:", *self.lines])
                self.lines.append(line.rstrip("\n"))
                missing = [pattern for pattern in missing if not re.search(pattern, line)]

    def seen(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.lines)

    async def ended(self) -> int:
        assert self.process.stdout
        rest = (await self.process.stdout.read()).decode()
        self.lines += rest.splitlines()
        return await self.process.wait()

    def survivors(self) -> list[str]:
        """Command lines of processes that descend from it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("DEMO_TEST") == self.mark:
                    found.append(" ".join(process.cmdline()))
        return found


@pytest.fixture
async def shown(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shown]:
    folder, mark = tmp_path_factory.mktemp("demo"), str(uuid.uuid4())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUTOSCALER_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "autoscaler", "demo", "--plain",
        env=inherited | {"TMPDIR": str(folder), "DEMO_TEST": mark}, start_new_session=True,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    yield Shown(process, mark, folder)
    if process.returncode is None:
        process.kill()
        await process.wait()


@pytest.mark.service
async def test_the_demo_scales_real_workers_says_why_and_leaves_nothing_behind(shown: Shown) -> None:
    await shown.until(r"capacity  0 -> 1 worker: web-1 \(pid \d+\)", r"load      2 jobs/s")
    await shown.until(
        r"load      2 -> 14 jobs/s",
        r"alarm     workers-busy: .* -> alarm: Transition to alarm due to 3 samples outside threshold",
        r"decision  1 -> 2: .*alarm workers-busy",
        r"capacity  1 -> 2 workers: web-1 \(pid \d+\), web-2 \(pid \d+\)",
        r"refusal   web-out held at 2 \((stale data|cooldown)\): .+",
    )
    assert shown.survivors()
    shown.process.send_signal(signal.SIGINT)
    assert await shown.ended() == 0, "\n".join(shown.lines)
    assert shown.seen(r"^\d+ jobs were served, by at most [2-6] workers at a time\.$")
    assert shown.seen(r"^First scale-out decided \d+\.\d s after the load rose\.$")
    assert shown.survivors() == []
    assert list(shown.folder.iterdir()) == []


@pytest.mark.service
async def test_a_demo_whose_controller_is_killed_carries_on(shown: Shown) -> None:
    await shown.until(r"kill -9 \d+", r"capacity  0 -> 1 worker")
    (pid,) = [int(found[1]) for line in shown.lines if (found := re.search(r"kill -9 (\d+)", line))]
    os.kill(pid, signal.SIGKILL)
    await shown.until("1 -> 0 workers: nobody", "the controller runs again", "the controller answers again and wants 1")
    await shown.until(r"0 -> 1 worker: web-1 \(pid \d+\)")
    shown.process.send_signal(signal.SIGTERM)
    assert await shown.ended() == 0, "\n".join(shown.lines)
    assert shown.survivors() == []
    assert list(shown.folder.iterdir()) == []


@pytest.mark.service
async def test_a_demo_that_is_stopped_while_it_starts_leaves_nothing_behind(shown: Shown) -> None:
    await shown.until("starting the controller")
    shown.process.send_signal(signal.SIGTERM)
    assert await shown.ended() == 0, "\n".join(shown.lines)
    assert shown.survivors() == []
    assert list(shown.folder.iterdir()) == []


@pytest.mark.service
async def test_no_process_outlives_a_demo_that_is_killed(shown: Shown) -> None:
    await shown.until(r"capacity  0 -> 1 worker")
    assert len(shown.survivors()) >= 5
    shown.process.kill()
    await until(lambda: shown.survivors() == [])
