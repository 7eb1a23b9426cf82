"""Alarms moved between a database of Aodh's form and the memory store."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import create_engine

from autoscaler.adapters.aodh import Database
from autoscaler.adapters.aodh.tables import METADATA
from autoscaler.adapters.memory import MemoryStore
from autoscaler.alarms.alarm import AlarmRecord, AlarmState
from autoscaler.alarms.definition import NOT_EVALUATED, SET_BY_HAND, Definition
from autoscaler.alarms.imported import IMPORTED
from autoscaler.api.v2.imported import Taking
from autoscaler.declarations.definitions import alarm_of
from autoscaler.engine import move_in, move_out
from autoscaler.engine.move_in import Importer
from autoscaler.engine.move_out import Exporter, form_of
from autoscaler.engine.moved import MARKS, Remark, Summary
from autoscaler.engine.service import QUOTA
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.measures.window import ANY_PROJECT
from autoscaler.ports import Acceptance, Accepted, AodhAlarm, HistoryEntry

pytestmark = pytest.mark.slow

NOW = 1_790_000_000.0
DAY = 86_400.0
TTL = 30 * DAY
RULE = {
    "metric": "cpu_util",
    "resource_id": "r",
    "resource_type": "instance",
    "threshold": 80.0,
    "comparison_operator": "gt",
    "aggregation_method": "mean",
    "evaluation_periods": 2,
    "granularity": 60,
}


def a_row(alarm_id: str = "a", **fields: Any) -> AodhAlarm:
    plain: dict[str, Any] = {
        "alarm_id": alarm_id,
        "type": "gnocchi_resources_threshold",
        "name": f"name of {alarm_id}",
        "description": "d",
        "enabled": True,
        "severity": "moderate",
        "ok_actions": [],
        "alarm_actions": ["http://example.org/x"],
        "insufficient_data_actions": [],
        "repeat_actions": False,
        "time_constraints": [],
        "rule": RULE,
        "user_id": "u",
        "project_id": "p",
        "timestamp": NOW - DAY + 0.123456,
        "state": "ok",
        "state_timestamp": NOW - 100 + 0.654321,
        "state_reason": "Transition to ok",
    }
    return AodhAlarm(**(plain | fields))


def a_line(alarm_id: str = "a", kind: str = "state transition", **fields: Any) -> HistoryEntry:
    plain: dict[str, Any] = {
        "event_id": str(uuid.uuid4()),
        "alarm_id": alarm_id,
        "type": kind,
        "detail": {"state": "ok", "transition_reason": "why"},
        "timestamp": NOW - 100,
        "user_id": "u",
        "project_id": "p",
        "on_behalf_of": "p",
        "severity": "moderate",
    }
    return HistoryEntry(**(plain | fields))


@dataclass
class Both:
    """An Aodh's database and a store."""

    database: Database
    now: float = NOW
    store: MemoryStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryStore(lambda: self.now, history_ttl=TTL)

    async def moved_in(self, **options: Any) -> Summary:
        self.now += 1
        understood = partial(alarm_of, derived={}, mixed_as_aodh=False)
        taking = Taking(options.pop("unconfined", ()))
        return await Importer(self.store, self.database, taking.definition, understood, TTL, **options).run()

    async def moved_out(self, **options: Any) -> Summary:
        self.now += 1
        return await Exporter(self.store, self.database, **options).run()

    async def definition(self, alarm_id: str = "a") -> Definition:
        found = {each.alarm_id: each for each in (await self.store.definitions()).definitions}
        return found[alarm_id]

    async def record(self, alarm_id: str = "a") -> AlarmRecord | None:
        (record,) = await self.store.alarms([alarm_id])
        return record

    async def row(self, alarm_id: str = "a") -> AodhAlarm | None:
        return {row.alarm_id: row for row in (await self.database.alarms()).alarms}.get(alarm_id)

    async def change(self, alarm_id: str = "a", **fields: Any) -> None:
        """As the API does it."""
        before = await self.definition(alarm_id)
        record = await self.record(alarm_id)
        assert record is not None
        after = msgspec.structs.replace(before, revision=before.revision + 7, timestamp=self.now, **fields)
        renewed = msgspec.structs.replace(record, version=record.version + 1, revision=after.revision)
        entry = a_line(alarm_id, "rule change", event_id=str(uuid.uuid5(uuid.NAMESPACE_DNS, str(after.revision))))
        await self._accept(alarm_id, record, record=renewed, definition=after, history=[entry])

    async def evaluate(self, alarm_id: str = "a", **fields: Any) -> None:
        record = await self.record(alarm_id)
        assert record is not None
        plain = {"state_timestamp": self.now, "imported": False, "note": ""}
        await self._accept(
            alarm_id, record, record=msgspec.structs.replace(record, version=record.version + 1, **(plain | fields))
        )

    async def remove(self, alarm_id: str = "a") -> None:
        await self._accept(alarm_id, await self.record(alarm_id), removed=True)

    async def make(self, definition: Definition, **fields: Any) -> None:
        record = AlarmRecord(version=definition.revision, revision=definition.revision, **fields)
        await self._accept(definition.alarm_id, None, record=record, definition=definition)

    async def _accept(self, alarm_id: str, before: AlarmRecord | None, **fields: Any) -> None:
        expected = 0 if before is None else before.version
        (answer,) = await self.store.accept([Acceptance(alarm_id, "", 0, expected, **fields)], lease=30.0)
        assert isinstance(answer, Accepted)


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    url = f"sqlite:///{tmp_path}/aodh.sqlite"
    engine = create_engine(url)
    METADATA.create_all(engine)
    engine.dispose()
    database = Database(url)
    yield Both(database)
    await database.close()


