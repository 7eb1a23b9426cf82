"""Every schedule of two replicas, two batches and one crash, on the memory store.

A replica is a coroutine that stops before each call of the store, of the broker, of the receiver and of the target. A
schedule says who goes on next, when a replica dies, and when time moves. Replicas cannot be copied, so each branch of
the tree is reached by running its schedule from the beginning; branches that have come to the same state (store, time,
world, and all that each replica has been answered so far) are gone through once.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, cast

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.declarations import Declarations
from autoscaler.engine.controller import Controller
from autoscaler.engine.leases import Head
from autoscaler.engine.listen import Silence
from autoscaler.engine.route import Router
from autoscaler.engine.scale import Plan
from autoscaler.measures.measure import Measure
from autoscaler.ports import GroupPut, OutboxRow, Put, Store, TargetStatus
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import Group

IDLE = "idle"
REPLICAS = ("a", "b")
ALWAYS_IN_ORDER = 10_000

Batch = tuple[Measure, ...]
Action = tuple[str, str]


@types.coroutine
def stop(label: str) -> Generator[str, None, None]:
    """Let the scheduler decide who goes on."""
    yield label


class Journal(MemoryStore):
    """A memory store that remembers what it was told for good, so that a test can ask whether it was done."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.rows: list[OutboxRow] = []
        self.decided: list[Decision] = []

    def _queue(self, rows: Sequence[OutboxRow], now: float, lease: float) -> list[str]:
        self.rows += rows
        return super()._queue(rows, now, lease)

    async def put_group(self, put: GroupPut) -> Any:
        answer = await super().put_group(put)
        if isinstance(answer, Put) and answer.decision is not None:
            self.decided.append(answer.decision)
        return answer

    def due(self) -> dict[tuple[str, str], float]:
        return dict(self._work._due)

    def points(self) -> dict[str, bytes]:
        return {name: points for window in self._windows.values() for name, points in window.series.items()}

    def waiting(self) -> dict[str, int]:
        return {name: len(lane.rows) for name, lane in self._lanes.items()}

    def state(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in {"_clock", "_halls"}}

    def fingerprint(self) -> str:
        """Equal where the stores are, whatever the order in which they came to it."""
        parts = [sorted(self._work._due.items()), self.rows, self.decided]
        parts += [sorted(part.items()) for part in (self._windows, self._alarms, self._history, self._lanes)]
        parts += [sorted(part.items()) for part in (self._groups, self._schedules, self._letters)]
        return repr(parts)


@dataclass
class Surroundings:
    """All that is outside the controllers: a broker with two batches, a receiver, a target."""

    size: int
    queues: dict[str, list[int]]
    in_hand: dict[str, int] = field(default_factory=dict)
    acknowledged: list[int] = field(default_factory=list)
    delivered: list[OutboxRow] = field(default_factory=list)
    resizes: list[tuple[int, int]] = field(default_factory=list)


class Gate:
    """The store as one replica sees it."""

    def __init__(self, store: Journal, told: Callable[[object], None]) -> None:
        self._store = store
        self._told = told

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if name != "now":  # reading the clock changes nothing, and nothing that others do changes it
                await stop(name)
            answer = await method(*args, **kwargs)
            self._told(answer)
            return answer

        return call


class Receiver:
    """See :class:`autoscaler.ports.Action`."""

    schemes = frozenset({"https"})

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def deliver(self, row: OutboxRow) -> None:
        await stop("deliver")
        self._around.delivered.append(row)


class Members:
    """See :class:`autoscaler.ports.Target`."""

    resident = False
    pace = 0.5

    def __init__(self, around: Surroundings, told: Callable[[object], None]) -> None:
        self._around = around
        self._told = told

    async def status(self, group: Group) -> TargetStatus:
        await stop("status")
        self._told(self._around.size)
        return TargetStatus(size=self._around.size, ready=(), counted_ready=self._around.size)

    async def resize(self, group: Group, capacity: int, *, fence: int, deadline: float, order: str = "") -> None:
        await stop("resize")
        self._around.resizes.append((capacity, fence))
        self._around.size = capacity

    async def release(self, group: Group) -> None:
        await stop("release")


