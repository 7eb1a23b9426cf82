"""Whatever is asked in whatever order, Redis answers as the store in memory does."""

from __future__ import annotations

import math
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.redis import RedisStore
from autoscaler.alarms.alarm import AlarmRecord, AlarmState
from autoscaler.alarms.definition import Definition
from autoscaler.measures.match import Equals
from autoscaler.measures.series import pack
from autoscaler.measures.window import WindowSpec
from autoscaler.ports import (
    LETTER_KINDS,
    Acceptance,
    Claimed,
    DeadLetter,
    DefinitionChanges,
    Definitions,
    Freeze,
    GroupPut,
    HistoryEntry,
    OutboxRow,
    Store,
    WindowDone,
    WindowReply,
    WindowWrite,
    WorkItem,
    lane_of,
)
from autoscaler.scaling.decision import Decision, Reason
from autoscaler.scaling.group import GroupRecord

T = 1_700_000_000.0
LEASE = 10.0


@dataclass
class World:
    """What the callers know, the same for both stores."""

    now: float = T
    versions: dict[str, list[int]] = field(default_factory=dict)
    alarm_versions: dict[str, int] = field(default_factory=dict)
    group_version: int = 0
    freeze: Freeze | None = None
    claimed: list[WorkItem] = field(default_factory=list)
    heads: dict[str, str] = field(default_factory=dict)
    positions: dict[Store, str] = field(default_factory=dict)
    count: int = 0

    def version(self, window_id: str, back: int) -> int:
        """A version that somebody may hold: ``back`` writes ago, or none."""
        known = self.versions.get(window_id, [])
        return known[-1 - back] if back < len(known) else 0


Op = Callable[[Store, World], Awaitable[Any]]

KEYS = ("a", "b")
NAMES = ("i", "j", "k", "l")
ALARMS = ("alarm-1", "alarm-2")
URLS = ("log://", "https://example.org/a|b")
STATES = tuple(map(str, AlarmState))

# offsets from now: within the horizon of 20, behind it, ahead of now; halves so that times meet
offsets = st.integers(-60, 10).map(lambda half: half / 2)
points = st.lists(st.tuples(offsets, st.floats(allow_nan=False, allow_infinity=False)), max_size=6)


def spec_of(key: str) -> WindowSpec:
    return WindowSpec("", ("cpu",), Equals("server_group", key), horizon=20.0, max_series=3, max_points=5)


@st.composite
def advances(draw: st.DrawFn) -> Op:
    seconds = draw(st.sampled_from([0.0, 0.5, 1.5, 2.0, 9.0, 61.0, -3.0]))

    async def op(_: Store, world: World) -> None:
        world.now += seconds

    return op


@st.composite
def writes(draw: st.DrawFn) -> Op:
    asked = draw(
        st.lists(
            st.tuples(
                st.sampled_from(KEYS),
                st.integers(0, 2),
                st.dictionaries(st.sampled_from(NAMES), points, max_size=4),
                st.dictionaries(st.sampled_from(NAMES), offsets, max_size=2),
            ),
            max_size=3,
        )
    )

    async def op(store: Store, world: World) -> Any:
        now = world.now
        replies = await store.write(
            [
                WindowWrite(
                    spec_of(key),
                    world.version(spec_of(key).window_id, back),
                    {name: pack([(now + offset, value) for offset, value in some]) for name, some in series.items()},
                    {name: now + offset for name, offset in leaves.items()},
                )
                for key, back, series, leaves in asked
            ]
        )
        return list(zip((spec_of(key).window_id for key, *_ in asked), replies, strict=True))

    return op


@st.composite
def reports(draw: st.DrawFn) -> Op:
    """A series that reports in time, written by who has its window in hand, as nearly all are; and looks between."""
    spec, name = spec_of(draw(st.sampled_from(KEYS))), draw(st.sampled_from(NAMES[:2]))
    step = st.tuples(
        st.sampled_from([0.5, 2.0, 12.0, 12.0, 30.0, 0.0, -1.0]),
        st.sampled_from([None, 0, 1, 1, 3]),
        st.sampled_from([math.inf, -4.0, -25.0, -25.0]),
        st.sampled_from([True, True, True, False]),
    )
    steps = draw(st.lists(step, min_size=2, max_size=6))

    async def op(store: Store, world: World) -> Any:
        found: list[tuple[str, WindowReply]] = []
        for seconds, count, kept_from, in_hand in steps:
            world.now += seconds
            known = found[-1][1].version if found else world.version(spec.window_id, 0)
            some = [(world.now - 0.2 + 0.05 * number, float(number)) for number in range(count or 0)]
            points = {} if count is None else {name: pack(some)}
            write = WindowWrite(spec, known if in_hand else 0, points, {}, world.now + kept_from)
            found += [(spec.window_id, reply) for reply in await store.write([write])]
        return found

    return op


