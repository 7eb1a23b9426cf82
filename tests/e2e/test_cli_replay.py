"""The installed commands ``replay`` and ``simulate`` as subprocesses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.shared_data import shared_data

pytestmark = pytest.mark.slow  # many small ones, each with declarations of its own

ROOT = Path(__file__).parents[2]
RULES = """
alarms:
  - name: busy
    type: threshold
    rule: {metric: cpu, resource_id: vm, aggregation_method: mean, granularity: 60, evaluation_periods: 2,
           comparison_operator: gt, threshold: 50, window: aligned, evaluate: boundary}
    alarm_actions: ["policy://out"]
"""
POLICIES = """
groups:
  - {name: web, min_size: 1, max_size: 3, cooldown: 120, target: {type: dry_run}}
policies:
  - {name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 1}
"""
BUSY = [f"{minute * 60},90" for minute in range(20)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "policies.yaml").write_text(POLICIES)
    (tmp_path / "vm.csv").write_text("\n".join(["timestamp,value", *BUSY]) + "\n")
    return tmp_path


def _run(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autoscaler", *words],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )


def _happenings(found: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


def _replay(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return _run(folder, "replay", *words, "--rules", "rules.yaml", stdin=stdin)


def test_transitions_and_decisions_are_printed_as_lines(folder: Path) -> None:
    found = _happenings(_replay(folder, "vm.csv", "--metric", "cpu", "--policies", "policies.yaml"))

    transitions = [one for one in found if one["event"] == "transition"]
    scaled = [one for one in found if one["event"] == "decision" and one["decision"] == "scale"]
    held = [one for one in found if one["event"] == "decision" and one["decision"] == "hold"]
    assert transitions == [
        {
            "time": "1970-01-01T00:02:00Z",
            "event": "transition",
            "alarm": "busy",
            "previous": "insufficient data",
            "current": "alarm",
            "reason": "Transition to alarm due to 2 samples outside threshold, most recent: 90.0",
            "reason_data": {"type": "threshold", "disposition": "outside", "count": 2, "most_recent": 90.0},
        }
    ]
    assert [(one["from"], one["to"]) for one in scaled] == [(1, 2), (2, 3)]
    assert list(scaled[0])[:8] == ["time", "event", "policy", "group", "decision", "from", "to", "reason"]
    assert {"cooldown", "at bound"} <= {one["reason"] for one in held}
    assert all("until" in one for one in held if one["reason"] == "cooldown")


def test_the_same_input_gives_the_same_bytes(folder: Path) -> None:
    words = ("vm.csv", "--metric", "cpu", "--policies", "policies.yaml")

    assert _replay(folder, *words).stdout == _replay(folder, *words).stdout != ""


def test_without_policies_the_rules_run_alone(folder: Path) -> None:
    found = _replay(folder, "vm.csv", "--metric", "cpu")

    assert [one["event"] for one in _happenings(found)] == ["transition"]
    assert found.stderr == 'rules.yaml:7:21: alarms[0].alarm_actions[0]: left out: policy "out" is not declared\n'


@pytest.mark.parametrize("rules", sorted((ROOT / "rules").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_rules_run_alone(folder: Path, rules: Path) -> None:
    found = _run(folder, "replay", "vm.csv", "--metric", "cpu", "--rules", str(rules))

    assert {one["event"] for one in _happenings(found)} <= {"transition"}  # one of them fires on silence


def test_alarms_on_what_is_not_recorded_are_named(folder: Path) -> None:
    event = "\n  - {name: failed, type: event, rule: {event_type: x}, alarm_actions: ['log://']}\n"
    (folder / "rules.yaml").write_text(RULES + event)

    found = _replay(folder, "vm.csv", "--metric", "cpu", "--policies", "policies.yaml")

    assert len(_happenings(found)) > 1
    assert found.stderr == (
        'rules.yaml:9:5: alarms[1]: alarm "failed" rests on what measures do not tell, and that stays unknown here\n'
    )


def test_a_derived_metric_is_replayed(folder: Path) -> None:
    rule = "{metric: cpu_util, match: {}, aggregation_method: mean, comparison_operator: gt, threshold: 70}"
    (folder / "rules.yaml").write_text(f"alarms: [{{name: busy, type: aggregation, rule: {rule}}}]")
    busy = [
        {"metric": metric, "resource_id": "vm", "timestamp": minute * 60, "value": value}
        for minute in range(10)
        for metric, value in (("vcpus", 2), ("cpu", minute * 60 * 2 * 0.8e9))
    ]
    found = _replay(folder, "-", stdin="\n".join(map(json.dumps, busy)))

    (happening,) = _happenings(found)
    assert happening["reason"] == "Transition to alarm due to 1 samples outside threshold, most recent: 80.0"


def test_unknown_policies_are_faults_where_policies_are_given(folder: Path) -> None:
    (folder / "policies.yaml").write_text(POLICIES.replace("name: out", "name: outward"))

    found = _replay(folder, "vm.csv", "--metric", "cpu", "--policies", "policies.yaml")

    assert (found.returncode, found.stdout) == (1, "")
    assert 'there is no "out"' in found.stderr


def test_native_measures_come_from_standard_input(folder: Path) -> None:
    measures = [
        json.dumps({"metric": "cpu", "resource_id": "vm", "timestamp": minute * 60, "value": 90}) for minute in range(5)
    ]

    found = _replay(folder, "-", stdin="\n".join(measures))

    assert [one["current"] for one in _happenings(found)] == ["alarm"]


def test_several_files_are_replayed_as_if_recorded_together(folder: Path) -> None:
    lines = ["timestamp,value", *BUSY]
    (folder / "even.csv").write_text("\n".join([lines[0], *lines[1::2]]) + "\n")
    (folder / "odd.csv").write_text("\n".join([lines[0], *lines[2::2]]) + "\n")

    apart = _replay(folder, "even.csv", "odd.csv", "--metric", "cpu", "--resource-id", "vm")
    together = _replay(folder, "vm.csv", "--metric", "cpu")

    assert apart.stdout == together.stdout != ""


def test_time_goes_on_to_where_it_is_told_to(folder: Path) -> None:
    early = _replay(folder, "vm.csv", "--metric", "cpu", "--until", "60")
    late = _replay(folder, "vm.csv", "--metric", "cpu", "--until", "1970-01-01T01:00:00Z")

    assert early.stdout == ""
    assert [one["current"] for one in _happenings(late)] == ["alarm", "insufficient data"]


def test_rows_that_cannot_be_read_are_named_and_counted(folder: Path) -> None:
    (folder / "vm.csv").write_text("\n".join(["timestamp,value", "soon,1", *BUSY, "1,2,3"]) + "\n")

    found = _replay(folder, "vm.csv", "--metric", "cpu")

    assert [one["current"] for one in _happenings(found)] == ["alarm"]
    assert "vm.csv:2: timestamp: expected ISO 8601" in found.stderr
    assert "vm.csv:23: expected 2 cells, found 3" in found.stderr
    assert "2 of 22 rows could not be read and were left out." in found.stderr


@pytest.mark.parametrize(
    ("text", "words", "sentence"),
    [
        pytest.param("timestamp,value\nsoon,1\n", ("--metric", "cpu"), "nothing could be read", id="nothing-readable"),
        pytest.param("a,b\n1,2\n", ("--metric", "cpu"), "expected the header timestamp,value", id="other-header"),
        pytest.param("timestamp,value\n1,2\n", (), "say which with --metric", id="no-metric"),
        pytest.param("", ("--metric", "cpu"), "vm.csv: empty", id="empty"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_a_sentence(
    folder: Path, text: str, words: tuple[str, ...], sentence: str
) -> None:
    (folder / "vm.csv").write_text(text)

    found = _replay(folder, "vm.csv", *words)

    assert (found.returncode, found.stdout) == (1, "")
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr


def test_a_table_is_for_people(folder: Path) -> None:
    found = _replay(folder, "vm.csv", "--metric", "cpu", "--policies", "policies.yaml", "--format", "table")

    assert found.returncode == 0
    assert "insufficient data → alarm" in found.stdout
    assert "web out" in found.stdout


@pytest.mark.slow
def test_a_real_recording_is_replayed_twice_alike(folder: Path) -> None:
    recording = shared_data("cloudwatch", "realKnownCause", "cpu_utilization_asg_misconfiguration.csv")
    (folder / "rules.yaml").write_text(RULES.replace("granularity: 60", "granularity: 300"))
    words = (str(recording), "--metric", "cpu", "--resource-id", "vm", "--policies", "policies.yaml")

    first, again = _replay(folder, *words), _replay(folder, *words)

    assert first.stdout == again.stdout
    assert {one["event"] for one in _happenings(first)} == {"transition", "decision"}


def _simulate(folder: Path, *lines: object) -> subprocess.CompletedProcess[str]:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    words = ("simulate", "--stdio", "--rules", "rules.yaml", "--policies", "policies.yaml")
    return _run(folder, *words, stdin=text)


def _busy(minute: int) -> dict[str, object]:
    return {"metric": "cpu", "resource_id": "vm", "timestamp": minute * 60, "value": 90}


def _now(minute: int, size: int) -> dict[str, object]:
    return {"now": minute * 60, "groups": {"web": {"size": size, "ready": size}}}


def test_a_world_is_answered_after_each_now(folder: Path) -> None:
    found = _happenings(_simulate(folder, _now(0, 1), _busy(0), _busy(1), _now(2, 1), _now(3, 2)))

    answers = [one for one in found if "now" in one]
    assert answers == [
        {"now": 0, "groups": {"web": {"desired_capacity": 1}}},
        {"now": 120, "groups": {"web": {"desired_capacity": 2}}},
        {"now": 180, "groups": {"web": {"desired_capacity": 2}}},
    ]
    assert [one["event"] for one in found[1 : found.index(answers[1])]] == ["transition", "decision"]


def test_a_world_that_does_not_obey_keeps_its_group_in_flight(folder: Path) -> None:
    lines = [_now(0, 1)]
    for minute in range(6):
        lines += [_busy(minute), _now(minute + 1, 1)]

    found = _happenings(_simulate(folder, *lines))

    assert {one["reason"] for one in found if one.get("decision") == "hold"} == {"in flight"}
    assert found[-1]["groups"]["web"]["desired_capacity"] == 2


def test_lines_that_say_nothing_are_skipped_with_a_word(folder: Path) -> None:
    lines = [
        _now(1, 1),
        "{",
        {"now": 0},
        {"now": "soon"},
        {"now": 120, "groups": {"nix": {"size": 1}}},
        {"now": 120, "groups": {"web": {"size": -1}}},
        {"now": 120, "else": 1},
        {"metric": "cpu"},
        [1],
        {"now": 120},
    ]

    found = _simulate(folder, *lines)

    assert [one["now"] for one in _happenings(found)] == [60, 120]
    assert [line.split(": ")[0] for line in found.stderr.splitlines()] == [f"line {number}" for number in range(2, 10)]
    assert "declared are web" in found.stderr