def controller(name: str, store: Journal, around: Surroundings, told: Callable[[object], None]) -> Controller:
    return Controller(
        cast("Store", Gate(store, told)),
        Silence(),
        actions={"https": Receiver(around)},
        targets={"dry_run": Members(around, told)},
        calendar=CronCalendar(),
        replica=name,
        jitter=lambda: 0.5,
        poll_interval=3600.0,
    )


class Replica:
    """One controller, going on one step at a time."""

    def __init__(self, name: str, scene: Scene, store: Journal, around: Surroundings) -> None:
        self.name = name
        self.alive = True
        self.woken = True
        self.trace = b""
        self._around = around
        self._batches = scene.batches
        self._wrongly_early = scene.acknowledges_first
        self._controller = controller(name, store, around, self._told)
        # the declarations were adopted before the story begins
        self._controller.router = Router(scene.declarations.alarms.values())
        self._controller.plan = scene.plan
        self._life = self._live()
        self.label = self._life.send(None)

    def _told(self, answer: object) -> None:
        self.trace = blake2b(self.trace + repr(answer).encode(), digest_size=16).digest()

    def step(self) -> None:
        self.woken = False
        self.label = self._life.send(None)

    def die(self) -> None:
        self.alive = False
        self.label = "dead"
        self._life.close()

    async def _live(self) -> None:
        while True:
            queue = self._around.queues[self.name]
            if queue:
                self._around.in_hand[self.name] = queue.pop(0)
                await self._take(self._around.in_hand[self.name])
                continue
            claimed = await self._controller.claim()
            if not claimed.items:
                await stop(IDLE)
                continue
            windows = [item.key for item in claimed.items if item.kind == "window"]
            if windows:
                await self._evaluate(await self._controller.write((), windows))
            for item in claimed.items:
                if item.kind != "window":
                    await self._controller.do(item)

    async def _take(self, number: int) -> None:
        if self._wrongly_early:
            await self._acknowledge(number)
        written = await self._controller.write(self._batches[number])
        if not self._wrongly_early:
            await self._acknowledge(number)
        await self._evaluate(written)

    async def _acknowledge(self, number: int) -> None:
        await stop("ack")
        self._around.acknowledged.append(number)
        del self._around.in_hand[self.name]

    async def _evaluate(self, written: Any) -> None:
        heads: list[Head] = []
        await self._controller.evaluate(written, heads.append)
        for head in heads:
            await self._controller.carry_out(head)

    @property
    def can_go_on(self) -> bool:
        return self.alive and (self.label != IDLE or self.woken)


@dataclass(frozen=True)
class Scene:
    """Where the story begins.

    Attributes:
        batches: one for each replica to begin with.
        begins: Unix seconds.
        store: class of the store; broken ones are proofs that the checker bites.
        acknowledges_first: a broken replica.
        crashes: how many replicas may die.
        pauses: how often time may move while replicas are in the middle of something.
        pause_seconds: how far.
        asleep: who does nothing before time moves.
    """

    declarations: Declarations
    batches: Sequence[Batch]
    begins: float
    prepared: bytes
    store: type[Journal] = Journal
    acknowledges_first: bool = False
    crashes: int = 1
    pauses: int = 0
    pause_seconds: float = 0.0
    asleep: Sequence[str] = ()

    @cached_property
    def plan(self) -> Plan:
        declared = self.declarations
        router = Router(declared.alarms.values())
        return Plan(declared.groups, declared.policies, declared.schedules, router, "scene")


