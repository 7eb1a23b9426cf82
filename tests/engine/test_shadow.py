"""A controller beside Aodh, on a store in memory: it follows Aodh's alarms and compares what both make of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.alarms.agreement import Comparison, Difference, Side, Sums, Uncompared
from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.notice import Notice, Told
from autoscaler.api.v2.stored import definition_of_stored
from autoscaler.declarations import load
from autoscaler.engine import shadow as shadow_module
from autoscaler.engine.controller import Controller
from autoscaler.engine.orders import NotFoundError, Orders
from autoscaler.engine.run import Runner, Wake
from autoscaler.engine.shadow import Shadow
from autoscaler.errors import Rejection, TemporaryError
from autoscaler.measures.measure import Measure
from autoscaler.measures.window import ANY_PROJECT
from autoscaler.ports import Acceptance, Batch, DeadLetter, Delivery, Heartbeat, HistoryEntry, Undecoded
from autoscaler.scaling.group import Actor
from tests.api.running import begun

BEGAN = 1_800_000_000.0
PROJECT = "p1"
OK, ALARM, SILENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA
DECLARED = """
alarms:
  - {name: ours, type: threshold,
     rule: {metric: m, resource_id: r, aggregation_method: mean, granularity: 60, threshold: 1}}
"""
ME = Heartbeat(replica="here", clock=0.0, caught_up=True)


def stored(alarm_id: str = "a1", **changes: Any) -> dict[str, Any]:
    """An alarm in Aodh's storage form, as it tells a new one."""
    rule = {
        "metric": "cpu_util",
        "resource_id": "vm-1",
        "resource_type": "instance",
        "threshold": 50.0,
        "aggregation_method": "mean",
        "granularity": 10,
        "evaluation_periods": 1,
        "comparison_operator": "gt",
    }
    alarm = {
        "alarm_id": alarm_id,
        "type": "gnocchi_resources_threshold",
        "enabled": True,
        "name": "busy",
        "description": "",
        "timestamp": "2027-01-15T08:00:00.000000",
        "user_id": "alice",
        "project_id": PROJECT,
        "state": "insufficient data",
        "state_timestamp": "2027-01-15T08:00:00.000000",
        "state_reason": "Not evaluated yet",
        "ok_actions": [],
        "alarm_actions": ["http://u:secret@hooks.example.org/a?token=def"],
        "insufficient_data_actions": [],
        "repeat_actions": False,
        "time_constraints": [],
        "severity": "low",
        "rule": rule,
    }
    return alarm | changes


@dataclass
class Bus:
    """The link to Aodh, as the shadow sees it; notices are handed to the shadow by the test."""

    name: str = "aodh"
    connected: bool = False
    waiting: int = 0

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc] # never


@dataclass
class Scene:
    """A shadow whose loops stand still, and the time."""

    store: MemoryStore
    controller: Controller
    runner: Runner
    shadow: Shadow
    bus: Bus
    now: list[float]
    numbers: list[int] = field(default_factory=lambda: [0])

    async def tell(self, told: Told, detail: Mapping[str, Any], alarm_id: str = "a1", **fields: Any) -> Notice:
        """Have Aodh tell something of now."""
        self.numbers[0] += 1
        given = {"event_id": f"e{self.numbers[0]}", "time": self.now[0], "user_id": "alice", "project_id": PROJECT}
        notice = Notice(alarm_id=alarm_id, told=told, detail=detail, **given | fields)
        await self.shadow.take([notice])
        return notice

    async def create(self, alarm_id: str = "a1", **changes: Any) -> None:
        await self.tell(Told.CREATION, stored(alarm_id, **changes), alarm_id)

    async def aodh(self, state: AlarmState, reason: str = "because", **fields: Any) -> Notice:
        return await self.tell(Told.STATE_TRANSITION, {"state": state, "transition_reason": reason}, **fields)

    async def measure(self, value: float) -> None:
        """A measure of now, evaluated ten seconds later, when its granule is over."""
        await self.controller.write([Measure("cpu_util", "vm-1", self.now[0], value, PROJECT)])
        self.later(10)
        written = await self.controller.write([], list(self.controller.router.windows))
        await self.controller.evaluate(written, lambda _: None)

    def later(self, seconds: float) -> None:
        self.now[0] += seconds

    async def look(self, **options: Any) -> None:
        await self.shadow.look(**options)

    async def sums(self) -> Sums:
        return (await self.shadow.report()).sums

    async def state(self, alarm_id: str = "a1") -> AlarmState | None:
        (record,) = await self.store.alarms([alarm_id])
        return None if record is None else record.state

    def comparison(self, alarm_id: str = "a1") -> Comparison:
        found = self.shadow.comparison(alarm_id)
        assert found is not None
        return found