def told(summary: Summary) -> dict[str, Any]:
    """What of a summary is not nothing."""
    plain = {name: getattr(summary, name) for name in Summary.__slots__}
    return {name: value for name, value in plain.items() if value}


# --- in --------------------------------------------------------------------------------------------------------------


async def test_an_alarm_comes_with_its_id_its_state_and_its_history(both: Both) -> None:
    row = a_row(alarm_actions=["trust+http://tr:delete@example.org/x", "trust+http://tr@example.org/y"])
    lines = [a_line(timestamp=NOW - 200, kind="creation"), a_line()]
    await both.database.put(row, lines)

    assert told(await both.moved_in()) == {"new": {row.type: 1}, "history": 2, "with_trusts": 1}
    definition, record = await both.definition(), await both.record()
    assert record is not None
    assert (definition.rule, definition.user_id, definition.project_id, definition.scope) == (RULE, "u", "p", "p")
    assert (definition.timestamp, definition.created) == (row.timestamp, NOW - 200)
    assert definition.alarm_actions == ("trust+http://tr:delete@example.org/x", "trust+http://tr@example.org/y")
    assert (record.state, record.state_timestamp, record.reason) == ("ok", row.state_timestamp, "Transition to ok")
    assert (record.imported, record.note, record.revision) == (True, IMPORTED, definition.revision)
    assert await both.store.history("a", limit=10) == lines[::-1]
    assert await both.store.histories("p") == ["a"]


async def test_the_second_time_nothing_is_taken(both: Both) -> None:
    await both.database.put(a_row(), [a_line()])
    await both.moved_in()
    before = await both.record()

    assert told(await both.moved_in()) == {"unchanged": 1}
    assert await both.record() == before


async def test_a_dry_run_says_the_same_and_does_nothing(both: Both) -> None:
    await both.database.put(a_row(), [a_line()])
    await both.database.put_quota("p", 3)
    dry = await both.moved_in(dry_run=True)

    assert (await both.store.definitions()).definitions == []
    assert await both.store.kept_keys(MARKS) == []
    assert await both.store.kept_keys(QUOTA) == []
    assert told(dry) == told(await both.moved_in())


