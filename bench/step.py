"""From a load step to a serving member, in its parts, with the process target; ``docs/performance/step.md``.

    python -m bench.step [--only 1 10] [--beside FILE] [--json FILE]

Groups without members, each with a gauge that is measured at an interval and an alarm that is looked at by the same.
At a drawn moment the gauge steps up. Told are: the next measure published, its arrival at a plain subscriber of the
same topic, the alarm's change, the policy's decision, the first word of the member's own process, and the moment when
the demo's queue has it as a worker. Then the gauge steps down, the member goes, and the next trial begins.

``--beside`` takes the JSON of ``python -m bench.beside`` and adds the same chain with each of its contestants.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from autoscaler.demo.bus import Bus, Measure, measure
from autoscaler.demo.queue import JobQueue
from bench.beside.systems import ANEW
from tests.e2e.controller import ControllerProcess
from tests.servers import MosquittoServer, RedisServer, free_port

METRIC: Final = "load"
LOW, HIGH, THRESHOLD = 10.0, 90.0, 50.0
PARTS: Final = ("wait", "bus", "alarm", "decision", "target", "start")
"""Waiting for the next measure; until a subscriber has it; until the alarm has changed; until the policy has decided;
until the member's process runs; until it serves."""
DEADLINE: Final = 60.0
"""Seconds that a trial has beside its intervals."""


@dataclass(frozen=True, slots=True)
class Course:
    """How one interval is tried.

    Attributes:
        interval: seconds between two measures.
        groups: that are tried beside one another.
        trials: of each group.
    """

    interval: float
    groups: int
    trials: int

    @property
    def names(self) -> list[str]:
        """Of the groups."""
        return [f"every{self.interval:g}-{number}" for number in range(self.groups)]


COURSES: Final = {
    f"{each.interval:g}": each for each in (Course(1, 1, 20), Course(10, 2, 8), Course(60, 6, 2), Course(300, 10, 1))
}