@asynccontextmanager
async def scene(store: MemoryStore | None = None, now: list[float] | None = None) -> AsyncIterator[Scene]:
    now = [BEGAN] if now is None else now
    clock = now
    store = store or MemoryStore(lambda: clock[0])
    bus = Bus()
    shadow = Shadow(bus, definition_of_stored, poll=60, tolerance=None)
    controller, runner = await begun(load({"declared.yaml": DECLARED}), store, now, Wake(), shadow)
    assert await shadow.start(controller, runner.carry_out, ME)
    yield Scene(store, controller, runner, shadow, bus, now)


@pytest.fixture
async def it() -> AsyncIterator[Scene]:
    async with scene() as found:
        yield found


# --- following -------------------------------------------------------------------------------------------------------


async def test_an_alarm_that_is_made_at_aodh_is_here_under_its_id(it: Scene) -> None:
    await it.create(state="ok")

    listing = it.controller.catalogue.get("a1")
    assert listing is not None
    assert (listing.alarm.name, listing.alarm.project_id, listing.alarm.sees) == ("busy", PROJECT, PROJECT)
    assert listing.definition.rule["threshold"] == 50.0
    assert await it.state() is OK
    assert (await it.shadow.report()).alarms == 1


async def test_the_same_alarm_told_again_is_the_same(it: Scene) -> None:
    await it.create()
    await it.create(name="busier")

    listing = it.controller.catalogue.get("a1")
    assert listing is not None
    assert listing.alarm.name == "busier"
    assert (await it.shadow.report()).alarms == 1


async def test_what_aodh_changes_is_changed_here(it: Scene) -> None:
    await it.create()
    before = it.controller.router.by_id["a1"]
    await it.tell(Told.RULE_CHANGE, {"rule": stored()["rule"] | {"threshold": 80.0}, "severity": "critical"})

    after = it.controller.router.by_id["a1"]
    assert after.definition != before.definition
    assert after.severity == "critical"
    assert after.name == "busy"
    assert await it.state() is SILENT


async def test_a_change_leaves_what_an_imported_alarm_sees(it: Scene) -> None:
    definition, state = definition_of_stored(stored(), ANY_PROJECT)
    await Orders(it.controller, lambda _: None).adopt(definition, state, Actor(kind="user", name="importer"))
    await it.tell(Told.RULE_CHANGE, {"severity": "critical"})
    assert it.controller.router.by_id["a1"].sees == ANY_PROJECT
    await it.tell(Told.RULE_CHANGE, {"project_id": "p2"})

    found = it.controller.router.by_id["a1"]
    assert (found.severity, found.project_id, found.sees) == ("critical", "p2", "p2")


async def test_a_change_that_resets_the_state_does_so_here(it: Scene) -> None:
    await it.create(state="alarm")
    await it.tell(Told.RULE_CHANGE, {"name": "x", "state": "insufficient data", "state_reason": "Manually set via API"})

    assert await it.state() is SILENT
    assert it.comparison().aodh is SILENT


async def test_a_state_that_is_set_at_aodh_is_set_here_and_is_no_decision(it: Scene) -> None:
    await it.create()
    await it.tell(Told.STATE_TRANSITION, {"state": "alarm", "state_reason": "Manually set via API"})

    assert await it.state() is ALARM
    found = it.comparison()
    assert (found.ours, found.aodh, found.open) == (ALARM, ALARM, ())


async def test_an_alarm_that_is_removed_is_gone_and_what_came_of_it_stays(it: Scene) -> None:
    await it.create()
    it.later(60)
    await it.aodh(OK)
    await it.tell(Told.DELETION, {"state": "ok"})

    assert await it.state() is None
    report = await it.shadow.report()
    assert (report.alarms, report.sums.uncompared) == (0, {Uncompared.REMOVED: 1})
    assert report.sums.seconds == 60.0
    with pytest.raises(NotFoundError):
        await it.shadow.report("a1")


async def test_aodhs_own_transition_changes_nothing_here(it: Scene) -> None:
    await it.create()
    await it.aodh(ALARM)

    assert await it.state() is SILENT
    assert it.comparison().aodh is ALARM


