"""What every store does, asked of each of them: memory, Redis, Valkey, and clusters of both."""

from __future__ import annotations

import asyncio
import math
import uuid
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.memory import store as memory_store
from autoscaler.adapters.redis import RedisStore, saving
from autoscaler.adapters.redis import definitions as redis_definitions
from autoscaler.adapters.redis import store as redis_store
from autoscaler.alarms.alarm import AlarmRecord, AlarmState, Evidence
from autoscaler.alarms.definition import Definition
from autoscaler.errors import PermanentError
from autoscaler.measures.match import Equals
from autoscaler.measures.series import pack, unpack
from autoscaler.measures.window import WindowSpec
from autoscaler.ports import (
    DECISIONS,
    HISTORY_ENTRIES,
    MARK_DELAY,
    STATE_FORM,
    UNJUDGED_KEPT,
    Acceptance,
    Accepted,
    AlreadyDecided,
    AuditEntry,
    Bus,
    Changed,
    DeadLetter,
    DefinitionChanges,
    Form,
    Freeze,
    GroupPut,
    Heartbeat,
    HistoryEntry,
    OutboxRow,
    Put,
    Retry,
    Saved,
    SavedAlarm,
    SavedChange,
    SavedDeclarations,
    SavedDocument,
    SavedFreeze,
    SavedGroup,
    SavedLetter,
    Schema,
    Seating,
    Stale,
    Store,
    WindowDone,
    WindowReply,
    WindowWrite,
    WorkItem,
    lane_of,
)
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import Actor, Bound, GroupRecord, Limits, Pause
from autoscaler.scaling.policy import Order

T = 1_700_000_000.0
LEASE = 30.0
HISTORY_TTL = 30 * 24 * 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = T

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """A store, a second replica's handle on the same state, and their clock."""

    store: Store
    other: Store
    clock: Clock

    async def write(self, *points: tuple[float, float], held: int = 0, name: str = "a", **spec: float) -> WindowReply:
        (reply,) = await self.store.write([WindowWrite(window(**spec), held, {name: pack(points)})])
        return reply

    async def work(self, limit: int = 100) -> list[tuple[str, str, float]]:
        claimed = await self.store.claim(limit=limit, lease=LEASE)
        return [(item.kind, item.key, item.due) for item in claimed.items]


@pytest.fixture(
    params=[
        pytest.param("memory", id="memory"),
        pytest.param("redis", id="redis", marks=pytest.mark.service),
        pytest.param("valkey", id="valkey", marks=pytest.mark.service),
        pytest.param("redis_cluster", id="redis-cluster", marks=pytest.mark.service),
        pytest.param("valkey_cluster", id="valkey-cluster", marks=pytest.mark.service),
    ]
)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    clock = Clock()
    if request.param == "memory":
        store = MemoryStore(clock)
        yield Bench(store, store, clock)
        return
    fixture = request.getfixturevalue({"redis": "redis_url"}.get(request.param, request.param))
    url = fixture if isinstance(fixture, str) else fixture.url
    namespace = uuid.uuid4().hex
    replicas = [RedisStore(url, namespace=namespace, clock=clock) for _ in range(2)]
    yield Bench(replicas[0], replicas[1], clock)
    for replica in replicas:
        await replica.close()


def window(key: str = "web", horizon: float = 100.0, max_series: int = 10_000, max_points: int = 10_000) -> WindowSpec:
    return WindowSpec("", ("cpu",), Equals("server_group", key), horizon, int(max_series), int(max_points))


def points_of(reply: WindowReply, name: str = "a") -> list[tuple[float, float]]:
    return list(unpack(reply.series[name]).points())


WINDOW = window().window_id


class TestWindows:
    async def test_a_new_window_is_answered_whole(self, bench: Bench) -> None:
        reply = await bench.write((T - 1, 1.5), (T, 2.5))

        assert reply == WindowReply(
            version=reply.version,
            asof=T,
            newest=T,
            whole=True,
            series={"a": pack([(T - 1, 1.5), (T, 2.5)])},
            gone=reply.gone,
            too_old={},
            refused=reply.refused,
        )
        assert (list(reply.gone), list(reply.refused)) == ([], [])
        assert reply.version > 0

    async def test_who_holds_the_version_before_gets_only_what_was_written(self, bench: Bench) -> None:
        first = await bench.write((T, 1.0), name="a")

        second = await bench.write((T, 2.0), name="b", held=first.version)

        assert (second.version, second.whole) == (first.version + 1, False)
        assert dict(second.series) == {"b": pack([(T, 2.0)])}

    async def test_what_is_put_behind_what_its_writer_holds_is_not_told_again(self, bench: Bench) -> None:
        first = await bench.write((T - 90, 1.0), (T - 80, 2.0), (T - 1, 3.0))

        second = await bench.write((T, 4.0), (T + 15, 5.0), held=first.version)
        bench.clock.now = T + 15
        third = await bench.write((T + 16, 6.0), held=second.version, max_points=4)
        fourth = await bench.write((T + 16, 7.0), held=third.version)

        assert [dict(reply.grown) for reply in (first, second, third, fourth)] == [{}, {"a": 0}, {"a": 2}, {}]
        assert [dict(reply.series) for reply in (second, third)] == [{}, {}]
        assert points_of(fourth) == [(T - 1, 3.0), (T, 4.0), (T + 15, 5.0), (T + 16, 7.0)]
        assert points_of(await bench.write((T + 17, 8.0))) == [*points_of(fourth), (T + 17, 8.0)]

    async def test_points_that_are_not_behind_what_there_is_are_told_with_it(self, bench: Bench) -> None:
        first = await bench.write((T, 1.0), (T + 2, 2.0))

        second = await bench.write((T + 1, 3.0), held=first.version)

        assert dict(second.grown) == {}
        assert points_of(second) == [(T, 1.0), (T + 1, 3.0), (T + 2, 2.0)]

    async def test_who_holds_an_older_version_gets_all(self, bench: Bench) -> None:
        first = await bench.write((T, 1.0), name="a")
        await bench.write((T, 2.0), name="b", held=first.version)

        third = await bench.write((T, 3.0), name="c", held=first.version)

        assert third.whole
        assert set(third.series) == {"a", "b", "c"}

    @pytest.mark.parametrize(
        ("written", "kept"),
        [
            pytest.param([[(1, 1), (2, 2)], [(3, 3)]], [(1, 1), (2, 2), (3, 3)], id="appended"),
            pytest.param([[(1, 1), (3, 3)], [(2, 2)]], [(1, 1), (2, 2), (3, 3)], id="put-between"),
            pytest.param([[(2, 2)], [(1, 1)]], [(1, 1), (2, 2)], id="put-before"),
            pytest.param([[(1, 1), (2, 2)], [(1, 9)]], [(1, 9), (2, 2)], id="first-replaced"),
            pytest.param([[(1, 1), (2, 2)], [(2, 9)]], [(1, 1), (2, 9)], id="last-replaced"),
            pytest.param(
                [[(1, 1), (3, 3), (5, 5)], [(2, 2), (3, 9), (6, 6)]],
                [(1, 1), (2, 2), (3, 9), (5, 5), (6, 6)],
                id="interleaved",
            ),
            pytest.param([[(1, 1), (1, 2)]], [(1, 2)], id="twice-in-one-write-the-last-counts"),
            pytest.param([[(3, 3), (1, 1), (2, 2)]], [(1, 1), (2, 2), (3, 3)], id="out-of-order-in-one-write"),
            pytest.param([[(1, 1), (2, 2)], [(1, 1), (2, 2)]], [(1, 1), (2, 2)], id="redelivered"),
        ],
    )  # fmt: skip
    async def test_points_are_kept_by_time(
        self, bench: Bench, written: list[list[tuple[float, float]]], kept: list[tuple[float, float]]
    ) -> None:
        reply = None
        for points in written:
            reply = await bench.write(*((T - 50 + time, value) for time, value in points))

        assert reply is not None
        assert points_of(reply) == [(T - 50 + time, value) for time, value in kept]

    async def test_points_behind_the_horizon_are_trimmed(self, bench: Bench) -> None:
        await bench.write((T - 100, 1.0), (T - 99, 2.0))

        reply = await bench.write((T, 3.0))

        assert points_of(reply) == [(T - 99, 2.0), (T, 3.0)]

    async def test_points_at_or_behind_the_horizon_are_counted_as_too_old(self, bench: Bench) -> None:
        await bench.write((T, 1.0))

        reply = await bench.write((T - 200, 1.0), (T - 100, 2.0), (T - 99.5, 3.0))

        assert dict(reply.too_old) == {"a": 2}
        assert points_of(reply) == [(T - 99.5, 3.0), (T, 1.0)]

    async def test_what_is_still_looked_at_is_kept_whatever_the_horizon(self, bench: Bench) -> None:
        old, early = [(T - 300, 1.0), (T - 250, 2.0)], [(T - 310, 0.5), (T - 249, 2.5)]
        await bench.write(*old)
        asked = [WindowWrite(window(), points={"a": pack(points)}, kept_from=T - 310) for points in ([(T, 3.0)], early)]

        (_,), (behind,) = [await bench.store.write([write]) for write in asked]
        (trimmed,) = await bench.store.write([WindowWrite(window(), points={"a": pack([(T, 4.0)])}, kept_from=T)])

        assert points_of(behind) == [*old, (T - 249, 2.5), (T, 3.0)]
        assert dict(behind.too_old) == {"a": 1}
        assert points_of(trimmed) == [(T, 4.0)]

    async def test_versions_go_with_the_clock(self, bench: Bench) -> None:
        # of writes that a server has lost, some may have been told to its successor before it saw as many
        first = await bench.write((T, 1.0))
        bench.clock.now += 0.001

        second = await bench.write((T, 2.0))
        third = await bench.write((T, 3.0))

        assert second.version >= first.version + 1000
        assert third.version == second.version + 1

    async def test_a_stray_of_hours_ago_is_too_old_whatever_is_looked_at(self, bench: Bench) -> None:
        await bench.write((T, 1.0))
        points = {"a": pack([(T - 100 - UNJUDGED_KEPT, 2.0), (T - 99 - UNJUDGED_KEPT, 3.0)])}

        (reply,) = await bench.store.write([WindowWrite(window(), points=points, kept_from=-math.inf)])

        assert dict(reply.too_old) == {"a": 1}
        assert points_of(reply) == [(T - 99 - UNJUDGED_KEPT, 3.0), (T, 1.0)]

    async def test_series_that_are_still_looked_at_are_not_swept(self, bench: Bench) -> None:
        first = await bench.write((T, 1.0), name="silent")
        bench.clock.now = T + 150
        points = {"a": pack([(T + 150, 1.0)])}

        (kept,) = await bench.store.write([WindowWrite(window(), first.version, points, kept_from=T - 1)])
        bench.clock.now = T + 300
        (swept,) = await bench.store.write([WindowWrite(window(), kept.version, points)])

        assert (list(kept.gone), list(swept.gone)) == ([], ["silent"])

    async def test_a_series_of_which_all_is_too_old_is_not_begun(self, bench: Bench) -> None:
        first = await bench.write((T, 1.0))

        reply = await bench.write((T - 200, 1.0), name="b", held=first.version)

        assert dict(reply.too_old) == {"b": 1}
        assert dict(reply.series) == {}

    async def test_a_measure_from_the_future_takes_nothing_away(self, bench: Bench) -> None:
        await bench.write((T - 90, 1.0))

        reply = await bench.write((T + 60, 2.0))

        assert reply.newest == T + 60
        assert points_of(reply) == [(T - 90, 1.0), (T + 60, 2.0)]

    async def test_a_window_of_old_measures_ends_at_the_newest(self, bench: Bench) -> None:
        reply = await bench.write((T - 100_000, 1.0), (T - 99_950, 2.0))

        assert reply.newest == T - 99_950
        assert points_of(reply) == [(T - 100_000, 1.0), (T - 99_950, 2.0)]

    async def test_of_too_many_points_the_newest_are_kept(self, bench: Bench) -> None:
        await bench.write((T - 3, 1.0), (T - 2, 2.0), max_points=3)

        reply = await bench.write((T - 1, 3.0), (T, 4.0), max_points=3)

        assert points_of(reply) == [(T - 2, 2.0), (T - 1, 3.0), (T, 4.0)]

    async def test_series_beyond_the_limit_are_refused(self, bench: Bench) -> None:
        await bench.write((T, 1.0), name="a", max_series=2)

        (reply,) = await bench.store.write(
            [WindowWrite(window(max_series=2), 0, {name: pack([(T + 1, 1.0)]) for name in ("b", "c", "a")})]
        )

        assert list(reply.refused) == ["c"]
        assert set(reply.series) == {"a", "b"}

    async def test_a_refused_series_does_not_move_time_on(self, bench: Bench) -> None:
        await bench.write((T, 1.0), name="a", max_series=1)

        reply = await bench.write((T + 50, 1.0), name="b", max_series=1)

        assert (list(reply.refused), reply.newest) == (["b"], T)

    async def test_a_series_that_no_longer_matches_leaves(self, bench: Bench) -> None:
        first = await bench.write((T - 1, 1.0), (T, 2.0))

        (reply,) = await bench.store.write([WindowWrite(window(), first.version, leaves={"a": T})])

        assert (reply.whole, list(reply.gone), dict(reply.series)) == (False, ["a"], {})
        assert reply.newest == T

    async def test_a_series_with_a_newer_point_stays(self, bench: Bench) -> None:
        first = await bench.write((T, 2.0))

        (reply,) = await bench.store.write([WindowWrite(window(), first.version, leaves={"a": T - 1, "unknown": T})])

        assert list(reply.gone) == []
        assert points_of(await bench.write((T + 1, 3.0))) == [(T, 2.0), (T + 1, 3.0)]

    async def test_a_series_that_is_written_and_leaves_in_one_write_is_gone(self, bench: Bench) -> None:
        first = await bench.write((T, 2.0))

        (reply,) = await bench.store.write(
            [WindowWrite(window(), first.version, {"a": pack([(T + 1, 1.0)])}, leaves={"a": T + 2})]
        )

        assert (list(reply.gone), dict(reply.series)) == (["a"], {})

    async def test_a_write_without_points_moves_asof_and_version_on(self, bench: Bench) -> None:
        first = await bench.write((T, 1.0))
        bench.clock.now = T + 5

        (reply,) = await bench.store.write([WindowWrite(window(), first.version)])

        assert (reply.version, reply.asof, reply.newest, reply.whole) == (first.version + 5_000_000, T + 5, T, False)

    async def test_a_window_without_points_has_no_newest(self, bench: Bench) -> None:
        (reply,) = await bench.store.write([WindowWrite(window())])

        assert (reply.newest, reply.asof, dict(reply.series)) == (None, T, {})

    async def test_asof_never_runs_backwards(self, bench: Bench) -> None:
        await bench.write((T, 1.0))
        bench.clock.now = T - 10

        assert (await bench.write((T, 1.0))).asof == T

    async def test_silent_series_are_swept_out(self, bench: Bench) -> None:
        await bench.write((T, 1.0), name="silent")
        bench.clock.now = T + 99
        early = await bench.write((T + 99, 1.0), name="b")
        bench.clock.now = T + 100
        late = await bench.write((T + 100, 1.0), name="b", held=early.version)

        assert list(early.gone) == []
        assert list(late.gone) == ["silent"]

    async def test_when_nothing_arrives_nothing_is_swept_out(self, bench: Bench) -> None:
        first = await bench.write((T, 1.0))
        bench.clock.now = T + 1000

        (reply,) = await bench.store.write([WindowWrite(window(), first.version)])

        assert list(reply.gone) == []

    async def test_many_windows_are_answered_in_the_order_asked(self, bench: Bench) -> None:
        keys = [f"group-{number}" for number in range(40)]

        replies = await bench.store.write(
            [WindowWrite(window(key), 0, {key: pack([(T, float(number))])}) for number, key in enumerate(keys)]
        )

        assert [dict(reply.series) for reply in replies] == [
            {key: pack([(T, float(number))])} for number, key in enumerate(keys)
        ]

    async def test_one_window_can_be_written_twice_in_a_call(self, bench: Bench) -> None:
        first, second = await bench.store.write(
            [WindowWrite(window(), 0, {"a": pack([(T, 1.0)])}), WindowWrite(window(), 0, {"b": pack([(T, 2.0)])})]
        )

        assert second.version == first.version + 1
        assert set(second.series) == {"a", "b"}

    async def test_large_windows_and_odd_names_arrive_unharmed(self, bench: Bench) -> None:
        names = [f"résource {number} \n|:{{}}\0" for number in range(2500)]

        (reply,) = await bench.store.write(
            [WindowWrite(window(), 0, {name: pack([(T, number / 7)]) for number, name in enumerate(names)})]
        )
        bench.clock.now = T + 1

        (whole,) = await bench.store.write([WindowWrite(window(), 0)])

        assert dict(whole.series) == dict(reply.series)
        assert len(whole.series) == 2500
        assert points_of(whole, names[1]) == [(T, 1 / 7)]

    async def test_values_keep_every_bit(self, bench: Bench) -> None:
        values = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 2**53 + 2.0, -1 / 3]
        points = [(T - 10 + number / 3, value) for number, value in enumerate(values)]

        reply = await bench.write(*points)

        assert reply.series["a"] == pack(points)
        assert reply.newest == points[-1][0]

    async def test_nothing_written_is_nothing_answered(self, bench: Bench) -> None:
        assert await bench.store.write([]) == []


