"""Two replicas, two batches, one crash: whatever the order, the outcome is that of an undisturbed run.

Each replica has a batch in hand that by itself lets the alarm go off, so both evaluate the same granule, both may find
the transition, and both work what comes due.
"""

from __future__ import annotations

import pickle
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from autoscaler.engine.leases import LEASE, Head
from autoscaler.measures.series import unpack
from autoscaler.ports import (
    Acceptance,
    Accepted,
    AlreadyDecided,
    Changed,
    GroupPut,
    OutboxRow,
    Put,
    Retry,
    Stale,
    WindowReply,
    WindowWrite,
)
from tests.protocol.interleaving import (
    REPLICAS,
    Explored,
    Explorer,
    Journal,
    Scene,
    Story,
    Surroundings,
    controller,
    finished,
    stop,
)
from tests.protocol.scene import GROUP, alarm_id, declared, load_of

BEGINS = 310.0
ENDS = 1000.0
BATCHES = ((load_of("web-1", 250.0, 90.0),), (load_of("web-2", 260.0, 80.0),))
BEFORE = (load_of("web-1", 150.0, 20.0), load_of("web-2", 150.0, 20.0))


async def _prepare(store: Journal, time: Callable[[float], None]) -> None:
    """The group is known with its two members, and the alarm is ok."""
    declarations = declared()
    one = controller("before", store, Surroundings(2, {}), lambda _: None)
    await one.adopt("scene", declarations.alarms, declarations.groups, declarations.policies, declarations.schedules)
    time(160.0)
    heads: list[Head] = []
    await one.evaluate(await one.write(BEFORE), heads.append)
    for now in (200.0,):
        time(now)
        while (claimed := await one.claim()).items:
            windows = [item.key for item in claimed.items if item.kind == "window"]
            if windows:
                await one.evaluate(await one.write((), windows), heads.append)
                for head in heads:
                    await one.carry_out(head)
            for item in claimed.items:
                if item.kind != "window":
                    await one.do(item)


def scene(**changes: Any) -> Scene:
    now = [100.0]
    store = Journal(lambda: now[0])
    finished(_prepare(store, lambda time: now.__setitem__(0, time)))
    store.rows.clear()
    store.decided.clear()
    begun = Scene(declared(), BATCHES, BEGINS, pickle.dumps(store.state()))
    return replace(begun, **changes)


def undisturbed(at: Scene) -> Story:
    story = Story(replace(at, store=Journal, acknowledges_first=False, crashes=0, pauses=0))
    for name in REPLICAS:
        while story.replicas[name].can_go_on:
            story.do(("step", name))
    story.finish(ENDS)
    story.end()
    return story