@st.composite
def dones(draw: st.DrawFn) -> Op:
    key, back = draw(st.sampled_from(KEYS)), draw(st.integers(0, 1))
    later = draw(st.none() | st.sampled_from([0.0, 1.0, 30.0]))

    async def op(store: Store, world: World) -> None:
        window_id = spec_of(key).window_id
        due = None if later is None else world.now + later
        await store.done([WindowDone(window_id, world.version(window_id, back), due)])

    return op


@st.composite
def marks(draw: st.DrawFn) -> Op:
    kind, key = draw(st.sampled_from([("group", "web"), ("window", spec_of("a").window_id), ("schedule", "s")]))
    later = draw(st.sampled_from([-1.0, 0.0, 5.0]))

    async def op(store: Store, world: World) -> None:
        await store.mark([WorkItem(kind, key, world.now + later)])

    return op


@st.composite
def claims(draw: st.DrawFn) -> Op:
    limit = draw(st.integers(1, 4))
    return lambda store, _: store.claim(limit=limit, lease=LEASE)


@st.composite
def finishes(draw: st.DrawFn) -> Op:
    later = draw(st.none() | st.sampled_from([0.0, 7.0]))
    which = draw(st.integers(0, 3))

    async def op(store: Store, world: World) -> None:
        if which < len(world.claimed):
            await store.finish([world.claimed[which]], None if later is None else world.now + later)

    return op


@st.composite
def holds(draw: st.DrawFn) -> Op:
    which = draw(st.integers(0, 3))
    lane = draw(st.booleans())

    async def op(store: Store, world: World) -> Any:
        items = world.claimed[which : which + 2]
        if lane:
            items = [*items, WorkItem("lane", lane_of(ALARMS[0], URLS[0]), 0.0)]
        return await store.hold(items, lease=LEASE)

    return op


@st.composite
def accepts(draw: st.DrawFn) -> Op:
    alarm_id = draw(st.sampled_from(ALARMS))
    window_id = draw(st.sampled_from(["", "w", "v"]))
    seen = draw(st.integers(1, 4))
    behind = draw(st.sampled_from([0, 0, 0, 1]))
    further = draw(st.lists(st.tuples(st.sampled_from(["w", "v", "u"]), st.integers(1, 4)), max_size=2))
    changes = draw(st.booleans())
    what = draw(st.sampled_from(["verdict", "verdict", "definition", "removal"]))
    project = draw(st.sampled_from(["", "p"]))
    rows = draw(st.lists(st.tuples(st.sampled_from(URLS), st.booleans()), max_size=3))

    async def op(store: Store, world: World) -> Any:
        version = world.alarm_versions.get(alarm_id, 0) - behind
        state = AlarmRecord(version=version + 1, state=AlarmState.ALARM, state_timestamp=world.now)
        made = [
            OutboxRow(
                id=f"{alarm_id}:{world.count}:{number}",
                alarm_id=alarm_id,
                url=url,
                body={"number": number},
                created=world.now,
                repeat=repeat,
            )
            for number, (url, repeat) in enumerate(rows)
        ]
        told = HistoryEntry(
            event_id=f"{alarm_id}:{version}:h",
            alarm_id=alarm_id,
            type="state transition",
            detail={},
            timestamp=world.now,
            on_behalf_of=project,
        )
        acceptance = Acceptance(
            alarm_id,
            window_id,
            seen,
            version,
            state if changes else None,
            made,
            [told] if rows else [],
            definition_of(alarm_id, world.count) if what == "definition" else None,
            what == "removal",
            further,
        )
        answers = await store.accept([acceptance], lease=LEASE)
        (record,) = await store.alarms([alarm_id])
        histories = sorted(await store.histories(None)), sorted(await store.histories(project))
        return answers, record, await store.history(alarm_id, limit=5), histories, await store.lanes(alarm_id)

    return op