class TestMarksOfWindows:
    async def test_a_written_window_is_due_soon(self, bench: Bench) -> None:
        await bench.write((T, 1.0))

        assert await bench.work() == []
        bench.clock.now = T + MARK_DELAY
        assert await bench.work() == [("window", WINDOW, T + MARK_DELAY)]

    async def test_a_mark_that_is_due_earlier_stays(self, bench: Bench) -> None:
        await bench.write((T, 1.0))
        bench.clock.now = T + 1
        await bench.write((T, 1.0))
        bench.clock.now = T + 10

        assert await bench.work() == [("window", WINDOW, T + MARK_DELAY)]

    async def test_an_evaluated_window_is_not_due(self, bench: Bench) -> None:
        reply = await bench.write((T, 1.0))
        await bench.store.done([WindowDone(WINDOW, reply.version, None)])
        bench.clock.now = T + 1000

        assert await bench.work() == []

    async def test_an_evaluated_window_is_due_when_it_asked_to_be(self, bench: Bench) -> None:
        reply = await bench.write((T, 1.0))
        await bench.store.done([WindowDone(WINDOW, reply.version, T + 50)])
        bench.clock.now = T + 49
        assert await bench.work() == []
        bench.clock.now = T + 50

        assert await bench.work() == [("window", WINDOW, T + 50)]

    async def test_a_window_that_was_written_meanwhile_keeps_its_mark(self, bench: Bench) -> None:
        reply = await bench.write((T, 1.0))
        await bench.write((T + 1, 1.0))
        await bench.store.done([WindowDone(WINDOW, reply.version, None)])
        bench.clock.now = T + MARK_DELAY

        assert await bench.work() == [("window", WINDOW, T + MARK_DELAY)]

    async def test_a_late_done_does_not_undo_a_newer_one(self, bench: Bench) -> None:
        first = await bench.write((T, 1.0))
        second = await bench.write((T + 1, 1.0))
        await bench.other.done([WindowDone(WINDOW, second.version, T + 20)])
        await bench.store.done([WindowDone(WINDOW, first.version, None)])
        bench.clock.now = T + 20

        assert await bench.work() == [("window", WINDOW, T + 20)]

    async def test_a_window_that_was_marked_meanwhile_keeps_its_mark(self, bench: Bench) -> None:
        reply = await bench.write((T, 1.0))
        await bench.other.mark([WorkItem("window", WINDOW, T)])
        await bench.store.done([WindowDone(WINDOW, reply.version, None)])

        assert await bench.work() == [("window", WINDOW, T)]

    async def test_a_claimed_window_that_is_written_is_due_soon_again(self, bench: Bench) -> None:
        await bench.write((T, 1.0))
        bench.clock.now = T + MARK_DELAY
        await bench.work()
        await bench.write((T, 1.0))
        bench.clock.now = T + 2 * MARK_DELAY

        assert await bench.work() == [("window", WINDOW, T + 2 * MARK_DELAY)]


