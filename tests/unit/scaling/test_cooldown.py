from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.scaling.adjustment import new_capacity
from autoscaler.scaling.cooldown import cooling, effective, recorded
from autoscaler.scaling.group import Limits
from autoscaler.scaling.policy import AdjustmentType
from tests.shared_data import shared_json


class Group:
    """A group moved by these functions and one flag, the way Heat moves its own."""

    def __init__(self, *, size: int, limits: Limits, cooldown: float | None, cooldown_end: float | None) -> None:
        self.size = size
        self.limits = limits
        self.cooldown = cooldown
        self.cooldown_end = cooldown_end
        self.in_flight = False

    def signal(self, signal: dict[str, Any], now: float) -> int | str:
        """The size to move to, or why not, in Heat's words."""
        kind = AdjustmentType(signal["type"])
        wanted = new_capacity(self.size, signal["adjustment"], kind, self.limits, signal["min_step"])
        if wanted == self.size:
            return "ignored:no-change"
        return self.refusal(now) or wanted

    def refusal(self, now: float) -> str | None:
        """Why the group may not move at ``now``; None where it may."""
        if self.in_flight:
            return "ignored:in-progress"
        return "ignored:cooldown" if cooling(self.cooldown_end, now) is not None else None

    def resized(self, now: float, size: int, cooldown: float | None) -> None:
        """A resize has taken effect."""
        self.size = size
        self.cooldown_end = recorded(self.cooldown_end, now, effective(cooldown, self.cooldown))


def grows_by_percent_from_zero(step: dict[str, Any], group: Group) -> bool:
    """Decided: such a step grows the group; in Heat it asks for less than nothing, which is no change."""
    is_percent = step["type"] == AdjustmentType.PERCENT_CHANGE_IN_CAPACITY
    asked = is_percent and step["adjustment"] > 0 and bool(step["min_step"])
    return asked and group.size == 0 < group.limits.max_size


def played(trace: dict[str, Any]) -> tuple[list[dict[str, Any]], list[int]]:
    """The trace's steps with our results in place of Heat's, and the numbers of those left out as decided."""
    created = recorded(None, trace["created_at"], effective(None, trace["group_cooldown"]))
    limits = Limits(trace["min"], trace["max"])
    group = Group(size=trace["initial"], limits=limits, cooldown=trace["group_cooldown"], cooldown_end=created)
    steps, decided = [], []
    for number, step in enumerate(trace["steps"]):
        ours = stepped(group, step) if not grows_by_percent_from_zero(step, group) else {}
        decided += [] if ours else [number]
        steps.append(step | ours)
    return steps, decided


def stepped(group: Group, step: dict[str, Any]) -> dict[str, Any]:
    now, answer = step["t"], group.signal(step, step["t"])
    ours: dict[str, Any] = {}
    if isinstance(answer, str):
        result = answer
    else:
        group.in_flight = True
        if inner := step.get("inner"):
            ours["inner"] = inner | {"result": group.signal(inner, now + inner["after"])}
        now += step["resize_secs"]
        group.in_flight = False
        result = "failed" if step["resize_fails"] else "accepted"
        if not step["resize_fails"]:
            group.resized(now, answer, step["cooldown"])
    return ours | {"result": result, "size": group.size, "t_done": now, "cooldown_end": group.cooldown_end}


def cases(part: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = shared_json("heat", "cooldown_cases.json")[part]
    return rows


def end_of(metadata: dict[str, Any]) -> float | None:
    return next((float(end) for end in metadata.get("cooldown_end", {})), None)


def test_all_traces_of_heat_agree_but_for_growth_by_percent_from_zero() -> None:
    traces = cases("traces")
    ours = [played(trace) for trace in traces]
    decided = {number: left_out for number, (_, left_out) in enumerate(ours) if left_out}

    assert [steps for steps, _ in ours] == [trace["steps"] for trace in traces]
    assert len(traces) == 120
    assert decided == {4: [9], 13: [12], 33: [4], 114: [6, 7, 9]}
    assert all(
        traces[n]["steps"][step]["result"] == "ignored:no-change" for n, left in decided.items() for step in left
    )


def test_all_checks_of_heat_agree_but_for_records_of_before_2016() -> None:
    # decided: those formats are Heat's own past; they are never read here
    rows = [row for row in cases("check") if not row["prior"].startswith("legacy")]
    answers = []
    for row in rows:
        group = Group(size=1, limits=Limits(0, 9), cooldown=None, cooldown_end=end_of(row["metadata"]))
        group.in_flight = row["metadata"].get("scaling_in_progress", False)
        answers.append(group.refusal(row["now"]) or "accepted")

    assert answers == [row["result"] for row in rows]
    assert (len(cases("check")), len(rows)) == (255, 165)


def test_all_ends_of_a_resize_in_heat_agree() -> None:
    rows = cases("finish")
    ends = []
    for row in rows:
        before = end_of(row["metadata"])
        cooldown = effective(row["cooldown"], None)
        ends.append(recorded(before, row["now"], cooldown) if row["size_changed"] else before)

    assert ends == [end_of(row["after"]) for row in rows]
    assert len(rows) == 70


@pytest.mark.parametrize(
    ("policy", "group", "expected"),
    [
        pytest.param(30.0, 60.0, 30.0, id="the-policys-own"),
        pytest.param(0.0, 60.0, 0.0, id="none-at-all-overrides-the-groups"),
        pytest.param(None, 60.0, 60.0, id="the-groups"),
        pytest.param(None, None, 0.0, id="nobodys"),
        pytest.param(-5.0, 60.0, 0.0, id="negative-is-none"),
        pytest.param(None, -5.0, 0.0, id="a-groups-negative-is-none"),
    ],
)
def test_the_policys_cooldown_goes_before_the_groups(
    policy: float | None, group: float | None, expected: float
) -> None:
    assert effective(policy, group) == expected


def test_the_end_of_the_cooldown_is_free() -> None:
    assert cooling(None, 100.0) is None
    assert cooling(100.0, 99.999) == 100.0
    assert cooling(100.0, 100.0) is None


TIMES = st.floats(0, 2e9)


@given(st.none() | TIMES, TIMES, st.none() | st.floats(-100, 1e6))
def test_a_cooldown_is_never_cut_short(before: float | None, now: float, cooldown: float | None) -> None:
    after = recorded(before, now, cooldown)

    assert after >= now
    assert before is None or after >= before
    assert cooling(after, now) in {None, after}
    assert recorded(after, now, cooldown) == after