def definition_of(alarm_id: str, number: int) -> Definition:
    return Definition(
        alarm_id=alarm_id,
        type="event",
        name=str(number),
        description="",
        enabled=True,
        severity="low",
        ok_actions=(),
        alarm_actions=(),
        insufficient_data_actions=(),
        repeat_actions=False,
        time_constraints=(),
        rule={},
        user_id="u",
        project_id="p",
        timestamp=T,
        scope="p",
    )


@st.composite
def tails(draw: st.DrawFn) -> Op:
    anew = draw(st.booleans())

    async def op(store: Store, world: World) -> Any:
        if anew or store not in world.positions:
            found = await store.definitions()
            world.positions[store] = found.position
            return found
        told = await store.changes(world.positions[store], patience=0)
        world.positions[store] = told.position
        return told

    return op


@st.composite
def counts(draw: st.DrawFn) -> Op:
    asked = draw(st.dictionaries(st.sampled_from(ALARMS), st.dictionaries(st.sampled_from(STATES), st.integers(1, 9))))

    async def op(store: Store, _: World) -> Any:
        await store.tally(asked)
        return [dict(tally) for tally in await store.tallies(ALARMS)]

    return op


@st.composite
def keeps(draw: st.DrawFn) -> Op:
    asked = draw(st.dictionaries(st.sampled_from(NAMES), st.none() | st.binary(max_size=3)))
    kind = draw(st.sampled_from(KEYS))

    async def op(store: Store, _: World) -> Any:
        await store.keep(kind, asked)
        return [await store.kept(some, NAMES) for some in KEYS]

    return op


@st.composite
def forgets(draw: st.DrawFn) -> Op:
    alarm_id = draw(st.sampled_from(ALARMS))
    return lambda store, _: store.forget([alarm_id])


@st.composite
def deliveries(draw: st.DrawFn) -> Op:
    lane = lane_of(draw(st.sampled_from(ALARMS)), draw(st.sampled_from(URLS)))
    what = draw(st.sampled_from(["head", "delivered", "undelivered"]))
    left = draw(st.sampled_from([-1.0, 0.0, math.inf]))

    async def op(store: Store, world: World) -> Any:
        row_id = world.heads.get(lane, "unknown")
        match what:
            case "delivered":
                await store.delivered(lane, row_id, lease=LEASE)
            case "undelivered":
                await store.undelivered(lane, row_id, retry_at=world.now + 3, leased_until=world.now + left)
        return lane, await store.head(lane)

    return op


@st.composite
def revives(draw: st.DrawFn) -> Op:
    alarm_id, url = draw(st.sampled_from(ALARMS)), draw(st.sampled_from(URLS))
    token, repeat = draw(st.sampled_from(KEYS)), draw(st.booleans())

    async def op(store: Store, world: World) -> Any:
        row = OutboxRow(
            id=f"revived:{world.count}", alarm_id=alarm_id, url=url, body={}, created=world.now, repeat=repeat
        )
        revived = await store.revive(row, token, lease=LEASE)
        return revived and list(revived.lanes), await store.lanes(alarm_id)

    return op


@st.composite
def burials(draw: st.DrawFn) -> Op:
    kinds = draw(st.lists(st.sampled_from(LETTER_KINDS[-2:]), max_size=3))
    dropped = draw(st.none() | st.integers(0, 2))

    async def op(store: Store, world: World) -> Any:
        await store.bury(
            [
                DeadLetter(
                    kind=kind, time=world.now, reason="r", detail="", source="", payload=f"{world.count}:{number}"
                )
                for number, kind in enumerate(kinds)
            ]
        )
        found = await store.dead_letters(LETTER_KINDS[-1], limit=9)
        # each store gives ids of its own
        some = [letter.id for letter in found[dropped : dropped + 2]] if dropped is not None else []
        gone = await store.drop_letters([*some, *some[:1], "action-nonsense"])
        left = await store.dead_letters(LETTER_KINDS[-1], limit=3, before=found[0].id if found else "")
        return gone, [letter.payload for letter in (*found, *left)]

    return op