async def test_what_changed_in_aodh_since_is_taken(both: Both) -> None:
    await both.database.put(a_row(), [])
    await both.moved_in()
    first = await both.definition()
    await both.database.put(a_row(name="other", severity="low"), [a_line()])

    assert told(await both.moved_in()) == {"changed": {first.type: 1}, "history": 1}
    second, record = await both.definition(), await both.record()
    assert record is not None
    assert (second.name, second.severity) == ("other", "low")
    assert second.revision == record.revision > first.revision
    assert record.imported


async def test_a_state_that_changed_in_aodh_since_is_taken_and_kept_anew(both: Both) -> None:
    await both.database.put(a_row(), [])
    await both.moved_in()
    await both.evaluate(reason="here", repeat_at=NOW, consider_at=NOW)
    moved = a_row(state="alarm", state_reason="there")
    await both.database.put(moved, [])

    assert told(await both.moved_in()) == {"states": {moved.type: 1}}
    record = await both.record()
    assert record is not None
    assert (record.state, record.reason, record.imported) == ("alarm", "there", True)
    assert (record.repeat_at, record.consider_at) == (None, None)


async def test_a_state_that_both_came_to_is_left(both: Both) -> None:
    await both.database.put(a_row(), [])
    await both.moved_in()
    await both.evaluate(state=AlarmState.ALARM, reason="here")
    before = await both.record()
    await both.database.put(a_row(state="alarm", state_reason="there"), [])

    assert told(await both.moved_in()) == {"unchanged": 1}
    assert await both.record() == before


async def test_what_was_changed_here_since_is_left_and_named(both: Both) -> None:
    for alarm_id in ("changed", "removed", "set"):
        await both.database.put(a_row(alarm_id), [])
    await both.moved_in()
    await both.change("changed", name="ours")
    await both.remove("removed")
    await both.evaluate("set", state=AlarmState.ALARM, reason=SET_BY_HAND)
    for alarm_id in ("changed", "removed", "set"):
        await both.database.put(a_row(alarm_id, state="insufficient data"), [])
    summary = await both.moved_in()

    assert [(each.key, each.why) for each in summary.left] == [
        ("changed", move_in.CHANGED_HERE),
        ("removed", move_in.REMOVED_HERE),
        ("set", move_in.SET_HERE),
    ]
    assert (await both.definition("changed")).name == "ours"
    again = await both.moved_in(overwrite=True)
    assert told(again) == {"new": {RESOURCES: 1}, "changed": {RESOURCES: 1}, "states": {RESOURCES: 1}}
    assert (await both.definition("changed")).name == "name of changed"
    record = await both.record("set")
    assert record is not None
    assert record.state == "insufficient data"


RESOURCES = "gnocchi_resources_threshold"


async def test_an_alarm_that_is_gone_in_aodh_is_named_and_removed_when_asked(both: Both) -> None:
    for alarm_id in ("a", "b"):
        await both.database.put(a_row(alarm_id), [])
    await both.moved_in()
    await both.change("b", name="ours")
    for alarm_id in ("a", "b"):
        await both.database.remove(alarm_id)

    assert [each.key for each in (await both.moved_in()).left] == ["a", "b"]
    pruned = await both.moved_in(prune=True)
    assert (pruned.removed, [each.key for each in pruned.left]) == (1, ["b"])
    assert [each.alarm_id for each in (await both.store.definitions()).definitions] == ["b"]
    assert (await both.store.history("a", limit=1))[0].type == "deletion"
    assert await both.store.kept_keys(MARKS) == ["b"]


async def test_an_import_that_was_broken_off_goes_on(both: Both) -> None:
    await both.database.put(a_row(), [])
    await both.moved_in()
    await both.store.keep(MARKS, {"a": None})

    assert told(await both.moved_in()) == {"unchanged": 1}
    assert await both.store.kept_keys(MARKS) == ["a"]


