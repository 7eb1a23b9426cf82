"""What more there is to say of a verdict than Aodh does: what was matched where data is insufficient.

A note is renewed when what it says changes in kind, not with each second or point: records must not churn.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, assert_never

from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.granules import counted, rate_note
from autoscaler.alarms.observation import PoolMembers, Samples, Unknown
from autoscaler.alarms.verdict import Keep, TooFew
from autoscaler.measures.derived import resource_of
from autoscaler.measures.match import EVERYTHING, to_search
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from autoscaler.alarms.course import Look
    from autoscaler.alarms.observation import Observation
    from autoscaler.alarms.present import Seen
    from autoscaler.alarms.rules import Rule
    from autoscaler.alarms.verdict import Assessment

_NUMBER = re.compile(r"\d+")
NAMES = 5000
"""Names of metrics among which the nearest is looked for."""


def renewed(before: str, now: str) -> str:
    """``before``, while ``now`` differs from it in numbers only."""
    return before if before == now or _kind(before) == _kind(now) else now


def _kind(note: str) -> str:
    return _NUMBER.sub("0", note)


def joined(*notes: str) -> str:
    """The notes that say something, as one."""
    return "; ".join(note for note in notes if note)


def note_of(seen: Seen, look: Look, assessment: Assessment, state: AlarmState) -> str:
    """What there is to say beside Aodh's sentence when what was seen leads to a state; "" where that says it all."""
    silent = isinstance(assessment.verdict, TooFew | Keep) and state is AlarmState.INSUFFICIENT_DATA
    little = too_little(seen, look.alarm.sees, look.now, look.sources.heard(look.alarm.sees)) if silent else ""
    return joined(little, changing_group(seen))


def too_little(seen: Seen, sees: str, now: float, metrics: Collection[str]) -> str:
    """Why a window has too few values: what of it was matched, and how old that is.

    Args:
        sees: the project whose measures count, see :attr:`autoscaler.alarms.alarm.Alarm.sees`.
        metrics: names that were heard lately.
    """
    rule, view, spans = seen.rule, seen.view, seen.spans
    if not view.series:
        if view.newest is not None:
            return f"all that matched has fallen silent, its newest point is {_age(view.newest, now)} old"
        return _nothing_matched(rule, sees, metrics)
    counting = counted(rule, view)
    begins, ends = spans[0].begins, spans[-1].ends
    points = sum(_between(series.times, begins, ends) for series in counting.series.values())
    newest = max(series.times[-1] for series in view.series.values())
    facts = [f"resources matched: {len({resource_of(name) for name in view.series})}"]
    if counting.without_divisor and rule.derivation is not None:
        told = [f'metadata "{key}"' for key in rule.derivation.divisor_metadata]
        wanted = " and ".join([*told, f'metric "{rule.derivation.divisor}"'])
        facts.append(f"without {wanted}: {len(counting.without_divisor)}")
    facts.append(f"points in the window: {points}" if points else f"no point in the last {ends - begins:.0f} s")
    facts += [f"newest point: {_age(newest, now)} old", f"values needed: {rule.evaluation_periods}"]
    return ", ".join(facts)


def note_of_observation(seen: Observation) -> str:
    """What there is to say beside Aodh's sentence of what a service answered."""
    match seen:
        case Unknown(reason):
            return reason
        case Samples(()):
            return "the query was answered with no series"
        case Samples() | PoolMembers():
            return ""
        case _:
            assert_never(seen)


def _between(times: Sequence[float], begins: float, ends: float) -> int:
    return sum(1 for time in times if begins <= time <= ends)


def _age(time: float, now: float) -> str:
    return f"{max(0.0, now - time):.0f} s"


def _nothing_matched(rule: Rule, sees: str, metrics: Collection[str]) -> str:
    sources = () if rule.derivation is None else (rule.derivation.base,)
    wanted = dict.fromkeys([rule.metric, *rule.further_metrics, *sources])
    heard = [name for name in wanted if name in metrics]
    if heard:
        names = ", ".join(f'"{name}"' for name in heard)
        return f"{names} was heard, but of no resource{_asked(rule, sees)}"
    names = " or ".join(f'"{name}"' for name in wanted)
    if not metrics:
        where = f" in project {sees}" if sees not in {"", ANY_PROJECT} else ""
        return f"no measure of {names} was heard lately{where}, nor of any other metric"
    nearest = [near for name in wanted for near in get_close_matches(name, list(metrics)[:NAMES], n=1)]
    hint = f'the nearest name is "{nearest[0]}"' if nearest else "no metric has a name like it"
    return f"no measure of {names} was heard lately; {hint}"


def _asked(rule: Rule, sees: str) -> str:
    asked = "" if rule.match == EVERYTHING else f" with {json.dumps(to_search(rule.match), ensure_ascii=False)}"
    group = "" if rule.group is None else f' of group "{rule.group}"'
    if sees == ANY_PROJECT:
        return f"{asked}{group}"
    return f"{asked}{group} in project {sees}" if sees else f"{asked}{group} without a project"


def changing_group(seen: Seen) -> str:
    """A warning where the rate of an aggregate is looked at while members come and go; "" elsewhere."""
    rule = seen.rule
    if not rule.rate_of_aggregate:
        return ""
    series = counted(rule, seen.view).series.values()
    filled = [span for span in seen.spans if any((where := span.of(each)).stop > where.start for each in series)]
    if len(filled) < 2:
        return ""
    first, last = filled[0], filled[-1]
    began = sum(1 for each in series if first.ends <= each.times[0] <= last.ends)
    ended = sum(1 for each in series if first.begins <= each.times[-1] < last.begins)
    if not began + ended:
        return ""
    return f"series that begin in the window: {began}, that end in it: {ended}; {rate_note(rule)}"