@pytest.mark.parametrize(
    ("told", "detail", "why"),
    [
        pytest.param(Told.CREATION, stored(type="combination"), "type", id="type-of-long-ago"),
        pytest.param(Told.CREATION, {"name": "x"}, "type", id="no-alarm"),
        pytest.param(Told.CREATION, stored(project_id="any"), "project_id", id="no-project"),
        pytest.param(Told.CREATION, stored(rule={"metric": "m"}), "resource_id", id="no-rule"),
        pytest.param(Told.RULE_CHANGE, {"name": "x"}, "not here", id="change-of-what-is-not-here"),
        pytest.param(Told.STATE_TRANSITION, {"state": "fine", "transition_reason": ""}, "fine", id="no-state"),
    ],
)
async def test_what_cannot_be_understood_is_buried_and_counted(
    it: Scene, told: Told, detail: Mapping[str, Any], why: str
) -> None:
    await it.tell(told, detail)

    (letter,) = await it.store.dead_letters("notice", limit=5)
    assert why in letter.detail
    assert json.loads(letter.payload)["alarm_id"] == "a1"
    assert letter.time == BEGAN
    report = await it.shadow.report()
    assert (report.notices, report.buried, report.alarms) == (1, 1, 0)


async def test_what_could_not_be_read_is_buried_and_counted(it: Scene) -> None:
    letter = DeadLetter(kind="notice", time=0, reason="undecodable", detail="not JSON", source="aodh", payload="x")
    await it.shadow.take([], [letter])

    assert [each.payload for each in await it.store.dead_letters("notice", limit=5)] == ["x"]
    assert (await it.shadow.report()).buried == 1


async def test_a_declared_alarm_is_ours_alone(it: Scene) -> None:
    await it.look(census=True)

    assert len(it.controller.catalogue.of(None)) == 1
    assert (await it.shadow.report()).alarms == 0


# --- comparing -------------------------------------------------------------------------------------------------------


async def test_both_decide_the_same_and_the_delay_is_known(it: Scene) -> None:
    await it.create()
    await it.measure(90)
    it.later(42)
    await it.aodh(ALARM)

    sums = await it.sums()
    assert (sums.agreed, sums.disagreed, sums.delays) == (1, 0, {420: 1})


async def test_what_we_did_is_taken_without_a_word_from_aodh(it: Scene) -> None:
    await it.create()
    it.later(100)
    await it.measure(90)
    await it.look()
    it.later(200)
    it.bus.connected = True
    await it.look()

    report = await it.shadow.report("a1")
    (found,) = report.sums.newest
    assert found.difference is Difference.NO_DATA_AT_AODH
    assert found.step.actions == ("http://***@hooks.example.org/a?token=***",)
    assert found.step.reason.startswith("Transition to alarm due to 1 samples outside threshold, most recent: 90.0")


async def test_nothing_is_settled_while_aodh_cannot_be_heard(it: Scene) -> None:
    await it.create()
    await it.measure(90)
    it.later(1000)
    await it.look()

    assert (await it.shadow.report()).open == 1


async def test_what_we_would_say_stands_beside_what_aodh_said(it: Scene) -> None:
    await it.create()
    await it.measure(20)
    await it.aodh(OK)
    it.later(100)
    await it.measure(30)
    await it.aodh(ALARM, "Transition to alarm due to 1 samples outside threshold, most recent: 60.0")
    it.later(1000)
    it.bus.connected = True
    await it.look()

    (found,) = (await it.sums()).newest
    assert found.difference is Difference.VALUES_DIFFER
    assert found.text == "the most recent value was 30 here and 60 at Aodh"


async def test_the_same_word_counts_once(it: Scene) -> None:
    await it.create()
    await it.measure(90)
    notice = await it.aodh(ALARM)
    again = await it.aodh(OK)
    await it.shadow.take([notice, again])

    found = it.comparison()
    assert (found.sums.agreed, found.aodh, len(found.open)) == (1, OK, 1)


async def test_an_alarm_that_is_not_here_is_said_so(it: Scene) -> None:
    await it.aodh(ALARM, alarm_id="unknown")

    sums = (await it.shadow.report("unknown")).sums
    assert sums.differences == {Difference.UNKNOWN_ALARM: 1}
    assert (await it.sums()).disagreed == 1


async def test_an_alarm_that_was_imported_begins_from_aodhs_state(it: Scene) -> None:
    definition, _ = definition_of_stored(stored(state="ok"))
    await Orders(it.controller, lambda _: None).adopt(definition, OK, Actor(kind="user", name="importer"))
    it.later(3)
    await it.measure(90)
    it.later(3)
    await it.look(census=True)
    it.later(3)
    await it.aodh(ALARM)

    sums = await it.sums()
    assert (sums.agreed, sums.delays) == (1, {60: 1})
    assert sums.seconds == 6.0


async def test_what_an_import_copies_into_a_history_is_not_ours(it: Scene) -> None:
    await it.create()
    (record,) = await it.store.alarms(["a1"])
    assert record is not None
    line = HistoryEntry(
        event_id="61dc9a27-f801-4f43-98e0-a462e0105c99",
        alarm_id="a1",
        type=Told.STATE_TRANSITION,
        detail={"state": "alarm", "transition_reason": "by Aodh"},
        timestamp=it.now[0],
    )
    await it.store.accept([Acceptance("a1", "", 0, record.version, history=[line])], lease=1)
    await it.aodh(OK)

    assert [(step.side, step.state) for step in it.comparison().open] == [(Side.AODH, OK)]


