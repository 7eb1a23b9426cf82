from __future__ import annotations

from typing import Any

import msgspec
import pytest

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState, Evidence, declared_id
from autoscaler.alarms.rules import TreatMissingData
from autoscaler.alarms.time_constraints import TimeConstraint
from autoscaler.measures.match import Equals, Or
from tests.building import a_rule, an_alarm


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(AlarmState.OK, ("log://ok",), id="ok"),
        pytest.param(AlarmState.ALARM, ("log://a", "policy://out"), id="alarm"),
        pytest.param(AlarmState.INSUFFICIENT_DATA, ("log://none",), id="insufficient-data"),
    ],
)
def test_each_state_calls_its_own_actions_in_order(state: AlarmState, expected: tuple[str, ...]) -> None:
    alarm = an_alarm(
        ok_actions=("log://ok",), alarm_actions=("log://a", "policy://out"), insufficient_data_actions=("log://none",)
    )

    assert alarm.actions(state) == expected


def test_a_declared_id_is_the_same_everywhere_and_another_for_each_project_and_name() -> None:
    ids = {declared_id(project, name) for project in ("", "p") for name in ("busy", "idle")}

    # stored records hang on it: it must never change
    assert declared_id("p", "busy") == "c2b0dd28-f59b-5791-84a3-3160a8f4238e"
    assert len(ids) == 4


CONSTRAINT = TimeConstraint(name="night", start="0 22 * * *", duration=3600)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(an_alarm(), True, id="the-same"),
        pytest.param(an_alarm(name="other", alarm_id="b", severity="critical"), True, id="what-it-is-called"),
        pytest.param(an_alarm(ok_actions=("log://",), repeat_actions=True), True, id="what-it-does"),
        pytest.param(an_alarm(a_rule(threshold=51.0)), False, id="the-rule"),
        pytest.param(an_alarm(a_rule(match=Or((Equals("a", "1"), Equals("a", "2"))))), False, id="whom-it-watches"),
        pytest.param(an_alarm(time_constraints=(CONSTRAINT,)), False, id="when"),
    ],
)
def test_the_definition_is_of_what_is_evaluated(other: Alarm, *, same: bool) -> None:
    assert (other.definition == an_alarm().definition) is same


@pytest.mark.parametrize(
    ("fields", "granules", "horizon"),
    [
        pytest.param({}, 3, 80.0, id="one-granule-may-be-missing"),
        pytest.param({"lateness": 5.0}, 3, 85.0, id="lateness-is-kept-too"),
        pytest.param({"datapoints_to_alarm": 2}, 4, 100.0, id="m-of-n-looks-two-further-back"),
        pytest.param({"treat_missing_data": TreatMissingData.IGNORE}, 4, 100.0, id="treated-too"),
    ],
)
def test_a_rule_keeps_two_windows_and_two_granules(fields: dict[str, Any], granules: int, horizon: float) -> None:
    rule = a_rule(**fields)

    assert (rule.granules, rule.horizon) == (granules, horizon)


def test_a_record_survives_being_stored() -> None:
    record = AlarmRecord(
        version=7, state=AlarmState.ALARM, evidence=Evidence(1.0, 2.0, (3, 4), 5), reason_data={"count": 1}
    )

    assert msgspec.json.decode(msgspec.json.encode(record), type=AlarmRecord) == record


def test_a_record_of_an_older_version_can_be_read() -> None:
    assert msgspec.json.decode(b'{"version": 3, "state": "ok"}', type=AlarmRecord) == AlarmRecord(
        version=3, state=AlarmState.OK
    )


@pytest.mark.parametrize(
    ("project_id", "owner", "expected"),
    [
        pytest.param("p", "p", True, id="its-own"),
        pytest.param("p", "q", False, id="of-another"),
        pytest.param("p", "", False, id="of-the-operator"),
        pytest.param("", "p", True, id="the-operator-of-a-project"),
        pytest.param("any", "p", True, id="the-operator-for-all"),
        pytest.param("", "", True, id="the-operator-its-own"),
    ],
)
def test_an_alarm_moves_what_its_project_owns(project_id: str, owner: str, *, expected: bool) -> None:
    assert an_alarm(project_id=project_id).may_move(owner) is expected


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        pytest.param("", "1 datapoints are unknown", id="aodhs-sentence-alone"),
        pytest.param("resources matched: 0", "1 datapoints are unknown (resources matched: 0)", id="then-the-note"),
    ],
)
def test_people_are_told_aodhs_sentence_first(note: str, expected: str) -> None:
    assert AlarmRecord(reason="1 datapoints are unknown", note=note).state_reason == expected
