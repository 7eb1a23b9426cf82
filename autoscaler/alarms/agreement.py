"""Two services that watch the same alarms, compared: where they agree, how much later one is, and why they differ.

What one side does at a time is a :class:`Step`. Steps of the two sides to the same state, near enough in time, are one
decision that both have taken; a step that finds no other is a difference, and is given a reason. Each step is accounted
for exactly once: in a pair, as a difference, as not compared, or as still open.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import msgspec

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.rules import Rule, leaves_of
from autoscaler.alarms.time_constraints import TimeConstraint, within

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence
    from typing import Final

    from autoscaler.alarms.alarm import Alarm

_Key = TypeVar("_Key", bound="Hashable")

MOST_OPEN: Final = 100
"""Steps of one alarm that wait for the other side's; the oldest is settled early."""
REMEMBERED: Final = 10
"""Settled steps of one alarm by which others are explained."""
CYCLE: Final = 1.2
"""Of Aodh's interval, how long a cycle of its evaluator may last: the pause begins when it has done all alarms."""
NEWEST: Final = 20
"""Disagreements that are kept of one alarm."""


class Side(StrEnum):
    """Who took a step."""

    OURS = "ours"
    AODH = "aodh"


class Difference(StrEnum):
    """Why a step found no other; metric label and API text alike."""

    ONLY_OURS = "only ours"
    ONLY_AODH = "only aodh"
    TOO_SHORT = "too short for aodh's poll"
    OURS_BRIEFLY = "we went and came back"
    AODH_BRIEFLY = "aodh went and came back"
    NO_DATA_HERE = "no data here"
    NO_DATA_AT_AODH = "no data at aodh"
    VALUES_DIFFER = "values differ"
    OTHER_START = "before a full window"
    THERE_ALREADY = "there already"
    TIME_CONSTRAINT = "time constraint"
    UNKNOWN_ALARM = "alarm unknown here"


class Uncompared(StrEnum):
    """Why nothing is concluded from a step that found no other."""

    ABSENT = "shadow was away"
    CHANGED = "alarm was changed"
    BY_HAND = "state was set by hand"
    REMOVED = "alarm was removed"


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A transition of one side.

    Attributes:
        time: Unix seconds.
        reason: in the side's own words.
        actions: that it calls, as they may be shown.
        beside: what the other side said of itself at that moment; "" where that is not known.
    """

    side: Side
    previous: AlarmState
    state: AlarmState
    time: float
    reason: str = ""
    actions: tuple[str, ...] = ()
    beside: str = ""


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """A step that found no other.

    Attributes:
        text: the reason in words.
    """

    alarm_id: str
    step: Step
    difference: Difference
    text: str


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What comparisons came to.

    Attributes:
        agreed: decisions that both sides have taken.
        differences: how many of each kind.
        uncompared: steps from which nothing is concluded.
        delays: of agreed decisions, how many by tenths of a second, rounded (:func:`rounded`); positive where ours
            was earlier.
        seconds: for how long both sides' states were known.
        equal: for how long of that they were the same.
        newest: disagreements, newest first, a bounded number.
    """

    agreed: int = 0
    differences: dict[Difference, int] = msgspec.field(default_factory=dict)
    uncompared: dict[Uncompared, int] = msgspec.field(default_factory=dict)
    delays: dict[int, int] = msgspec.field(default_factory=dict)
    seconds: float = 0.0
    equal: float = 0.0
    newest: tuple[Disagreement, ...] = ()

    @property
    def disagreed(self) -> int:
        """Decisions that only one side has taken."""
        return sum(self.differences.values())

    @property
    def of_decisions(self) -> float | None:
        """Share of decisions that both have taken, from 0 to 1; None while there are none."""
        decisions = self.agreed + self.disagreed
        return self.agreed / decisions if decisions else None

    @property
    def of_time(self) -> float | None:
        """Share of the time in which both were in the same state; None while there is none."""
        return self.equal / self.seconds if self.seconds else None

    def delay(self, share: float) -> float | None:
        """Seconds that ours was earlier by, at most in ``share`` of the agreed decisions; None while there are none."""
        left = math.ceil(share * sum(self.delays.values()))
        for tenths in sorted(self.delays):
            left -= self.delays[tenths]
            if left <= 0:
                return tenths / 10
        return None


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How an alarm is compared.

    Attributes:
        tolerance: seconds between two steps that count as one decision.
        poll: seconds between two looks of Aodh's.
        window: seconds that the alarm looks back on.
    """

    tolerance: float
    poll: float
    window: float = 0.0
    constraints: tuple[TimeConstraint, ...] = ()


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm on both sides.

    Attributes:
        since: Unix seconds from which on both sides are compared; what either did before only says where it is.
        asof: Unix seconds up to which ``sums`` know of time.
        ours: our present state.
        aodh: Aodh's.
        counting: whether time counts; not while the alarm is disabled.
        resumed: whether it began after an absence.
        open: steps that wait for the other side's, in order of arrival.
        past: steps settled last, oldest first.
        heard: ids of Aodh's words that were taken last, newest first; the same told again changes nothing.
        seen: id of the newest line of our history that was taken; "" for none.
    """

    since: float
    asof: float
    ours: AlarmState
    aodh: AlarmState
    counting: bool = True
    resumed: bool = False
    open: tuple[Step, ...] = ()
    past: tuple[Step, ...] = ()
    sums: Sums = msgspec.field(default_factory=Sums)
    heard: tuple[str, ...] = ()
    seen: str = ""

    def state(self, side: Side) -> AlarmState:
        """The present state of one side."""
        return self.ours if side is Side.OURS else self.aodh