@st.composite
def puts(draw: st.DrawFn) -> Op:
    behind = draw(st.sampled_from([0, 0, 0, 1]))
    made = draw(st.none() | st.tuples(st.integers(0, 9), st.sampled_from(["scale", "hold"]), st.sampled_from(Reason)))
    later = draw(st.none() | st.sampled_from([0.0, 4.0]))
    coalesce = draw(st.booleans())

    async def op(store: Store, world: World) -> Any:
        decision = None
        if made is not None:
            number, kind, reason = made
            decision = Decision(
                id=f"d{number}", time=world.now, group="web", decision=kind, reason=reason, text="", before=1, to=2
            )
        expected = max(0, world.group_version - behind)
        answer = await store.put_group(
            GroupPut(
                "web",
                expected,
                world.freeze,
                GroupRecord(version=expected + 1, size=world.count),
                decision,
                None if later is None else world.now + later,
                coalesce,
            )
        )
        return answer, await store.group("web"), await store.decisions("web", limit=20)

    return op


@st.composite
def freezes(draw: st.DrawFn) -> Op:
    token = draw(st.sampled_from(["", "x", "y"]))
    freeze = Freeze(token=token, since=T, reason="", by="") if token else None

    async def op(store: Store, world: World) -> Any:
        await store.freeze(freeze)
        return await store.group("web")

    return op


@st.composite
def schedules(draw: st.DrawFn) -> Op:
    digest = draw(st.sampled_from(["d", "d", "e"]))
    later = draw(st.none() | st.sampled_from([1.0, 30.0]))

    async def op(store: Store, world: World) -> Any:
        due = await store.schedule("s", digest, world.now + 1)
        moved = await store.advance("s", due, None if later is None else world.now + later)
        return due, moved, await store.advance("s", due, due)

    return op


# the first ones more often: they depend upon one another the most
ops = st.one_of(
    writes(), writes(), reports(), reports(), accepts(), accepts(), deliveries(), puts(), claims(), claims(),
    advances(), dones(), marks(), finishes(), holds(), forgets(), freezes(), schedules(), tails(), tails(), counts(),
    keeps(), revives(), burials(),
)  # fmt: skip


def plain(answer: Any) -> Any:
    """An answer without what the port leaves open: kinds of sequence, order of what is gone."""
    match answer:
        case WindowReply():
            told = (dict(answer.series), dict(answer.grown), sorted(answer.gone), dict(answer.too_old))
            return (answer.version, answer.asof, answer.newest, answer.whole, *told, list(answer.refused))
        case Claimed():
            return [*map(astuple, answer.items)], answer.next_due, answer.now
        case Definitions():
            return sorted(answer.definitions, key=lambda one: one.alarm_id), list(answer.recent)
        case DefinitionChanges():
            return dict(answer.changed), answer.complete
        case list() | tuple():
            return [plain(part) for part in answer]
        case _:
            return answer


async def learn(world: World, answer: Any, store: Store) -> None:
    """What callers know after an answer."""
    world.count += 1
    if isinstance(answer, Claimed):
        world.claimed = list(answer.items)
    elif isinstance(answer, list) and all(isinstance(part, tuple) for part in answer):
        for window_id, reply in answer:
            world.versions.setdefault(window_id, []).append(reply.version)
    for alarm_id, record in zip(ALARMS, await store.alarms(ALARMS), strict=True):
        world.alarm_versions[alarm_id] = 0 if record is None else record.version
        for url in URLS:
            head = await store.head(lane_of(alarm_id, url))
            world.heads[lane_of(alarm_id, url)] = "" if head is None else head.id
    state = await store.group("web")
    world.group_version, world.freeze = state.record.version, state.freeze


@pytest.mark.service
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=st.lists(ops, min_size=5, max_size=40))
async def test_redis_answers_as_memory_does(asked: list[Op], redis_url: str) -> None:
    world = World()
    memory = MemoryStore(lambda: world.now)
    redis = RedisStore(redis_url, namespace=uuid.uuid4().hex, clock=lambda: world.now, shards=3)
    try:
        for op in asked:
            before = world.now
            expected = await op(memory, world)
            after, world.now = world.now, before
            answered = await op(redis, world)

            assert plain(answered) == plain(expected)
            world.now = after
            await learn(world, expected, memory)
    finally:
        await redis.close()