class TestWork:
    async def test_claimed_work_comes_up_again_when_the_lease_ends(self, bench: Bench) -> None:
        await bench.store.mark([WorkItem("group", "web", T)])
        claimed = await bench.store.claim(limit=10, lease=LEASE)
        bench.clock.now = T + LEASE - 1
        assert await bench.work() == []
        bench.clock.now = T + LEASE

        assert list(claimed.items) == [WorkItem("group", "web", T, T + LEASE)]
        assert await bench.work() == [("group", "web", T + LEASE)]

    async def test_what_one_replica_has_claimed_another_does_not_get(self, bench: Bench) -> None:
        await bench.store.mark([WorkItem("group", f"group-{number}", T) for number in range(50)])

        one = await bench.store.claim(limit=30, lease=LEASE)
        other = await bench.other.claim(limit=30, lease=LEASE)

        assert (len(one.items), len(other.items)) == (30, 20)
        assert {item.key for item in one.items} | {item.key for item in other.items} == {
            f"group-{number}" for number in range(50)
        }

    async def test_the_oldest_are_claimed_first(self, bench: Bench) -> None:
        await bench.store.mark([WorkItem("group", f"group-{number}", T - number) for number in range(50)])

        claimed = await bench.store.claim(limit=3, lease=LEASE)

        assert [item.key for item in claimed.items] == ["group-49", "group-48", "group-47"]
        assert (claimed.next_due, claimed.now) == (T - 46, T)

    @pytest.mark.parametrize("limit", [30, 100, 250, 1000])
    async def test_the_oldest_are_claimed_first_wherever_they_are(self, bench: Bench, limit: int) -> None:
        # many of one place, by name, and old; a few of each other place, and younger
        together = [f"group-{number}" for number in range(6000) if zlib.crc32(b"group-%d" % number) % 16 == 3]
        marked = [WorkItem("group", key, T - 1000 - number) for number, key in enumerate(together)]
        marked += [WorkItem("group", f"young-{number}", T - number / 1000) for number in range(300)]
        await bench.store.mark(marked)
        in_order = sorted(marked, key=lambda item: (item.due, item.key))
        assert len(together) > 300

        claimed = await bench.store.claim(limit=limit, lease=LEASE)

        assert [item.key for item in claimed.items] == [item.key for item in in_order[:limit]]
        assert claimed.next_due == (in_order[limit].due if limit < len(marked) else None)

    async def test_the_earliest_of_the_rest_is_told(self, bench: Bench) -> None:
        await bench.store.mark(
            [WorkItem("group", "a", T), WorkItem("group", "b", T + 7), WorkItem("schedule", "c", T + 9)]
        )

        claimed = await bench.store.claim(limit=10, lease=LEASE)

        assert claimed.next_due == T + 7

    async def test_every_kind_is_marked_claimed_and_finished(self, bench: Bench) -> None:
        items = [WorkItem(kind, f"{kind}-1", T) for kind in ("group", "lane", "probe", "schedule", "window")]
        await bench.store.mark(items)

        claimed = await bench.store.claim(limit=10, lease=LEASE)
        for item in claimed.items:
            await bench.other.finish([item], T + 5 if item.kind == "probe" else None)
        bench.clock.now = T + 5

        assert list(claimed.items) == [WorkItem(item.kind, item.key, T, T + LEASE) for item in items]
        assert await bench.work() == [("probe", "probe-1", T + 5)]

    async def test_work_in_hand_is_held_on_to(self, bench: Bench) -> None:
        items = [WorkItem(kind, f"{kind}-1", T) for kind in ("group", "lane", "probe")]
        await bench.store.mark(items)
        claimed = await bench.store.claim(limit=10, lease=LEASE)
        bench.clock.now = T + LEASE - 1

        held = await bench.store.hold(claimed.items, lease=LEASE)
        bench.clock.now = T + 2 * LEASE - 2
        nothing = await bench.work()
        bench.clock.now = T + 2 * LEASE - 1

        until = T + 2 * LEASE - 1
        assert held == [WorkItem(item.kind, item.key, T, until) for item in items]
        assert nothing == []
        assert await bench.work() == [(item.kind, item.key, until) for item in items]

    async def test_what_is_no_longer_leased_like_that_is_not_held(self, bench: Bench) -> None:
        items = [WorkItem("group", name, T) for name in ("marked", "claimed", "finished", "mine")]
        await bench.store.mark(items)
        claimed = list((await bench.store.claim(limit=10, lease=LEASE)).items)
        by_name = {item.key: item for item in claimed}
        await bench.other.mark([WorkItem("group", "marked", T)])
        await bench.store.finish([by_name["finished"]], None)
        await bench.other.finish([by_name["claimed"]], T - 1)
        await bench.other.claim(limit=1, lease=LEASE + 1)
        order = ["marked", "claimed", "finished", "mine"]

        held = await bench.store.hold([by_name[name] for name in order], lease=LEASE + 9)

        assert held == [None, None, None, WorkItem("group", "mine", T, T + LEASE + 9)]
        assert await bench.work() == [("group", "marked", T)]

    async def test_what_is_held_for_no_time_is_given_back(self, bench: Bench) -> None:
        items = [WorkItem(kind, f"{kind}-1", T) for kind in ("group", "lane", "window")]
        await bench.store.mark(items)
        claimed = await bench.store.claim(limit=10, lease=LEASE)

        await bench.store.hold(claimed.items, lease=0.0)

        assert sorted(await bench.work()) == [(item.kind, item.key, T) for item in items]

    async def test_a_lane_is_held_without_its_time_while_it_has_rows(self, bench: Bench) -> None:
        lane, none = WorkItem("lane", "a|log://", T), WorkItem("lane", "b|log://", T)
        await bench.store.mark([lane])
        await bench.store.claim(limit=10, lease=LEASE)

        held = await bench.store.hold([lane, none], lease=LEASE + 9)

        assert held == [WorkItem("lane", "a|log://", T, T + LEASE + 9), None]
        assert (await bench.store.claim(limit=10, lease=LEASE)).next_due == T + LEASE + 9

    async def test_a_lane_that_was_put_off_is_held_by_nobody_until_it_is_claimed(self, bench: Bench) -> None:
        row = OutboxRow(id="a:1:0", alarm_id="a", url="log://", body={}, created=T)
        await bench.store.revive(row, "once", lease=LEASE)
        await bench.store.undelivered(row.lane, row.id, retry_at=T + 1)

        late = await bench.other.hold([WorkItem("lane", row.lane, T)], lease=LEASE)
        bench.clock.now = T + 1
        claimed = await bench.store.claim(limit=10, lease=LEASE)
        (held,) = await bench.other.hold([WorkItem("lane", row.lane, T)], lease=LEASE + 1)

        assert late == [None]
        assert list(claimed.items) == [WorkItem("lane", row.lane, T + 1, T + 1 + LEASE)]
        assert held == WorkItem("lane", row.lane, T, T + 2 + LEASE)

    async def test_without_work_nothing_is_due(self, bench: Bench) -> None:
        claimed = await bench.store.claim(limit=10, lease=LEASE)

        assert (list(claimed.items), claimed.next_due, claimed.now) == ([], None, T)

    async def test_a_mark_moves_work_forward_only(self, bench: Bench) -> None:
        await bench.store.mark([WorkItem("group", "a", T + 5), WorkItem("group", "b", T + 5)])
        await bench.store.mark([WorkItem("group", "a", T + 9), WorkItem("group", "b", T + 1)])
        bench.clock.now = T + 10

        assert await bench.work() == [("group", "b", T + 1), ("group", "a", T + 5)]

    @pytest.mark.parametrize("next_due", [pytest.param(T + 40, id="later"), pytest.param(None, id="never")])
    async def test_finished_work_is_moved_or_taken_away(self, bench: Bench, next_due: float | None) -> None:
        await bench.store.mark([WorkItem("group", "a", T)])
        claimed = await bench.store.claim(limit=1, lease=LEASE)

        await bench.store.finish(claimed.items[:1], next_due)

        bench.clock.now = T + 1000
        assert await bench.work() == ([] if next_due is None else [("group", "a", next_due)])

    async def test_work_that_is_finished_together_is_judged_one_by_one(self, bench: Bench) -> None:
        await bench.store.mark([WorkItem("window", name, T) for name in ("a", "b", "c")])
        claimed = await bench.store.claim(limit=3, lease=LEASE)
        await bench.other.mark([WorkItem("window", "b", T + 1)])

        await bench.store.finish(claimed.items, None)

        bench.clock.now = T + 1000
        assert await bench.work() == [("window", "b", T + 1)]

    async def test_work_that_was_marked_meanwhile_is_not_finished(self, bench: Bench) -> None:
        await bench.store.mark([WorkItem("group", "a", T)])
        claimed = await bench.store.claim(limit=1, lease=LEASE)
        await bench.other.mark([WorkItem("group", "a", T + 1)])

        await bench.store.finish(claimed.items[:1], None)

        bench.clock.now = T + 1
        assert await bench.work() == [("group", "a", T + 1)]

    async def test_work_that_another_has_claimed_since_is_not_finished(self, bench: Bench) -> None:
        await bench.store.mark([WorkItem("group", "a", T)])
        claimed = await bench.store.claim(limit=1, lease=LEASE)
        bench.clock.now = T + LEASE
        await bench.other.claim(limit=1, lease=LEASE)

        await bench.store.finish(claimed.items[:1], None)

        bench.clock.now = T + 2 * LEASE
        assert await bench.work() == [("group", "a", T + 2 * LEASE)]


ALARM = "6a5de0b1-3c0f-5d4e-9c5b-0b3f9f8b7a11"
HOOK = "https://hooks.example.org/alarms?a=1|2"
POLICY = "policy://web-out"


def record(**changes: object) -> AlarmRecord:
    full = AlarmRecord(
        version=1,
        definition="d",
        state=AlarmState.ALARM,
        state_timestamp=T + 0.1,
        reason="Transition to alarm",
        reason_data={"type": "threshold", "most_recent": 1e300, "nested": [], "object": {}},
        evidence=Evidence(T - 10, T, (3, 4), 4),
    )
    return replace(full, **changes)


def row(number: int, url: str = HOOK, *, repeat: bool = False) -> OutboxRow:
    return OutboxRow(
        id=f"{ALARM}:{number}:0",
        alarm_id=ALARM,
        url=url,
        body={"n": 0.1, "empty": [], "none": {}},
        created=T,
        repeat=repeat,
    )


def entry(number: int, **changes: object) -> HistoryEntry:
    plain = HistoryEntry(
        event_id=f"{ALARM}:{number}:0",
        alarm_id=ALARM,
        type="state transition",
        detail={"state": "ok"},
        timestamp=T,
        user_id="u1",
        project_id="p0",
        on_behalf_of="p1",
        severity="low",
    )
    return replace(plain, **changes)


def acceptance(expected: int = 0, seen: int = 10, **changes: object) -> Acceptance:
    values: dict[str, object] = {
        "alarm_id": ALARM,
        "window_id": "w1",
        "window_version": seen,
        "expected": expected,
        "record": record(version=expected + 1),
        **changes,
    }
    return Acceptance(**values)  # type: ignore[arg-type]


async def accept(bench: Bench, *acceptances: Acceptance) -> list[Accepted | Stale | Retry]:
    return await bench.store.accept(acceptances, lease=LEASE)


class TestAlarms:
    async def test_an_unknown_alarm_has_no_record(self, bench: Bench) -> None:
        assert await bench.store.alarms([ALARM, "other"]) == [None, None]

    async def test_an_accepted_record_is_in_force(self, bench: Bench) -> None:
        (answer,) = await accept(bench, acceptance())

        assert isinstance(answer, Accepted)
        assert await bench.other.alarms(["other", ALARM]) == [None, record()]

    async def test_a_verdict_on_an_older_look_is_stale(self, bench: Bench) -> None:
        await accept(bench, acceptance(seen=10))

        assert await accept(bench, acceptance(expected=1, seen=9)) == [Stale()]
        assert await bench.store.alarms([ALARM]) == [record()]

    async def test_the_same_look_may_be_judged_again(self, bench: Bench) -> None:
        await accept(bench, acceptance(seen=10))

        (answer,) = await accept(bench, acceptance(expected=1, seen=10))

        assert isinstance(answer, Accepted)

    async def test_a_look_at_another_window_is_not_stale(self, bench: Bench) -> None:
        await accept(bench, acceptance(seen=10))

        (answer,) = await accept(bench, acceptance(expected=1, seen=3, window_id="w2"))

        assert isinstance(answer, Accepted)

    async def test_of_each_window_the_newest_look_is_known(self, bench: Bench) -> None:
        await accept(bench, acceptance(seen=10), acceptance(expected=1, seen=5, window_id="w2"))

        answers = await accept(
            bench,
            acceptance(expected=2, seen=9),
            acceptance(expected=2, seen=4, window_id="w2"),
            acceptance(expected=2, seen=5, window_id="w2", record=None),
            acceptance(expected=2, seen=10, record=None),
        )

        assert answers == [Stale(), Stale(), Accepted([]), Accepted([])]

    async def test_looks_at_several_windows_are_noted_together(self, bench: Bench) -> None:
        await accept(bench, acceptance(seen=10, further=[("w2", 7), ("w3", 8)]))

        answers = await accept(
            bench, acceptance(expected=1, seen=6, window_id="w2"), acceptance(expected=1, seen=7, window_id="w3")
        )

        assert answers == [Stale(), Stale()]

    async def test_of_looks_at_several_windows_one_that_is_stale_makes_all_stale(self, bench: Bench) -> None:
        await accept(bench, acceptance(seen=10, window_id="w2"))

        answers = await accept(bench, acceptance(expected=1, seen=20, further=[("w2", 9)], rows=[row(1)]))

        assert answers == [Stale()]
        assert isinstance((await accept(bench, acceptance(expected=1, seen=1)))[0], Accepted)
        assert dict(await bench.store.lanes(ALARM)) == {}

    async def test_what_was_noted_of_many_windows_is_forgotten_after_a_while(self, bench: Bench) -> None:
        await accept(bench, acceptance(seen=10, record=record(), window_id="first"))
        await accept(bench, *(acceptance(1, window_id=f"w{number}", record=None) for number in range(100)))
        assert await accept(bench, acceptance(1, seen=9, window_id="first")) == [Stale()]
        bench.clock.now = T + 3601

        answers = await accept(
            bench,
            acceptance(1, seen=10, window_id="w7", record=None),
            acceptance(1, seen=10, window_id="last", record=None),
            acceptance(1, seen=9, window_id="w7", record=None),
            acceptance(1, seen=9, window_id="first", record=None),
        )

        assert answers == [Accepted([]), Accepted([]), Stale(), Accepted([])]

    async def test_no_change_is_accepted_and_makes_older_looks_stale(self, bench: Bench) -> None:
        await accept(bench, acceptance(seen=10))

        (answer,) = await accept(bench, acceptance(expected=1, seen=12, record=None))

        assert isinstance(answer, Accepted)
        assert await accept(bench, acceptance(expected=1, seen=11)) == [Stale()]
        assert await bench.store.alarms([ALARM]) == [record()]

    async def test_a_word_without_a_look_leaves_the_noted_look_as_it_is(self, bench: Bench) -> None:
        await accept(bench, acceptance(seen=10))
        await accept(bench, acceptance(expected=1, seen=0, window_id=""))

        assert await accept(bench, acceptance(expected=2, seen=9)) == [Stale()]

    async def test_a_verdict_on_a_record_that_has_changed_is_to_be_made_again(self, bench: Bench) -> None:
        await accept(bench, acceptance())

        answers = await accept(bench, acceptance(expected=0, seen=11, rows=[row(1)], history=[entry(1)]))

        assert answers == [Retry(record())]
        assert await bench.store.head(lane_of(ALARM, HOOK)) is None
        assert await bench.store.history(ALARM, limit=10) == []

    async def test_a_retry_of_an_alarm_without_record_says_so(self, bench: Bench) -> None:
        assert await accept(bench, acceptance(expected=4)) == [Retry(None)]

    async def test_a_record_gets_a_higher_version_than_it_was_made_from(self, bench: Bench) -> None:
        await accept(bench, acceptance(record=record(version=0)), acceptance(expected=1, record=record(version=70)))

        assert await bench.store.alarms([ALARM]) == [record(version=70)]

    async def test_many_are_answered_in_the_order_asked(self, bench: Bench) -> None:
        ids = [f"alarm-{number}" for number in range(40)]
        await accept(bench, *(acceptance(alarm_id=name) for name in ids[::2]))

        answers = await accept(bench, *(acceptance(alarm_id=name) for name in ids))

        assert [type(answer) for answer in answers] == [Retry, Accepted] * 20

    async def test_of_two_replicas_with_the_same_verdict_one_is_accepted(self, bench: Bench) -> None:
        one = await bench.store.accept([acceptance(rows=[row(1)], history=[entry(1)])], lease=LEASE)
        two = await bench.other.accept([acceptance(rows=[row(1)], history=[entry(1)])], lease=LEASE)

        assert (one, two) == ([Accepted([lane_of(ALARM, HOOK)])], [Retry(record())])
        assert await bench.store.history(ALARM, limit=10) == [entry(1)]
        assert dict(await bench.store.lanes(ALARM)) == {lane_of(ALARM, HOOK): 1}

    async def test_a_forgotten_alarm_has_no_record_but_its_history_and_actions(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1)], history=[entry(1)]))

        await bench.store.forget([ALARM, "unknown"])

        assert await bench.store.alarms([ALARM]) == [None]
        assert await bench.store.history(ALARM, limit=10) == [entry(1)]
        assert await bench.store.head(lane_of(ALARM, HOOK)) == row(1)
        assert isinstance((await accept(bench, acceptance(expected=0, seen=1)))[0], Accepted)


