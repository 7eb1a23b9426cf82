"""Everything a run of faults needs: servers, ways to them, controllers, and what stands around them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from autoscaler.adapters.redis import RedisStore
from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.engine.route import Router
from autoscaler.errors import TemporaryError
from autoscaler.measures.series import unpack
from autoscaler.ports import DeadLetter, HistoryEntry, WindowWrite
from autoscaler.scaling.decision import Decision
from tests.chaos.nursery import Nursery, NurseryController
from tests.chaos.outside import Outside
from tests.chaos.proxy import Proxy
from tests.chaos.publisher import Publisher
from tests.chaos.records import Records
from tests.chaos.rules import GROUP, PROBES, declared, document
from tests.receiver import receiver
from tests.servers import (
    HASHING,
    MosquittoServer,
    RabbitServer,
    RedisCluster,
    RedisServer,
    Server,
    ValkeyServer,
    free_port,
)

SERVERS = ("redis", "rabbit", "mosquitto")
ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")
SEATS = 4
"""Sessions at Mosquitto that the controllers share: not as many for each."""
WATCH_INTERVAL = 5.0
"""Seconds between two looks at what the store remembers for a while only."""
PROBE_PATIENCE = 120.0
"""Seconds after which a controller that shows no effect of a measure counts as broken for good."""
PROBE_AGAIN = 30.0
"""Seconds after which another is sent."""
NO_ANSWER = "no answer"
START_SECONDS = 240.0
"""Within which a server must have started, also on a machine that has much else to do."""


class Cluster(Server):
    """Three nodes that share the state; what is done to a cluster is done to one of them, to each in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self._nodes = RedisCluster(None, *ON_DISK)
        self._turn = 0

    @property
    def url(self) -> str:
        return self._nodes.url

    def __enter__(self) -> Self:
        self._nodes.__enter__()
        return self

    def restart(self) -> None:
        self._node.restart()
        self._nodes.until_whole()
        self._turn += 1

    def kill(self) -> None:
        self._node.kill()

    def freeze(self) -> None:
        self._node.freeze()

    def thaw(self) -> None:
        for node in self._nodes.nodes:
            node.thaw()
        self._turn += 1

    def stop(self) -> None:
        self._nodes.__exit__()

    @property
    def _node(self) -> Server:
        return self._nodes.nodes[self._turn % len(self._nodes.nodes)]

    def _answers(self) -> bool:
        return self._node._answers()

    def _launch(self) -> None:
        self._node._launch()


KINDS: dict[str, Callable[[], Server]] = {
    "redis": lambda: RedisServer(None, *ON_DISK),
    "valkey": lambda: ValkeyServer(*ON_DISK),
    "cluster": Cluster,
}
"""Of stores."""


class UnrecoveredError(AssertionError):
    """Something did not come back."""


@dataclass(frozen=True)
class Plan:
    """What a run is made of.

    Attributes:
        folder: for records and logs.
        lateness: see :func:`tests.chaos.rules.document`.
        broken: one of :data:`tests.chaos.controller.BROKEN`; "" for none.
        rate: measures in a second, of each broker.
        dead_for: seconds after which a controller that was killed is started again.
        partitions: that the AMQP broker divides measures among; 0 is one queue.
    """

    folder: Path
    seed: int
    replicas: int = 3
    store: str = "redis"
    lateness: float = 60.0
    broken: str = ""
    rate: float = 10.0
    dead_for: float = 0.0
    partitions: int = 0


