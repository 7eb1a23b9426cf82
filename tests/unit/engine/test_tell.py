from __future__ import annotations

from collections.abc import Sequence

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
from autoscaler.alarms.evaluation import Consideration, LateNote, Outcome, Repetition, Sources, Transition
from autoscaler.alarms.rules import EvaluateWhen
from autoscaler.engine.evaluate import Evaluator
from autoscaler.engine.ingest import Ingest
from autoscaler.engine.listen import Silence
from autoscaler.engine.route import Router
from autoscaler.engine.tell import history, notes, rows
from autoscaler.measures.measure import Measure
from autoscaler.ports import HistoryEntry, event_id
from tests.building import a_rule, an_alarm

OK, ALARM = AlarmState.OK, AlarmState.ALARM
DATA = {"type": "threshold", "disposition": "outside", "count": 2, "most_recent": 90.0}
BUSY = an_alarm(alarm_actions=("policy://out", "http://x", "log://"), ok_actions=("log://ok",))
FIRED = Transition(7, 100.0, OK, ALARM, "why", DATA)
AGAIN = Repetition(8, 160.0, ALARM, 1, "still", DATA)
CONSIDERED = Consideration(9, 170.0, ALARM)
NOTE = LateNote(171.0, 60.5, ALARM, "would have")
RECORD = AlarmRecord(version=9, definition=BUSY.definition, state=ALARM)


def test_a_transition_calls_every_action_of_the_state_with_aodhs_body() -> None:
    found = rows(BUSY, Outcome(RECORD, (FIRED,)), 101.0)

    assert [(row.id, row.url, row.repeat, row.created) for row in found] == [
        ("a:7:0", "policy://out", False, 101.0),
        ("a:7:1", "http://x", False, 101.0),
        ("a:7:2", "log://", False, 101.0),
    ]
    assert list(found[1].body.items()) == [
        ("alarm_name", "busy"),
        ("alarm_id", "a"),
        ("severity", "low"),
        ("previous", "ok"),
        ("current", "alarm"),
        ("reason", "why"),
        ("reason_data", DATA),
    ]


def test_a_repetition_calls_all_but_policies_and_may_be_replaced() -> None:
    found = rows(BUSY, Outcome(RECORD, (AGAIN,)), 160.0)

    assert [(row.id, row.url, row.repeat) for row in found] == [("a:8:0", "http://x", True), ("a:8:1", "log://", True)]
    assert (found[0].body["previous"], found[0].body["current"]) == ("alarm", "alarm")


def test_a_consideration_calls_policies_only() -> None:
    (row,) = rows(BUSY, Outcome(RECORD, (CONSIDERED,)), 170.0)

    assert (row.id, row.url, row.repeat, row.body) == ("a:9:0", "policy://out", True, {"current": "alarm"})


def test_a_note_calls_nothing_and_no_two_rows_share_an_id() -> None:
    found = rows(BUSY, Outcome(RECORD, (FIRED, AGAIN, CONSIDERED, NOTE)), 171.0)

    assert len({row.id for row in found}) == len(found) == 6


@pytest.mark.parametrize(
    ("before", "types"),
    [
        pytest.param(None, ["creation", "state transition"], id="the-first"),
        pytest.param(AlarmRecord(version=3, definition="older"), ["rule change", "state transition"], id="new-rule"),
        pytest.param(AlarmRecord(version=3, definition=BUSY.definition), ["state transition"], id="the-same-rule"),
    ],
)
def test_the_history_of_an_evaluation(before: AlarmRecord | None, types: list[str]) -> None:
    found = history(BUSY, before, Outcome(RECORD, (FIRED, AGAIN, CONSIDERED, NOTE)), 171.0)

    assert [entry.type for entry in found] == types
    assert found[-1] == HistoryEntry(
        event_id=event_id("a", 7, "state transition"),
        alarm_id="a",
        type="state transition",
        detail={"state": "alarm", "transition_reason": "why"},
        timestamp=100.0,
        severity="low",
    )
    assert len({entry.event_id for entry in found}) == len(found)


def test_a_late_measure_is_a_line_of_its_own() -> None:
    assert notes(BUSY, Outcome(RECORD, (FIRED, NOTE)), 42) == [
        HistoryEntry(
            event_id=event_id("a", 42, "late measure"),
            alarm_id="a",
            type="late measure",
            detail={"measured": "1970-01-01T00:01:00.500000Z", "state": "alarm", "reason": "would have"},
            timestamp=171.0,
            severity="low",
        )
    ]


