"""The soak itself: servers, controllers, traffic, disturbances; and what must hold of all of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aio_pika
import httpx
import redis.asyncio

from autoscaler.declarations import load
from autoscaler.engine.route import Router
from bench.soak.plots import Stretch
from bench.soak.receiver import Hooks
from bench.soak.samples import Sampler, Watched
from bench.soak.traffic import HEADERS, Traffic
from bench.soak.verdict import CONTROLLERS, KEPT_FOR_A_TIME, Line, Sample, column, curves, line
from bench.soak.world import BOUNDARIES, GROUPS, LEDGERS, PROJECT, declarations, fired, made
from tests.e2e.controller import ControllerProcess
from tests.servers import MosquittoServer, RabbitServer, ValkeyServer, free_port
from tests.shifted_clock import NOTICED, ShiftedClock

QUEUE = "autoscaler.measures"
DISTURBANCES = ("torrent", "flood", "stop one", "torrent", "", "stop all", "")
"""One for each phase; see :data:`SHOWN`.

The first comes while everybody warms up, and is the longest: of what Python's allocator has once taken for a backlog it
gives back a part, and what is asked is whether another backlog takes more.
"""
LONGEST_SHARE = 1.5
"""How many times as long as another disturbance the one is by which everybody warms up."""
SHOWN = {
    "": "nothing",
    "flood": "ten times the rate",
    "stop one": "the second controller stands still",
    "torrent": "as fast as broker and API take it",
    "stop all": "both controllers stand still",
}
REPEATED_EVERY = 60.0
"""Seconds between two repeats of an alarm."""
MADE = 30
"""Alarms made through the API that live at a time."""
WARM = 1800.0
"""Seconds of a soak that say something about growth; a shorter one is all beginning."""
CAUGHT_UP = 300.0
"""Seconds within which everything must have been taken after a disturbance."""
HARDLY = 5.0
"""Seconds of traffic that may be under way at any time, on a machine that is shared."""


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        seconds: of all phases together.
        rate: measures a second.
        share: of the alarms of a whole soak.
        longest: seconds of a disturbance, at most.
        interval: seconds between two samples.
        phases: numbers of the boundaries that are passed.
        disturbances: one for each phase.
    """

    seconds: float = 3600.0
    rate: float = 200.0
    share: float = 1.0
    longest: float = 60.0
    interval: float = 5.0
    seed: int = 1
    phases: Sequence[int] = tuple(range(len(BOUNDARIES)))
    disturbances: Sequence[str] = DISTURBANCES

    @property
    def phase(self) -> float:
        """Seconds of one phase."""
        return self.seconds / len(self.phases)

    @property
    def before(self) -> float:
        """Seconds of a phase before its boundary."""
        return max(0.4 * self.phase, 5 * NOTICED)

    @property
    def disturbed(self) -> float:
        """Seconds of one disturbance."""
        return min(self.longest, self.phase * 0.15)

    @property
    def settling(self) -> float:
        """Seconds after a step or a disturbance that do not count as steady."""
        return min(60.0, self.phase * 0.15)


@dataclass
class Findings:
    """What came of it.

    Attributes:
        figures: by name, for people.
        broken: what did not hold; empty when all did.
    """

    samples: list[Sample] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> None:  # noqa: FBT001
        """Note what did not hold."""
        if not holds:
            self.broken.append(what)


