"""Kinds of fault, how often each is drawn, and how each is brought about and ended."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt

from autoscaler.engine.leases import LEASE
from tests.chaos.controller import STEPS
from tests.chaos.outside import Mood
from tests.chaos.proxy import Way
from tests.chaos.rig import KINDS, PROBE_PATIENCE, START_SECONDS, Replica, Rig
from tests.servers import rabbit_program

LONGER_THAN_LEASES = 2 * LEASE
STEP_PATIENCE = 12.0
"""Seconds within which an armed step is reached by a controller that has work; else it is killed where it is."""
HOUR = 3600.0
STEP_DELAY = 0.004
"""Seconds, at most, that a request has been under way when its sender is killed."""


@dataclass
class Fault:
    """One fault of a plan.

    Attributes:
        draw: a number from 0 to 1 that everything about it is made of, so that a plan can be repeated.
        struck: replicas that it was done to, to be waited for.
        recovered: when a measure published after its end had its effect, by the loop's clock; 0 where it is not known.
        facts: what there is to record of it.
    """

    kind: str
    draw: float
    recovered: float = 0.0
    struck: list[Replica] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def drawn(self) -> random.Random:
        """Numbers of its own."""
        return random.Random(self.draw)


Strike = Callable[[Rig, Fault, random.Random], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        weight: how often it is drawn, compared with others.
        needs: names of locks that it holds meanwhile; replicas take theirs by themselves.
        strike: brings it about, ends it, and returns at its end, or at the moment of the death.
        seconds: that it lasts, about.
        alone: whether it is done to a store that is one server, and has no meaning for another.
    """

    name: str
    weight: float
    strike: Strike
    needs: Sequence[str] = ()
    seconds: float = 0.5
    alone: bool = False


# --- controllers -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _replica(rig: Rig, drawn: random.Random) -> AsyncIterator[Replica]:
    """One that runs and that nobody else does anything to: the one that was drawn, or else another."""
    replica = await _taken(rig, drawn)
    try:
        yield replica
    finally:
        replica.lock.release()


async def _taken(rig: Rig, drawn: random.Random) -> Replica:
    """The same, for its taker to let go of."""
    first = drawn.randrange(len(rig.replicas))
    in_order = [*rig.replicas[first:], *rig.replicas[:first]]
    replica = next((each for each in in_order if not each.lock.locked()), in_order[0])
    await replica.lock.acquire()
    try:
        await replica.until_up()
    except BaseException:
        replica.lock.release()
        raise
    return replica


def killed_at(step: str) -> Strike:
    """Kill whichever controller first comes to a step of the protocol."""

    async def strike(rig: Rig, fault: Fault, drawn: random.Random) -> None:
        delay = drawn.uniform(0.0, STEP_DELAY) if step in {"posting", "resizing"} else 0.0
        victim = await _taken(rig, drawn)
        candidates = [victim, *(replica for replica in rig.replicas if not replica.lock.locked())]
        for replica in candidates[1:]:
            await replica.lock.acquire()
        held = set(candidates)
        try:
            rig.arm(step, candidates, delay)
            died = await _first_dead(candidates)
            if not rig.disarm() and died is None:  # somebody came to it in the last moment
                died = await _first_dead(candidates)
            victim = died or victim
            fault.facts |= {"replica": victim.number, "reached": died is not None}
            for replica in held - {victim}:
                replica.lock.release()
            held = {victim}
            await _buried(rig, fault, victim)
        finally:
            for replica in held:
                replica.lock.release()

    return strike


async def _first_dead(candidates: Sequence[Replica]) -> Replica | None:
    with suppress(TimeoutError):
        async with asyncio.timeout(STEP_PATIENCE):
            while True:
                for replica in candidates:
                    if replica.process.has_ended():
                        return replica
                await asyncio.sleep(0.002)
    return None