async def test_a_bad_alarm_is_named_and_stops_no_other(both: Both) -> None:
    bad = {
        "composite": a_row("composite", type="composite", rule={"or": []}),
        "event": a_row("event", type="event", rule={"event_type": "*", "query": [{"field": "state", "value": "x"}]}),
        "host": a_row("host", alarm_actions=["http://"]),
        "legacy": a_row("legacy", type="combination", rule={}),
        "owner": a_row("owner", project_id=""),
        "state": a_row("state", state="unknown"),
        "pi|pe": a_row("pi|pe"),
        "zone": a_row(
            "zone", time_constraints=[{"name": "n", "start": "* * * * *", "duration": 1, "timezone": "Mars/Base"}]
        ),
    }
    for row in (*bad.values(), a_row("fine")):
        await both.database.put(row, [])
    summary = await both.moved_in()

    assert summary.new == {RESOURCES: 1}
    assert {each.key for each in summary.failed} == bad.keys()
    whys = {each.key: each.why for each in summary.failed}
    assert "Timezone Mars/Base is not valid" in whys["zone"]
    assert "combination" in whys["legacy"]
    assert "host is missing" in whys["host"]


async def test_a_row_that_is_no_json_is_named(both: Both, tmp_path: Path) -> None:
    await both.database.put(a_row(), [])
    with create_engine(f"sqlite:///{tmp_path}/aodh.sqlite").begin() as connection:
        connection.exec_driver_sql("UPDATE alarm SET rule = '{'")
    (failed,) = (await both.moved_in()).failed

    assert failed == Remark("alarm", "a", "", failed.why)
    assert failed.why.startswith("rule: not JSON")


@pytest.mark.parametrize(
    ("row", "sees"),
    [
        pytest.param(a_row(), "p", id="one-resource"),
        pytest.param(a_row(project_id="admins"), ANY_PROJECT, id="of-an-unconfined-project"),
        pytest.param(a_row(type="event", rule={"event_type": "*", "query": []}), "p", id="event"),
        pytest.param(
            a_row(type="prometheus", rule={"query": "up", "threshold": 1, "scope_to_project": "p"}), "p", id="promql"
        ),
        pytest.param(a_row(type="prometheus", rule={"query": "up", "threshold": 1}), ANY_PROJECT, id="admins-promql"),
    ],
)
async def test_what_an_alarm_sees(both: Both, row: AodhAlarm, sees: str) -> None:
    await both.database.put(row, [])
    summary = await both.moved_in(unconfined=["admins"])

    assert (await both.definition()).scope == sees
    assert summary.unconfined == (["a"] if sees == ANY_PROJECT else [])


OWN = {"=": {"created_by_project_id": "p"}}
SERVICES = {"and": [{"=": {"created_by_project_id": "s"}}, {"=": {"project_id": "p"}}]}
SEARCH = {"=": {"server_group": "web"}}


@pytest.mark.parametrize(
    ("query", "sees"),
    [
        pytest.param({"and": [OWN, SEARCH]}, "p", id="without-services"),
        pytest.param({"and": [{"or": [OWN, SERVICES]}, SEARCH]}, "p", id="with-services"),
        pytest.param({"and": [{"or": [OWN, SERVICES]}, {"and": [OWN, SEARCH]}]}, "p", id="sent-back"),
        pytest.param(SEARCH, ANY_PROJECT, id="admins"),
    ],
)
async def test_a_search_is_kept_as_it_stands_and_understood_as_it_was_meant(
    both: Both, query: dict[str, Any], sees: str
) -> None:
    kind = "gnocchi_aggregation_by_resources_threshold"
    rule = {key: value for key, value in RULE.items() if key != "resource_id"} | {"query": json.dumps(query)}
    await both.database.put(a_row(type=kind, rule=rule), [])
    await both.moved_in()
    definition = await both.definition()

    assert definition.rule == rule
    assert definition.scope == sees
    plain = alarm_of(
        msgspec.structs.replace(definition, rule=rule | {"query": json.dumps(SEARCH)}), derived={}, mixed_as_aodh=False
    )
    assert alarm_of(definition, derived={}, mixed_as_aodh=False).rule == plain.rule