class Engine:
    """Measures in, verdicts accepted, on the memory store and a clock that is told."""

    def __init__(self, *alarms: Alarm, min_interval: float = 0.0) -> None:
        self.now = 0.0
        self.store = MemoryStore(lambda: self.now)
        self.router = Router(alarms)
        self.ingest = Ingest(self.store, Silence())
        self.evaluator = Evaluator(self.store, Silence(), min_interval=min_interval)

    async def take(self, now: float, *points: tuple[float, float], due: Sequence[str] = ()) -> None:
        self.now = now
        measures = [Measure("cpu_util", "r", time, value) for time, value in points]
        written = await self.ingest.write(self.router, measures, due)
        await self.evaluator.evaluate(self.router, written.views, Sources(), [].append)

    async def told(self) -> list[tuple[str, object]]:
        entries = await self.store.history("a", limit=100)
        return [(entry.type, entry.detail.get("state")) for entry in reversed(entries)]


MEASURE = a_rule(evaluate=EvaluateWhen.MEASURE)


async def test_a_late_measure_is_noted_and_changes_nothing() -> None:
    engine = Engine(an_alarm(MEASURE))
    for at in (92, 112, 122, 132, 142):
        await engine.take(at, (at, 90.0 if at == 92 else 10.0))
    (before,) = await engine.store.alarms(["a"])
    await engine.take(143, (105.0, 300.0), (142.5, 10.0))
    await engine.take(144, (143.5, 10.0))

    assert await engine.store.alarms(["a"]) == [before]
    assert await engine.told() == [
        ("creation", "insufficient data"),
        ("state transition", "ok"),
        ("late measure", "alarm"),
    ]


async def test_every_late_measure_is_noted_though_the_record_stands_still() -> None:
    engine = Engine(an_alarm(MEASURE))
    for at in (92, 112, 122, 132, 142):
        await engine.take(at, (at, 90.0 if at == 92 else 10.0))
    await engine.take(143, (105.0, 300.0))
    await engine.take(144, (106.0, 300.0))

    assert [kind for kind, _ in await engine.told()].count("late measure") == 2


async def test_a_measure_that_is_too_old_to_be_kept_is_not_noted_and_hides_no_other() -> None:
    engine = Engine(an_alarm(MEASURE))
    for at in (92, 112, 122, 132, 142):
        await engine.take(at, (at, 90.0 if at == 92 else 10.0))
    await engine.take(143, (3.0, 300.0))
    assert "late measure" not in dict(await engine.told())
    await engine.take(144, (3.0, 300.0), (105.0, 300.0))

    assert (await engine.store.history("a", limit=1))[0].detail["measured"] == "1970-01-01T00:01:45Z"


async def test_a_late_measure_is_remembered_while_its_window_is_put_off() -> None:
    grouped = a_rule(evaluate=EvaluateWhen.MEASURE, single=False, reaggregation_method="mean")
    engine = Engine(an_alarm(grouped), min_interval=0.5)
    for at in (92, 112, 122, 132, 142):
        await engine.take(at, (at, 90.0 if at == 92 else 10.0))
    await engine.take(142.1, (105.0, 300.0))
    assert "late measure" not in dict(await engine.told())
    await engine.take(142.5, due=engine.evaluator.due(142.5))

    assert (await engine.told())[-1] == ("late measure", "alarm")


async def test_a_window_over_many_series_is_evaluated_no_oftener_than_it_may_be_and_its_last_change_counts() -> None:
    grouped = a_rule(evaluate=EvaluateWhen.MEASURE, single=False, reaggregation_method="mean", evaluation_periods=1)
    engine = Engine(an_alarm(grouped), min_interval=0.5)
    await engine.take(100.0, (100.0, 10.0))
    await engine.take(100.1, (100.1, 500.0))
    (record,) = await engine.store.alarms(["a"])
    assert record is not None
    assert record.state is OK
    assert engine.evaluator.next_due == 100.5
    await engine.take(100.5, due=engine.evaluator.due(100.5))

    (record,) = await engine.store.alarms(["a"])
    assert record is not None
    assert record.state is ALARM
    assert engine.evaluator.next_due is None
