"""What becomes of actions that cannot be delivered."""

import asyncio

import pytest
from msgspec.structs import replace

from autoscaler.adapters.actions.memory import MemoryAction
from autoscaler.engine.act import DEADLINE, ByScheme
from autoscaler.engine.circuit import FIRST_REST
from autoscaler.engine.listen import Silence
from autoscaler.errors import (
    AddressRefusedError,
    HeldError,
    PermanentError,
    RestingError,
    TemporaryError,
    TrustGoneError,
)
from autoscaler.measures.measure import Measure
from autoscaler.ports import OutboxRow, WorkItem
from tests.engine.bench import Bench

ALARMS = """
alarms:
  - name: high
    type: threshold
    rule: {metric: load, resource_id: vm, aggregation_method: mean, granularity: 60, evaluation_periods: 1,
           comparison_operator: gt, threshold: 50, window: aligned}
    alarm_actions: ["https://hooks.example.org/x"]
"""


class Heard(Silence):
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def acted(self, row: OutboxRow, outcome: str, seconds: float) -> None:
        self.outcomes.append(outcome)


async def test_an_action_that_may_not_go_where_it_leads_is_buried_and_counted_as_such() -> None:
    heard = Heard()
    there = Bench(ALARMS, listener=heard)
    await there.begin()
    there.action.failures.append(AddressRefusedError("POST https://hooks.example.org/x: address refused"))
    there.now += 60
    await there.take([Measure("load", "vm", there.now - 60, 90)])

    (letter,) = await there.store.dead_letters("action", limit=10)
    assert (letter.reason, letter.detail) == ("address refused", "POST https://hooks.example.org/x: address refused")
    assert there.action.delivered == []
    assert heard.outcomes == ["address refused"]


async def test_an_action_says_whether_its_alarm_is_declared() -> None:
    there = Bench(ALARMS.replace("type: threshold", "type: threshold\n    project_id: shop"))
    await there.begin()
    there.now += 60
    await there.take([Measure("load", "vm", there.now - 60, 90, project_id="shop")])

    (row,) = there.action.delivered
    assert (row.declared, row.project_id) == (True, "shop")


class Calls:
    """See :class:`autoscaler.ports.Action`; hosts that are dead do not answer."""

    schemes = frozenset({"https"})

    def __init__(self) -> None:
        self.dead: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.called: list[str] = []

    async def deliver(self, row: OutboxRow) -> None:
        host = row.url.split("/")[2]
        self.called.append(host)
        await self.gate.wait()
        if host in self.dead:
            raise TemporaryError(f"{host}: no answer", silent=True)


def a_row(url: str, number: int = 0, **changes: object) -> OutboxRow:
    return replace(OutboxRow(id=f"{url}:{number}", alarm_id="a", url=url, body={}, created=0.0), **changes)


async def outcome_of(actions: ByScheme, row: OutboxRow) -> object:
    try:
        await actions.deliver(row)
    except (TemporaryError, PermanentError) as error:
        return type(error)
    return None