async def test_an_event_alarm_may_act_at_once(both: Both) -> None:
    await both.database.put(a_row(type="event", rule={"event_type": "*", "query": []}, state_reason=""), [])
    await both.moved_in()
    record = await both.record()

    assert record is not None
    assert (record.imported, record.note, record.reason) == (False, "", NOT_EVALUATED)


async def test_lines_that_are_older_than_histories_are_kept_are_left_out_and_counted(both: Both) -> None:
    await both.database.put(a_row(), [a_line(timestamp=NOW - TTL - 10), a_line()])
    summary = await both.moved_in()

    assert (summary.history, summary.too_old) == (1, 1)


async def test_quotas_come_along(both: Both) -> None:
    for project_id, limit in (("p", -1), ("q", 5), ("r", 7)):
        await both.database.put_quota(project_id, limit)
    assert (await both.moved_in()).quotas == 3
    assert await both.store.kept(QUOTA, ["p", "q", "r"]) == [b"-1", b"5", b"7"]
    await both.store.keep(QUOTA, {"q": b"9"})
    await both.database.put_quota("q", 6)
    await both.database.put_quota("r", 8)
    summary = await both.moved_in()

    assert (summary.quotas, [each.key for each in summary.left]) == (1, ["q"])
    assert await both.store.kept(QUOTA, ["q", "r"]) == [b"9", b"8"]
    assert told(await both.moved_in(overwrite=True)) == {"quotas": 1}


async def test_an_alarm_that_is_changed_at_the_same_time_is_decided_on_anew(both: Both) -> None:
    await both.database.put(a_row(), [])
    await both.moved_in()
    await both.database.put(a_row(name="theirs"), [])

    accept = both.store.accept
    raced = False

    async def slow(acceptances: Any, *, lease: float) -> Any:
        nonlocal raced
        if not raced and any(each.definition is not None for each in acceptances):
            raced = True
            await both.change(name="ours")
        return await accept(acceptances, lease=lease)

    both.store.accept = slow  # type: ignore[method-assign]
    summary = await both.moved_in()

    assert [each.why for each in summary.left] == [move_in.CHANGED_HERE]
    assert (await both.definition()).name == "ours"


# --- out -------------------------------------------------------------------------------------------------------------


async def test_without_a_change_nothing_is_written(both: Both) -> None:
    await both.database.put(a_row(), [a_line()])
    await both.moved_in()
    before = await both.database.alarms()

    assert told(await both.moved_out()) == {"unchanged": 1}
    assert await both.database.alarms() == before


async def test_states_definitions_and_histories_go_back(both: Both) -> None:
    for alarm_id in ("changed", "moved", "waiting"):
        await both.database.put(a_row(alarm_id), [])
    await both.moved_in()
    await both.change("changed", name="ours")
    await both.evaluate("moved", state=AlarmState.ALARM, reason="here")
    summary = await both.moved_out()

    assert told(summary) == {"changed": {RESOURCES: 1}, "states": {RESOURCES: 1}, "unchanged": 1, "history": 1}
    changed, moved = await both.row("changed"), await both.row("moved")
    assert changed is not None
    assert moved is not None
    assert (changed.name, changed.state) == ("ours", "ok")
    assert (moved.state, moved.state_reason, moved.name) == ("alarm", "here", "name of moved")
    assert [line.type for line in (await both.database.histories(["changed"], after=0.0, limit=9))["changed"]] == [
        "rule change"
    ]
    assert told(await both.moved_out()) == {"unchanged": 3}
    assert told(await both.moved_in()) == {"unchanged": 3}


async def test_what_was_changed_and_changed_back_tells_when(both: Both) -> None:
    """Heat's suspend and resume of a stack."""
    for alarm_id in ("here", "there"):
        await both.database.put(a_row(alarm_id), [])
    await both.moved_in()
    await both.change("here", name="other")
    await both.change("here", name="name of here")
    await both.database.put(a_row("there", timestamp=NOW - 7), [])
    taken, written = await both.moved_in(), await both.moved_out()

    assert (taken.changed, written.changed) == ({RESOURCES: 1}, {RESOURCES: 1})
    assert (await both.definition("there")).timestamp == NOW - 7
    row = await both.row("here")
    assert row == a_row("here", timestamp=(await both.definition("here")).timestamp)
    assert told(await both.moved_out()) == told(await both.moved_in()) == {"unchanged": 2}