def terms_of(alarm: Alarm, *, poll: float, tolerance: float | None) -> Terms:
    """How an alarm is compared.

    Args:
        poll: seconds between two looks of Aodh's.
        tolerance: seconds; None allows for two looks and a granule, since Aodh may look just before a measure is there.
    """
    rules = [leaf for leaf in leaves_of(alarm.rule) if isinstance(leaf, Rule)]
    granule = max((rule.granularity for rule in rules), default=0.0)
    return Terms(
        tolerance=2 * poll + granule if tolerance is None else tolerance,
        poll=poll,
        window=max((rule.granularity * (rule.evaluation_periods + 1) for rule in rules), default=0.0),
        constraints=alarm.time_constraints,
    )


def taken(comparison: Comparison, alarm_id: str, step: Step, terms: Terms) -> Comparison:
    """The comparison after a step; one to the state that the side is in already is none.

    Whatever waited from before a pair can find no other any more, and is settled: steps of both sides are in order.
    """
    if step.state is comparison.state(step.side):
        return comparison
    if step.time < comparison.since:
        return _counted(_moved(comparison, step), Uncompared.ABSENT, 1)
    other = _nearest(comparison.open, step, terms.tolerance)
    found = _moved(_advanced(comparison, step.time), step)
    found = _with(found, open=(*found.open, step))
    if other is None:
        return _settled(found, alarm_id, terms, found.open[: max(0, len(found.open) - MOST_OPEN)])
    before = [each for each in comparison.open[: comparison.open.index(other)] if each.side is other.side]
    before += [each for each in comparison.open if each.side is step.side]
    found = _closed(_settled(found, alarm_id, terms, before), (other, step))
    sums = found.sums
    ours, aodh = (step, other) if step.side is Side.OURS else (other, step)
    delay = rounded(aodh.time - ours.time)
    delays = sums.delays | {delay: sums.delays.get(delay, 0) + 1}
    return _with(found, sums=msgspec.structs.replace(sums, agreed=sums.agreed + 1, delays=delays))


def settled(comparison: Comparison, alarm_id: str, terms: Terms, until: float) -> Comparison:
    """The comparison when all that either side did until ``until`` (Unix seconds) is known."""
    late = [step for step in comparison.open if step.time + terms.tolerance < until]
    return _settled(comparison, alarm_id, terms, late)


def accounted(comparison: Comparison, now: float) -> Sums:
    """The sums with the time until now."""
    return _advanced(comparison, now).sums


def ended(comparison: Comparison, why: Uncompared, time: float) -> Comparison:
    """The comparison with nothing open: what waited is not compared."""
    found = _advanced(comparison, time)
    if not found.open:
        return found
    return _counted(_closed(found, found.open), why, len(found.open))


def restated(comparison: Comparison, state: AlarmState, time: float) -> Comparison:
    """Somebody has set the state on both sides."""
    return _with(ended(comparison, Uncompared.BY_HAND, time), ours=state, aodh=state)


def changed(comparison: Comparison, time: float, *, counting: bool) -> Comparison:
    """The alarm is another on both sides from now on."""
    found = ended(comparison, Uncompared.CHANGED, time)
    return _with(found, since=max(time, found.since), asof=max(time, found.asof), counting=counting, resumed=False)


def absent(comparison: Comparison, gone: float, back: float) -> Comparison:
    """The comparison after a time in which we looked at nothing: that time does not count."""
    found = _advanced(comparison, gone)
    return _with(found, since=back, asof=max(back, found.asof), resumed=True)