@dataclass
class Soak:
    """A running soak."""

    plan: Plan
    clock: ShiftedClock
    controllers: dict[str, ControllerProcess]
    hooks: Hooks
    traffic: Traffic
    sampler: Sampler
    store: redis.asyncio.Redis
    said: Callable[[str], None]
    findings: Findings
    declared: Mapping[str, int]
    began: float = field(default_factory=time.monotonic)
    events: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _steady_from: float = 0.0

    def seconds(self) -> float:
        """Since the soak began."""
        return time.monotonic() - self.began

    def bases(self) -> list[str]:
        """Of the controllers' API."""
        return [f"http://127.0.0.1:{controller.port}" for controller in self.controllers.values()]

    async def run(self) -> None:
        """All phases, then what must hold in the end."""
        self._unsettle(self.plan.seconds * 0.1)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sample())
            helpers = [group.create_task(self._churn()), group.create_task(self._events())]
            traffic = group.create_task(self.traffic.steady())
            for number, disturbance in zip(self.plan.phases, self.plan.disturbances, strict=True):
                await self._phase(number, disturbance)
            traffic.cancel()
            await self._caught_up("in the end")
            # not cancelled: a question that is broken off takes the channel with it
            self.over.set()
            for helper in helpers:
                helper.cancel()
        await self._end()

    # --- phases ------------------------------------------------------------------------------------------------------

    async def _phase(self, number: int, disturbance: str) -> None:
        name, boundary = BOUNDARIES[number]
        plan, begin = self.plan, self.seconds()
        self.said(f"{begin:6.0f} s  {name}")
        self.clock.step(boundary - plan.before)
        self.hooks.most_repeats()  # begin to count
        await asyncio.sleep(3 * NOTICED)
        shown, began = self.clock.now(), self.seconds()
        self.traffic.begin_page()
        self._unsettle(plan.settling)
        await asyncio.sleep(max(0.0, max(0.6 * plan.phase, plan.before) - (self.seconds() - begin)))
        if disturbance:
            await self._disturb(disturbance)
        await asyncio.sleep(max(0.0, plan.phase - (self.seconds() - begin)))
        self.findings.stretches.append(Stretch("phase", name, begin, self.seconds()))
        self._expect_no_storm(name, self.seconds() - begin)
        await self._turn_page(name, shown, self.seconds() - began)

    def _expect_no_storm(self, name: str, seconds: float) -> None:
        """What repeats each minute was not made up for the hours that the clock has left out."""
        most, figures = self.hooks.most_repeats(), self.findings.figures
        key = "repeats of one alarm in a phase, at most"
        figures[key] = max(figures.get(key, 0), most)
        self.findings.expect(most <= seconds / REPEATED_EVERY + 2, f"{name}: an alarm told {most} repeats")

    async def _disturb(self, disturbance: str) -> None:
        begin, seconds = self.seconds(), self.plan.disturbed
        self.said(f"{begin:6.0f} s  {SHOWN[disturbance]}")
        if begin < self.plan.phase:
            seconds *= LONGEST_SHARE
        self._unsettle(seconds + CAUGHT_UP)
        match disturbance:
            case "flood":
                sent = await self.traffic.flood(seconds, 10 * self.plan.rate)
                self.findings.figures["flood: measures"] = sent
            case "torrent":
                sent = await self.traffic.flood(seconds, None)
                figures = self.findings.figures
                figures["torrent: measures"] = figures.get("torrent: measures", 0) + sent
            case "stop one":
                await self._stopped(["second"], seconds)
            case "stop all":
                await self._stopped(list(self.controllers), seconds)
            case _:
                raise ValueError(disturbance)
        end = self.seconds()
        self.findings.stretches.append(Stretch(disturbance, SHOWN[disturbance], begin, end))
        await self._caught_up(f"after {SHOWN[disturbance]}")
        figures, key = self.findings.figures, f"{disturbance}: caught up after s, at most"
        figures[key] = max(figures.get(key, 0.0), self.seconds() - end)
        self._unsettle(self.plan.settling, anew=True)

    async def _stopped(self, names: Sequence[str], seconds: float) -> None:
        """They stand still, as on a machine that swaps."""
        pids = [self.controllers[name].pid for name in names]
        for pid in pids:
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            for pid in pids:
                assert pid is not None
                os.kill(pid, signal.SIGCONT)

    async def _caught_up(self, when: str) -> None:
        """Wait until hardly anything waits at the broker or in a controller, twice in a row."""
        end, idle, waiting = self.seconds() + CAUGHT_UP, 0, 0.0
        while self.seconds() < end:
            waiting = await self.sampler.waiting()
            idle = idle + 1 if waiting < HARDLY * self.plan.rate else 0
            if idle == 2:
                return
            await asyncio.sleep(0.5)
        self.findings.broken.append(f"{when}: {waiting:.0f} measures still wait after {CAUGHT_UP:g} s")

    def _unsettle(self, seconds: float, *, anew: bool = False) -> None:
        until = self.seconds() + seconds
        self._steady_from = until if anew else max(self._steady_from, until)

    # --- beside the phases -------------------------------------------------------------------------------------------

    async def _sample(self) -> None:
        for number in itertools.count(1):
            if self.over.is_set():
                return
            sample = await self.sampler.sample()
            seconds = self.seconds()
            told = {
                "webhooks": float(self.hooks.transitions + self.hooks.repeats),
                "sent": float(sum(self.traffic.sent.values())),
            }
            self.findings.samples.append(
                {
                    "seconds": seconds,
                    "steady": float(seconds >= self._steady_from),
                    "clock": self.clock.now(),
                    **told,
                    **sample,
                }
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(self.plan.interval / 2, number * self.plan.interval - self.seconds())):
                    await self.over.wait()

    async def _churn(self) -> None:
        """Alarms made and removed through the API, at either controller."""
        drawn, alive, figures = random.Random(self.plan.seed), [], self.findings.figures
        async with httpx.AsyncClient(headers=HEADERS, timeout=60) as client:
            try:
                for number in itertools.count():
                    base = drawn.choice(self.bases())
                    figures["alarms made"] = number + 1.0
                    try:
                        answer = await client.post(f"{base}/v2/alarms", json=made(number, self.hooks.url))
                        if answer.status_code == httpx.codes.CREATED:
                            alive.append(answer.json()["alarm_id"])
                        if len(alive) > MADE:
                            gone = alive.pop(drawn.randrange(len(alive)))
                            await client.delete(f"{base}/v2/alarms/{gone}")
                    except httpx.TransportError:  # of a controller that stands still
                        figures["changes unanswered"] = figures.get("changes unanswered", 0.0) + 1.0
                    await asyncio.sleep(min(3.0, self.plan.seconds / 20))
            finally:
                for gone in alive:
                    await client.delete(f"{self.bases()[0]}/v2/alarms/{gone}")

    async def _events(self) -> None:
        async with httpx.AsyncClient(headers=HEADERS, timeout=60) as client:
            for number in itertools.count():
                event = {
                    "message_id": f"event-{number}", "event_type": "compute.instance.update",
                    "traits": {"project_id": PROJECT, "place": str(number % 40)},
                }  # fmt: skip
                base = self.bases()[number % len(self.controllers)]
                with contextlib.suppress(httpx.HTTPError):
                    await client.post(f"{base}/v1/events", json=event)
                    self.events += 1
                await asyncio.sleep(2.0)

    # --- what must hold ----------------------------------------------------------------------------------------------

    async def _turn_page(self, name: str, shown: float, seconds: float) -> None:
        """What must hold of a phase that is over."""
        await self._caught_up(name)
        published = {
            series: [point for point in points if point[0] < shown + seconds - 1.0]
            for series, points in self.traffic.ledger.items()
        }
        findings, figures = self.findings, self.findings.figures
        findings.expect(len(published) == LEDGERS, f"{name}: {len(published)} of {LEDGERS} series were published")
        for _ in range(30):
            stored = await self._stored()
            lost = {series: set(points) - stored.get(series, set()) for series, points in published.items()}
            if not any(lost.values()):
                break
            await asyncio.sleep(1.0)  # under way
        else:
            told = {series: len(points) for series, points in lost.items() if points}
            findings.broken.append(f"{name}: measures that are in no window: {told}")
        figures["measures looked for"] = figures.get("measures looked for", 0) + sum(map(len, published.values()))
        decided = await self._decided()
        owed = fired(shown, shown + seconds - 1.0)
        figures["schedules due"] = figures.get("schedules due", 0) + len(owed)
        for due in owed:
            findings.expect(decided.count(due) == 1, f"{name}: {due} was decided {decided.count(due)} times")

    async def _stored(self) -> dict[str, set[tuple[float, float]]]:
        """The points of the ledger series, as they are in Redis."""
        names = [f"ledger-{number}" for number in range(LEDGERS)]
        found: dict[str, set[tuple[float, float]]] = {}
        async for key in self.store.scan_iter(match="*}:points:*", count=500):
            for name, packed in zip(names, await self.store.hmget(key, names), strict=True):
                if packed:
                    found.setdefault(name, set()).update(struct.iter_unpack("<dd", packed))
        return found

    async def _decided(self) -> list[str]:
        async with httpx.AsyncClient(headers=HEADERS, timeout=20) as client:
            answers = [await client.get(f"{self.bases()[0]}/v1/groups/{name}/decisions?limit=1000") for name in GROUPS]
        return [decision["id"] for answer in answers for decision in answer.json()]

    async def _end(self) -> None:
        await self._told()
        findings, traffic, counters = self.findings, self.traffic, self.sampler.counters
        sent = sum(traffic.sent.values())
        events = counters['autoscaler_measures_received_total{source="http events"}']
        received = counters["autoscaler_measures_received_total"] - events
        rejected = counters["autoscaler_measures_rejected_total"]
        hooks, changes = self.hooks, changes_of_state(counters)
        findings.figures |= {
            "measures sent": sent,
            **{f"measures sent, {path}": count for path, count in sorted(traffic.sent.items())},
            "measures received": received,
            "measures rejected": rejected,
            **{name.partition("_total")[2]: value for name, value in counters.items() if "rejected_total{" in name},
            "measures too old": counters["autoscaler_measures_too_old_total"],
            "measures unrouted": counters["autoscaler_measures_unrouted_total"],
            "measures received twice, at least": max(0.0, received + rejected - sent - traffic.unanswered),
            "evaluations": counters["autoscaler_evaluations_total"],
            "changes of state": changes,
            "changes of state told": hooks.transitions,
            "repeats told": hooks.repeats,
            "webhooks told again": hooks.again,
            "resizes": hooks.resizes,
            **{f"HTTP {status}": count for status, count in sorted(traffic.answers.items())},
        }
        findings.expect(
            received + rejected >= sent, f"{sent} measures were sent, {received + rejected:.0f} are accounted for"
        )
        findings.expect(not traffic.unasked, f"{traffic.unasked} answers of 429 or 503 did not say when to come back")
        findings.expect(set(traffic.answers) <= {202, 429, 503}, f"measures were answered {dict(traffic.answers)}")
        findings.expect(not hooks.broken, f"{len(hooks.broken)} webhooks out of order: {hooks.broken[:5]}")
        findings.expect(hooks.transitions == changes, f"{changes:.0f} changes of state, {hooks.transitions} told")
        judge(findings, self.plan, self.declared)

    async def _told(self) -> None:
        """Wait until every webhook that is owed has come."""
        for _ in range(100):
            await self.sampler.sample()
            if self.hooks.transitions >= changes_of_state(self.sampler.counters):
                return
            await asyncio.sleep(0.2)


