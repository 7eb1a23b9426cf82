"""A controller that dies at any call of the store, before it or after it: a fresh one carries on to the same end.

On Redis the controller is a process of its own and is killed by a signal; on the memory store it is dropped.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.redis import RedisStore
from autoscaler.adapters.schedule import CronCalendar
from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.engine.controller import Controller
from autoscaler.engine.ingest import Written
from autoscaler.engine.leases import Head
from autoscaler.engine.listen import Silence
from autoscaler.engine.route import Router
from autoscaler.measures.series import unpack
from autoscaler.ports import HistoryEntry, Store, WindowWrite
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import GroupRecord
from tests.protocol.outside import Members, Outside, Receiver
from tests.protocol.scene import GROUP, alarm_id, declared, load_of

BEGINS, ENDS = 100.0, 950.0
MEASURES = [
    load_of("web-1", 150.0, 20.0),
    load_of("web-1", 250.0, 90.0),
    # long enough to reach the bound though a lease must run out first and makes the measures before it stale
    load_of("web-1", 350.0, 95.0),
    load_of("web-1", 450.0, 95.0),
    load_of("web-1", 550.0, 30.0),
]


class DiedError(BaseException):
    """Nothing in the controller is to catch this."""


class Mortal:
    """A store whose caller dies at the n-th call.

    Args:
        dies_at: the number of the call, from 1; 0 means never.
        after: once the call is done, instead of before.
        die: does not return.
    """

    def __init__(self, store: Store, dies_at: int, *, after: bool, die: Callable[[], None]) -> None:
        self._store = store
        self._dies_at = dies_at
        self._after = after
        self._die = die
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            dies = self.calls == self._dies_at
            if dies and not self._after:
                self._die()
            answer = await method(*args, **kwargs)
            if dies:
                self._die()
            return answer

        return call


class Life:
    """A controller that takes what is not acknowledged yet, and does what comes due, until the end of time."""

    def __init__(self, outside: Outside, store: Store, clock: list[float]) -> None:
        self._outside = outside
        self._clock = clock
        self._controller = Controller(
            store,
            Silence(),
            actions={"https": Receiver(outside)},
            targets={"dry_run": Members(outside)},
            calendar=CronCalendar(),
            replica="one",
            jitter=lambda: 0.5,
            poll_interval=3600.0,
        )

    async def live(self) -> None:
        declarations = declared()
        await self._controller.adopt(
            "scene", declarations.alarms, declarations.groups, declarations.policies, declarations.schedules
        )
        for number in range(len(self._outside.said("ack")), len(MEASURES)):
            await self._work(until=MEASURES[number].timestamp)
            written = await self._controller.write([MEASURES[number]])
            self._outside.say("ack", number)
            await self._evaluate(written)
        await self._work(until=ENDS)

    async def _work(self, until: float) -> None:
        while True:
            claimed = await self._controller.claim()
            windows = [item.key for item in claimed.items if item.kind == "window"]
            if windows:
                await self._evaluate(await self._controller.write((), windows))
            for item in claimed.items:
                if item.kind != "window":
                    await self._controller.do(item)
            if not claimed.items:
                if until <= self._clock[0]:
                    return
                self._move(until if claimed.next_due is None else min(until, claimed.next_due))

    def _move(self, now: float) -> None:
        self._clock[0] = max(self._clock[0], now)
        self._outside.say("now", self._clock[0])

    async def _evaluate(self, written: Written) -> None:
        heads: list[Head] = []
        await self._controller.evaluate(written, heads.append)
        for head in heads:
            await self._controller.carry_out(head)


@dataclass(frozen=True)
class Ending:
    """What is found when all is over."""

    history: list[HistoryEntry]
    record: AlarmRecord
    group: GroupRecord
    decisions: list[Decision]
    points: dict[float, float]
    lanes: dict[str, int]
    overdue: int
    posts: list[dict[str, Any]]
    puts: list[dict[str, Any]]

    @property
    def transitions(self) -> list[tuple[str, float, str]]:
        return [
            (entry.detail["state"], entry.timestamp, entry.detail["transition_reason"])
            for entry in self.history
            if entry.type == "state transition"
        ]

    @property
    def moves(self) -> list[tuple[int | None, int | None]]:
        return [(made.before, made.to) for made in self.decisions if made.decision == "scale"]


async def ending(store: Store, outside: Outside) -> Ending:
    declarations = declared()
    alarm = alarm_id(declarations)
    (spec,) = Router(declarations.alarms.values()).windows.values()
    # read first: it leaves a mark of its own
    claimed = await store.claim(limit=100, lease=5.0)
    (window,) = await store.write([WindowWrite(spec)])
    (record,) = await store.alarms([alarm])
    assert record is not None
    return Ending(
        list(reversed(await store.history(alarm, limit=100))),
        record,
        (await store.group(GROUP)).record,
        list(reversed(await store.decisions(GROUP, limit=100))),
        dict(unpack(window.series.get("web-1", b"")).points()),
        dict(await store.lanes(alarm)),
        len(claimed.items),
        outside.said("post"),
        outside.said("put"),
    )


def check(found: Ending, expected: Ending) -> None:
    assert found.points == expected.points, "measures lost"
    assert found.transitions == expected.transitions
    assert len({entry.event_id for entry in found.history}) == len(found.history)
    assert found.record.state == expected.record.state
    _check_actions(found, expected)
    _check_decisions(found, expected)
    assert not found.lanes
    assert not found.overdue


def _check_actions(found: Ending, expected: Ending) -> None:
    first: dict[str, Any] = {}
    for post in found.posts:
        assert first.setdefault(post["id"], post["body"]) == post["body"], "one id, two bodies"
    wanted = [post["body"]["current"] for post in expected.posts]
    assert [body["current"] for body in first.values()] == wanted, "actions lost, or out of order"


def _check_decisions(found: Ending, expected: Ending) -> None:
    counts = Counter(made.id for made in found.decisions)
    assert max(counts.values()) == 1, "decided twice"
    assert found.moves == expected.moves
    assert all(later[0] == earlier[1] for earlier, later in zip(found.moves, found.moves[1:], strict=False))
    assert (found.group.desired_capacity, found.group.size) == (expected.group.desired_capacity, expected.group.size)
    assert not found.group.resizing
    assert [put["size"] for put in found.puts if put["size"] not in {to for _, to in found.moves}] == []
    fences = [put["fence"] for put in found.puts]
    assert fences == sorted(fences)
    # the cooldown counts from the end of the resize, which a crash can only put off
    assert found.group.cooldown_end is not None
    assert expected.group.cooldown_end is not None
    assert found.group.cooldown_end >= expected.group.cooldown_end


# --- the memory store: the controller is dropped ---------------------------------------------------------------------


def _raise() -> None:
    raise DiedError


async def in_memory(path: Path, dies_at: int, *, after: bool) -> tuple[Ending, int]:
    clock = [BEGINS]
    store = MemoryStore(lambda: clock[0])
    mortal = Mortal(store, dies_at, after=after, die=_raise)
    outside = Outside(path)
    try:
        try:
            await Life(outside, cast("Store", mortal), clock).live()
        except DiedError:
            await Life(outside, store, clock).live()
        return await ending(store, outside), mortal.calls
    finally:
        outside.close()


@pytest.mark.slow
async def test_a_dropped_controller_leaves_nothing_undone_in_the_memory_store(tmp_path: Path) -> None:
    expected, calls = await in_memory(tmp_path / "undisturbed", 0, after=False)

    assert [state for state, _, _ in expected.transitions] == ["ok", "alarm", "ok", "insufficient data"]
    assert expected.moves == [(2, 4), (4, 6)]
    assert calls > 80
    for dies_at in range(1, calls + 1):
        for after in (False, True):
            path = tmp_path / f"{dies_at}-{after}"
            found, _ = await in_memory(path, dies_at, after=after)
            _checked(found, expected, f"died {'after' if after else 'before'} call {dies_at}", path)


def _checked(found: Ending, expected: Ending, note: str, path: Path) -> None:
    try:
        check(found, expected)
    except AssertionError as error:
        error.add_note(f"{note}\n{path.read_text()}")
        raise


# --- Redis: the controller is killed ---------------------------------------------------------------------------------


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(life: Callable[[], Awaitable[None]]) -> int:
    """Run in a process of its own; the signal that ended it, or 0."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed; see its output"
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 1
    try:
        asyncio.run(_main(life))
        code = 0
    finally:
        os._exit(code)