def added(sums: Iterable[Sums], *, newest: int) -> Sums:
    """Several as one, with so many of the newest disagreements."""
    agreed, seconds, equal = 0, 0.0, 0.0
    differences: dict[Difference, int] = {}
    uncompared: dict[Uncompared, int] = {}
    delays: dict[int, int] = {}
    disagreements: list[Disagreement] = []
    for each in sums:
        agreed += each.agreed
        seconds += each.seconds
        equal += each.equal
        _add(differences, each.differences)
        _add(uncompared, each.uncompared)
        _add(delays, each.delays)
        disagreements += each.newest
        if len(disagreements) > 2 * newest + NEWEST:
            disagreements = _newest(disagreements, newest)
    return Sums(
        agreed=agreed,
        differences=differences,
        uncompared=uncompared,
        delays=delays,
        seconds=seconds,
        equal=equal,
        newest=tuple(_newest(disagreements, newest)),
    )


def of_unknown(alarm_id: str, step: Step) -> Sums:
    """What Aodh does with an alarm that is not here."""
    text = "Aodh has this alarm, we do not: it was not imported, or what was told of it could not be understood"
    found = Disagreement(alarm_id=alarm_id, step=step, difference=Difference.UNKNOWN_ALARM, text=text)
    return Sums(differences={Difference.UNKNOWN_ALARM: 1}, newest=(found,))


def rounded(seconds: float) -> int:
    """A delay in tenths of a second, the coarser the longer it is: there are some thousand different ones."""
    step = 0.1 if abs(seconds) < 100 else 1.0 if abs(seconds) < 1000 else 60.0
    return round(round(seconds / step) * step * 10)


# --- matching --------------------------------------------------------------------------------------------------------


def _nearest(steps: Iterable[Step], step: Step, tolerance: float) -> Step | None:
    """The other side's step to the same state that is nearest in time."""
    others = [
        other
        for other in steps
        if other.side is not step.side and other.state is step.state and abs(other.time - step.time) <= tolerance
    ]
    return min(others, key=lambda other: abs(other.time - step.time), default=None)


def _moved(comparison: Comparison, step: Step) -> Comparison:
    if step.side is Side.OURS:
        return _with(comparison, ours=step.state)
    return _with(comparison, aodh=step.state)


def _counted(comparison: Comparison, why: Uncompared, steps: int) -> Comparison:
    uncompared = comparison.sums.uncompared
    counted = uncompared | {why: uncompared.get(why, 0) + steps}
    return _with(comparison, sums=msgspec.structs.replace(comparison.sums, uncompared=counted))


def _advanced(comparison: Comparison, time: float) -> Comparison:
    """With the time until ``time`` in the sums; what is told late does not take time back."""
    if time <= comparison.asof:
        return comparison
    if not comparison.counting:
        return _with(comparison, asof=time)
    passed, sums = time - comparison.asof, comparison.sums
    equal = sums.equal + (passed if comparison.ours is comparison.aodh else 0.0)
    return _with(comparison, asof=time, sums=msgspec.structs.replace(sums, seconds=sums.seconds + passed, equal=equal))


def _settled(comparison: Comparison, alarm_id: str, terms: Terms, steps: Sequence[Step]) -> Comparison:
    """With these steps taken as having found no other."""
    if not steps:
        return comparison
    sums = comparison.sums
    differences, newest, lost = dict(sums.differences), list(sums.newest), 0
    for step in steps:
        if comparison.resumed and step.time < comparison.since + terms.window + terms.tolerance:
            lost += 1
            continue
        difference, text = _explained(step, comparison, terms)
        differences[difference] = differences.get(difference, 0) + 1
        newest.append(Disagreement(alarm_id=alarm_id, step=step, difference=difference, text=text))
    sums = msgspec.structs.replace(sums, differences=differences, newest=tuple(_newest(newest, NEWEST)))
    found = _with(_closed(comparison, steps), sums=sums)
    return _counted(found, Uncompared.ABSENT, lost) if lost else found


def _closed(comparison: Comparison, steps: Sequence[Step]) -> Comparison:
    closing = {id(step) for step in steps}
    return _with(
        comparison,
        open=tuple(step for step in comparison.open if id(step) not in closing),
        past=_remembered(comparison.past, steps),
    )


def _remembered(past: Sequence[Step], steps: Sequence[Step]) -> tuple[Step, ...]:
    return tuple(sorted((*past, *steps), key=lambda step: step.time)[-REMEMBERED:])


# --- explaining ------------------------------------------------------------------------------------------------------