def judge(findings: Findings, plan: Plan, declared: Mapping[str, int]) -> None:
    """Whether the curves are flat, and what is kept for a time only is no more than there was to be kept.

    Args:
        declared: how many of each of :data:`bench.soak.verdict.KEPT_FOR_A_TIME` are owed to what is declared.
    """
    samples = findings.samples
    findings.lines = [line(samples, name, plan.seconds) for name in curves(samples)]
    for each in findings.lines if plan.seconds >= WARM else ():
        grew = f"{each.name}: grew by {each.rise:.2f}, {each.allowed:.2f} allowed, median {each.median:.2f}"
        findings.expect(each.is_flat, grew)
    for kind, count in declared.items():
        highest = max((value for _, value in column(samples, f"keys {kind}")), default=0.0)
        most = count + findings.figures.get("alarms made", 0)
        findings.figures[f"keys {kind}, at most"] = highest
        findings.expect(highest <= most, f"keys {kind}: {highest:.0f}, and only {most:.0f} alarms that they may be of")


def changes_of_state(counters: Counter[str]) -> float:
    """Transitions to another state; an event that hits again is one to the same."""
    pairs = itertools.permutations(("ok", "alarm", "insufficient data"), 2)
    names = [f'autoscaler_transitions_total{{current="{after}",previous="{before}"}}' for before, after in pairs]
    return sum(counters[name] for name in names)