async def test_a_dead_endpoint_is_left_alone_and_tried_by_one_at_a_time() -> None:
    calls, changes, now = Calls(), [], [0.0]
    calls.dead.add("dead")
    actions = ByScheme({"https": calls}, lambda *change: changes.append(change), clock=lambda: now[0])
    first = [await outcome_of(actions, a_row("https://dead/x", number)) for number in range(8)]
    alive = await outcome_of(actions, a_row("https://alive/x"))
    theirs = await outcome_of(actions, a_row("https://dead/x", project_id="shop"))
    ours = await outcome_of(actions, a_row("https://dead/x", declared=True))
    reached = calls.called.count("dead")
    now[0] += FIRST_REST
    calls.gate.clear()
    async with asyncio.TaskGroup() as group:
        tries = [group.create_task(outcome_of(actions, a_row("https://dead/x", number))) for number in range(10)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        calls.dead.clear()
        calls.gate.set()
    after = [await outcome_of(actions, a_row("https://dead/x", number)) for number in range(3)]

    assert first == [*[TemporaryError] * 5, *[RestingError] * 3]
    assert (alive, theirs, ours) == (None, TemporaryError, TemporaryError)  # each project's circuit is its own
    assert reached == 7
    assert sorted(map(str, (each.result() for each in tries))) == sorted(map(str, [None, *[RestingError] * 9]))
    assert calls.called.count("dead") == reached + 1 + 3
    assert after == [None] * 3
    assert changes == [("dead", True), ("dead", False)]


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        pytest.param(TemporaryError("500"), False, id="answered"),
        pytest.param(PermanentError("404"), False, id="refused"),
        pytest.param(TemporaryError("busy", tried=False), False, id="never-tried"),
        pytest.param(AddressRefusedError("no"), False, id="address"),
        pytest.param(TrustGoneError("gone"), False, id="trust"),
        pytest.param(TemporaryError("503", silent=True), True, id="silent"),
    ],
)
async def test_only_silence_opens_a_circuit(error: Exception, opens: bool) -> None:  # noqa: FBT001
    action, changes = MemoryAction(), []
    actions = ByScheme({"https": action}, lambda *change: changes.append(change))
    action.failures.extend([error] * 20)
    for number in range(20):
        await outcome_of(actions, a_row("https://h/x", number))

    assert bool(changes) == opens


async def test_a_try_that_is_broken_off_leaves_the_next_one_to_try() -> None:
    calls, now = Calls(), [0.0]
    calls.dead.add("dead")
    actions = ByScheme({"https": calls}, lambda *_: None, clock=lambda: now[0])
    for number in range(5):
        await outcome_of(actions, a_row("https://dead/x", number))
    now[0] += FIRST_REST
    calls.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await actions.deliver(a_row("https://dead/x"))
    calls.dead.clear()
    calls.gate.set()

    assert await outcome_of(actions, a_row("https://dead/x")) is None


async def test_what_is_put_off_by_a_circuit_is_no_try_and_keeps_its_order() -> None:
    there = Bench(
        ALARMS.replace('["https://hooks.example.org/x"]', '["https://hooks.example.org/x"]\n    repeat_actions: true')
    )
    await there.begin()
    there.action.failures.extend([TemporaryError("no answer", silent=True)] * 6)
    await there.measure("load", "vm", 90)
    waiting = [await there.store.head(lane) for lane in await there.store.lanes(next(iter(there.declared.alarms)))]
    for _ in range(10):
        there.now += 30
        await there.work()

    assert [row.attempts for row in waiting if row is not None] == [1]
    assert len(there.action.delivered) >= 1
    ids = [int(row.id.split(":")[1]) for row in there.action.delivered]
    assert ids == sorted(ids)


async def test_an_action_that_is_too_old_is_buried_however_often_it_was_tried() -> None:
    there = Bench(ALARMS)
    await there.begin()
    there.action.failures.extend([TemporaryError("Keystone is away", tried=False, delay=600.0)] * 20)
    await there.measure("load", "vm", 90)
    for _ in range(7):
        assert await there.store.dead_letters("action", limit=10) == []
        there.now += 600
        await there.work()
        if there.now >= 1060 + DEADLINE:
            break
    (letter,) = await there.store.dead_letters("action", limit=10)

    assert (letter.reason, letter.detail) == ("too late", "Keystone is away")


async def test_what_waits_for_its_time_is_never_too_old() -> None:
    there = Bench(ALARMS)
    await there.begin()
    there.action.failures.extend([HeldError("cooling down", delay=600.0)] * 20)
    await there.measure("load", "vm", 90)
    for _ in range(10):
        there.now += 600
        await there.work()

    assert await there.store.dead_letters("action", limit=10) == []


async def test_a_lane_that_was_marked_after_its_last_row_is_not_looked_at_for_ever() -> None:
    there = Bench(ALARMS)
    await there.begin()
    await there.store.mark([WorkItem("lane", "over|log://", there.now)])
    for item in (await there.controller.claim()).items:
        if item.kind == "lane":
            await there.controller.do(item)
    there.now += 3600

    assert [item for item in (await there.store.claim(limit=100, lease=1.0)).items if item.kind == "lane"] == []
