"""Whether anything was lost, doubled or done against the rules: asked of the records alone and of the final state.

It knows nothing of faults but when the store itself lost writes that it had acknowledged.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from autoscaler.measures.measure import Measure
from autoscaler.ports import event_id
from autoscaler.simulation.plant import Plant
from autoscaler.simulation.world import World
from tests.chaos.publisher import wanted
from tests.chaos.records import Record, of_kind
from tests.chaos.rig import Final
from tests.chaos.rules import COOLDOWN, MAX_SIZE, MIN_SIZE, declared, exact

INVARIANTS = {
    "measures": "every published measure is in a window, in the dead letters, or counted as unrouted or too old",
    "transitions": "each transition happened once, and they make a chain",
    "webhooks": "each transition was told at least once, under one key, in order",
    "decisions": "each transition that asks for it has one decision, and the moves make a chain",
    "resizes": "the group was only asked for what was decided, and is what was decided last",
    "bounds": "no size outside the bounds was asked for",
    "cooldown": "no resize came before the cooldown of the one before was over",
    "undisturbed": "the states are those of an undisturbed run over the same measures",
    "readiness": "a controller whose store may lose things says so",
    "rest": "in the end nothing is left to be done",
}
"""What is asked, by a short name."""

SLACK = 1.0
"""Seconds before a loss begins in which what is written may be lost: replication and the disk are that far behind."""
AFTERMATH = 30.0
"""Seconds after a loss in which what follows from it may happen: leases run out, and targets are looked at."""


@dataclass(frozen=True)
class Violation:
    """One invariant, broken once."""

    invariant: str
    text: str


@dataclass
class Outcome:
    """What was found.

    Attributes:
        counts: of what was looked at, by name.
    """

    violations: list[Violation] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def by_invariant(self) -> dict[str, int]:
        """How many violations each invariant has."""
        found = Counter(violation.invariant for violation in self.violations)
        return {name: found[name] for name in INVARIANTS}


@dataclass(frozen=True)
class Losses:
    """When the store lost acknowledged writes: pairs of Unix seconds."""

    spans: Sequence[tuple[float, float]]

    @classmethod
    def of(cls, records: Sequence[Record]) -> Losses:
        """From the records."""
        begun = [record["at"] for record in of_kind(records, "losing")]
        ended = [record["at"] for record in of_kind(records, "lost")]
        return cls(list(zip(begun, ended, strict=True)))

    def lost(self, at: float) -> bool:
        """Whether what was written then may be gone."""
        return any(begun - SLACK <= at <= ended + SLACK for begun, ended in self.spans)

    def follows(self, at: float) -> bool:
        """Whether what happened then may be a consequence."""
        return any(begun - SLACK <= at <= ended + AFTERMATH for begun, ended in self.spans)


async def check(
    records: Sequence[Record],
    final: Final,
    *,
    lateness: float,
    behind: int,
    logs: dict[int, str] | None = None,
    problems: Sequence[str] = (),
) -> Outcome:
    """Ask everything. Total.

    Args:
        problems: what did not come back, or not to rest, during the run.
    """
    checker = _Checker(records, final)
    checker.measures()
    checker.transitions()
    checker.webhooks()
    checker.decisions()
    checker.resizes()
    checker.readiness()
    checker.rest(problems, logs or {})
    await checker.undisturbed(lateness, behind)
    return checker.outcome


class _Checker:
    def __init__(self, records: Sequence[Record], final: Final) -> None:
        self.outcome = Outcome()
        self._records = records
        self._final = final
        self._losses = Losses.of(records)
        self._moves = [made for made in final.decisions if made.decision == "scale"]
        self._judged_without: dict[str, list[float]] = defaultdict(list)

    def _broken(self, invariant: str, text: str) -> None:
        self.outcome.violations.append(Violation(invariant, text))

    def _count(self, **counts: int) -> None:
        self.outcome.counts |= counts

    # --- measures ----------------------------------------------------------------------------------------------------

    def measures(self) -> None:
        """What was published and confirmed is somewhere."""
        sent = wanted(self._records)
        written: dict[tuple[str, float], list[float]] = defaultdict(list)
        for record in of_kind(self._records, "written"):
            for name, times in record["points"].items():
                for time in times:
                    written[name, time].append(record["at"])
        if not written:
            self._broken("measures", "no controller has recorded what it wrote: the rig sees nothing")
        lost = 0
        for measure in sent:
            key = (measure["resource_id"], measure["timestamp"])
            if key in written and self._losses.lost(min(written[key])):
                # it may have come again by now, but what was judged meanwhile was judged without it
                self._judged_without[measure["metric"]].append(measure["timestamp"])
            stored = self._final.points.get(key[0], {}).get(key[1])
            if stored == measure["value"]:
                continue
            if key in written and self._losses.lost(max(written[key])):
                lost += 1
                continue
            what = "is in no window" if stored is None else f"is there as {stored}"
            self._broken("measures", f"{key} {measure['value']} by {measure['via']} {what}; written {written.get(key)}")
        for what in ("unrouted", "too old"):
            published = {
                (r["resource_id"], r["timestamp"]) for r in of_kind(self._records, "published") if r["what"] == what
            }
            count = sum(record["count"] for record in of_kind(self._records, what))
            # while a controller does not know yet that nothing waits, one that is hours old is no older than it may be
            if count < len(published) and (what == "unrouted" or published - written.keys()):
                self._broken("measures", f"{len(published)} measures were {what}, {count} were counted")
            self._count(**{what.replace(" ", "_"): len(published)})
        rejected = {r["resource_id"] for r in of_kind(self._records, "published") if r["what"] == "rejected"}
        letters = [letter for letter in self._final.letters if letter.kind == "measure"]
        buried = {json.loads(letter.payload)["resource_id"] for letter in letters}
        for resource_id in sorted(rejected - buried):
            at = [r["at"] for r in of_kind(self._records, "published") if r["resource_id"] == resource_id]
            if not any(self._losses.follows(time) for time in at):
                self._broken("measures", f"{resource_id} was refused and is not in the dead letters")
        self._count(measures=len(sent), lost_by_the_store=lost, rejected=len(rejected))

    # --- alarms ------------------------------------------------------------------------------------------------------

    def transitions(self) -> None:
        """Each alarm's history is one chain."""
        count = 0
        for name, entries in self._final.histories.items():
            ids = [entry.event_id for entry in entries]
            for doubled in (each for each, times in Counter(ids).items() if times > 1):
                self._broken("transitions", f"{name}: {doubled} is in the history twice")
            changes = [entry for entry in entries if entry.type == "state transition"]
            count += len(changes)
            for before, after in pairwise(changes):
                if before.detail["state"] == after.detail["state"]:
                    self._broken("transitions", f"{name}: {after.detail['state']} again at {after.timestamp}")
                if after.timestamp < before.timestamp:
                    self._broken("transitions", f"{name}: {after.timestamp} comes after {before.timestamp}")
        said: dict[str, set[str]] = defaultdict(set)
        for record in of_kind(self._records, "history"):
            entry = record["entry"]
            said[entry["event_id"]].add(f"{entry['timestamp']} {entry['detail']}")
        for doubled, contents in said.items():
            if len(contents) > 1:
                self._broken("transitions", f"{doubled} was told as {sorted(contents)}")
        self._count(transitions=count)

    def webhooks(self) -> None:
        """Each transition's webhook has come, under one key with one body, in order."""
        bodies: dict[str, set[str]] = defaultdict(set)
        first: dict[str, float] = {}
        for record in of_kind(self._records, "post"):
            bodies[record["key"]].add(record["body"])
        for key, said in bodies.items():
            if len(said) > 1:
                self._broken("webhooks", f"{key} came with {len(said)} bodies: {sorted(said)}")
        answers: dict[str, list[str]] = defaultdict(list)
        for record in of_kind(self._records, "answered"):
            if record["key"] not in first:
                first[record["key"]] = record["at"]
                answers[record["alarm"]].append(record["key"])
        given_up = {json.loads(letter.payload)["id"] for letter in self._final.letters if letter.kind == "action"}
        told = 0
        for name, entries in self._final.histories.items():
            if name.endswith("everything"):
                continue
            keys = answers.get(name, [])
            told += len(keys)
            self._in_order(name, keys, first)
            by_event = {event_id(*_parts(key), "state transition"): key for key in (*keys, *given_up)}
            # a history keeps so many lines; what is older was told when it was there
            known = {entry.event_id: entry for entry in entries if entry.type == "state transition"}
            known |= {
                record["entry"]["event_id"]: record["entry"]
                for record in of_kind(self._records, "history")
                if record["alarm"] == name and record["entry"]["type"] == "state transition"
            }
            for event, entry in known.items():
                at = _time(entry)
                if event not in by_event and not self._losses.follows(at):
                    self._broken("webhooks", f"{name}: the transition at {at} was never told")
            for event, key in by_event.items():
                if key in first and event not in known and not self._losses.follows(first[key]):
                    self._broken("webhooks", f"{name}: {key} tells of a transition that is in no history")
        posts = sum(1 for _ in of_kind(self._records, "post"))
        self._count(webhooks=told, webhooks_repeated=posts - len(bodies), given_up=len(given_up))

    def _in_order(self, name: str, keys: Sequence[str], first: dict[str, float]) -> None:
        for before, after in pairwise(keys):
            if _parts(before)[1] > _parts(after)[1] and not self._losses.follows(first[after]):
                self._broken("webhooks", f"{name}: {after} came after {before}")

    # --- the group ---------------------------------------------------------------------------------------------------

    def decisions(self) -> None:
        """Rows of transitions were decided upon once; moves follow one another."""
        contents: dict[str, dict[str, float]] = defaultdict(dict)
        for record in of_kind(self._records, "decided"):
            decision = record["decision"]
            said = f"{decision['decision']} {decision.get('from')} -> {decision.get('to')} {decision['reason']}"
            contents[decision["id"]].setdefault(said, record["at"])
        for name, said in contents.items():
            if len(said) > 1 and not any(self._losses.follows(at) for at in said.values()):
                self._broken("decisions", f"{name} was decided as {sorted(said)}")
        asked = {
            row_id: record["at"]
            for record in of_kind(self._records, "accepted")
            for row_id, url, repeat in record["rows"]
            if url.startswith("policy:") and not repeat
        }
        for row_id, at in asked.items():
            if row_id not in contents and not self._losses.follows(at):
                self._broken("decisions", f"{row_id} was never decided upon")
        for before, after in pairwise(self._moves):
            if after.before != before.to and not self._losses.follows(after.time):
                self._broken("decisions", f"{before.id} moved to {before.to}, {after.id} from {after.before}")
        for name, times in Counter(made.id for made in self._final.decisions).items():
            if times > 1:
                self._broken("decisions", f"{name} is kept {times} times")
        self._count(asked=len(asked), decided=len(contents), moves=len(self._moves))

    def resizes(self) -> None:
        """The target was asked for what was decided; bounds and cooldown were kept."""
        resizes = list(of_kind(self._records, "resize"))
        decided = {
            record["decision"]["to"]
            for record in of_kind(self._records, "decided", "kept")
            if record["decision"]["decision"] == "scale"
        } | {made.to for made in self._moves}
        sizes: dict[int, dict[int, float]] = defaultdict(dict)
        for each in resizes:
            if each["size"] not in decided:
                self._broken("resizes", f"{each['size']} was asked for, and nobody decided it")
            if not MIN_SIZE <= each["size"] <= MAX_SIZE:
                self._broken("bounds", f"{each['size']} was asked for")
            sizes[each["fence"]].setdefault(each["size"], each["at"])
        for fence, said in sizes.items():
            if len(said) > 1 and not any(self._losses.follows(at) for at in said.values()):
                self._broken("resizes", f"fence {fence} was sent with {sorted(said)}")
        self._cooldowns(resizes)
        if self._moves and self._moves[-1].to != self._final.size:
            self._broken("resizes", f"{self._moves[-1].to} was decided last, the group is {self._final.size}")
        if self._final.desired != self._final.size:
            self._broken("resizes", f"{self._final.desired} are wanted, the group is {self._final.size}")
        self._count(resizes=len(resizes))

    def _cooldowns(self, resizes: Iterable[Record]) -> None:
        """From the moment at which the group had a size until it was asked for another."""
        failed = {made.time for made in self._moves if made.reason != "policy"}
        took: dict[int, float] = {}
        for each in resizes:
            if each["obeyed"] and each["after"] == each["size"]:
                took.setdefault(each["fence"], each["at"])
        first: dict[int, float] = {}
        for each in resizes:
            if each["obeyed"]:
                first.setdefault(each["fence"], each["at"])
        for fence, at in first.items():
            before = took.get(fence - 1)
            if before is None or self._losses.follows(at) or any(before - 2 <= time <= at + 2 for time in failed):
                continue
            if at < before + COOLDOWN - 0.01:
                self._broken("cooldown", f"fence {fence} came {at - before:.3f} s after {fence - 1} had taken effect")

    # --- the rest ----------------------------------------------------------------------------------------------------

    def readiness(self) -> None:
        """What controllers said of a store that is not as it should be."""
        for record in of_kind(self._records, "readiness"):
            if record["expected"] not in record["said"]:
                self._broken("readiness", f"expected {record['expected']!r}, said was {record['said']!r}")

    def rest(self, problems: Sequence[str], logs: dict[int, str]) -> None:
        """Nothing is left, and no controller has fallen over its own feet."""
        for problem in problems:
            self._broken("rest", problem)
        for name, rows in self._final.waiting.items():
            self._broken("rest", f"{name}: {rows} actions wait")
        for number, log in logs.items():
            if "Traceback" in log:
                self._broken("rest", f"replica {number}: {log[log.index('Traceback') :][:3000]}")

    async def undisturbed(self, lateness: float, behind: int) -> None:
        """States at all times are those of an undisturbed run, but where the store has lost what they rest on."""
        declarations = declared(exact(lateness, behind=behind))
        world = World(Plant(obedient=True))
        world.declare(declarations)
        expected: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
        sent = wanted(self._records)
        for measure in sent:
            fields = ("metric", "resource_id", "timestamp", "value")
            metadata = {"server_group": "web", "rig": "chaos"}
            await world.feed(Measure(**{key: measure[key] for key in fields}, metadata=metadata))
        if sent:
            await world.advance(sent[-1]["timestamp"] + lateness + 600)
        store = world.controller.store
        compared = 0
        for alarm in declarations.alarms.values():
            if alarm.name.endswith("everything"):
                continue
            for entry in reversed(await store.history(alarm.alarm_id, limit=1_000_000)):
                if entry.type == "state transition":
                    expected[alarm.name].append(_change(entry))
            compared += self._same(alarm.name, expected[alarm.name], lateness)
        self._count(compared=compared)

    def _same(self, name: str, expected: Sequence[tuple[float, str, str]], lateness: float) -> int:
        entries = {
            record["entry"]["event_id"]: record["entry"]
            for record in of_kind(self._records, "history")
            if record["alarm"] == name and record["entry"]["type"] == "state transition"
        }
        entries |= {
            e.event_id: {"timestamp": e.timestamp, "detail": e.detail}
            for e in self._final.histories[name]
            if e.type == "state transition"
        }
        found = sorted((e["timestamp"], e["detail"]["state"]) for e in entries.values())
        wanted_at = [(time, state) for time, state, _ in expected]
        if not self._losses.spans:
            if found != wanted_at:
                missing, more = sorted(set(wanted_at) - set(found)), sorted(set(found) - set(wanted_at))
                self._broken("undisturbed", f"{name}: missing {missing[:5]}, beside them {more[:5]}")
            return len(found)
        settle = AFTERMATH + lateness
        # an alarm of a backlog has the name of its metric, whose measures are much older than their loss
        spans = [*self._losses.spans, *((time, time) for time in self._judged_without[name])]
        for time in sorted({time for time, _ in (*found, *wanted_at)}):
            near = any(begun - settle <= time <= ended + settle for begun, ended in spans)
            if not near and _state_at(found, time) != _state_at(wanted_at, time):
                self._broken(
                    "undisturbed", f"{name} is {_state_at(found, time)} at {time}, not {_state_at(wanted_at, time)}"
                )
        return len(found)


def _parts(key: str) -> tuple[str, int]:
    """Alarm and version of an idempotency key."""
    alarm_id, version, _ = key.split(":")
    return alarm_id, int(version)


def _time(entry: Any) -> float:
    return float(entry["timestamp"] if isinstance(entry, dict) else entry.timestamp)


def _change(entry: Any) -> tuple[float, str, str]:
    return entry.timestamp, str(entry.detail["state"]), str(entry.detail["transition_reason"])


def _state_at(changes: Sequence[tuple[float, str]], time: float) -> str:
    place = bisect_right(changes, (time, "\uffff"))
    return changes[place - 1][1] if place else "insufficient data"
