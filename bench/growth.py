"""How the cost of a measure grows with what there is: ``make bench-plots``, ``docs/performance.md``.

    python -m bench.growth [--rounds 3] [--only series] [--out FOLDER]

Batches of 100 measures wait in a queue of RabbitMQ; of each point along an axis is measured what a controller and its
Redis take for one of them, in CPU time, which other work on the machine disturbs less than it does the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis

from autoscaler.alarms.definition import Definition
from bench.alarms import of_group, of_resource
from bench.contestants import Controller, Race
from bench.curves import Curve, picture
from bench.publish import AmqpPublisher, Reporting, batched
from bench.world import World, names

BATCH: Final = 100
"""Measures of a message."""
IDLE, AT_REST = 0.1, 0.3
"""Seconds between two looks whether controllers have come to rest, and the share of a core that they may take then."""
SERIES: Final = 10_000
GRANULARITY: Final = 60.0
"""Seconds, of every alarm."""
BEFORE: Final = 90.0
"""Seconds by which the first round begins earlier: with whole granules every alarm has a state."""
COUNT: Final = 100_000
"""Measures of a round; of many series each has at least one."""
MESSAGES: Final = 20_000
"""Messages of a round at most."""


@dataclass(frozen=True)
class Point:
    """One place on an axis.

    Attributes:
        at: where.
        series: that report, in turn.
        definitions: of the alarms.
        groups: number of groups that the series are members of; 0 for none.
        seconds: over which the measures of the first round were taken, beside what :data:`BEFORE` says.
        replicas: that share the queue.
        partitions: that the broker divides the messages among, in place of the queue; 0 for none.
        cluster: whether the state is in a Redis Cluster of three nodes.
        batch: measures of a message.
    """

    at: int
    series: int
    definitions: Callable[[], Iterable[Definition]]
    groups: int = 0
    seconds: float = GRANULARITY
    replicas: int = 1
    partitions: int = 0
    cluster: bool = False
    batch: int = BATCH

    @property
    def count(self) -> int:
        """Measures of a round, whole messages."""
        return max(min(COUNT, MESSAGES * self.batch), self.series) // self.batch * self.batch


def _own(count: int, *, periods: int = 1, others: int = 0) -> Callable[[], Iterable[Definition]]:
    """An alarm for each series, and others over series that do not report."""

    def made() -> Iterable[Definition]:
        yield from (of_resource(number, each, periods=periods) for number, each in enumerate(names(count)))
        yield from (of_resource(count + number, f"other-{number}") for number in range(others))

    return made


def _grouped(count: int) -> Callable[[], Iterable[Definition]]:
    return lambda: (of_group(number, f"group-{number}") for number in range(count))


AXES: Final[dict[str, tuple[str, Sequence[Point]]]] = {
    "series": (
        "series, an alarm each",
        [Point(count, count, _own(count)) for count in (100, 1_000, 10_000, 100_000)],
    ),
    "alarms": (
        "alarms, of which 100 look at the 100 series that report",
        [Point(count, 100, _own(100, others=count - 100)) for count in (100, 1_000, 10_000, 100_000)],
    ),
    "members": (
        "members of a group, 10 000 series in all",
        [
            Point(count, SERIES, _grouped(SERIES // count), groups=SERIES // count)
            for count in (1, 10, 100, 1_000, 10_000)
        ],
    ),
    "periods": (
        "evaluation periods of a minute, one measure every 10 s",
        [
            Point(count, COUNT // (6 * count), _own(COUNT // (6 * count), periods=count), seconds=count * GRANULARITY)
            for count in (1, 5, 20, 60)
        ],
    ),
    "batch": (
        "measures of a message, 10 000 series with an alarm each",
        [Point(count, SERIES, _own(SERIES), batch=count) for count in (1, 10, 100)],
    ),
    "replicas": (
        "controllers at one queue, 10 000 series with an alarm each",
        [Point(count, SERIES, _own(SERIES), replicas=count) for count in (1, 2, 4)],
    ),
    "partitions": (
        "controllers at four partitions, 10 000 series with an alarm each",
        [Point(count, SERIES, _own(SERIES), replicas=count, partitions=4) for count in (1, 2, 4)],
    ),
    "cluster": (
        "controllers at a Redis Cluster of three nodes, 10 000 series with an alarm each",
        [Point(count, SERIES, _own(SERIES), replicas=count, cluster=True) for count in (1, 2, 4)],
    ),
}


@dataclass
class Team:
    """Controllers that share a queue and a Redis; see :class:`bench.contestants.Contestant`."""

    name: str
    members: Sequence[Controller]

    def halt(self) -> None:
        """See :class:`bench.contestants.Contestant`."""
        for member in self.members:
            member.halt()

    def go(self) -> None:
        """See :class:`bench.contestants.Contestant`."""
        for member in self.members:
            member.go()

    async def through(self) -> None:
        """See :class:`bench.contestants.Contestant`; others may still be busy when the last message was taken."""
        await self.members[0].through()
        spent = 0.0
        while (now := sum(member.cpu_seconds() for member in self.members)) - spent > IDLE * AT_REST:
            spent = now
            await asyncio.sleep(IDLE)

    @classmethod
    @asynccontextmanager
    async def running(cls, world: World, point: Point, name: str) -> AsyncIterator[Team]:
        """All of them ready, and standing still."""
        settings = {"AMQP_URL": world.rabbit.url, "AMQP_EXCHANGE": name, "AMQP_QUEUE": name}
        if point.partitions:
            settings["AMQP_PARTITIONS"] = str(point.partitions)
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(
                Controller.running(name, world.folder, settings, point.definitions(), cluster=point.cluster)
            )
            members = [first]
            for number in range(1, point.replicas):
                another = Controller.running(f"{name}-{number}", world.folder, settings, beside=first)
                members.append(await stack.enter_async_context(another))
            if not point.cluster:
                await first.settled()
            yield cls(name, members)


@dataclass
class Cost:
    """What a measure took, in microseconds, and what there was of it.

    Attributes:
        alarms: that there were.
        resident_mib: of the largest controller.
        stored_mib: in use by Redis.
        shares: of the work, by controller.
    """

    at: int
    controller: float
    redis: float
    per_second: float
    alarms: int
    resident_mib: float
    stored_mib: float
    shares: list[float]


async def cost_of(world: World, axis: str, point: Point) -> Cost:
    """The median of some rounds."""
    name = f"{axis}-{point.at}"
    count = point.count
    series = names(point.series)
    groups = [f"group-{number % point.groups}" for number in range(len(series))] if point.groups else []
    tails = [f',"metadata":{{"server_group":"{group}"}}' for group in groups]
    reporting = Reporting(series, seconds=BEFORE + point.seconds, tail=tails)
    found: list[tuple[float, float, float]] = []
    shares = [0.0] * point.replicas
    async with (
        Team.running(world, point, name) as team,
        # one key for each piece of the series, so that a partition has all measures of a series
        AmqpPublisher.connected(world.rabbit.url, name, max(1, point.series // point.batch)) as publisher,
    ):
        race = Race(publisher, [team])
        servers = [redis.Redis(port=port) for port in team.members[0].redis_ports]
        for number in range(world.rounds + 1):
            messages = batched(reporting.measures(count), point.batch)
            before, there = [member.cpu_seconds() for member in team.members], _redis_seconds(servers)
            took = (await race.run(messages))[name]
            spent = [member.cpu_seconds() - was for member, was in zip(team.members, before, strict=True)]
            if number:  # the first was to warm up
                found.append((sum(spent) / count * 1e6, (_redis_seconds(servers) - there) / count * 1e6, count / took))
                shares = [share + each / sum(spent) / world.rounds for share, each in zip(shares, spent, strict=True)]
        controller, store, rate = (statistics.median(column) for column in zip(*found, strict=True))
        resident = max(member.resident() for member in team.members)
        stored = sum(server.info("memory")["used_memory"] for server in servers) / 2**20
        for server in servers:
            server.close()
    alarms = sum(1 for _ in point.definitions())
    cost = Cost(point.at, controller, store, rate, alarms, resident, stored, [round(share, 2) for share in shares])
    print(
        f"  {axis} {point.at}: {controller:.2f} µs, Redis {store:.2f} µs, {rate:,.0f}/s, {resident:.0f} MiB, {shares}",
        flush=True,
    )
    return cost


def _redis_seconds(servers: Iterable[redis.Redis]) -> float:
    used: list[dict[str, Any]] = [server.info("cpu") for server in servers]
    return sum(float(each["used_cpu_user"] + each["used_cpu_sys"]) for each in used)


async def grown(world: World, only: Sequence[str]) -> dict[str, list[Cost]]:
    """All axes, or those that are asked for."""
    found: dict[str, list[Cost]] = {}
    for axis, (title, points) in AXES.items():
        if not only or axis in only:
            print(title, flush=True)
            found[axis] = [await cost_of(world, axis, point) for point in points]
    return found


def table(axis: str, costs: Iterable[Cost]) -> str:
    """For people."""
    lines = [
        f"| {AXES[axis][0]} | controller, µs a measure | Redis, µs a measure | measures/s | largest controller, MiB |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for cost in costs:
        figures = (f"{cost.at:,}", f"{cost.controller:.2f}", f"{cost.redis:.2f}", f"{cost.per_second:,.0f}")
        lines.append(f"| {' | '.join(figures)} | {cost.resident_mib:.0f} |".replace(",", " "))
    return "\n".join(lines)


def plot(axis: str, costs: Sequence[Cost]) -> str:
    """As SVG."""
    return picture(
        f"CPU time of a measure by {AXES[axis][0]}",
        "µs",
        [
            Curve("controller", [(float(cost.at), cost.controller) for cost in costs]),
            Curve("Redis", [(float(cost.at), cost.redis) for cost in costs]),
        ],
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each point, beside the one to warm up")
    parser.add_argument("--only", nargs="*", default=[], choices=sorted(AXES), metavar="AXIS", help=", ".join(AXES))
    parser.add_argument("--out", type=Path, help="folder for the plots and the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as servers:
        found = asyncio.run(grown(World(Path(folder), asked.rounds, servers), asked.only))
    for axis, costs in found.items():
        print(f"\n{table(axis, costs)}")
    if asked.out is None:
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    for axis, costs in found.items():
        (asked.out / f"growth-{axis}.svg").write_text(plot(axis, costs))
        document = [{name: getattr(cost, name) for name in cost.__dataclass_fields__} for cost in costs]
        (asked.out / f"growth-{axis}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