def _explained(step: Step, comparison: Comparison, terms: Terms) -> tuple[Difference, str]:
    """Why a step found no other, as far as both sides' words tell."""
    ours = step.side is Side.OURS
    who, other = ("we", "Aodh") if ours else ("Aodh", "we")
    elsewhere, since = _state_at(comparison, Side.AODH if ours else Side.OURS, step.time)
    if step.time < comparison.since + terms.window:
        text = f"{who} moved within the first {terms.window:g} s, before both sides had seen the same full window"
        return Difference.OTHER_START, text
    if terms.constraints and len({within(terms.constraints, time) for time in _around(step.time, terms.poll)}) > 1:
        return Difference.TIME_CONSTRAINT, "a time constraint began or ended between the two looks"
    stay = _excursion(step, comparison, elsewhere)
    if stay is not None and stay <= terms.tolerance:
        there = step.state if step.state is not elsewhere else step.previous
        return _briefly(ours=ours, there=there, stay=stay, poll=terms.poll)
    if elsewhere is step.state:
        how_long = "" if since is None else f", for {step.time - since:.3g} s"
        return Difference.THERE_ALREADY, f"{other} had been in {elsewhere} already{how_long}"
    return _by_data(step, elsewhere) or (
        Difference.ONLY_OURS if ours else Difference.ONLY_AODH,
        f"{other} stayed in {elsewhere} for {terms.tolerance:g} s before and after",
    )


def _briefly(*, ours: bool, there: AlarmState, stay: float, poll: float) -> tuple[Difference, str]:
    """One side went elsewhere and came back, within what may lie between two steps of one decision."""
    if not ours:
        text = f"Aodh was in {there} for {stay:.3g} s; it judges a granule also while it is being filled"
        return Difference.AODH_BRIEFLY, text
    if stay <= CYCLE * poll:
        text = f"we were in {there} for {stay:.3g} s, which Aodh, looking each {poll:g} s, did not see"
        return Difference.TOO_SHORT, text
    text = f"we were in {there} for {stay:.3g} s; Aodh judges a granule also while it is being filled, and saw others"
    return Difference.OURS_BRIEFLY, text


def _by_data(step: Step, elsewhere: AlarmState) -> tuple[Difference, str] | None:
    """A difference in what the two sides had before them."""
    silent, ours = AlarmState.INSUFFICIENT_DATA, step.side is Side.OURS
    if silent in {step.state, elsewhere}:
        if (step.state is silent) is ours:
            return Difference.NO_DATA_HERE, "our window had too little data while Aodh's had enough"
        return Difference.NO_DATA_AT_AODH, "Aodh had too little data while our window had enough"
    theirs, beside = most_recent(step.reason), most_recent(step.beside)
    if theirs is None or beside is None or math.isclose(theirs, beside, rel_tol=1e-9):
        return None
    here, there = (theirs, beside) if ours else (beside, theirs)
    return Difference.VALUES_DIFFER, f"the most recent value was {here:.9g} here and {there:.9g} at Aodh"


def _around(time: float, reach: float) -> tuple[float, float, float]:
    return (time - reach, time, time + reach)


def _excursion(step: Step, comparison: Comparison, elsewhere: AlarmState) -> float | None:
    """Seconds for which a side was where the other was not; None where this is no part of such an excursion."""
    own = sorted((each for each in (*comparison.past, *comparison.open) if each.side is step.side), key=_time)
    number = next(number for number, each in enumerate(own) if each is step)
    if step.state is not elsewhere and number + 1 < len(own) and own[number + 1].state is elsewhere:
        return own[number + 1].time - step.time
    if step.state is elsewhere and number:
        return step.time - own[number - 1].time
    return None


def _state_at(comparison: Comparison, side: Side, time: float) -> tuple[AlarmState, float | None]:
    """In which state a side was, and since when (Unix seconds) as far as that is known."""
    steps = sorted((step for step in (*comparison.past, *comparison.open) if step.side is side), key=_time)
    state, since = steps[0].previous if steps else comparison.state(side), None
    for step in steps:
        if step.time > time:
            break
        state, since = step.state, step.time
    return state, since


_MOST_RECENT: Final = re.compile(r"most recent: (-?[0-9][0-9.e+-]*)")


def most_recent(reason: str) -> float | None:
    """The newest value that a reason in Aodh's words names; None where it names none."""
    found = _MOST_RECENT.search(reason)
    try:
        return None if found is None else float(found[1])
    except ValueError:
        return None


def _time(step: Step) -> float:
    return step.time


def _newest(disagreements: Iterable[Disagreement], limit: int) -> list[Disagreement]:
    return sorted(disagreements, key=lambda each: each.step.time, reverse=True)[:limit]


def _add(counts: dict[_Key, int], more: dict[_Key, int]) -> None:
    for key, count in more.items():
        counts[key] = counts.get(key, 0) + count


def _with(comparison: Comparison, **fields: object) -> Comparison:
    return msgspec.structs.replace(comparison, **fields)