class Replica:
    """One controller, with ways of its own to every server.

    Attributes:
        lock: held by whoever does something to it.
    """

    def __init__(
        self, number: int, folder: Path, proxies: dict[str, Proxy], settings: dict[str, str], nursery: Nursery
    ) -> None:
        self.number = number
        self.folder = folder
        self.proxies = proxies
        self.lock = asyncio.Lock()
        self.process = NurseryController(nursery, folder, port=free_port(), settings=settings)

    def shift_clock(self, seconds: float) -> None:
        """Make its own clock wrong."""
        (self.folder / "clock").write_text(repr(seconds))

    async def kill(self) -> None:
        await asyncio.to_thread(self.process.kill)

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    async def start(self) -> None:
        """Start it, or start it again."""
        self.process.start()

    async def until_ready(self, seconds: float = PROBE_PATIENCE) -> None:
        """Wait until it does its work. Raises UnrecoveredError."""
        said = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while said := await self.missing():
                    if self.process.has_ended():
                        raise UnrecoveredError(f"replica {self.number} ended by itself:\n{self.process.log()}")
                    await asyncio.sleep(0.1)
                return
        raise UnrecoveredError(f"replica {self.number} is not ready: {said}\n{self.process.log()}")

    async def until_up(self) -> None:
        """Wait until it runs, whatever keeps it from its work. Raises UnrecoveredError."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PROBE_PATIENCE):
                while await self.missing() == NO_ANSWER:
                    if self.process.has_ended():
                        raise UnrecoveredError(f"replica {self.number} ended by itself:\n{self.process.log()}")
                    await asyncio.sleep(0.1)
                return
        raise UnrecoveredError(f"replica {self.number} does not answer\n{self.process.log()}")

    async def missing(self) -> str:
        """What keeps it from doing its work, as it says itself; "" when nothing does."""
        return await asyncio.to_thread(self._missing)

    def _missing(self) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.process.port}/readyz", timeout=6):
                return ""
        except urllib.error.HTTPError as error:
            return str(error.read().decode()) or "not ready"
        except OSError:
            return NO_ANSWER


@dataclass
class Final:
    """What the controllers have left behind in the store, and what the world is like.

    Attributes:
        points: value by time by series, of the windows that keep everything.
        histories: by alarm name, oldest first.
        decisions: oldest first.
        waiting: rows that nobody has delivered, by alarm.
        size: of the group.
    """

    points: dict[str, dict[float, float]]
    histories: dict[str, list[HistoryEntry]]
    decisions: list[Decision]
    letters: list[DeadLetter]
    waiting: dict[str, int]
    desired: int | None
    resizing: bool
    size: int
    overdue: list[str] = field(default_factory=list)


class Rig:
    """A run under way; made by :func:`rigged`.

    Attributes:
        locks: held by whoever does something to a server, the receiver, the group or the publisher.
        behind: how many times all consumers have fallen behind.
        ends: event time of the last measure of alarms that have a metric of their own, by name.
    """

    def __init__(self, plan: Plan, records: Records, servers: dict[str, Server], outside: Outside) -> None:
        self.plan = plan
        self.records = records
        self.servers = servers
        self.outside = outside
        self.replicas: list[Replica] = []
        self.publisher: Publisher
        self.behind = 0
        self.ends: dict[str, float] = {}
        self.rules = plan.folder / "rules.yaml"
        names = (*SERVERS, "step", "receiver", "group", "publisher")
        self.locks = {name: asyncio.Lock() for name in names}
        self._store: RedisStore | None = None
        self._probes: asyncio.Queue[int] = asyncio.Queue()
        self._said: set[str] = set()
        for number in range(PROBES):
            self._probes.put_nowait(number)

    @property
    def redis(self) -> Server:
        """The store; a new one after a failover."""
        return self.servers["redis"]

    @property
    def ways(self) -> Sequence[str]:
        """Servers that controllers reach over ways of their own; the nodes of a cluster name each other."""
        return SERVERS if self.plan.store != "cluster" else SERVERS[1:]

    @property
    def _armed(self) -> Path:
        return self.plan.folder / "armed"

    def arm(self, step: str, candidates: Sequence[Replica], delay: float = 0.0) -> None:
        """Have whichever of these comes to a step of the protocol first die there."""
        fresh = self.plan.folder / "armed.new"
        folders = [replica.folder.name for replica in candidates]
        fresh.write_text(json.dumps({"step": step, "delay": delay, "folders": folders}))
        fresh.rename(self._armed)

    def disarm(self) -> bool:
        """Let nobody die any more who has not come to the step yet; whether nobody has."""
        try:
            self._armed.unlink()
        except FileNotFoundError:
            return False
        return True

    def declare(self) -> None:
        """Write the file of rules."""
        text = document(self.plan.lateness, hooks=self.outside.base, behind=self.behind)
        fresh = self.plan.folder / "rules.new"
        fresh.write_text(text)
        fresh.rename(self.rules)

    def settings(self, number: int, proxies: dict[str, Proxy]) -> dict[str, str]:
        """Of one replica."""
        return {
            "RULES": str(self.rules),
            "REDIS_URL": f"redis://127.0.0.1:{proxies['redis'].port}/0" if "redis" in self.ways else self.redis.url,
            "AMQP_URL": f"amqp://guest:guest@127.0.0.1:{proxies['rabbit'].port}/%2F",
            "MQTT_URL": f"mqtt://127.0.0.1:{proxies['mosquitto'].port}",
            "MQTT_SEATS": str(SEATS),
            **({"AMQP_PARTITIONS": str(self.plan.partitions)} if self.plan.partitions else {}),
            "REPLICA": f"replica-{number}",
            "WEBHOOK_TIMEOUT": "3",
            "WEBHOOK_MAX_ATTEMPTS": "50",
            "LOG_FORMAT": "json",
            "TEST_CHAOS": str(self.plan.folder / f"replica-{number}"),
            "TEST_BROKEN": self.plan.broken,
        }

    async def leads_to(self, server: Server) -> None:
        """Have another server be the store from now on."""
        self.servers["redis"] = server
        for replica in self.replicas:
            await replica.proxies["redis"].reset()
        await self.forget_store()

    # --- what people look at -----------------------------------------------------------------------------------------

    async def store(self) -> RedisStore:
        """The store, past all faults of the ways to it."""
        if self._store is None:
            self._store = RedisStore(self.redis.url, deadline=60.0)
        return self._store

    async def forget_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def watch(self) -> None:
        """Record again and again what the store keeps a bounded number of."""
        while True:
            with suppress(TemporaryError):
                for decision in await (await self.store()).decisions(GROUP, limit=1000):
                    if decision.id not in self._said:
                        self._said.add(decision.id)
                        self.records.say("kept", decision=decision)
                for name, alarm_id in self.alarms().items():
                    for entry in await (await self.store()).history(alarm_id, limit=1000):
                        mark = f"{entry.event_id} {entry.timestamp} {entry.detail}"
                        if mark not in self._said:
                            self._said.add(mark)
                            self.records.say("history", alarm=name, entry=entry)
            await asyncio.sleep(WATCH_INTERVAL)

    def alarms(self) -> dict[str, str]:
        """Ids of all alarms by name."""
        text = document(self.plan.lateness, hooks=self.outside.base, behind=self.behind)
        return {alarm.name: alarm.alarm_id for alarm in declared(text).alarms.values()}

    async def final(self) -> Final:
        """What there is in the end."""
        store = await self.store()
        declarations = declared(document(self.plan.lateness, hooks=self.outside.base, behind=self.behind))
        points: dict[str, dict[float, float]] = {}
        kept = [a for a in declarations.alarms.values() if a.name.endswith("everything")]
        for spec in Router(kept).windows.values():
            (reply,) = await store.write([WindowWrite(spec)])
            for name, packed in reply.series.items():
                points.setdefault(name, {}).update(unpack(packed).points())
        histories, waiting = {}, {}
        for name, alarm_id in self.alarms().items():
            histories[name] = list(reversed(await store.history(alarm_id, limit=1000)))
            if rows := sum((await store.lanes(alarm_id)).values()):
                waiting[name] = rows
        letters = [
            letter
            for kind in ("measure", "event", "notice", "action")
            for letter in await store.dead_letters(kind, limit=10_000)
        ]
        record = (await store.group(GROUP)).record
        decisions = list(reversed(await store.decisions(GROUP, limit=1000)))
        return Final(
            points,
            histories,
            decisions,
            letters,
            waiting,
            record.desired_capacity,
            record.resizing,
            self.outside.size,
        )

    @staticmethod
    def now() -> float:
        """Unix seconds by this machine's clock."""
        return time.time()

    # --- recovery ----------------------------------------------------------------------------------------------------

    async def probe(self) -> float:
        """Publish a measure and wait for what follows from it; when that was, by the loop's clock.

        Raises:
            UnrecoveredError: nothing follows.
        """
        loop = asyncio.get_running_loop()
        number = await self._probes.get()
        alarm = f"probe-{number}"
        try:
            before, begun = self.outside.latest.get(alarm, ("ok", 0.0))[0], loop.time()
            value = 0.0 if before == "alarm" else 1.0
            for _ in range(int(PROBE_PATIENCE / PROBE_AGAIN)):
                measure = self.publisher.numbered("probe", alarm, round(self.now(), 5), value) | {"kind": "probe"}
                self.publisher.send("amqp" if number % 2 else "mqtt", [measure])
                with suppress(TimeoutError):
                    async with asyncio.timeout(PROBE_AGAIN):
                        while True:
                            state, at = self.outside.latest.get(alarm, ("", 0.0))
                            if state == ("alarm" if value else "ok") and at >= begun:
                                return at
                            await self.outside.until()
                # a store that may lose writes may have taken back what was told last: the other value then says more
                value = 1.0 - value
        finally:
            self._probes.put_nowait(number)
        raise UnrecoveredError(f"no effect of a measure after {PROBE_PATIENCE:g} s\n{self.logs()}")

    def _is_over(self, name: str, record: AlarmRecord) -> bool:
        """Whether an alarm has been evaluated up to the end of all measures, and beyond."""
        return record.state == "insufficient data" and (record.point or 0.0) > self.ends.get(
            name, self.publisher.newest
        )

    def logs(self) -> str:
        """What the controllers said last."""
        return "\n".join(f"--- replica {each.number}\n{each.process.log()}" for each in self.replicas)

    async def quiet(self) -> None:
        """Stop the measures, and wait until all that follows from them has happened."""
        self.publisher.stop()
        loop = asyncio.get_running_loop()
        end = loop.time() + 180.0 + self.plan.lateness
        exact = {name: alarm_id for name, alarm_id in self.alarms().items() if name.startswith(("exact", "behind"))}
        exact = {name: alarm_id for name, alarm_id in exact.items() if not name.endswith("everything")}
        while loop.time() < end:
            store = await self.store()
            records = await store.alarms(list(exact.values()))
            named = zip(exact, records, strict=True)
            ended = all(record is not None and self._is_over(name, record) for name, record in named)
            rows = [lanes for alarm_id in self.alarms().values() if (lanes := await store.lanes(alarm_id))]
            group = (await store.group(GROUP)).record
            if ended and not rows and not group.resizing and group.size == self.outside.size:
                return
            await asyncio.sleep(0.5)
        raise UnrecoveredError(f"not quiet: states {records}, rows {rows}, group {group}\n{self.logs()}")