async def killed_anywhere(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Kill a controller wherever it is."""
    async with _replica(rig, drawn) as replica:
        await _buried(rig, fault, replica)


async def _buried(rig: Rig, fault: Fault, replica: Replica) -> None:
    """Kill it, if it is not dead yet; what it had in hand is the others' meanwhile; start it again."""
    await replica.kill()
    fault.facts["died"] = asyncio.get_running_loop().time()
    fault.struck.append(replica)
    async with asyncio.TaskGroup() as tasks:
        probing = tasks.create_task(rig.probe())
        await asyncio.sleep(rig.plan.dead_for)
        await replica.start()
    fault.recovered = probing.result()


async def stopped(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Stop a controller for longer than its leases, then let it go on as if nothing had happened."""
    async with _replica(rig, drawn) as replica:
        fault.struck.append(replica)
        replica.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(LONGER_THAN_LEASES)
        finally:
            replica.signal(signal.SIGCONT)


async def stopped_briefly(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Stop a controller for less than its leases."""
    async with _replica(rig, drawn) as replica:
        fault.struck.append(replica)
        replica.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(drawn.uniform(0.3, 3.0))
        finally:
            replica.signal(signal.SIGCONT)


async def clock_stepped(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Make the clock of one controller wrong by an hour, in either direction, and right again."""
    async with _replica(rig, drawn) as replica:
        fault.struck.append(replica)
        replica.shift_clock(HOUR * drawn.choice((1, -1)))
        try:
            await asyncio.sleep(drawn.uniform(2.0, 5.0))
            fault.facts["said"] = await replica.missing()
        finally:
            replica.shift_clock(0.0)


# --- the store -------------------------------------------------------------------------------------------------------


async def redis_restarted(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Crash the store and start it again."""
    await asyncio.to_thread(rig.redis.kill)
    await asyncio.sleep(drawn.uniform(0.0, 1.0))
    await asyncio.to_thread(rig.redis.restart)


async def redis_paused(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Have the store answer nothing for ten seconds."""
    rig.redis.freeze()
    try:
        await asyncio.sleep(10.0)
    finally:
        rig.redis.thaw()


async def redis_slept(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Have the store answer nothing for a moment."""
    rig.redis.freeze()
    try:
        await asyncio.sleep(drawn.uniform(0.2, 2.0))
    finally:
        rig.redis.thaw()


async def failed_over(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Promote a replica of the store that lacks the last writes of its primary."""
    old, new = rig.redis, KINDS[rig.plan.store]()
    await asyncio.to_thread(new.__enter__)
    await _command(new, "REPLICAOF", "127.0.0.1", str(old.port))
    async with asyncio.timeout(30):
        while not await _linked(new):
            await asyncio.sleep(0.05)
    rig.records.say("losing", because="failover")
    await _command(new, "REPLICAOF", "NO", "ONE")
    await asyncio.sleep(drawn.uniform(0.1, 1.0))
    # nobody reaches the old one any more from here on
    old.freeze()
    await rig.leads_to(new)
    rig.records.say("lost", because="failover")
    await asyncio.to_thread(old.stop)


async def _linked(server: Any) -> bool:
    return "master_link_status:up" in await _command(server, "INFO", "replication")


async def _command(server: Any, *words: str) -> str:
    """A command to a server, by a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        parts = [f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]
        writer.write("".join(parts).encode())
        async with asyncio.timeout(10):
            first = (await reader.readline()).decode()
            if first.startswith("$"):
                return (await reader.readexactly(int(first[1:]) + 2)).decode()
            return first
    finally:
        writer.transport.abort()


async def power_cut(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Crash the host of a store that writes to disk once a second: what it wrote last is not there."""
    await _command(rig.redis, "CONFIG", "SET", "appendfsync", "everysec")
    await asyncio.sleep(0.1)
    files = _append_only(rig)
    sizes = {path: path.stat().st_size for path in files}
    rig.records.say("losing", because="power cut")
    await asyncio.sleep(drawn.uniform(0.1, 0.9))
    await asyncio.to_thread(rig.redis.kill)
    rig.records.say("lost", because="power cut")
    if _append_only(rig) == files:  # else a rewrite has just begun a new file
        for path, size in sizes.items():
            with path.open("r+b") as file:
                file.truncate(size)
    await asyncio.to_thread(rig.redis.restart)


def _append_only(rig: Rig) -> list[Path]:
    return sorted(rig.redis.folder.glob("appendonlydir/*.incr.aof"))


async def memory_full(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Have the store refuse writes, since its memory is used up."""
    await _command(rig.redis, "CONFIG", "SET", "maxmemory", "1mb")
    try:
        await asyncio.sleep(drawn.uniform(0.5, 3.0))
    finally:
        await _command(rig.redis, "CONFIG", "SET", "maxmemory", "0")


async def may_evict(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Set the store up so that it may throw state away: controllers must say so. It has room, so it does not."""
    async with _replica(rig, drawn) as replica:
        await _command(rig.redis, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        await _command(rig.redis, "CONFIG", "SET", "maxmemory", "8gb")
        try:
            said = ""
            with suppress(TimeoutError):
                async with asyncio.timeout(20):
                    while "may throw state away" not in said:
                        said = await replica.missing()
                        await asyncio.sleep(0.1)
            rig.records.say("readiness", expected="may throw state away", said=said)
        finally:
            await _command(rig.redis, "CONFIG", "SET", "maxmemory", "0")
            await _command(rig.redis, "CONFIG", "SET", "maxmemory-policy", "noeviction")


async def redis_disk_full(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Let the store's files grow no more: it cannot keep its word and ends; then there is room again."""
    size = max(path.stat().st_size for path in _append_only(rig))
    rig.redis.limit_files(size + drawn.randrange(1, 5000))
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while not rig.redis.has_ended():
                await asyncio.sleep(0.01)
    fault.facts["ended"] = rig.redis.has_ended()
    await asyncio.to_thread(rig.redis.kill)
    await asyncio.to_thread(rig.redis.restart)


# --- the brokers -----------------------------------------------------------------------------------------------------


async def rabbit_restarted(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Crash RabbitMQ and start it again."""
    server = rig.servers["rabbit"]
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.restart)


async def mosquitto_restarted(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """End Mosquitto, which writes its sessions down but not whom a shared subscription is of, and start it again.

    What is published before one of its sessions is subscribed again is lost at the broker.
    """
    server = rig.servers["mosquitto"]
    rig.publisher.away.add("mqtt")
    try:
        await asyncio.to_thread(server.end)
        await asyncio.sleep(drawn.uniform(0.0, 1.0))
        await asyncio.to_thread(server.restart)
        await _until_shared(server.port)
    finally:
        rig.publisher.away.discard("mqtt")


async def _until_shared(port: int) -> None:
    """Wait until somebody has subscribed for a share."""
    async with (
        asyncio.timeout(PROBE_PATIENCE),
        aiomqtt.Client("127.0.0.1", port, identifier="until-shared") as client,
    ):
        await client.subscribe("$SYS/broker/shared_subscriptions/count")
        async for message in client.messages:
            if message.payload != b"0":
                return


async def rabbit_disk_full(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Have RabbitMQ raise its disk alarm: it takes no messages, until there is room again."""
    await _rabbitmqctl(rig, "set_disk_free_limit", "100000GB")
    try:
        await asyncio.sleep(drawn.uniform(0.5, 2.0))
    finally:
        await _rabbitmqctl(rig, "set_disk_free_limit", "10MB")


async def _rabbitmqctl(rig: Rig, *words: str) -> None:
    server: Any = rig.servers["rabbit"]
    program = str(Path(rabbit_program()).with_name("rabbitmqctl"))
    await asyncio.to_thread(
        subprocess.run,
        [program, "--node", server._environment["RABBITMQ_NODENAME"], *words],
        env={**server._environment, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        check=True,
        capture_output=True,
        timeout=START_SECONDS,  # it starts an Erlang of its own
    )


# --- the network -----------------------------------------------------------------------------------------------------


def way(turned: Way, shortest: float, longest: float) -> Strike:
    """Make the way from one controller, or from all, to a server another than it should be."""

    async def strike(rig: Rig, fault: Fault, drawn: random.Random) -> None:
        name = drawn.choice(rig.ways)
        struck = rig.replicas if drawn.random() < 0.3 else [rig.replicas[drawn.randrange(len(rig.replicas))]]
        fault.facts |= {"server": name, "replicas": [replica.number for replica in struck]}
        async with AsyncExitStack() as stack:
            for replica in struck:
                await stack.enter_async_context(replica.lock)
            fault.struck += struck
            for replica in struck:
                await replica.proxies[name].turn(turned)
            try:
                await asyncio.sleep(drawn.uniform(shortest, longest))
            finally:
                for replica in struck:
                    await replica.proxies[name].turn(Way.OPEN)

    return strike


async def connections_reset(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Break every connection of one controller to one server."""
    replica, name = rig.replicas[drawn.randrange(len(rig.replicas))], drawn.choice(rig.ways)
    fault.struck.append(replica)
    await replica.proxies[name].reset()


# --- receivers and groups --------------------------------------------------------------------------------------------


def hooks(mood: Mood) -> Strike:
    """Have the receiver of webhooks misbehave for a while."""

    async def strike(rig: Rig, fault: Fault, drawn: random.Random) -> None:
        rig.outside.hooks = mood
        try:
            await asyncio.sleep(drawn.uniform(0.5, 4.0))
        finally:
            rig.outside.hooks = Mood.WELL

    return strike


def group(mood: Mood) -> Strike:
    """Have the service that owns the group misbehave for a while."""

    async def strike(rig: Rig, fault: Fault, drawn: random.Random) -> None:
        rig.outside.group = mood
        try:
            await asyncio.sleep(drawn.uniform(1.0, 5.0))
        finally:
            rig.outside.group = Mood.WELL

    return strike


# --- measures --------------------------------------------------------------------------------------------------------


async def redelivered(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Publish what was published lately once more, in another order."""
    fault.facts["messages"] = rig.publisher.repeat(drawn.uniform(0.05, 0.5))


async def reordered(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Publish the measures of some seconds in any order."""
    rig.publisher.shuffling = True
    try:
        await asyncio.sleep(drawn.uniform(0.5, 3.0))
    finally:
        rig.publisher.shuffling = False


async def flooded(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Publish ten times as many measures."""
    rig.publisher.times = 10
    try:
        await asyncio.sleep(drawn.uniform(2.0, 4.0))
    finally:
        rig.publisher.times = 1


async def fell_behind(rig: Rig, fault: Fault, drawn: random.Random) -> None:
    """Let an hour of measures of a new alarm collect in the queue while nobody consumes; then catch up."""
    async with AsyncExitStack() as stack:
        for replica in rig.replicas:
            await stack.enter_async_context(replica.lock)
        for replica in rig.replicas:
            await replica.kill()
            fault.struck.append(replica)
        number = rig.behind
        rig.behind += 1
        rig.declare()
        begins = rig.now() - HOUR
        for step in range(int(HOUR / 10)):
            at = round(begins + 10 * step + 0.001 * number, 5)
            value = (90.0 if step % 60 < 30 else 10.0) + drawn.uniform(0.0, 5.0)
            measure = rig.publisher.numbered(f"behind-{number}", f"late-{number}-{step % 2}", at, value)
            rig.publisher.send("amqp", [measure])
            rig.ends[f"behind-{number}"] = at
        await rig.publisher.flushed()
        for replica in rig.replicas:
            await replica.start()


# --- all of them -----------------------------------------------------------------------------------------------------


ALL: Sequence[Kind] = (
    *(Kind(f"kill when {step}", 2.5, killed_at(step), ("step",)) for step in STEPS),
    Kind("kill anywhere", 4, killed_anywhere),
    Kind("stop beyond leases", 0.7, stopped, seconds=LONGER_THAN_LEASES),
    Kind("stop", 3, stopped_briefly, seconds=2),
    Kind("clock off by an hour", 2, clock_stepped, seconds=4),
    Kind("Redis restart", 3, redis_restarted, ("redis",)),
    Kind("Redis pause of 10 s", 0.7, redis_paused, ("redis",), seconds=10),
    Kind("Redis pause", 3, redis_slept, ("redis",), seconds=1),
    Kind("failover with lost writes", 1.2, failed_over, ("redis",), seconds=2, alone=True),
    Kind("power cut under everysec", 1.2, power_cut, ("redis",), seconds=1, alone=True),
    Kind("Redis out of memory", 2, memory_full, ("redis",), seconds=2, alone=True),
    Kind("Redis that may evict", 1, may_evict, ("redis",), alone=True),
    Kind("Redis disk full", 1.2, redis_disk_full, ("redis",), seconds=1, alone=True),
    Kind("RabbitMQ restart", 0.8, rabbit_restarted, ("rabbit",), seconds=7),
    Kind("RabbitMQ disk alarm", 0.5, rabbit_disk_full, ("rabbit",), seconds=5),
    Kind("Mosquitto restart", 2, mosquitto_restarted, ("mosquitto",)),
    Kind("network cut", 6, way(Way.CUT, 0.2, 3.0), seconds=2),
    Kind("network black hole", 4, way(Way.STALLED, 0.5, 7.0), seconds=4),
    Kind("network slow", 3, way(Way.SLOW, 0.5, 3.0), seconds=2),
    Kind("connections reset", 6, connections_reset),
    Kind("receiver slow", 3, hooks(Mood.SLOW), ("receiver",), seconds=2),
    Kind("receiver hanging", 2, hooks(Mood.HANGING), ("receiver",), seconds=2),
    Kind("receiver failing", 4, hooks(Mood.FAILING), ("receiver",), seconds=2),
    Kind("receiver resetting", 3, hooks(Mood.RESETTING), ("receiver",), seconds=2),
    Kind("target slow", 2, group(Mood.SLOW), ("group",), seconds=3),
    Kind("target hanging", 1.5, group(Mood.HANGING), ("group",), seconds=3),
    Kind("target failing", 2, group(Mood.FAILING), ("group",), seconds=3),
    Kind("target resetting", 2, group(Mood.RESETTING), ("group",), seconds=3),
    Kind("target fails half-way", 3, group(Mood.HALF_WAY), ("group",), seconds=3),
    Kind("target lies about its size", 2, group(Mood.LYING), ("group",), seconds=3),
    Kind("redelivery", 5, redelivered, ("publisher",), seconds=0.1),
    Kind("reordering", 4, reordered, ("publisher",), seconds=2),
    Kind("flood", 2, flooded, ("publisher",), seconds=3),
    Kind("an hour behind", 0.5, fell_behind, ("publisher",), seconds=3),
)
BY_NAME = {kind.name: kind for kind in ALL}
KILLS = tuple(kind.name for kind in ALL if kind.name.startswith("kill"))
SHORT = tuple(kind.name for kind in ALL if kind.seconds <= 4 and kind.name != "an hour behind")
"""For runs of a minute."""


def planned(seed: int, count: int, names: Sequence[str] = (), *, store: str = "redis") -> list[Fault]:
    """What is done in a run: the same for the same seed, count, names and store.

    Every kind comes up before any is drawn by its weight, where ``count`` allows.
    """
    drawn = random.Random(seed)
    kinds = [BY_NAME[name] for name in names] if names else list(ALL)
    kinds = [kind for kind in kinds if not (kind.alone and store == "cluster")]
    first = list(kinds)
    drawn.shuffle(first)
    chosen = first[:count]
    chosen += drawn.choices(kinds, [kind.weight for kind in kinds], k=max(0, count - len(chosen)))
    drawn.shuffle(chosen)
    return [Fault(kind.name, drawn.random()) for kind in chosen]