class TestHistory:
    async def test_the_newest_comes_first(self, bench: Bench) -> None:
        await accept(bench, acceptance(history=[entry(1), entry(2)]), acceptance(expected=1, history=[entry(3)]))

        assert await bench.store.history(ALARM, limit=10) == [entry(3), entry(2), entry(1)]
        assert await bench.store.history(ALARM, limit=1) == [entry(3)]
        assert await bench.store.history(ALARM, limit=0) == []

    async def test_an_entry_is_written_once_although_the_call_is_repeated(self, bench: Bench) -> None:
        for _ in range(2):
            await accept(bench, acceptance(record=None, history=[entry(1), entry(2)]))

        assert await bench.store.history(ALARM, limit=10) == [entry(2), entry(1)]

    async def test_it_is_bounded(self, bench: Bench) -> None:
        await accept(bench, acceptance(record=None, history=[entry(number) for number in range(HISTORY_ENTRIES + 500)]))

        kept = await bench.store.history(ALARM, limit=2 * HISTORY_ENTRIES)

        assert len(kept) == HISTORY_ENTRIES
        assert (kept[0], kept[-1]) == (entry(HISTORY_ENTRIES + 499), entry(500))

    async def test_old_entries_are_not_told(self, bench: Bench) -> None:
        await accept(bench, acceptance(record=None, history=[entry(1), entry(2, timestamp=T + 10)]))
        bench.clock.now = T + HISTORY_TTL

        assert await bench.store.history(ALARM, limit=10) == [entry(2, timestamp=T + 10)]
        assert await bench.store.histories(None) == [ALARM]
        bench.clock.now = T + HISTORY_TTL + 10
        assert await bench.store.history(ALARM, limit=10) == []
        assert await bench.store.histories(None) == []
        assert await bench.store.histories("p1") == []

    async def test_old_entries_make_room(self, bench: Bench) -> None:
        await accept(bench, acceptance(record=None, history=[entry(1), entry(2)]))
        bench.clock.now = T + HISTORY_TTL
        await accept(bench, acceptance(record=None, history=[entry(3, timestamp=T + HISTORY_TTL)]))
        bench.clock.now = T

        assert [one.event_id for one in await bench.store.history(ALARM, limit=10)] == [entry(3).event_id]

    async def test_alarms_are_found_by_whose_they_are(self, bench: Bench) -> None:
        names = [f"alarm-{number}" for number in range(40)]
        await accept(
            bench,
            *(
                acceptance(alarm_id=name, history=[entry(1, alarm_id=name, on_behalf_of=f"p{number % 2}")])
                for number, name in enumerate(names)
            ),
            acceptance(alarm_id="operators", history=[entry(1, alarm_id="operators", on_behalf_of="")]),
            acceptance(alarm_id="silent"),
        )

        both = await bench.other.entries([*names, "nobody"], limit=10)
        assert both == [*[await bench.other.history(name, limit=10) for name in names], []]
        assert all(both[:-1])
        assert sorted(await bench.other.histories("p1")) == sorted(names[1::2])
        assert await bench.other.histories("") == ["operators"]
        assert await bench.other.histories("unknown") == []
        assert sorted(await bench.other.histories(None)) == sorted([*names, "operators"])

    async def test_an_alarm_that_was_given_away_is_found_by_both(self, bench: Bench) -> None:
        await accept(bench, acceptance(history=[entry(1)]))
        await accept(bench, acceptance(expected=1, history=[entry(2), entry(3, on_behalf_of="p2")]))

        assert await bench.store.histories("p1") == [ALARM]
        assert await bench.store.histories("p2") == [ALARM]
        assert await bench.store.histories(None) == [ALARM]


def definition(alarm_id: str = ALARM, **changes: object) -> Definition:
    plain = Definition(
        alarm_id=alarm_id,
        type="gnocchi_resources_threshold",
        name="übervoll",
        description="",
        enabled=True,
        severity="low",
        ok_actions=(),
        alarm_actions=("https://hooks.example.org/a?b=c",),
        insufficient_data_actions=(),
        repeat_actions=False,
        time_constraints=({"name": "night", "start": "0 1 * * *", "duration": 3600, "timezone": ""},),
        rule={"metric": "cpu", "threshold": 0.1, "empty": [], "nothing": {}, "none": None},
        user_id="u",
        project_id="p1",
        timestamp=T + 0.1,
        scope="p1",
        revision=1_700_000_000_123_456,
        created=T,
    )
    return replace(plain, **changes)


async def define(bench: Bench, *definitions: Definition) -> None:
    answers = await accept(
        bench,
        *(acceptance(alarm_id=one.alarm_id, window_id="", seen=0, definition=one) for one in definitions),
    )
    assert all(isinstance(answer, Accepted) for answer in answers)