def ran(call: Any) -> Any:
    """The answer of a call that never waits."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a call of the memory store has waited")


def history(story: Story) -> list[Any]:
    return list(reversed(ran(story.store.history(alarm_id(story.scene.declarations), limit=100))))


def transitions(story: Story) -> list[tuple[str, float]]:
    return [(entry.detail["state"], entry.timestamp) for entry in history(story) if entry.type == "state transition"]


def record(story: Story) -> Any:
    return ran(story.store.group(GROUP)).record


def moves(story: Story) -> list[tuple[int | None, int | None, str]]:
    return [(made.before, made.to, made.reason) for made in story.store.decided if made.decision == "scale"]


def check_against(expected: Story) -> Callable[[Story], None]:
    """The promises, each with the words it is broken by."""

    def check(story: Story) -> None:
        _measures_are_kept(story)
        _transitions_are_exact(story, expected)
        _actions_are_delivered(story)
        _decisions_are_exact(story, expected)
        _nothing_is_left(story)

    return check


def _measures_are_kept(story: Story) -> None:
    points = story.store.points()
    for number, batch in enumerate(story.scene.batches):
        assert number in story.around.acknowledged, f"batch {number} was never acknowledged"
        for measure in batch:
            stored = dict(unpack(points.get(measure.resource_id, b"")).points())
            assert stored.get(measure.timestamp) == measure.value, f"measure lost: {measure}"


def _transitions_are_exact(story: Story, expected: Story) -> None:
    ids = [entry.event_id for entry in history(story)]
    assert len(set(ids)) == len(ids), f"history doubled: {ids}"
    assert transitions(story) == transitions(expected), "transitions differ"
    (stored,) = ran(story.store.alarms([alarm_id(story.scene.declarations)]))
    (wanted,) = ran(expected.store.alarms([alarm_id(story.scene.declarations)]))
    assert (stored.state, stored.state_timestamp, stored.point) == (
        wanted.state,
        wanted.state_timestamp,
        wanted.point,
    ), "state differs"


def _actions_are_delivered(story: Story) -> None:
    asked = [row for row in story.store.rows if row.url.startswith("https") and not row.repeat]
    assert len(asked) == len(transitions(story)) - len(transitions_before(story)), "they do not match"
    by_id: dict[str, list[OutboxRow]] = defaultdict(list)
    for row in story.around.delivered:
        by_id[row.id].append(row)
    assert list(by_id) == [row.id for row in asked], "actions not delivered, or out of order"
    for rows in by_id.values():
        assert all(row.body == rows[0].body for row in rows), "one id, two bodies"


def transitions_before(story: Story) -> list[Any]:
    return [entry for entry in history(story) if entry.type == "state transition" and entry.timestamp <= 200.0]


def _decisions_are_exact(story: Story, expected: Story) -> None:
    counts = Counter(made.id for made in story.store.decided)
    assert not [made for made, count in counts.items() if count > 1], f"decided twice: {counts}"
    calls = [row for row in story.store.rows if row.url.startswith("policy") and not row.repeat]
    assert calls, "the policy was never called"
    assert all(counts[row.id] == 1 for row in calls), "a transition without its decision"
    assert moves(story) == moves(expected), "moves differ"
    ours, theirs = record(story), record(expected)
    assert (ours.desired_capacity, ours.size, ours.resizing) == (
        theirs.desired_capacity,
        theirs.size,
        theirs.resizing,
    ), "capacity differs"
    decided = {made.to for made in story.store.decided}
    assert all(capacity in decided for capacity, _ in story.around.resizes), "resized to what nobody decided"
    fences = [fence for _, fence in story.around.resizes]
    assert fences == sorted(fences), "an older resize came after a newer"


def _nothing_is_left(story: Story) -> None:
    assert not story.store.waiting(), f"actions left: {story.store.waiting()}"
    overdue = {item: due for item, due in story.store.due().items() if due <= story.now}
    assert not overdue, f"work left: {overdue}"
    kinds = {kind for kind, _ in story.store.due()}
    assert kinds <= {"group", "window"}, f"work left: {story.store.due()}"


def explored(at: Scene) -> Explored:
    found = Explorer(at, check_against(undisturbed(at)), until=ENDS).explore()
    print(f"{found.schedules:,} schedules through {found.states:,} states to {found.endings:,} ends")
    return found


def test_an_undisturbed_run_makes_one_transition_and_moves_the_group_once() -> None:
    story = undisturbed(scene())

    assert transitions(story) == [("ok", 200.0), ("alarm", 300.0), ("insufficient data", 500.0)]
    assert moves(story) == [(2, 4, "policy")]
    assert (record(story).desired_capacity, story.around.size) == (4, 4)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="one-crash"),
        pytest.param(
            {
                "batches": (BATCHES[0] + BATCHES[1],),
                "crashes": 0,
                "pauses": 1,
                "pause_seconds": 2 * LEASE + 1,
                "asleep": ("b",),
            },
            id="one-is-stopped-for-longer-than-every-lease-and-goes-on",
        ),
    ],
)
def test_every_schedule_comes_to_the_same_end(changes: dict[str, Any]) -> None:
    found = explored(scene(**changes))

    assert found.schedules > 1_000_000
    assert found.endings > 1


class StateBeforeActions(Journal):
    """Puts a verdict into force and its actions into the outbox by two calls."""

    async def accept(self, acceptances: Sequence[Acceptance], *, lease: float) -> list[Accepted | Stale | Retry]:
        answers = await super().accept([msgspec.structs.replace(each, rows=()) for each in acceptances], lease=lease)
        await stop("rows")
        return [
            Accepted(self._queue(each.rows, self._clock(), lease)) if isinstance(answer, Accepted) else answer
            for each, answer in zip(acceptances, answers, strict=True)
        ]


class WhoeverComesLast(Journal):
    """Takes a verdict whatever version of the record it was made from."""

    def _accept(self, acceptance: Acceptance, now: float, lease: float) -> Accepted | Stale | Retry:
        alarm = self._alarms.get(acceptance.alarm_id)
        present = 0 if alarm is None else alarm.version
        return super()._accept(msgspec.structs.replace(acceptance, expected=present), now, lease)


class Forgetful(Journal):
    """Does not know what it has decided."""

    async def put_group(self, put: GroupPut) -> Put | AlreadyDecided | Changed:
        for group in self._groups.values():
            group.decided.clear()
        return await super().put_group(put)


class Unmarked(Journal):
    """Leaves no mark for those who would take over an evaluation."""

    async def write(self, writes: Sequence[WindowWrite]) -> list[WindowReply]:
        before = {item: due for item, due in self.due().items() if item[0] == "window"}
        replies = await super().write(writes)
        for write in writes:
            item = ("window", write.spec.window_id)
            self._work.remove(item)
            if item in before and before[item] > self._clock():
                self._work.set(item, before[item])
        return replies


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"acknowledges_first": True}, "measure lost", id="acknowledged-before-it-is-written"),
        pytest.param({"store": StateBeforeActions}, "do not match", id="state-and-actions-in-two-calls"),
        pytest.param({"store": WhoeverComesLast}, "do not match|doubled", id="no-version-check"),
        pytest.param({"store": Forgetful}, "decided twice", id="decisions-not-told-apart"),
        pytest.param({"store": Unmarked}, "differ|left", id="no-mark-for-the-survivors"),
    ],
)
def test_a_broken_protocol_is_found_out(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        explored(scene(**changes))