def ours(alarm_id: str = "ours", **fields: Any) -> Definition:
    row = a_row(alarm_id)
    return msgspec.structs.replace(Taking().definition(row), revision=5, created=NOW, **fields)


async def test_an_alarm_that_was_made_here_goes_there_and_goes_with_it(both: Both) -> None:
    await both.make(ours(ok_actions=("policy://in", "http://example.org/")), state=AlarmState.ALARM)
    summary = await both.moved_out()

    assert told(summary) == {
        "new": {RESOURCES: 1},
        "beyond": [Remark("alarm", "ours", "name of ours", "ok_actions: policy://in")],
    }
    row = await both.row("ours")
    assert row is not None
    assert (row.ok_actions, row.state, row.state_reason) == (["http://example.org/"], "alarm", NOT_EVALUATED)
    assert told(await both.moved_in()) == {"unchanged": 1}
    assert (await both.definition("ours")).ok_actions == ("policy://in", "http://example.org/")
    assert told(await both.moved_out()) == {"unchanged": 1}
    await both.remove("ours")
    assert told(await both.moved_out()) == {"removed": 1}
    assert await both.row("ours") is None


async def test_an_alarm_that_was_removed_here_is_removed_there_and_no_other_is(both: Both) -> None:
    for alarm_id in ("a", "b"):
        await both.database.put(a_row(alarm_id), [a_line(alarm_id)])
    await both.moved_in()
    await both.database.put(a_row("never moved"), [])
    await both.database.put(a_row("b", name="theirs"), [])
    await both.remove("a")
    await both.remove("b")
    dry = await both.moved_out(dry_run=True)
    summary = await both.moved_out()

    assert told(dry) == told(summary)
    assert summary.removed == 1
    assert [each.key for each in summary.left] == ["b"]
    assert {row.alarm_id for row in (await both.database.alarms()).alarms} == {"b", "never moved"}
    assert (await both.moved_out(overwrite=True)).removed == 1


async def test_what_changed_there_since_is_left_and_named(both: Both) -> None:
    for alarm_id in ("both", "there", "gone"):
        await both.database.put(a_row(alarm_id), [])
    await both.moved_in()
    await both.change("both", name="ours")
    for alarm_id in ("both", "there"):
        await both.database.put(a_row(alarm_id, name="theirs"), [])
    await both.database.remove("gone")
    summary = await both.moved_out()

    assert {each.key: each.why for each in summary.left} == {
        "both": move_out.CHANGED_THERE,
        "there": move_out.CHANGED_THERE,
        "gone": move_out.GONE_THERE,
    }
    again = await both.moved_out(overwrite=True)
    assert (again.changed, again.new) == ({RESOURCES: 2}, {RESOURCES: 1})
    row = await both.row("both")
    assert row is not None
    assert row.name == "ours"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        pytest.param({"type": "threshold"}, "type: Aodh has none that is called threshold", id="type"),
        pytest.param(
            {"rule": RULE | {"aggregation_method": "rate_per_second:mean"}},
            "aggregation_method: Aodh has no rate_per_second:mean for gnocchi_resources_threshold",
            id="method",
        ),
        pytest.param(
            {"type": "composite", "rule": {"or": [{"and": [{"type": "prometheus", "query": "up"}]}]}},
            "a part of type prometheus: Aodh takes none",
            id="part",
        ),
        pytest.param(
            {"type": "composite", "rule": {"type": move_out.AGGREGATIONS[0], "aggregation_method": "95pct"}},
            "aggregation_method: Aodh has no 95pct for gnocchi_aggregation_by_metrics_threshold",
            id="only-part",
        ),
    ],
)
async def test_what_aodh_cannot_hold_is_left_out_and_named(both: Both, fields: dict[str, Any], why: str) -> None:
    await both.make(ours(**fields))
    summary = await both.moved_out()

    assert summary.left == [Remark("alarm", "ours", "name of ours", why)]
    assert await both.row("ours") is None