class Story:
    """One schedule under way."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.now = scene.begins
        self.crashes = scene.crashes
        self.pauses = scene.pauses
        self.store = scene.store(lambda: self.now)
        vars(self.store).update(pickle.loads(scene.prepared))
        self.around = Surroundings(2, {name: [] for name in REPLICAS})
        for name, number in zip(REPLICAS, range(len(scene.batches)), strict=False):
            self.around.queues[name].append(number)
        self.replicas = {name: Replica(name, scene, self.store, self.around) for name in REPLICAS}
        for name in scene.asleep:
            self.replicas[name].label, self.replicas[name].woken = IDLE, False

    def actions(self) -> list[Action]:
        """What may happen next; nothing when everybody rests."""
        able = [replica for replica in self.replicas.values() if replica.can_go_on]
        steps = [("step", replica.name) for replica in able]
        if not able:
            return []
        if self.crashes and len(self._living()) > 1:
            steps += [("crash", replica.name) for replica in able]
        # not before the measures are written: what comes after its boundary was looked at is late, by anybody's rules
        if self.pauses and self.around.acknowledged:
            steps.append(("pause", ""))
        return steps

    def do(self, action: Action) -> None:
        match action:
            case ("step", name):
                self.replicas[name].step()
            case ("crash", name):
                self.crashes -= 1
                self._crash(name)
            case _:
                self.pauses -= 1
                self._move(self.now + self.scene.pause_seconds)

    def _crash(self, name: str) -> None:
        self.replicas[name].die()
        (survivor,) = self._living()
        queue = self.around.queues[survivor.name]
        queue += self.around.queues.pop(name)
        if name in self.around.in_hand:
            queue.append(self.around.in_hand.pop(name))  # what was not acknowledged is sent again, to whoever lives
        survivor.woken = True

    def _living(self) -> list[Replica]:
        return [replica for replica in self.replicas.values() if replica.alive]

    def _next_due(self) -> float:
        return min(self.store.due().values(), default=self.now)

    def _move(self, now: float) -> None:
        self.now = max(self.now, now)
        for replica in self._living():
            replica.woken = True

    def finish(self, until: float) -> None:
        """Let time pass, and the living do what comes due, one after another."""
        for _ in range(ALWAYS_IN_ORDER):
            able = [replica for replica in self._living() if replica.can_go_on]
            if able:
                able[0].step()
            elif self._next_due() <= until:
                self._move(self._next_due())
            else:
                self.now = until
                return
        raise AssertionError("work never ends")

    def end(self) -> None:
        for replica in self._living():
            replica.die()

    def key(self) -> bytes:
        """Equal for two schedules after which the same can happen."""
        # of the dead nothing remains
        replicas = [(r.name, r.label, r.woken, r.trace) for r in self._living()]
        parts = (self.now, self.crashes, self.pauses, replicas, self.around, self.store.fingerprint())
        return blake2b(repr(parts).encode(), digest_size=16).digest()


@dataclass
class Explored:
    """How much was gone through."""

    schedules: int
    states: int
    endings: int


class Explorer:
    """Goes through all schedules of a scene.

    Args:
        check: is given each story at its end, with the schedule that led there; raises where a promise is broken.
    """

    def __init__(self, scene: Scene, check: Callable[[Story], None], *, until: float) -> None:
        self._scene = scene
        self._check = check
        self._until = until
        self._schedules: dict[bytes, int] = {}
        self._endings: set[bytes] = set()

    def explore(self) -> Explored:
        schedules = self._explore([], Story(self._scene))
        return Explored(schedules, len(self._schedules), len(self._endings))

    def _explore(self, schedule: list[Action], story: Story) -> int:
        key = story.key()
        known = self._schedules.get(key)
        if known is not None:
            story.end()
            return known
        forced = self._forced(story)
        if forced:
            total = self._explore([*schedule, *forced], story)
            self._schedules[key] = total
            return total
        actions = story.actions()
        total = 0 if actions else 1
        if not actions:
            self._end(schedule, story)
        for action in actions:
            branch = story if action is actions[0] else self._replayed(schedule)
            branch.do(action)
            total += self._explore([*schedule, action], branch)
        self._schedules[key] = total
        return total

    def _forced(self, story: Story) -> list[Action]:
        """Go on as long as there is only one way."""
        taken: list[Action] = []
        while len(actions := story.actions()) == 1:
            story.do(actions[0])
            taken += actions
        return taken

    def _replayed(self, schedule: Sequence[Action]) -> Story:
        story = Story(self._scene)
        for action in schedule:
            story.do(action)
        return story

    def _end(self, schedule: Sequence[Action], story: Story) -> None:
        story.finish(self._until)
        try:
            self._check(story)
        except AssertionError as error:
            error.add_note("schedule: " + " ".join(f"{kind}:{name}" if name else kind for kind, name in schedule))
            raise
        finally:
            story.end()
        self._endings.add(story.key())


def finished(life: Coroutine[Any, Any, None]) -> None:
    """Run to the end whatever stops for a scheduler, with none."""
    try:
        while True:
            life.send(None)
    except StopIteration:
        return