async def _main(life: Callable[[], Awaitable[None]]) -> None:
    await life()


@dataclass
class OnRedis:
    """One namespace of a server, and one log."""

    url: str
    namespace: str
    path: Path

    def _clock(self) -> list[float]:
        times = Outside(self.path).said("now")
        return [times[-1] if times else BEGINS]

    async def _opened(self, clock: list[float]) -> RedisStore:
        return RedisStore(self.url, namespace=self.namespace, shards=2, clock=lambda: clock[0])

    async def life(self, dies_at: int, *, after: bool) -> int:
        clock = self._clock()
        store, outside = await self._opened(clock), Outside(self.path)
        mortal = Mortal(store, dies_at, after=after, die=_kill)
        await Life(outside, cast("Store", mortal), clock).live()
        await store.close()
        outside.close()
        return mortal.calls

    async def ending(self) -> Ending:
        store, outside = await self._opened(self._clock()), Outside(self.path)
        try:
            return await ending(store, outside)
        finally:
            await store.close()
            outside.close()

    async def calls(self) -> int:
        return await self.life(0, after=False)


@pytest.fixture
def namespaces(redis_url: str, tmp_path: Path) -> Callable[[str], OnRedis]:
    return lambda name: OnRedis(redis_url, f"crash:{name}", tmp_path / name)


@pytest.mark.service
@pytest.mark.timeout(300)
def test_a_killed_controller_leaves_nothing_undone_in_redis(namespaces: Callable[[str], OnRedis]) -> None:
    undisturbed = namespaces("undisturbed")
    calls = asyncio.run(undisturbed.calls())
    expected = asyncio.run(undisturbed.ending())

    assert expected.moves == [(2, 4), (4, 6)]
    for dies_at in range(1, calls + 1):
        for after in (False, True):
            at = namespaces(f"{dies_at}-{after}")
            killed_by = in_a_child(lambda at=at, dies_at=dies_at, after=after: at.life(dies_at, after=after))
            assert killed_by == signal.SIGKILL
            asyncio.run(at.life(0, after=False))
            note = f"killed {'after' if after else 'before'} call {dies_at} of {calls}"
            _checked(asyncio.run(at.ending()), expected, note, at.path)