def removal(expected: int = 1, **changes: object) -> Acceptance:
    return acceptance(expected, 0, window_id="", record=None, removed=True, **changes)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few changes are kept, and few definitions read in one go."""
    monkeypatch.setattr(memory_store, "CHANGES", 4)
    monkeypatch.setattr(redis_store, "CHANGES", 4)
    monkeypatch.setattr(redis_definitions, "PIECE", 2)


class TestDefinitions:
    async def test_there_are_none_at_first(self, bench: Bench) -> None:
        found = await bench.store.definitions()

        assert (list(found.definitions), list(found.recent)) == ([], [])
        assert (await bench.store.changes(found.position, patience=0)).complete

    async def test_an_accepted_definition_is_stored_with_its_record(self, bench: Bench) -> None:
        await define(bench, definition())

        found = await bench.other.definitions()

        assert list(found.definitions) == [definition()]
        assert await bench.other.alarms([ALARM]) == [record()]

    async def test_a_newer_definition_takes_its_place(self, bench: Bench) -> None:
        await define(bench, definition())
        await accept(bench, acceptance(1, definition=definition(name="b", revision=2)))

        assert list((await bench.store.definitions()).definitions) == [definition(name="b", revision=2)]
        assert await bench.store.alarms([ALARM]) == [record(version=2)]

    async def test_a_verdict_leaves_it_as_it_is(self, bench: Bench) -> None:
        await define(bench, definition())
        before = await bench.store.definitions()
        await accept(bench, acceptance(1))

        assert list((await bench.store.definitions()).definitions) == [definition()]
        assert dict((await bench.store.changes(before.position, patience=0)).changed) == {}

    async def test_one_made_from_an_older_record_is_refused_whole(self, bench: Bench) -> None:
        await define(bench, definition())
        before = await bench.store.definitions()

        answers = await accept(bench, acceptance(0, definition=definition(name="b"), history=[entry(1)]))

        assert answers == [Retry(record())]
        assert list((await bench.store.definitions()).definitions) == [definition()]
        assert dict((await bench.store.changes(before.position, patience=0)).changed) == {}
        assert await bench.store.history(ALARM, limit=10) == []

    async def test_of_two_changes_at_a_time_one_is_made(self, bench: Bench) -> None:
        await define(bench, definition())

        one = await bench.store.accept([acceptance(1, definition=definition(name="b"))], lease=LEASE)
        other = await bench.other.accept([removal()], lease=LEASE)

        assert (one, other) == ([Accepted([])], [Retry(record(version=2))])
        assert list((await bench.store.definitions()).definitions) == [definition(name="b")]

    async def test_of_a_removed_alarm_history_and_actions_stay(self, bench: Bench) -> None:
        await define(bench, definition())
        await accept(bench, acceptance(1, rows=[row(1)], history=[entry(1)]))

        (answer,) = await accept(bench, removal(2, history=[entry(2, type="deletion")]))

        assert answer == Accepted([])
        assert list((await bench.other.definitions()).definitions) == []
        assert await bench.other.alarms([ALARM]) == [None]
        assert await bench.other.history(ALARM, limit=10) == [entry(2, type="deletion"), entry(1)]
        assert await bench.other.head(LANE) == row(1)

    async def test_no_verdict_brings_a_removed_alarm_back(self, bench: Bench) -> None:
        await define(bench, definition())
        await accept(bench, removal())

        answers = await accept(bench, acceptance(1, rows=[row(1)]), acceptance(1, record=None), removal())

        assert answers == [Retry(None), Retry(None), Retry(None)]
        assert await bench.store.alarms([ALARM]) == [None]
        assert dict(await bench.store.lanes(ALARM)) == {}

    async def test_a_removed_alarm_leaves_no_look_behind(self, bench: Bench) -> None:
        await define(bench, definition())
        await accept(bench, acceptance(1, seen=10), removal(2))

        assert await accept(bench, acceptance(0, seen=9)) == [Accepted([])]

    async def test_those_that_were_made_through_the_api_are_not_forgotten(self, bench: Bench) -> None:
        await define(bench, definition())

        await bench.store.forget([ALARM])

        assert list((await bench.store.definitions()).definitions) == [definition()]
        assert await bench.store.alarms([ALARM]) == [record()]

    @pytest.mark.usefixtures("few")
    async def test_many_are_all_found(self, bench: Bench) -> None:
        made = [definition(f"alarm-{number}") for number in range(100)]
        await define(bench, *made)
        await accept(bench, removal(alarm_id="alarm-50"))

        found = await bench.other.definitions()

        by_number = sorted(found.definitions, key=lambda one: int(one.alarm_id[6:]))
        assert by_number == made[:50] + made[51:]


class TestChanges:
    async def test_what_was_changed_since_a_position_is_told(self, bench: Bench) -> None:
        await define(bench, definition("a"), definition("b"))
        position = (await bench.store.definitions()).position
        await define(bench, definition("c"))
        await accept(
            bench, removal(alarm_id="a"), acceptance(1, alarm_id="b", definition=definition("b", name="other"))
        )

        told = await bench.other.changes(position, patience=60)

        assert dict(told.changed) == {"a": None, "b": definition("b", name="other"), "c": definition("c")}
        assert told.complete
        assert dict((await bench.store.changes(told.position, patience=0)).changed) == {}

    async def test_what_was_changed_twice_is_told_as_it_is_now(self, bench: Bench) -> None:
        position = (await bench.store.definitions()).position
        await define(bench, definition())
        await accept(bench, acceptance(1, definition=definition(name="b")), removal(2))

        assert dict((await bench.store.changes(position, patience=60)).changed) == {ALARM: None}

    async def test_when_nothing_is_changed_nothing_is_told_after_a_while(self, bench: Bench) -> None:
        position = (await bench.store.definitions()).position

        told = await bench.store.changes(position, patience=0.05)

        assert told == DefinitionChanges({}, told.position)
        await define(bench, definition())
        assert dict((await bench.store.changes(told.position, patience=60)).changed) == {ALARM: definition()}

    @pytest.mark.parametrize("turns", [0, 1, 50])
    async def test_who_waits_is_told_at_once(self, bench: Bench, turns: int) -> None:
        position = (await bench.store.definitions()).position
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(store.changes(position, patience=60)) for store in (bench.store, bench.other)]
            for _ in range(turns):
                await asyncio.sleep(0)
            await define(bench, definition())

        assert [dict(wait.result().changed) for wait in waits] == [{ALARM: definition()}] * 2

    async def test_who_gave_up_waiting_disturbs_nobody(self, bench: Bench) -> None:
        position = (await bench.store.definitions()).position
        for turns in range(20):
            async with asyncio.TaskGroup() as tasks:
                doomed = tasks.create_task(bench.store.changes(position, patience=60))
                for _ in range(turns):
                    await asyncio.sleep(0)
                doomed.cancel()
        await define(bench, definition())

        assert dict((await bench.store.changes(position, patience=60)).changed) == {ALARM: definition()}

    @pytest.mark.usefixtures("few")
    async def test_who_missed_too_much_is_told_so(self, bench: Bench) -> None:
        await define(bench, definition())
        edge = await bench.store.definitions()
        await accept(bench, *(acceptance(number, definition=definition(name=str(number))) for number in range(1, 5)))
        within = await bench.store.changes(edge.position, patience=60)
        await accept(bench, acceptance(5, definition=definition(name="5")))

        missed = await bench.store.changes(edge.position, patience=60)

        assert (within.complete, dict(within.changed)) == (True, {ALARM: definition(name="4")})
        assert (missed.complete, dict(missed.changed)) == (False, {})

    @pytest.mark.usefixtures("few")
    async def test_many_changes_are_all_told(self, bench: Bench) -> None:
        position = (await bench.store.definitions()).position
        made = [definition(f"alarm-{number}") for number in range(3)]
        await define(bench, *made)
        told: dict[str, Definition | None] = {}
        while len(told) < 3:
            changes = await bench.store.changes(position, patience=60)
            assert changes.complete
            told |= changes.changed
            position = changes.position

        assert told == {one.alarm_id: one for one in made}

    @pytest.mark.usefixtures("few")
    async def test_changes_of_the_last_minute_are_recent(self, bench: Bench) -> None:
        await define(bench, definition("old"), definition("gone"))
        bench.clock.now = T + 60
        await define(bench, definition("a"), definition("b"))
        await accept(bench, removal(alarm_id="gone"))

        assert list((await bench.store.definitions()).recent) == ["a", "b", "gone"]
        bench.clock.now = T + 120
        assert list((await bench.store.definitions()).recent) == []


class TestTallies:
    async def test_evaluations_are_counted_by_alarm_and_state(self, bench: Bench) -> None:
        await accept(bench, acceptance(), acceptance(alarm_id="b"))
        await bench.store.tally({ALARM: {"ok": 2, "insufficient data": 1}, "b": {"alarm": 7}})
        await bench.other.tally({ALARM: {"ok": 3}, "b": {}})

        tallies = await bench.store.tallies(["b", "unknown", ALARM])

        assert [dict(tally) for tally in tallies] == [{"alarm": 7}, {}, {"ok": 5, "insufficient data": 1}]

    async def test_they_end_with_the_alarm(self, bench: Bench) -> None:
        await accept(bench, acceptance(), acceptance(alarm_id="b"))
        await bench.store.tally({ALARM: {"ok": 2}, "b": {"ok": 1}})
        await accept(bench, removal())
        await bench.store.forget(["b"])
        await bench.store.tally({ALARM: {"ok": 2}, "b": {"ok": 1}})

        assert [dict(tally) for tally in await bench.store.tallies([ALARM, "b"])] == [{}, {}]
        assert await bench.store.alarms([ALARM, "b"]) == [None, None]

    async def test_a_verdict_leaves_them_as_they_are(self, bench: Bench) -> None:
        await accept(bench, acceptance())
        await bench.store.tally({ALARM: {"ok": 2}})
        await accept(bench, acceptance(1))

        assert [dict(tally) for tally in await bench.store.tallies([ALARM])] == [{"ok": 2}]


class TestKept:
    async def test_documents_are_kept_by_kind_and_key(self, bench: Bench) -> None:
        await bench.store.keep("quota", {"p1": b"one", "p2": b"\x00\xff\xc4", "p3": b""})
        await bench.store.keep("resource", {"p1": b"other"})

        assert await bench.other.kept("quota", ["p2", "p4", "p1", "p3"]) == [b"\x00\xff\xc4", None, b"one", b""]
        assert await bench.other.kept("resource", ["p1", "p2"]) == [b"other", None]

    async def test_the_newest_counts_and_none_drops(self, bench: Bench) -> None:
        await bench.store.keep("quota", {"p1": b"one", "p2": b"two"})
        await bench.store.keep("quota", {"p1": b"three", "p2": None, "unknown": None})

        assert await bench.store.kept("quota", ["p1", "p2", "unknown"]) == [b"three", None, None]

    async def test_many_are_answered_in_the_order_asked(self, bench: Bench) -> None:
        documents = {f"résource {number} |:{{}}\n": str(number).encode() * 100 for number in range(3000)}
        await bench.store.keep("resource", documents)

        assert await bench.store.kept("resource", list(documents)[::-1]) == list(documents.values())[::-1]

    async def test_none_is_fine(self, bench: Bench) -> None:
        await bench.store.keep("resource", {})

        assert await bench.store.kept("resource", []) == []
        assert await bench.store.kept_keys("resource") == []

    async def test_the_keys_of_a_kind_are_told(self, bench: Bench) -> None:
        names = [f"p {number}" for number in range(50)]
        await bench.store.keep("quota", dict.fromkeys([*names, "gone"], b"-1"))
        await bench.store.keep("quota", {"gone": None})
        await bench.store.keep("resource", {"other": b"1"})

        assert sorted(await bench.other.kept_keys("quota")) == sorted(names)


LANE = lane_of(ALARM, HOOK)
POLICY_LANE = lane_of(ALARM, POLICY)


class TestOutbox:
    async def test_lanes_that_were_empty_are_leased_to_who_filled_them(self, bench: Bench) -> None:
        (first,) = await accept(bench, acceptance(rows=[row(1), row(2, POLICY), row(3)]))
        (second,) = await accept(bench, acceptance(expected=1, rows=[row(4)]))

        assert (first, second) == (Accepted([LANE, POLICY_LANE]), Accepted([]))
        assert dict(await bench.store.lanes(ALARM)) == {LANE: 3, POLICY_LANE: 1}
        assert await bench.work() == []
        bench.clock.now = T + LEASE
        assert await bench.work() == [("lane", LANE, T + LEASE), ("lane", POLICY_LANE, T + LEASE)]

    async def test_rows_are_delivered_in_order_one_after_another(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1), row(2)]))

        assert await bench.store.head(LANE) == row(1)
        assert await bench.store.delivered(LANE, row(1).id, lease=LEASE) == row(2)
        assert await bench.store.head(LANE) == row(2)
        assert await bench.store.delivered(LANE, row(2).id, lease=LEASE) is None
        assert await bench.store.head(LANE) is None
        assert dict(await bench.store.lanes(ALARM)) == {}

    async def test_an_empty_lane_is_not_due(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1)]))
        await bench.store.delivered(LANE, row(1).id, lease=LEASE)
        bench.clock.now = T + 1000

        assert await bench.work() == []

    async def test_the_next_row_is_leased_for_as_long_again(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1), row(2)]))
        bench.clock.now = T + 20
        await bench.store.delivered(LANE, row(1).id, lease=LEASE)
        bench.clock.now = T + 20 + LEASE

        assert await bench.work() == [("lane", LANE, T + 20 + LEASE)]

    async def test_a_late_deliverer_takes_nothing_away(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1), row(2), row(3)]))
        await bench.other.delivered(LANE, row(1).id, lease=LEASE)

        assert await bench.store.delivered(LANE, row(1).id, lease=LEASE) is None
        assert await bench.store.head(LANE) == row(2)

    async def test_a_late_failure_counts_for_nothing(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1), row(2)]))
        await bench.other.delivered(LANE, row(1).id, lease=LEASE)

        await bench.store.undelivered(LANE, row(1).id, retry_at=T + 1)

        bench.clock.now = T + 1
        assert await bench.work() == []
        assert await bench.store.head(LANE) == row(2)

    async def test_a_failure_that_is_told_after_the_lease_counts_for_nothing(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1), row(2)]))
        bench.clock.now = T + LEASE + 1
        assert await bench.work() == [("lane", LANE, T + LEASE)]

        await bench.store.undelivered(LANE, row(1).id, retry_at=T + LEASE + 2, leased_until=T + LEASE)

        bench.clock.now = T + LEASE + 2
        assert await bench.work() == []
        assert await bench.store.head(LANE) == row(1)

    async def test_a_failure_is_counted_and_the_lane_due_again(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1), row(2)]))
        await bench.store.undelivered(LANE, row(1).id, retry_at=T + 5)
        await bench.store.undelivered(LANE, row(1).id, retry_at=T + 7)
        bench.clock.now = T + 7

        assert await bench.work() == [("lane", LANE, T + 7)]
        assert await bench.store.head(LANE) == replace(row(1), attempts=2)
        assert await bench.store.delivered(LANE, row(1).id, lease=LEASE) == row(2)

    async def test_what_was_not_even_tried_is_not_counted(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1)]))
        await bench.store.undelivered(LANE, row(1).id, retry_at=T + 5, tried=False)
        bench.clock.now = T + 5

        assert await bench.work() == [("lane", LANE, T + 5)]
        assert await bench.store.head(LANE) == row(1)

    async def test_a_dead_lane_holds_up_no_other(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1), row(2, POLICY)]))
        await bench.store.undelivered(LANE, row(1).id, retry_at=T + 1000)

        assert await bench.store.head(POLICY_LANE) == row(2, POLICY)
        assert await bench.store.delivered(POLICY_LANE, row(2, POLICY).id, lease=LEASE) is None

    async def test_a_lane_is_leased_anew_after_it_was_empty(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1)]))
        await bench.store.undelivered(LANE, row(1).id, retry_at=T + 1)
        await bench.store.delivered(LANE, row(1).id, lease=LEASE)

        assert await accept(bench, acceptance(expected=1, rows=[row(2)])) == [Accepted([LANE])]
        assert await bench.store.head(LANE) == row(2)

    async def test_nothing_is_taken_from_an_unknown_lane(self, bench: Bench) -> None:
        assert await bench.store.delivered(LANE, row(1).id, lease=LEASE) is None
        await bench.store.undelivered(LANE, row(1).id, retry_at=T)
        assert await bench.work() == []


class TestRepeats:
    async def kept(self, bench: Bench) -> list[OutboxRow]:
        rows: list[OutboxRow] = []
        head = await bench.store.head(LANE)
        while head is not None:
            rows.append(head)
            head = await bench.store.delivered(LANE, head.id, lease=LEASE)
        return rows

    async def test_an_undelivered_repeat_at_the_end_is_replaced(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1), row(2, repeat=True)]))
        await accept(bench, acceptance(expected=1, rows=[row(3, repeat=True)]))

        assert await self.kept(bench) == [row(1), row(3, repeat=True)]

    async def test_a_repeat_that_is_being_delivered_stays(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1, repeat=True)]))
        await accept(bench, acceptance(expected=1, rows=[row(2, repeat=True)]))

        assert await self.kept(bench) == [row(1, repeat=True), row(2, repeat=True)]

    async def test_a_repeat_that_waits_for_another_try_is_replaced_and_its_failures_forgotten(
        self, bench: Bench
    ) -> None:
        await accept(bench, acceptance(rows=[row(1, repeat=True)]))
        await bench.store.undelivered(LANE, row(1).id, retry_at=T + 5)
        (answer,) = await accept(bench, acceptance(expected=1, rows=[row(2, repeat=True)]))
        bench.clock.now = T + 5

        assert answer == Accepted([])
        assert await bench.work() == [("lane", LANE, T + 5)]
        assert await self.kept(bench) == [row(2, repeat=True)]

    async def test_a_repeat_that_was_claimed_for_another_try_stays(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1, repeat=True)]))
        await bench.store.undelivered(LANE, row(1).id, retry_at=T)
        await bench.work()
        await accept(bench, acceptance(expected=1, rows=[row(2, repeat=True)]))

        assert [one.id for one in await self.kept(bench)] == [row(1).id, row(2).id]

    async def test_a_repeat_whose_deliverer_is_gone_is_replaced(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1, repeat=True)]))
        bench.clock.now = T + LEASE
        await accept(bench, acceptance(expected=1, rows=[row(2, repeat=True)]))

        assert await self.kept(bench) == [row(2, repeat=True)]

    async def test_a_transition_is_never_replaced(self, bench: Bench) -> None:
        await accept(bench, acceptance(rows=[row(1), row(2)]))
        await accept(bench, acceptance(expected=1, rows=[row(3, repeat=True)]))
        await accept(bench, acceptance(expected=2, rows=[row(4)]))

        assert await self.kept(bench) == [row(1), row(2), row(3, repeat=True), row(4)]


def group_record(**changes: object) -> GroupRecord:
    full = GroupRecord(
        version=1,
        desired_capacity=3,
        members=("a", "b"),
        failed=("c",),
        most=Bound(4, "quota"),
        facts={"stack": "web"},
        pending_order=Order.NEWEST,
        cooldown_end=T + 0.1,
        declared=Limits(1, 5),
        paused=Pause(since=T, until=None, reason="x", actor=Actor(kind="user")),
    )
    return replace(full, **changes)


def decision(number: int, kind: str = "hold", **changes: object) -> Decision:
    plain = Decision(
        id=f"d{number}",
        time=T + number,
        group="web",
        decision=kind,
        reason=Reason.COOLDOWN,
        text="resting",
        before=3,
        to=3,
        policy="web-out",
        actor=Actor(kind="alarm", name="busy"),
        inputs={"x": [], "y": {}, "z": 0.1},
    )
    return replace(plain, **changes)


def put(expected: int, made: Decision | None = None, *, freeze: Freeze | None = None, **changes: object) -> GroupPut:
    return GroupPut("web", expected, freeze, group_record(version=expected + 1), made, **changes)  # type: ignore[arg-type]


FREEZE = Freeze(token="t1", since=T, reason="upgrade", by="ops")


class TestGroups:
    async def test_an_unknown_group_has_version_zero(self, bench: Bench) -> None:
        state = await bench.store.group("web")

        assert (state.record, state.freeze, state.now) == (GroupRecord(), None, T)

    async def test_a_record_that_is_put_is_in_force(self, bench: Bench) -> None:
        assert await bench.store.put_group(put(0)) == Put(None)
        assert (await bench.other.group("web")).record == group_record()

    async def test_of_two_at_a_time_the_second_is_told_what_changed(self, bench: Bench) -> None:
        await bench.store.put_group(put(0))

        answer = await bench.other.put_group(put(0, decision(1), reconcile_at=T))

        assert isinstance(answer, Changed)
        assert answer.state == await bench.store.group("web")
        assert await bench.store.decisions("web", limit=10) == []
        assert await bench.work() == []

    async def test_what_was_decided_once_is_not_decided_again(self, bench: Bench) -> None:
        made = decision(1, "scale")
        await bench.store.put_group(put(0, made))

        answer = await bench.other.put_group(put(1, decision(1, "scale", to=9)))

        assert answer == AlreadyDecided(made)
        assert (await bench.store.group("web")).record.version == 1
        assert await bench.store.decisions("web", limit=10) == [made]

    async def test_a_late_repeat_of_a_decision_is_known_though_the_group_has_moved_on(self, bench: Bench) -> None:
        await bench.store.put_group(put(0, decision(1, "scale")))
        await bench.store.put_group(put(1, decision(2, "scale")))

        assert await bench.other.put_group(put(0, decision(1, "scale"))) == AlreadyDecided(decision(1, "scale"))

    async def test_what_is_kept_for_a_while_only_goes_after_it(self, bench: Bench) -> None:
        await bench.store.put_group(put(0, decision(1, "scale"), kept=60.0))
        assert len(await bench.other.decisions("web", limit=10)) == 1
        await bench.store.put_group(put(1, kept=0.05))
        bench.clock.now += 1.0  # of a store that goes by the test's clock; a server's goes by itself
        await asyncio.sleep(0.3)

        assert (await bench.other.group("web")).record == GroupRecord()
        assert await bench.store.decisions("web", limit=10) == []
        assert isinstance(await bench.store.put_group(put(0, decision(1, "scale"))), Put), "nor is it known as decided"

    async def test_what_is_kept_for_a_while_stays_once_it_is_to_be_kept(self, bench: Bench) -> None:
        await bench.store.put_group(put(0, kept=1.5))
        await bench.store.put_group(put(1, decision(1, "scale")))
        bench.clock.now += 2.0
        await asyncio.sleep(1.7)

        assert (await bench.other.group("web")).record.version == 2
        assert len(await bench.store.decisions("web", limit=10)) == 1

    async def test_the_target_is_looked_at_when_it_was_asked_for(self, bench: Bench) -> None:
        await bench.store.put_group(put(0, reconcile_at=T + 9))
        await bench.store.put_group(put(1))
        bench.clock.now = T + 9
        assert await bench.work() == [("group", "web", T + 9)]

        await bench.store.put_group(put(2, reconcile_at=T + 100))

        bench.clock.now = T + 99
        assert await bench.work() == []

    async def test_the_newest_decision_comes_first(self, bench: Bench) -> None:
        for number in range(3):
            await bench.store.put_group(put(number, decision(number, "scale")))

        assert await bench.store.decisions("web", limit=2) == [decision(2, "scale"), decision(1, "scale")]
        assert await bench.store.decisions("web", limit=0) == []

    async def test_equal_holds_in_a_row_are_one(self, bench: Bench) -> None:
        answers = [await bench.store.put_group(put(number, decision(number))) for number in range(3)]

        counted = decision(2, times=3, first=T)
        assert answers == [Put(decision(0)), Put(decision(1, times=2, first=T)), Put(counted)]
        assert await bench.store.decisions("web", limit=10) == [counted]

    @pytest.mark.parametrize(
        ("second", "coalesce"),
        [
            pytest.param(decision(1), False, id="not-wanted"),
            pytest.param(decision(1, reason=Reason.PAUSED), True, id="another-reason"),
            pytest.param(decision(1, policy="web-in"), True, id="another-policy"),
            pytest.param(decision(1, before=4), True, id="from-another-size"),
            pytest.param(decision(1, to=None), True, id="to-another-size"),
            pytest.param(decision(1, "scale"), True, id="a-move"),
        ],
    )
    async def test_other_decisions_stand_for_themselves(
        self, bench: Bench, second: Decision, *, coalesce: bool
    ) -> None:
        await bench.store.put_group(put(0, decision(0)))

        assert await bench.store.put_group(put(1, second, coalesce=coalesce)) == Put(second)
        assert await bench.store.decisions("web", limit=10) == [second, decision(0)]

    async def test_a_move_is_not_joined_by_a_move(self, bench: Bench) -> None:
        await bench.store.put_group(put(0, decision(0, "scale")))
        await bench.store.put_group(put(1, decision(1, "scale")))

        assert len(await bench.store.decisions("web", limit=10)) == 2

    async def test_every_joined_hold_is_known_by_its_id(self, bench: Bench) -> None:
        await bench.store.put_group(put(0, decision(0)))
        await bench.store.put_group(put(1, decision(1)))

        assert await bench.store.put_group(put(2, decision(0))) == AlreadyDecided(decision(0))

    async def test_decisions_are_bounded(self, bench: Bench) -> None:
        for number in range(DECISIONS + 2):
            await bench.store.put_group(put(number, decision(number, "scale")))

        kept = await bench.store.decisions("web", limit=2 * DECISIONS)

        assert (len(kept), kept[-1]) == (DECISIONS, decision(2, "scale"))
        assert isinstance(await bench.store.put_group(put(DECISIONS + 2, decision(1, "scale"))), Put)
        assert isinstance(await bench.store.put_group(put(DECISIONS + 3, decision(4, "scale"))), AlreadyDecided)

    async def test_a_freeze_is_seen_by_every_group(self, bench: Bench) -> None:
        await bench.store.freeze(FREEZE)

        states = [await bench.other.group(f"group-{number}") for number in range(40)]

        assert {state.freeze for state in states} == {FREEZE}

    async def test_what_was_decided_before_a_freeze_is_decided_again(self, bench: Bench) -> None:
        await bench.store.freeze(FREEZE)

        answer = await bench.other.put_group(put(0))

        assert isinstance(answer, Changed)
        assert answer.state.freeze == FREEZE
        assert await bench.other.put_group(put(0, freeze=FREEZE)) == Put(None)

    async def test_a_newer_freeze_is_another(self, bench: Bench) -> None:
        await bench.store.freeze(FREEZE)
        await bench.store.freeze(replace(FREEZE, token="t2"))

        assert isinstance(await bench.store.put_group(put(0, freeze=FREEZE)), Changed)

    async def test_a_freeze_ends(self, bench: Bench) -> None:
        await bench.store.freeze(FREEZE)
        await bench.other.freeze(None)

        assert (await bench.store.group("web")).freeze is None
        assert await bench.store.put_group(put(0)) == Put(None)


class TestSchedules:
    async def test_a_new_schedule_is_due_at_its_first_time(self, bench: Bench) -> None:
        assert await bench.store.schedule("s", "d", T + 5) == T + 5
        bench.clock.now = T + 5

        assert await bench.work() == [("schedule", "s", T + 5)]

    async def test_a_known_schedule_keeps_its_time(self, bench: Bench) -> None:
        await bench.store.schedule("s", "d", T + 5)

        assert await bench.other.schedule("s", "d", T + 500) == T + 5

    async def test_a_changed_schedule_begins_anew(self, bench: Bench) -> None:
        await bench.store.schedule("s", "d", T + 5)

        assert await bench.store.schedule("s", "e", T + 50) == T + 50
        bench.clock.now = T + 49
        assert await bench.work() == []

    async def test_a_firing_is_counted_once(self, bench: Bench) -> None:
        await bench.store.schedule("s", "d", T)

        assert await bench.store.advance("s", T, T + 60)
        assert not await bench.other.advance("s", T, T + 60)
        assert await bench.store.schedule("s", "d", T) == T + 60
        bench.clock.now = T + 60
        assert await bench.work() == [("schedule", "s", T + 60)]

    async def test_a_schedule_that_has_ended_is_never_due(self, bench: Bench) -> None:
        await bench.store.schedule("s", "d", T)

        assert await bench.store.advance("s", T, None)
        assert await bench.store.schedule("s", "d", T + 1) == math.inf
        bench.clock.now = T + 1000
        assert await bench.work() == []

    async def test_a_schedule_that_comes_back_is_due_again(self, bench: Bench) -> None:
        await bench.store.schedule("s", "d", T)
        claimed = await bench.store.claim(limit=1, lease=LEASE)
        await bench.store.finish(claimed.items[:1], None)

        assert await bench.store.schedule("s", "d", T + 50) == T
        assert await bench.work() == [("schedule", "s", T)]

    async def test_an_unknown_schedule_does_not_advance(self, bench: Bench) -> None:
        assert not await bench.store.advance("s", T, T + 1)


def letter(number: int, kind: str = "measure", payload: str = "{}") -> DeadLetter:
    return DeadLetter(kind=kind, time=T + number, reason="undecodable", detail="ü", source="http", payload=payload)


def without_id(letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    return [replace(each, id="") for each in letters]


def change(number: int) -> AuditEntry:
    actor = Actor(kind="user", name="mona", project_id="shop", request_id="req-1", address="192.0.2.7")
    return AuditEntry(
        event_id=f"e{number}",
        actor=actor,
        change="replaced",
        kind="alarm",
        target=f"a{number}",
        project_id="shop",
        before={"threshold": 70, "ok_actions": []},
        after="alarm",
    )


class TestDeadLetters:
    async def test_the_newest_comes_first_each_kind_for_itself(self, bench: Bench) -> None:
        await bench.store.bury([letter(1), letter(2, "action"), letter(3)])

        assert without_id(await bench.store.dead_letters("measure", limit=10)) == [letter(3), letter(1)]
        assert without_id(await bench.store.dead_letters("measure", limit=1)) == [letter(3)]
        assert without_id(await bench.store.dead_letters("action", limit=10)) == [letter(2, "action")]
        assert await bench.store.dead_letters("other", limit=10) == []
        assert await bench.store.dead_letters("measure", limit=0) == []

    async def test_each_has_an_id_by_which_it_is_found(self, bench: Bench) -> None:
        form = Form("native", trusted=True, project_id="p1")
        await bench.store.bury([replace(letter(1), form=form), letter(2), letter(3, "action")])
        newest, oldest = await bench.store.dead_letters("measure", limit=10)
        (action,) = await bench.store.dead_letters("action", limit=10)

        assert newest.id.startswith("measure-")
        assert len({newest.id, oldest.id, action.id}) == 3
        assert await bench.store.dead_letter(oldest.id) == oldest == replace(letter(1), id=oldest.id, form=form)
        assert await bench.store.dead_letter(action.id) == action
        for other in ("", "measure", "measure-", "measure-x", "event-" + oldest.id.partition("-")[2], "*", "a-1-1}"):
            assert await bench.store.dead_letter(other) is None

    async def test_they_can_be_read_on_from_any(self, bench: Bench) -> None:
        await bench.store.bury([letter(number) for number in range(7)])
        seen: list[DeadLetter] = []
        for _ in range(4):
            seen += await bench.store.dead_letters("measure", limit=2, before=seen[-1].id if seen else "")

        assert without_id(seen) == [letter(number) for number in range(6, -1, -1)]
        assert await bench.store.dead_letters("measure", limit=2, before=seen[-1].id) == []

    @pytest.mark.parametrize("before", ["nonsense", "measure-", "measure-x", "(", "event-9999999999999999999"])
    async def test_nothing_is_older_than_what_is_no_letter_of_that_kind(self, bench: Bench, before: str) -> None:
        await bench.store.bury([letter(1)])
        await bench.store.audit(change(1))

        assert await bench.store.dead_letters("measure", limit=2, before=before) == []
        assert await bench.store.audits(limit=2, before=before if "event" not in before else "x") == []

    async def test_each_is_dropped_once(self, bench: Bench) -> None:
        await bench.store.bury([letter(1), letter(2, "action"), letter(3)])
        newest, oldest = await bench.store.dead_letters("measure", limit=10)
        (action,) = await bench.store.dead_letters("action", limit=10)

        asked = [oldest.id, "nothing", action.id, oldest.id]
        assert await bench.store.drop_letters(asked) == [True, False, True, False]
        assert await bench.store.drop_letters([]) == []
        assert await bench.store.dead_letters("measure", limit=10) == [newest]
        assert await bench.store.dead_letters("action", limit=10) == []

    async def test_their_number_is_bounded(self, bench: Bench) -> None:
        await bench.store.bury([letter(number) for number in range(10_010)])

        kept = without_id(await bench.store.dead_letters("measure", limit=20_000))

        assert (len(kept), kept[0], kept[-1]) == (10_000, letter(10_009), letter(10))

    async def test_their_size_is_bounded(self, bench: Bench) -> None:
        big = "x" * (20 * 1024 * 1024)
        for number in range(4):
            await bench.store.bury([letter(number, payload=big)])
        kept = await bench.store.dead_letters("measure", limit=10)
        await bench.store.drop_letters([kept[0].id])
        await bench.store.bury([letter(4, payload=big)])  # what was dropped has made room

        assert [one.time for one in kept] == [T + 3, T + 2, T + 1]
        assert [one.time for one in await bench.store.dead_letters("measure", limit=10)] == [T + 4, T + 2, T + 1]

    async def test_none_is_fine(self, bench: Bench) -> None:
        await bench.store.bury([])


class TestAudit:
    async def test_changes_are_kept_newest_first(self, bench: Bench) -> None:
        for number in range(3):
            bench.clock.now = T + number
            await bench.store.audit(change(number))
        found = await bench.other.audits(limit=10)
        page = await bench.store.audits(limit=2)

        assert [replace(entry, id="", time=0.0) for entry in found] == [change(2), change(1), change(0)]
        assert [entry.time for entry in found] == [T + 2, T + 1, T]
        assert page == found[:2]
        assert await bench.store.audits(limit=10, before=page[-1].id) == found[2:]
        assert await bench.store.audits(limit=10, before=found[-1].id) == []
        assert await bench.store.audits(limit=0) == []

    async def test_the_oldest_make_room(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        for place in ("redis", "memory"):
            monkeypatch.setattr(f"autoscaler.adapters.{place}.store.AUDITS", 3)
        for number in range(5):
            await bench.store.audit(change(number))

        assert [entry.target for entry in await bench.store.audits(limit=10)] == ["a4", "a3", "a2"]


class TestRevival:
    async def test_an_action_is_put_at_the_end_of_its_lane_once_for_each_token(self, bench: Bench) -> None:
        first, second = row(1), row(2)
        assert await bench.store.revive(first, "letter-1", lease=30) == Accepted([first.lane])
        assert await bench.store.revive(second, "letter-2", lease=30) == Accepted([])
        assert await bench.store.revive(first, "letter-1", lease=30) is None

        assert await bench.store.head(first.lane) == first
        assert await bench.store.delivered(first.lane, first.id, lease=30) == second
        assert await bench.store.delivered(second.lane, second.id, lease=30) is None
        assert await bench.store.revive(first, "letter-1", lease=30) is None  # nor is it when it was delivered
        assert await bench.store.lanes(ALARM) == {}

    async def test_its_lane_is_leased_and_comes_up_again(self, bench: Bench) -> None:
        assert await bench.store.revive(row(1), "letter-1", lease=5) == Accepted([row(1).lane])
        assert (await bench.store.claim(limit=10, lease=5)).items == []
        bench.clock.now += 6

        assert [item.key for item in (await bench.store.claim(limit=10, lease=5)).items] == [row(1).lane]


def heartbeat(name: str, **changes: object) -> Heartbeat:
    return replace(Heartbeat(replica=name, clock=T + 0.25, caught_up=True, behind=0.5, version="1"), **changes)


class TestReplicas:
    async def test_a_heartbeat_tells_who_lives(self, bench: Bench) -> None:
        await bench.store.beat(heartbeat("b"))

        pulse = await bench.other.beat(heartbeat("a", caught_up=False))

        assert (list(pulse.replicas), pulse.generation, pulse.now) == (
            [heartbeat("a", caught_up=False), heartbeat("b")],
            "",
            T,
        )

    async def test_the_newest_heartbeat_counts(self, bench: Bench) -> None:
        await bench.store.beat(heartbeat("a"))

        pulse = await bench.store.beat(heartbeat("a", behind=9.0))

        assert list(pulse.replicas) == [heartbeat("a", behind=9.0)]

    async def test_a_silent_replica_is_left_out(self, bench: Bench) -> None:
        await bench.store.beat(heartbeat("a"))
        bench.clock.now = T + 4.9
        still = await bench.store.beat(heartbeat("b"))
        bench.clock.now = T + 5
        gone = await bench.store.beat(heartbeat("b"))

        assert [beat.replica for beat in still.replicas] == ["a", "b"]
        assert [beat.replica for beat in gone.replicas] == ["b"]

    async def test_one_that_leaves_is_gone_at_once(self, bench: Bench) -> None:
        for name in ("a", "b"):
            await bench.store.beat(heartbeat(name))

        await bench.store.leave("a")
        await bench.store.leave("never-there")

        assert list(await bench.other.replicas()) == [heartbeat("b")]
        assert list((await bench.other.beat(heartbeat("b"))).replicas) == [heartbeat("b")]

    async def test_who_lives_is_told_to_others(self, bench: Bench) -> None:
        await bench.store.beat(heartbeat("b"))
        bench.clock.now = T + 3
        await bench.store.beat(heartbeat("a", form=7))
        both = await bench.other.replicas()
        bench.clock.now = T + 5

        assert list(both) == [heartbeat("a", form=7), heartbeat("b")]
        assert list(await bench.other.replicas()) == [heartbeat("a", form=7)]

    async def test_now_is_the_stores_clock(self, bench: Bench) -> None:
        assert await bench.store.now() == T


SEATS = ("s1", "s2", "s3", "s4")
ALL_SEATS = list(SEATS)
SEAT_LEASE = 3.0


async def sat(store: Store, name: str, *keep: str, seats: Sequence[str] = SEATS, **options: Sequence[str]) -> Seating:
    return await store.sit(name, seats, keep=keep, lease=SEAT_LEASE, **options)


async def settled(
    bench: Bench, names: Sequence[str], seats: Sequence[str] = SEATS, **had: list[str]
) -> dict[str, list[str]]:
    """Who has what once everybody has let go of what is not theirs; nobody may lose what was theirs to keep."""
    has: dict[str, list[str]] = {name: had.get(name, []) for name in names}
    for _ in range(2 * len(seats)):
        for name in names:
            seating = await sat(bench.store, name, *has[name], seats=seats)
            assert set(has[name]) <= set(seating.mine)
            has[name] = list(seating.mine[: seating.share])
        given = [seat for some in has.values() for seat in some]
        assert len(set(given)) == len(given)
    return has


class TestSeats:
    async def test_one_replica_has_them_all(self, bench: Bench) -> None:
        assert await sat(bench.store, "a") == Seating(ALL_SEATS, 4, [])

    async def test_those_of_another_are_elsewhere(self, bench: Bench) -> None:
        await sat(bench.store, "a")
        bench.clock.now += 1

        assert await sat(bench.other, "b") == Seating([], 2, ALL_SEATS, "", 2.0)

    @pytest.mark.parametrize("replicas", range(1, 7))
    async def test_everybody_has_as_many(self, bench: Bench, replicas: int) -> None:
        names = [f"r{number}" for number in range(replicas)]

        has = await settled(bench, names)

        sizes = sorted(len(some) for some in has.values())
        assert sum(sizes) == len(SEATS)
        assert sizes[-1] - sizes[0] <= 1

    async def test_whoever_has_one_more_keeps_it(self, bench: Bench) -> None:
        had = await settled(bench, ["b"], ["s1"])

        assert await settled(bench, ["a", "b", "c"], ["s1"], **had) == {"a": [], "b": ["s1"], "c": []}
        assert had == {"b": ["s1"]}

    async def test_what_is_let_go_of_is_another_s(self, bench: Bench) -> None:
        await sat(bench.store, "a")
        await sat(bench.other, "b")

        over = await sat(bench.store, "a", *SEATS)
        await sat(bench.store, "a", "s1", "s2")

        assert (list(over.mine), over.share) == (list(SEATS), 2)
        assert list((await sat(bench.other, "b")).mine) == ["s3", "s4"]

    async def test_a_lease_that_ran_out_is_taken_by_who_was_there(self, bench: Bench) -> None:
        await settled(bench, ["a", "b"])
        bench.clock.now += 2
        await sat(bench.other, "b", "s3", "s4")
        before = await sat(bench.other, "b", "s3", "s4")
        bench.clock.now += 1
        after = await sat(bench.other, "b", "s3", "s4")

        assert (list(before.mine), before.soonest) == (["s3", "s4"], 1.0)
        assert sorted(after.mine) == list(SEATS)

    async def test_who_comes_after_an_outage_does_not_take_what_others_had(self, bench: Bench) -> None:
        await settled(bench, ["a", "b"])
        bench.clock.now += 60
        first = await sat(bench.store, "a", "s1", "s2")
        second = await sat(bench.other, "b", "s3", "s4")

        assert [list(each.mine) for each in (first, second)] == [["s1", "s2"], ["s3", "s4"]]

    async def test_who_did_not_come_back_has_lost_theirs_at_the_next_look(self, bench: Bench) -> None:
        await settled(bench, ["a", "b"])
        bench.clock.now += 60
        first = await sat(bench.store, "a", "s1", "s2")

        assert list((await sat(bench.store, "a", *first.mine)).mine) == list(SEATS)
        assert list((await sat(bench.other, "b", "s3", "s4")).mine) == []

    async def test_what_is_kept_stays_though_the_store_has_forgotten_it(self, bench: Bench) -> None:
        await sat(bench.store, "a", seats=["s1", "s2"])
        kept = await sat(bench.other, "b", "s3", "s4")

        assert (list(kept.mine), list(kept.elsewhere)) == (["s3", "s4"], ["s1", "s2"])

    async def test_who_asks_for_others_takes_nobody_s_share(self, bench: Bench) -> None:
        """One that is rolled out with another number of seats would else wait for those that wait for it."""
        old = await settled(bench, ["a", "b"], ["old"])
        new = await sat(bench.other, "c")
        none = await sat(bench.store, "d", seats=[])
        second = await sat(bench.other, "e")

        assert (list(new.mine), new.share) == (ALL_SEATS, 4)
        assert (none.share, second.share) == (0, 2)
        assert await settled(bench, ["a", "b"], ["old"], **old) == old

    async def test_who_rises_has_none_and_is_not_counted(self, bench: Bench) -> None:
        has = await settled(bench, ["a", "b"])

        await bench.store.rise("a")

        assert await sat(bench.other, "b", *has["b"]) == Seating(ALL_SEATS, 4, [])

    async def test_a_seat_that_nobody_asks_for_is_cleared_by_one_and_gone(self, bench: Bench) -> None:
        await sat(bench.store, "a", seats=["s1", "s2", "old"])
        await bench.store.rise("a")

        clearing = await sat(bench.store, "a", seats=["s1", "s2"])
        meanwhile = await sat(bench.other, "b", seats=["s1", "s2"])
        await sat(bench.store, "a", "s1", "old", seats=["s1", "s2"])
        beside = await sat(bench.other, "b", seats=["s1", "s2"])
        gone = await sat(bench.store, "a", "s1", seats=["s1", "s2"], cleared=["old"])

        assert (clearing.spare, meanwhile.spare, beside.spare, gone.spare) == ("old", "", "", "")
        assert (list(beside.mine), list(gone.mine)) == (["s2"], ["s1"])
        assert (await sat(bench.other, "b", "s2", seats=["s1", "s2"])).spare == ""

    async def test_what_is_left_from_older_times_is_cleared_by_whoever_has_a_seat(self, bench: Bench) -> None:
        await sat(bench.store, "a", seats=["s1"])

        registered = await sat(bench.other, "b", seats=["s1"], left=["old-b"])
        clearing = await sat(bench.store, "a", "s1", seats=["s1"])
        again = await sat(bench.other, "b", seats=["s1"], left=["old-b"])
        dead_for = await sat(bench.store, "a", "s1", "old-b", seats=["s1"])

        assert (registered.spare, clearing.spare, again.spare, dead_for.spare) == ("", "old-b", "", "old-b")

    async def test_whoever_asks_for_none_may_clear_what_there_is(self, bench: Bench) -> None:
        await sat(bench.store, "a", seats=["s1", "s2"])
        held = await sat(bench.other, "b", seats=[])
        await bench.store.rise("a")

        one = await sat(bench.other, "b", seats=[])
        other = await sat(bench.store, "c", seats=[])
        after = await sat(bench.other, "b", seats=[], cleared=["s1"])

        assert (held, one.mine, one.spare, other.spare, after.spare) == (Seating([], 0, []), [], "s1", "s2", "")

    async def test_what_was_reached_at_a_seat_is_told_to_who_has_it_next(self, bench: Bench) -> None:
        async def sits(name: str, *keep: str, **positions: int) -> Mapping[str, int]:
            store = bench.store if name == "a" else bench.other
            seats = {"keep": keep, "lease": SEAT_LEASE, "bus": Bus.AMQP}
            return (await store.sit(name, ["s1", "s2"], positions=positions, **seats)).positions

        first = await sits("a")
        kept = await sits("a", "s1", "s2", s1=5, s2=-1_700_000_000)
        behind = await sits("a", "s1", "s2", s1=4, s2=0)
        barred = await sits("b", s1=9)
        left = await sits("a", "s2", s1=7)
        taken = await sits("b", s2=8)
        bench.clock.now += 2 * SEAT_LEASE
        late = await sits("a", "s1", "s2", s2=3)

        assert (first, kept, behind) == ({}, {"s1": 5, "s2": -1_700_000_000}, {"s1": 5, "s2": 0})
        assert (barred, left, taken) == ({}, {"s2": 0}, {"s1": 7})
        assert late == {"s1": 7, "s2": 3}

    async def test_what_was_reached_is_forgotten_with_its_seat(self, bench: Bench) -> None:
        await bench.store.sit("a", ["s1"], keep=(), lease=SEAT_LEASE)
        await bench.store.sit("a", ["s1"], keep=["s1"], lease=SEAT_LEASE, positions={"s1": 5})
        await bench.store.rise("a")
        spare = await bench.other.sit("b", [], keep=(), lease=SEAT_LEASE)
        await bench.other.sit("b", [], keep=["s1"], lease=SEAT_LEASE, cleared=["s1"])

        assert (spare.spare, spare.positions) == ("s1", {})
        assert (await bench.store.sit("a", ["s1"], keep=(), lease=SEAT_LEASE)).positions == {}

    async def test_seats_of_one_bus_are_none_of_another_s(self, bench: Bench) -> None:
        await sat(bench.store, "a")
        beside = await bench.other.sit("b", ["s1", "q"], keep=(), lease=SEAT_LEASE, bus=Bus.AMQP)
        await sat(bench.store, "a", *SEATS)
        await bench.other.rise("b")

        assert beside == Seating(["s1", "q"], 2, [])
        assert await bench.store.sit("a", ["q"], keep=(), lease=SEAT_LEASE, bus=Bus.AMQP) == Seating(["q"], 1, [], "s1")
        assert (await sat(bench.store, "a", *SEATS)).mine == ALL_SEATS


class TestForms:
    async def test_a_new_state_is_in_this_versions_form(self, bench: Bench) -> None:
        before = await bench.store.schema()
        await bench.store.alarms(["a"])

        assert before == Schema(shards=before.shards)
        assert (await bench.other.schema()).form == (await bench.other.schema()).oldest == STATE_FORM
        assert not (await bench.other.schema()).refusal

    async def test_a_state_in_the_newest_form_stays_as_it_is(self, bench: Bench) -> None:
        await bench.store.alarms(["a"])

        assert await bench.store.upgrade("9.9") == await bench.other.schema()
        assert (await bench.other.schema()).by == ""


async def everything(store: Store) -> list[Saved]:
    return [one async for one in store.saved()]


async def filled(bench: Bench) -> None:
    """Some of all that an export holds."""
    store = bench.store
    await store.publish("g1", b"\x00documents", insist=False)
    await store.freeze(FREEZE)
    await store.audit(change(1))
    await store.audit(replace(change(2), time=T - 5))
    await store.bury([letter(1), letter(2)])
    rows = [row(1), row(2), row(1, "https://other.example.org/")]
    told = [entry(1, type="creation"), entry(2)]
    await accept(bench, acceptance(rows=rows, history=told, definition=definition()))
    await store.undelivered(rows[0].lane, rows[0].id, retry_at=T + 1)
    await accept(bench, acceptance(alarm_id="declared"))
    await store.tally({ALARM: {"ok": 2, "alarm": 1}})
    await accept(bench, acceptance(alarm_id="gone"))
    await accept(bench, removal(alarm_id="gone", history=[entry(3, alarm_id="gone", type="deletion")]))
    await store.keep("quota", {"p": b"5", "q": b"\xff\x00"})
    await store.put_group(put(0, decision(1, "scale"), freeze=FREEZE))
    await store.put_group(put(1, decision(2), freeze=FREEZE))
    await bench.write((T, 1.0))


class TestTheWhole:
    async def test_nothing_is_nothing(self, bench: Bench) -> None:
        assert await everything(bench.store) == []

    async def test_all_but_windows_is_told(self, bench: Bench) -> None:
        await filled(bench)

        found = await everything(bench.other)

        assert found == [
            SavedDeclarations(generation="g1", documents=b"\x00documents"),
            SavedFreeze(freeze=FREEZE),
            *(one for one in found if isinstance(one, SavedChange)),
            *(one for one in found if isinstance(one, SavedLetter)),
            SavedAlarm(
                alarm_id=ALARM,
                record=record(),
                definition=definition(),
                tally={"ok": 2, "alarm": 1},
                history=(entry(1, type="creation"), entry(2)),
                rows=(row(1), row(2), row(1, "https://other.example.org/")),
            ),
            SavedAlarm(alarm_id="declared", record=record()),
            SavedAlarm(alarm_id="gone", history=(entry(3, alarm_id="gone", type="deletion"),)),
            SavedGroup(name="web", record=group_record(version=2), decisions=(decision(1, "scale"), decision(2))),
            SavedDocument(kind="quota", key="p", document=b"5"),
            SavedDocument(kind="quota", key="q", document=b"\xff\x00"),
        ]
        assert [one.letter.time for one in found if isinstance(one, SavedLetter)] == [T + 1, T + 2]
        assert [replace(one.change, id="") for one in found if isinstance(one, SavedChange)] == [
            replace(change(1), time=T),
            replace(change(2), time=T - 5),
        ]

    async def test_an_action_that_is_buried_meanwhile_is_not_lost(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(saving, "AT_ONCE", 1)
        late = replace(row(1), alarm_id="later")
        await accept(bench, acceptance(alarm_id="first"))
        await accept(bench, acceptance(alarm_id="later", rows=[late]))
        found = []
        async for one in bench.store.saved():
            found.append(one)
            if one == SavedAlarm(alarm_id="first", record=record()):
                await bench.other.bury([replace(letter(1), kind="action", payload=late.id)])
                await bench.other.delivered(late.lane, late.id, lease=LEASE)

        assert [one.letter.payload for one in found if isinstance(one, SavedLetter)] == [late.id]

    async def test_a_state_with_something_in_it_is_imported_into_only_on_demand(self, bench: Bench) -> None:
        await filled(bench)
        before = await everything(bench.store)

        with pytest.raises(PermanentError, match="is not empty"):
            await bench.store.begin_import(shards=4, replace=False)
        still = await everything(bench.store)
        await bench.store.begin_import(shards=4, replace=True)
        await bench.store.end_import()

        assert still == before
        assert await everything(bench.store) == []
        assert await bench.work() == []

    async def test_nothing_is_imported_below_a_replica(self, bench: Bench) -> None:
        await bench.store.beat(heartbeat("a"))

        with pytest.raises(PermanentError, match=r"a .*lives|a runs on"):
            await bench.store.begin_import(shards=16, replace=True)
        await bench.other.beat(heartbeat("a"))
        bench.clock.now = T + 6
        await bench.store.begin_import(shards=16, replace=True)
        await bench.store.beat(heartbeat("quick"))

        with pytest.raises(PermanentError):
            await bench.store.end_import()

    async def test_a_group_is_put_back_with_its_decisions(self, bench: Bench) -> None:
        kept = group_record(version=77)

        await bench.store.restore_group("web", kept, [decision(1), decision(2)])

        assert (await bench.other.group("web")).record == kept
        assert list(await bench.other.decisions("web", limit=9)) == [decision(2), decision(1)]
        assert isinstance(await bench.other.put_group(put(77, decision(1))), AlreadyDecided)


class TestGenerations:
    async def test_there_is_none_at_first(self, bench: Bench) -> None:
        assert await bench.store.generation() is None

    async def test_a_new_one_is_put_into_force(self, bench: Bench) -> None:
        assert await bench.store.publish("g1", b"\x00one", insist=False) == "g1"
        assert await bench.other.publish("g2", b"two", insist=False) == "g2"

        assert await bench.store.generation() == ("g2", b"two")
        assert (await bench.store.beat(heartbeat("a"))).generation == "g2"

    async def test_a_superseded_one_does_not_come_back_by_itself(self, bench: Bench) -> None:
        await bench.store.publish("g1", b"one", insist=False)
        await bench.store.publish("g2", b"two", insist=False)

        assert await bench.store.publish("g1", b"one", insist=False) == "g2"
        assert await bench.store.generation() == ("g2", b"two")

    async def test_a_superseded_one_comes_back_when_insisted_on(self, bench: Bench) -> None:
        await bench.store.publish("g1", b"one", insist=False)
        await bench.store.publish("g2", b"two", insist=False)

        assert await bench.store.publish("g1", b"one", insist=True) == "g1"
        assert await bench.store.generation() == ("g1", b"one")
        assert await bench.store.publish("g2", b"two", insist=False) == "g1"

    async def test_the_one_in_force_may_be_published_again(self, bench: Bench) -> None:
        await bench.store.publish("g1", b"one", insist=False)

        assert await bench.store.publish("g1", b"one", insist=False) == "g1"