def test_a_percentile_of_one_resource_and_a_rate_can_be_held() -> None:
    for kind, method in (
        (RESOURCES, "95pct"),
        (RESOURCES, "rate:last"),
        (move_out.AGGREGATIONS[1], "rate:mean"),
        (move_out.AGGREGATIONS[0], "std"),
    ):
        form = form_of(ours(type=kind, rule=RULE | {"aggregation_method": method}), AlarmRecord())
        assert form.row is not None


def test_a_state_per_series_is_one_state_there() -> None:
    rule = {"query": "up", "threshold": 1.0, "comparison_operator": "eq", "per_series": True}
    form = form_of(ours(type="prometheus", rule=rule), AlarmRecord())

    assert form.row is not None
    assert "per_series" not in form.row.rule
    assert len(form.beyond) == 1


async def test_quotas_go_back(both: Both) -> None:
    for project_id in ("changed", "dropped", "theirs", "same"):
        await both.database.put_quota(project_id, 5)
    await both.moved_in()
    await both.store.keep(QUOTA, {"changed": b"6", "dropped": None, "new": b"1", "free": b"-1"})
    await both.database.put_quota("theirs", 9)
    summary = await both.moved_out()

    assert (summary.quotas, [each.key for each in summary.left]) == (3, ["theirs"])
    assert await both.database.quotas() == {"changed": 6, "new": 1, "same": 5, "theirs": 9}


async def test_no_limit_here_is_nothing_said_there(both: Both) -> None:
    for project_id, limit in (("p", 5), ("q", -1)):
        await both.database.put_quota(project_id, limit)
    await both.moved_in()
    await both.store.keep(QUOTA, {"p": b"-1"})

    assert (await both.moved_out()).quotas == 1
    assert await both.database.quotas() == {"q": -1}
    assert told(await both.moved_out()) == told(await both.moved_in()) == {}
    assert await both.store.kept(QUOTA, ["p", "q"]) == [b"-1", b"-1"]


# --- the database ----------------------------------------------------------------------------------------------------


async def test_another_database_is_told_from_aodhs(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/other.sqlite")
    with pytest.raises(PermanentError, match="not a database of Aodh"):
        await database.alarms()
    await database.close()


async def test_a_database_that_is_away_is_named_without_its_password() -> None:
    database = Database("mysql://aodh:secret@127.0.0.1:1/aodh?charset=utf8")
    with pytest.raises(TemporaryError) as raised:
        await database.alarms()
    await database.close()

    assert "mysql+pymysql://aodh:***@127.0.0.1:1/aodh" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["oracle://x:secret@y/z", "nonsense:secret", "mysql://x:secret@y:port/z"])
def test_a_url_that_names_no_database_of_aodh_is_refused(url: str) -> None:
    with pytest.raises(PermanentError) as raised:
        Database(url)

    assert "secret" not in str(raised.value)


async def test_a_limit_of_lines_keeps_the_newest(both: Both) -> None:
    lines = [a_line(timestamp=NOW - number) for number in range(5)]
    await both.database.put(a_row(), lines)

    assert (await both.database.histories(["a", "b"], after=0.0, limit=2)) == {"a": [lines[1], lines[0]]}
    assert (await both.database.histories(["a"], after=NOW - 1, limit=2)) == {"a": [lines[0]]}
    assert await both.database.event_ids(["a", "b"], after=NOW - 4) == {"a": {line.event_id for line in lines[:4]}}
    assert await both.database.lines_until(NOW - 3) == 2


async def test_of_an_alarm_and_lines_that_cannot_be_written_neither_is(both: Both) -> None:
    line = a_line()
    await both.database.put(a_row(), [line])
    with pytest.raises(PermanentError):
        await both.database.put(a_row(name="other"), [line])
    row = await both.row()

    assert row is not None
    assert row.name == "name of a"