async def test_a_long_path_is_read_to_its_end(it: Scene) -> None:
    await it.create()
    for number in range(30):
        it.later(20)
        await it.measure(90 if number % 2 else 10)
    await it.look()

    report = await it.shadow.report()
    assert report.open + report.sums.disagreed == 30


# --- going on --------------------------------------------------------------------------------------------------------


async def test_a_restart_forgets_nothing() -> None:
    async with scene() as first:
        await first.create()
        await first.measure(90)
        first.later(10)
        await first.aodh(ALARM)
        first.later(20)
        await first.measure(10)
        await first.shadow.end()
    async with scene(first.store, first.now) as second:
        second.later(10)
        await second.aodh(OK, event_id="of the second")
        sums = await second.sums()

    assert (sums.agreed, sums.disagreed, sums.delays) == (2, 0, {100: 2})
    assert sums.seconds == 60.0


async def test_what_we_did_and_did_not_compare_before_the_end_is_taken_after_it() -> None:
    async with scene() as first:
        await first.create()
        await first.look()
        await first.measure(90)
    async with scene(first.store, first.now) as second:
        await second.look()

        assert second.comparison().ours is ALARM
        assert (await second.shadow.report()).open == 1


async def test_a_long_absence_is_not_compared() -> None:
    async with scene() as first:
        await first.create()
        await first.shadow.end()
    first.later(5000)
    async with scene(first.store, first.now) as second:
        await second.aodh(ALARM, time=second.now[0] - 1000, event_id="meanwhile")
        second.later(300)
        sums = await second.sums()

    assert sums.disagreed == 0
    assert sums.uncompared == {Uncompared.ABSENT: 1}
    assert sums.seconds == 300.0
    assert second.comparison().aodh is ALARM


@pytest.mark.slow  # it waits for the other to end
async def test_a_second_shadow_does_not_begin() -> None:
    async with scene() as first:
        other = Heartbeat(replica="there", clock=0.0, caught_up=True)
        beating = asyncio.Event()

        async def beat() -> None:
            while not beating.is_set():
                await first.store.beat(other)
                first.later(1)
                await asyncio.sleep(0.05)

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(beat())
            await asyncio.sleep(0)
            second = Shadow(Bus(), definition_of_stored, poll=60, tolerance=None)
            assert not await second.start(first.controller, first.runner.carry_out, ME)
            beating.set()


async def test_what_the_store_could_not_take_is_kept_for_the_next_time(it: Scene, monkeypatch: Any) -> None:
    await it.create()
    await it.measure(90)
    kept = it.store.keep

    async def away(*_: Any) -> None:
        raise TemporaryError("away")

    monkeypatch.setattr(it.store, "keep", away)
    with pytest.raises(TemporaryError):
        await it.aodh(ALARM)
    monkeypatch.setattr(it.store, "keep", kept)
    await it.look()
    async with scene(it.store, it.now) as second:
        assert (await second.sums()).agreed == 1


@dataclass
class Handed:
    """See :class:`autoscaler.ports.Delivery`."""

    batch: Batch
    acknowledged: bool = False

    async def ack(self) -> None:
        self.acknowledged = True


@dataclass
class Queue(Bus):
    """A link over which the same is sent again until it is acknowledged."""

    handed: list[Handed] = field(default_factory=list)

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        while True:
            for each in self.handed:
                if not each.acknowledged:
                    yield each
            await asyncio.sleep(0.001)


async def test_what_is_told_is_acknowledged_once_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_module, "RETRY", 0.001)
    monkeypatch.setattr(shadow_module, "TICK", 0.001)
    rejected = Undecoded(Rejection.UNDECODABLE, "not JSON", "x", kind="notice")
    handed = Handed(Batch((), [rejected], "aodh", notices=[Notice("e1", "a1", Told.CREATION, stored(), BEGAN)]))
    async with scene() as it:
        queue = Queue(connected=True, handed=[handed])
        it.shadow.source = queue
        kept, failures = it.store.keep, [TemporaryError("away")] * 3

        async def shaky(kind: str, entries: Mapping[str, bytes | None]) -> None:
            if failures:
                assert not handed.acknowledged
                raise failures.pop()
            await kept(kind, entries)

        monkeypatch.setattr(it.store, "keep", shaky)
        running = asyncio.ensure_future(it.shadow.run())
        async with asyncio.timeout(10):
            while not handed.acknowledged:
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.wait([running])
        report = await it.shadow.report()

    assert (report.alarms, report.notices, report.buried) == (1, 2, 1)
    assert failures == []