@contextlib.asynccontextmanager
async def prepared(plan: Plan, folder: Path, findings: Findings, said: Callable[[str], None]) -> AsyncIterator[Soak]:
    """Everything started, and the declared alarms in force."""
    with contextlib.ExitStack() as stack:
        clock = stack.enter_context(ShiftedClock(folder, begins=BOUNDARIES[plan.phases[0]][1] - 1800.0))
        # Valkey, since libfaketime and the jemalloc of Debian's Redis do not go together
        options = ("--appendonly", "yes", "--appendfsync", "everysec")
        store = stack.enter_context(ValkeyServer(*options, environment=clock.environment))
        rabbit = stack.enter_context(RabbitServer())
        mosquitto = stack.enter_context(MosquittoServer())
        hooks = Hooks()
        server = await asyncio.start_server(hooks.serve, "127.0.0.1", 0)
        stack.callback(server.close)
        hooks.port = server.sockets[0].getsockname()[1]
        hooks.sizes.update(dict.fromkeys(GROUPS, 1))
        declared = folder / "soak.yaml"
        declared.write_text(declarations(hooks.url, f"{hooks.base}/groups", plan.share))
        router = Router(load({"soak.yaml": declared.read_text()}).alarms.values())
        owed = {kind: len(router.by_id if kind == "history" else router.windows) for kind in KEPT_FOR_A_TIME}
        controllers = dict(_started(stack, folder, declared, clock, (store.url, rabbit.url, mosquitto.url)))
        for each in controllers.values():
            each.until_ready()
        bases = {name: f"http://127.0.0.1:{each.port}" for name, each in controllers.items()}
        processes = [Watched(name, [each.pid or 0]) for name, each in controllers.items()]
        processes += [
            Watched(name, each.pids)
            for name, each in (("redis", store), ("rabbitmq", rabbit), ("mosquitto", mosquitto))
        ]
        processes.append(Watched("soak", [os.getpid()]))
        traffic = Traffic(clock, plan.rate)
        async with (
            traffic.connected(rabbit.url, mosquitto.url, list(bases.values())),
            await aio_pika.connect(rabbit.url) as connection,
            redis.asyncio.Redis.from_url(store.url) as client,
        ):
            sampler = Sampler(processes, bases, client, await connection.channel(), QUEUE)
            yield Soak(plan, clock, controllers, hooks, traffic, sampler, client, said, findings, owed)


