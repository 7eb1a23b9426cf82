"""A state that is put back as it was an hour ago moves nothing and calls nobody, and goes on from there."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from autoscaler.adapters.memory import MemoryStore
from autoscaler.alarms.alarm import AlarmRecord, AlarmState
from autoscaler.engine.restore import Restored, Restorer
from autoscaler.errors import TemporaryError
from autoscaler.ports import (
    Saved,
    SavedAlarm,
    SavedChange,
    SavedDeclarations,
    SavedDocument,
    SavedFreeze,
    SavedGroup,
    SavedLetter,
)
from autoscaler.scaling.decision import Reason
from autoscaler.scaling.group import GroupRecord
from tests.contract.test_store import FREEZE, change, definition, entry, group_record, letter, row
from tests.engine.bench import Bench
from tests.engine.test_overload_and_guards import begun, document, reports

HOUR = 3600.0


async def exported(bench: Bench) -> list[Saved]:
    return [one async for one in bench.store.saved()]


async def put_back(bench: Bench, entries: Sequence[Saved]) -> Restored:
    await bench.store.begin_import(shards=1, replace=True)
    restored = await Restorer(bench.store, bench.now).run(entries)
    await bench.store.end_import()
    await bench.restart()
    return restored


async def test_an_hour_old_export_moves_nothing_calls_nobody_and_goes_on_from_what_is_there() -> None:
    bench = await begun(document(max_size=12), size=2)
    await reports(bench, ["web-1"], 95.0, until=1025.0)
    saved = await exported(bench)
    assert (await bench.record()).desired_capacity == 4
    await reports(bench, ["web-1"], 95.0, until=1060.0)
    asked, said, size = list(bench.target.resizes), list(bench.action.delivered), (await bench.record()).size
    assert size is not None
    assert size > 4
    bench.now += HOUR

    restored = await put_back(bench, saved)
    await bench.until(bench.now + 100)
    quiet = (list(bench.target.resizes), list(bench.action.delivered))
    found, record = await bench.last(), await bench.record()
    await reports(bench, ["web-1"], 50.0, until=bench.now + 60)
    calm = await bench.transitions("busy")
    begin = bench.now
    await reports(bench, ["web-1"], 95.0, until=begin + 30)

    assert (restored.alarms, restored.groups, restored.actions) == (2, 1, 0)
    assert quiet == (asked, said)
    assert (found.reason, found.before, found.to) == (Reason.RESTORED, 4, size)
    assert found.text == f"the export says 4, the target has {size}; left as it is"
    assert (record.desired_capacity, record.restored, record.resizing) == (size, False, False)
    assert calm == ["alarm", "ok"]
    assert await bench.transitions("busy") == ["alarm", "ok", "alarm"]
    later = bench.target.resizes[len(asked) :]
    assert [resize.capacity for resize in later][:1] == [size + 2]
    assert later[0].fence > max(resize.fence for resize in asked)
    ids = [delivered.id for delivered in bench.action.delivered]
    assert len(set(ids)) == len(ids)


async def test_while_its_target_is_away_a_group_is_left_alone() -> None:
    bench = await begun(size=3)
    saved = await exported(bench)
    bench.target.status_failures.extend(TemporaryError("away") for _ in range(200))

    await put_back(bench, saved)
    await reports(bench, ["web-1"], 95.0, until=bench.now + 60)

    assert (await bench.last()).reason is Reason.SIZE_UNKNOWN
    assert bench.target.resizes == []
    bench.target.status_failures.clear()
    bench.target.set_size("web", 5)
    await reports(bench, ["web-1"], 50.0, until=bench.now + 30)
    assert [made.reason for made in await bench.decisions() if made.decision == "scale"] == [Reason.RESTORED]
    assert bench.target.resizes == []


async def test_a_group_that_has_become_empty_stays_empty() -> None:
    bench = await begun(document(min_size=0, desired_capacity=2), size=2)
    saved = await exported(bench)
    bench.target.set_size("web", 0)

    await put_back(bench, saved)
    await bench.until(bench.now + 30)

    assert (await bench.record()).desired_capacity == 0
    assert bench.target.resizes == []


async def test_a_restored_group_rests_as_after_a_resize() -> None:
    bench = await begun(document(cooldown=15))
    saved = await exported(bench)
    long = [
        replace(one, record=replace(one.record, resized_at=500.0, cooldown_end=620.0))
        if isinstance(one, SavedGroup)
        else one
        for one in saved
    ]

    await put_back(bench, saved)
    plain = await bench.record()
    await put_back(bench, long)
    longer = await bench.record()

    assert (plain.cooldown_end, plain.cooldown_by, plain.resized_at) == (bench.now + 15, "import", bench.now)
    assert longer.cooldown_end == bench.now + 120


async def test_members_that_live_in_a_controller_are_begun_anew_as_many_as_there_were() -> None:
    bench = Bench(document().replace("type: dry_run", "type: process, command: [sleep, '9']"), size=0)
    bench.target.resident = True
    await bench.begin()
    bench.target.set_size("web", 0)
    saved = [
        SavedGroup(name="web", record=GroupRecord(version=9, desired_capacity=4, size=4, owner="x", owned_until=1e12))
    ]

    await put_back(bench, saved)
    await bench.until(bench.now + 3)

    assert (await bench.record()).desired_capacity == 4
    assert [resize.capacity for resize in bench.target.resizes][-1] == 4


async def test_an_action_that_had_yet_to_be_carried_out_is_set_aside() -> None:
    bench = await begun()
    bench.action.failures.extend(TemporaryError("hook is away", delay=5.0) for _ in range(500))
    await reports(bench, ["web-1"], 95.0, until=1030.0)
    saved = await exported(bench)
    bench.action.failures.clear()
    bench.now += HOUR

    restored = await put_back(bench, saved)
    await bench.until(bench.now + 100)
    letters = await bench.store.dead_letters("action", limit=10)

    assert restored.actions == len(letters) == 1
    assert (letters[0].reason, letters[0].time) == ("restored", bench.now - 100)
    assert bench.action.delivered == []


async def test_all_of_an_export_is_put_back() -> None:
    store = MemoryStore(lambda: 5e8)
    alarm = SavedAlarm(
        alarm_id="a",
        record=AlarmRecord(version=7, state=AlarmState.ALARM, considered=1.0, consider_at=2.0, repeat_at=3.0),
        definition=definition("a"),
        tally={"ok": 2},
        history=(entry(1, alarm_id="a"), entry(2, alarm_id="a")),
        rows=(replace(row(1), alarm_id="a"),),
    )
    event = SavedAlarm(
        alarm_id="e", record=AlarmRecord(version=7, state=AlarmState.ALARM), definition=definition("e", type="event")
    )
    entries: list[Saved] = [
        SavedDeclarations(generation="g", documents=b"documents"),
        SavedFreeze(freeze=FREEZE),
        SavedChange(change=replace(change(1), time=7.0)),
        SavedLetter(letter=letter(1)),
        alarm,
        event,
        SavedAlarm(alarm_id="gone", history=(entry(3, alarm_id="gone"),)),
        SavedGroup(name="web", record=group_record()),
        SavedGroup(name="heat:s:g", record=group_record()),
        SavedDocument(kind="quota", key="p", document=b"5"),
        SavedDocument(kind="other", key="p", document=b"6"),
    ]

    counted = await Restorer(store, 5e8).run(entries)

    records = await store.alarms(["a", "e"])
    assert [(each.version, each.state, each.imported) for each in records if each is not None] == [
        (500_000_000_000_000, AlarmState.ALARM, True),
        (500_000_000_000_000, AlarmState.ALARM, False),
    ]
    assert records[0] is not None
    assert (records[0].considered, records[0].consider_at, records[0].repeat_at) == (None, None, None)
    assert [one.alarm_id for one in (await store.definitions()).definitions] == ["a", "e"]
    assert await store.tallies(["a"]) == [{"ok": 2}]
    assert [one.event_id for one in await store.history("a", limit=9)] == [entry(2).event_id, entry(1).event_id]
    assert await store.histories(None) == ["a", "gone"]
    assert await store.lanes("a") == {}
    assert [one.reason for one in await store.dead_letters("action", limit=9)] == ["restored"]
    assert [(one.target, one.time) for one in await store.audits(limit=9)] == [(change(1).target, 7.0)]
    assert await store.kept("quota", ["p"]) == [b"5"]
    assert await store.kept("other", ["p"]) == [b"6"]
    web, heats = await store.group("web"), await store.group("heat:s:g")
    assert (web.record.restored, web.record.size, web.record.members) == (True, None, ())
    assert web.record.paused == group_record().paused
    assert (heats.record.restored, web.freeze) == (False, FREEZE)
    assert await store.generation() == ("g", b"documents")
    assert counted == Restored(
        alarms=2,
        definitions=2,
        groups=2,
        documents=2,
        history=3,
        changes=1,
        letters=1,
        actions=1,
        generation="g",
        frozen=True,
    )
