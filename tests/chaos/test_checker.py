"""The checker bites: each invariant, broken by hand in records that were whole."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from autoscaler.ports import DeadLetter, HistoryEntry, event_id
from autoscaler.scaling.decision import Decision, Reason
from tests.chaos.checker import AFTERMATH, INVARIANTS, check
from tests.chaos.faults import ALL, planned
from tests.chaos.publisher import METRIC
from tests.chaos.records import Record
from tests.chaos.rig import Final
from tests.chaos.rules import declared, exact
from tests.chaos.take_over import take_overs

LATENESS = 5.0
BEGINS = 1_700_000_004.0
"""The load is high from here on for six seconds, then low."""


@dataclass
class Story:
    """A short run in which nothing is wrong."""

    records: list[Record] = field(default_factory=list)
    final: Final = field(default_factory=lambda: Final({}, {}, [], [], {}, 3, False, 3))

    def say(self, kind: str, at: float, **facts: Any) -> None:
        self.records.append({"kind": kind, "at": at, **facts})


def told(story: Story, name: str, alarm_id: str, version: int, state: str, at: float) -> None:
    """A transition, its history and its webhook."""
    entry = {"event_id": event_id(alarm_id, version, "state transition"), "alarm_id": alarm_id, "timestamp": at}
    entry |= {"type": "state transition", "detail": {"state": state, "transition_reason": "told"}}
    story.final.histories.setdefault(name, []).append(HistoryEntry(**entry))
    key, body = f"{alarm_id}:{version}:0", json.dumps({"current": state})
    story.say("post", at + 0.1, key=key, alarm=name, body=body)
    story.say("answered", at + 0.2, key=key, alarm=name)


def whole() -> Story:
    """Measures of twelve seconds, all that follows from them, and two moves of the group."""
    story = Story()
    alarms = {alarm.name: alarm.alarm_id for alarm in declared(exact(LATENESS)).alarms.values()}
    for second in range(12):
        at, value = BEGINS + second + 0.5, 91.0 if second < 6 else 11.0
        fields = {"metric": METRIC, "resource_id": "web-1", "timestamp": at, "value": value, "via": "amqp"}
        story.say("published", at, what="wanted", **fields)
        story.say("written", at, points={"web-1": [at]}, replica=0)
        story.final.points.setdefault("web-1", {})[at] = value
    for name, changes in {
        "exact-mean": [(2, "alarm"), (8, "ok"), (14, "insufficient data")],
        "exact-noise": [(1, "ok"), (14, "insufficient data")],
        "exact-calm": [(4, "ok"), (10, "alarm"), (16, "insufficient data")],
    }.items():
        for version, (second, state) in enumerate(changes, 1):
            told(story, name, alarms[name], version, state, BEGINS + second)
    for what in ("unrouted", "too old"):
        story.say("published", BEGINS, what=what, via="mqtt", resource_id=what, timestamp=BEGINS, value=1.0)
        story.say(what, BEGINS, count=1)
    story.say("published", BEGINS, what="rejected", via="mqtt", resource_id="bad-1", timestamp=BEGINS, value="much")
    payload = json.dumps({"resource_id": "bad-1"})
    letter = DeadLetter(kind="measure", time=BEGINS, reason="wrong type", detail="", source="", payload=payload)
    story.final.letters.append(letter)
    for number, (before, to) in enumerate([(2, 4), (4, 3)]):
        at = BEGINS + 3 * number
        row = f"busy:{number}:1"
        made = Decision(
            id=row, time=at, group="web", decision="scale", reason=Reason.POLICY, text="", before=before, to=to
        )
        story.final.decisions.append(made)
        told_as = {"id": row, "decision": "scale", "from": before, "to": to, "reason": "policy"}
        story.say("accepted", at, windows=[], rows=[[row, "policy://out", False]], replica=0)
        story.say("decided", at, repeated=False, asked=row, decision=told_as, replica=0)
        story.say("resize", at, size=to, fence=number + 1, obeyed=True, before=before, after=to)
    story.say("readiness", BEGINS, expected="may evict", said="it may evict")
    return story


async def violated(story: Story, *problems: str) -> set[str]:
    outcome = await check(story.records, story.final, lateness=LATENESS, behind=0, problems=problems)
    print([violation.text for violation in outcome.violations])
    return {violation.invariant for violation in outcome.violations}


async def test_a_whole_story_breaks_nothing() -> None:
    assert await violated(whole()) == set()


def without(kind: str, **facts: Any) -> Callable[[Story], None]:
    def change(story: Story) -> None:
        found = [r for r in story.records if r["kind"] == kind and facts.items() <= r.items()]
        assert found
        story.records.remove(found[-1])

    return change


def altered(kind: str, number: int, **facts: Any) -> Callable[[Story], None]:
    def change(story: Story) -> None:
        [r for r in story.records if r["kind"] == kind][number].update(facts)

    return change


def again(kind: str, number: int, **facts: Any) -> Callable[[Story], None]:
    def change(story: Story) -> None:
        found = [r for r in story.records if r["kind"] == kind][number]
        story.records.append(copy.deepcopy(found) | facts)

    return change


def a_measure_is_gone(story: Story) -> None:
    story.final.points["web-1"].popitem()


def a_measure_has_changed(story: Story) -> None:
    story.final.points["web-1"][BEGINS + 0.5] = 12.0


def a_letter_is_gone(story: Story) -> None:
    story.final.letters.clear()


def a_transition_is_doubled(story: Story) -> None:
    entries = story.final.histories["exact-calm"]
    entries.append(entries[-1])


def a_transition_is_gone(story: Story) -> None:
    del story.final.histories["exact-calm"][1]


def a_state_comes_again(story: Story) -> None:
    entries = story.final.histories["exact-calm"]
    entries[1].detail["state"] = entries[0].detail["state"]


def webhooks_change_places(story: Story) -> None:
    first, second = [r for r in story.records if r["kind"] == "answered" and r["alarm"] == "exact-mean"][:2]
    first["key"], second["key"] = second["key"], first["key"]


def moves_do_not_follow(story: Story) -> None:
    story.final.decisions.pop(0)
    story.final.decisions.insert(0, story.final.decisions[0])


def the_group_is_another(story: Story) -> None:
    story.final.size = 5


def something_waits(story: Story) -> None:
    story.final.waiting["busy"] = 1


@pytest.mark.parametrize(
    ("change", "invariant"),
    [
        pytest.param(a_measure_is_gone, "measures", id="measure-gone"),
        pytest.param(a_measure_has_changed, "measures", id="measure-changed"),
        pytest.param(a_letter_is_gone, "measures", id="dead-letter-gone"),
        pytest.param(without("unrouted"), "measures", id="unrouted-not-counted"),
        pytest.param(without("too old"), "measures", id="too-old-not-counted"),
        pytest.param(a_transition_is_doubled, "transitions", id="transition-doubled"),
        pytest.param(a_state_comes_again, "transitions", id="chain-broken"),
        pytest.param(a_transition_is_gone, "undisturbed", id="states-differ"),
        pytest.param(a_transition_is_gone, "webhooks", id="webhook-of-nothing"),
        pytest.param(without("answered"), "webhooks", id="webhook-lost"),
        pytest.param(again("post", 0, body='{"current": "ok"}'), "webhooks", id="one-key-two-bodies"),
        pytest.param(webhooks_change_places, "webhooks", id="webhooks-out-of-order"),
        pytest.param(without("decided"), "decisions", id="never-decided"),
        pytest.param(
            again("decided", 0, decision={"id": "busy:0:1", "decision": "hold", "reason": "cooldown"}),
            "decisions",
            id="decided-twice",
        ),
        pytest.param(moves_do_not_follow, "decisions", id="moves-do-not-follow"),
        pytest.param(altered("resize", 0, size=5, after=5), "resizes", id="resize-of-nobodys"),
        pytest.param(altered("resize", 1, fence=1), "resizes", id="one-fence-two-sizes"),
        pytest.param(the_group_is_another, "resizes", id="not-the-last-one"),
        pytest.param(altered("resize", 0, size=9, after=9), "bounds", id="out-of-bounds"),
        pytest.param(altered("resize", 1, at=BEGINS + 1), "cooldown", id="too-soon"),
        pytest.param(altered("readiness", 0, said=""), "readiness", id="says-it-is-ready"),
        pytest.param(something_waits, "rest", id="actions-left"),
    ],
)
async def test_each_invariant_is_seen_to_be_broken(change: Callable[[Story], None], invariant: str) -> None:
    story = whole()
    change(story)

    assert invariant in INVARIANTS
    assert invariant in await violated(story)


async def test_what_the_store_lost_is_forgiven_within_its_span_and_not_beyond() -> None:
    lost_at = BEGINS + 11.5
    for offset, forgiven in ((0.0, True), (-AFTERMATH, False), (SLACK_AND_MORE, False)):
        story = whole()
        a_measure_is_gone(story)
        story.say("losing", lost_at + offset - 0.1)
        story.say("lost", lost_at + offset + 0.1)
        assert ("measures" not in await violated(story)) is forgiven


SLACK_AND_MORE = 3.0


async def test_a_run_that_does_not_come_to_rest_is_a_violation() -> None:
    assert await violated(whole(), "not quiet") == {"rest"}


def test_the_same_seed_draws_the_same_faults_and_every_kind_comes_up() -> None:
    first, again_ = planned(7, 200), planned(7, 200)

    assert [(fault.kind, fault.draw) for fault in first] == [(fault.kind, fault.draw) for fault in again_]
    assert {fault.kind for fault in first} == {kind.name for kind in ALL}
    assert [fault.draw for fault in planned(8, 200)] != [fault.draw for fault in first]


def test_a_take_over_lasts_until_all_that_was_in_hand_is_finished() -> None:
    story = Story()
    story.say("died", 100.0, step="accepted", replica=1, in_hand={"keys": ["a:1:0", "a:2:0"]})
    story.say("answered", 101.0, key="a:1:0", alarm="a")
    story.say("answered", 103.5, key="a:2:0", alarm="a")
    story.say("died", 110.0, step="written", replica=0, in_hand={"windows": [["w", 7]]})
    story.say("accepted", 111.0, windows=[["w", 6]], rows=[], replica=2)
    story.say("accepted", 112.5, windows=[["w", 8]], rows=[], replica=2)
    story.say("died", 120.0, step="decided", replica=0, in_hand={"fences": [4]})

    found = take_overs(story.records)

    assert [(each.seconds, each.by) for each in found] == [(3.5, ()), (2.5, (2,)), (None, ())]