def _started(
    stack: contextlib.ExitStack, folder: Path, declared: Path, clock: ShiftedClock, urls: tuple[str, str, str]
) -> Iterator[tuple[str, ControllerProcess]]:
    store, amqp, mqtt = urls
    for name in CONTROLLERS:
        own = folder / name
        own.mkdir()
        settings = {
            "REDIS_URL": store, "AMQP_URL": amqp, "AMQP_QUEUE": QUEUE, "RULES": str(declared), "REPLICA": name,
            "WEBHOOK_MAX_ATTEMPTS": "100",
            "TRUSTED_SOURCES": "amqp,mqtt,http", "WEBHOOK_ALLOW": "127.0.0.0/8", "LOG_LEVEL": "warning",
        }  # fmt: skip
        if name == CONTROLLERS[0]:
            settings["MQTT_URL"] = mqtt
        process = ControllerProcess(own, port=free_port(), settings=settings, environment=clock.environment)
        stack.enter_context(process)
        yield name, process


async def soak(plan: Plan, folder: Path, findings: Findings, said: Callable[[str], None] = lambda _: None) -> None:
    """Run a soak to its end; ``findings`` has what came of it, also when it breaks off."""
    async with prepared(plan, folder, findings, said) as running:
        said(f"{plan.seconds:g} s at {plan.rate:g} measures a second; logs in {folder}")
        await running.run()
        for name, controller in running.controllers.items():
            code = controller.end()
            findings.expect(code == 0, f"the {name} controller ended with {code}: {controller.log()}")
            findings.expect("Traceback" not in controller.log(), f"{name}: {controller.log()}")