class Arrivals(dict[str, int]):
    """Workers of a queue by member, and when each came, in Unix seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.came: dict[str, float] = {}

    def __setitem__(self, member: str, pid: int) -> None:
        super().__setitem__(member, pid)
        self.came[member] = time.time()


def declared(courses: Sequence[Course], folder: Path, environment: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """An alarm, a group and two policies for each group of the courses."""
    found: dict[str, list[dict[str, Any]]] = {"alarms": [], "groups": [], "policies": []}
    # the first thing that a member does is to say when
    command = [
        "/bin/sh",
        "-c",
        f'date +%s.%N >"{folder}/{{member}}"; exec "$0" -m autoscaler.demo.worker',
        sys.executable,
    ]
    for course in courses:
        for name in course.names:
            rule = {
                "metric": METRIC, "resource_id": name, "aggregation_method": "mean", "granularity": course.interval,
                "evaluation_periods": 1, "comparison_operator": "gt", "threshold": THRESHOLD,
            }  # fmt: skip
            actions = {"alarm_actions": [f"policy://{name}-out"], "ok_actions": [f"policy://{name}-in"]}
            target = {"type": "process", "command": command, "env": environment}
            found["alarms"].append({"name": name, "type": "threshold", "rule": rule, **actions})
            found["groups"].append({"name": name, "min_size": 0, "max_size": 1, "cooldown": 0, "target": target})
            for way, size in (("out", 1), ("in", -1)):
                policy = {"name": f"{name}-{way}", "group": name, "adjustment_type": "change_in_capacity"}
                found["policies"].append(policy | {"scaling_adjustment": size})
    return found


@dataclass
class World:
    """What all trials share.

    Attributes:
        heard: when a subscriber had the first measure of a name and value since that was forgotten.
    """

    folder: Path
    bus: Bus
    api: httpx.AsyncClient
    arrivals: Arrivals
    heard: dict[tuple[str, float], float]


@dataclass
class Gauge:
    """The load of one group, measured at an interval whose phase is drawn.

    Attributes:
        published: Unix seconds at which the present value was published first; None before.
    """

    world: World
    name: str
    interval: float
    draw: random.Random
    value: float = LOW
    published: float | None = None

    async def run(self) -> None:
        """For ever; the first two measures are of a time before, so that there is something to go on from."""
        begin = time.time() - self.draw.uniform(0, self.interval)
        for number in count(-1):
            due = begin + number * self.interval
            await asyncio.sleep(max(0.0, due - time.time()))
            now = time.time()
            self.world.bus.publish([measure(METRIC, self.name, self.value, unit="%", now=due)])
            self.published = self.published or now

    def step(self, value: float) -> float:
        """Change; when that was."""
        self.world.heard.pop((self.name, value), None)
        self.value, self.published = value, None
        return time.time()


@dataclass
class Trials:
    """Those of one group, one after another."""

    world: World
    course: Course
    name: str
    draw: random.Random
    found: list[dict[str, float]] = field(default_factory=list)

    async def run(self) -> None:
        """All of them."""
        gauge = Gauge(self.world, self.name, self.course.interval, self.draw)
        async with asyncio.TaskGroup() as tasks:
            measuring = tasks.create_task(gauge.run())
            await asyncio.sleep(3)  # what was measured before has arrived
            for number in range(self.course.trials):
                if number:  # a granule in which the group was resized itself is left out, as `stale data`
                    await asyncio.sleep(self.draw.uniform(1, 2) * self.course.interval)
                async with asyncio.timeout(2 * self.course.interval + DEADLINE):
                    self.found.append(await self._tried(gauge))
                print(f"  {self.name}: {' '.join(f'{k} {v:.3f}' for k, v in self.found[-1].items())}", flush=True)
                if number + 1 < self.course.trials:
                    async with asyncio.timeout(2 * self.course.interval + DEADLINE):
                        await self._ended(gauge)
            measuring.cancel()

    async def _tried(self, gauge: Gauge) -> dict[str, float]:
        member, world = f"{self.name}-1", self.world
        world.arrivals.came.pop(member, None)
        stepped = gauge.step(HIGH)
        while member not in world.arrivals.came:
            await asyncio.sleep(0.02)
        alarms = (await world.api.get("/v1/alarms")).raise_for_status().json()
        (alarm,) = [each for each in alarms if each["name"] == self.name]
        decisions = (await world.api.get(f"/v1/groups/{self.name}/decisions")).raise_for_status().json()
        decided = next(each for each in decisions if each["decision"] == "scale" and each["to"] == 1)
        assert gauge.published is not None
        moments = [
            stepped,
            gauge.published,
            world.heard[self.name, HIGH],
            _unix(alarm["state_timestamp"]),
            _unix(decided["time"]),
            float((world.folder / member).read_text()),
            world.arrivals.came[member],
        ]
        return parted(moments)

    async def _ended(self, gauge: Gauge) -> None:
        gauge.step(LOW)
        while f"{self.name}-1" in self.world.arrivals:
            await asyncio.sleep(0.05)


def parted(moments: Sequence[float]) -> dict[str, float]:
    """Seconds of each part, and of all together, out of the moments between which they lie."""
    parts = {part: moments[number + 1] - moments[number] for number, part in enumerate(PARTS)}
    return parts | {"all": moments[-1] - moments[0]}


def _unix(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


@asynccontextmanager
async def world(courses: Sequence[Course], servers: ExitStack, folder: Path) -> AsyncIterator[World]:
    """Broker, Redis, queue and controller."""
    redis = servers.enter_context(RedisServer(None, "--appendonly", "yes"))
    mosquitto = servers.enter_context(MosquittoServer())
    heard: dict[tuple[str, float], float] = {}

    def hear(measures: Sequence[Measure]) -> None:
        for each in measures:
            heard.setdefault((each["resource_id"], each["value"]), time.time())

    async with JobQueue() as queue:
        arrivals = queue.workers = Arrivals()
        environment = {"DEMO_QUEUE_PORT": str(queue.port), "DEMO_MQTT_PORT": str(mosquitto.port)}
        documents = declared(courses, folder, environment | {"PATH": os.defpath})
        for kind, keys in (("rules", ["alarms"]), ("policies", ["groups", "policies"])):
            (folder / f"{kind}.yaml").write_text(yaml.safe_dump({key: documents[key] for key in keys}))
        settings = {"REDIS_URL": redis.url, "MQTT_URL": mosquitto.url, "LOG_LEVEL": "warning"}
        files = ("--rules", str(folder / "rules.yaml"), "--policies", str(folder / "policies.yaml"))
        controller = ControllerProcess(folder, port=free_port(), settings=settings, options=files)
        with controller, Bus(mosquitto.port, "step", hear) as bus:
            await asyncio.to_thread(controller.until_ready)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{controller.port}", timeout=30, limits=ANEW
            ) as api:
                yield World(folder, bus, api, arrivals, heard)
            controller.end()


async def tried(courses: Sequence[Course]) -> dict[str, list[dict[str, float]]]:
    """What each course came to, all of them at once; by interval."""
    with ExitStack() as servers:
        folder = Path(servers.enter_context(tempfile.TemporaryDirectory(prefix="step-")))
        async with world(courses, servers, folder) as shared:
            trials = [Trials(shared, course, name, random.Random(name)) for course in courses for name in course.names]
            async with asyncio.TaskGroup() as tasks:
                for each in trials:
                    tasks.create_task(each.run())
    return {
        f"{course.interval:g}": [trial for each in trials if each.course is course for trial in each.found]
        for course in courses
    }


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """A line for each interval, in Markdown: medians, and the range of the wait and of all together."""
    titles = ("measures every", "trials", "wait for the measure", *PARTS[1:], "after the measure", "step → serving")
    lines = [f"| {' | '.join(titles)} |", f"| --- |{' ---: |' * (len(titles) - 1)}"]
    for interval, trials in found.items():
        cells = [_ranged([each["wait"] for each in trials])]
        cells += [_shown(statistics.median(each[part] for each in trials)) for part in PARTS[1:]]
        cells += [_shown(statistics.median(each["all"] - each["wait"] for each in trials))]
        cells += [_ranged([each["all"] for each in trials])]
        lines.append(f"| {interval} s | {len(trials)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def chained(found: dict[str, list[dict[str, float]]], beside: dict[str, Any]) -> str:
    """The same chain with each contestant's latency in place of bus, alarm and decision, in Markdown.

    The wait is half an interval, as of a step at any moment; a process starts as it did in the trials.
    """
    every = [each for trials in found.values() for each in trials]
    starting = statistics.median(each["target"] + each["start"] for each in every)
    lines = [
        "| measures every | alarms by | wait, mean | measure → webhook, median (worst) | target and start | sum |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for each in beside["contestants"]:
        wait, latency, worst = each["interval_s"] / 2, each["latency_median_s"], each["latency_worst_s"]
        if latency is None:  # nothing was told at all
            continue
        lines.append(
            f"| {each['interval_s']:g} s | {each['title']} | {_shown(wait)} | {_shown(latency)} ({_shown(worst)}) "
            f"| {_shown(starting)} | {_shown(wait + latency + starting)} |"
        )
    return "\n".join(lines)


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _ranged(values: Sequence[float]) -> str:
    return f"{_shown(statistics.median(values))} ({_shown(min(values))}–{_shown(max(values))})"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(COURSES), choices=list(COURSES), help="seconds of interval")
    parser.add_argument("--beside", type=Path, help="what bench.beside has written")
    parser.add_argument("--json", type=Path, help="file for the parts of every trial")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nobody is left behind
    found = asyncio.run(tried([COURSES[key] for key in asked.only]))
    print(f"\n{table(found)}")
    if asked.beside is not None:
        print(f"\n{chained(found, json.loads(asked.beside.read_text()))}")
    if asked.json is not None:
        document = {"load_average": os.getloadavg(), "parts": PARTS, "trials": found}
        asked.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