@asynccontextmanager
async def rigged(plan: Plan) -> AsyncIterator[Rig]:
    """All servers and controllers, ready, with measures flowing."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    records = Records(plan.folder / "rig.jsonl")
    async with AsyncExitStack() as stack:
        stack.callback(records.close)
        servers: dict[str, Server] = {
            "redis": KINDS[plan.store](),
            "rabbit": RabbitServer(plugins=HASHING),
            "mosquitto": MosquittoServer("persistence true", "autosave_interval 1800", "sys_interval 1"),
        }
        for name, server in servers.items():
            server.start_seconds = START_SECONDS
            await asyncio.to_thread(server.__enter__)
            stack.push_async_callback(_stop, servers, name)
        outside = await stack.enter_async_context(_served(records))
        rig = Rig(plan, records, servers, outside)
        stack.push_async_callback(rig.forget_store)
        rig.declare()
        nursery = stack.enter_context(Nursery())
        for number in range(plan.replicas):
            folder = plan.folder / f"replica-{number}"
            folder.mkdir(exist_ok=True)
            proxies = {
                name: await stack.enter_async_context(Proxy(lambda name=name: servers[name].port)) for name in SERVERS
            }
            replica = Replica(number, folder, proxies, rig.settings(number, proxies), nursery)
            rig.replicas.append(replica)
            await replica.start()
            stack.push_async_callback(_ended, replica)
        for replica in rig.replicas:
            await replica.until_ready()
        rig.publisher = Publisher(
            servers["rabbit"].url,
            servers["mosquitto"].port,
            records,
            random.Random(plan.seed),
            rate=plan.rate,
            divided=bool(plan.partitions),
        )
        yield rig


async def _stop(servers: dict[str, Server], name: str) -> None:
    server = servers[name]
    server.thaw()
    await asyncio.to_thread(server.stop)


async def _ended(replica: Replica) -> None:
    with suppress(ProcessLookupError, AssertionError):
        replica.signal(signal.SIGCONT)
        await replica.kill()


@asynccontextmanager
async def _served(records: Records) -> AsyncIterator[Outside]:
    async with receiver(it=Outside(records=records)) as outside:
        assert isinstance(outside, Outside)
        yield outside
