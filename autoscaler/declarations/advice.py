"""What is allowed and probably not meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.alarms.alarm import Alarm, AlarmState
from autoscaler.alarms.granules import rate_note
from autoscaler.alarms.rules import ComparisonOperator, CompositeRule, EventRule, Rule, leaves_of
from autoscaler.declarations.alarm import policy_name
from autoscaler.declarations.checks import can_scale_in, can_scale_out
from autoscaler.declarations.crontab import narrows_both_days
from autoscaler.measures.aggregation import POOLED, Differences, parse
from autoscaler.scaling.adjustment import new_capacity
from autoscaler.scaling.group import Group, Limits

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.declarations.generation import Declarations
    from autoscaler.errors import Problem
    from autoscaler.scaling.policy import ScalingPolicy

__all__ = ["rate_note", "warnings"]

DAY: Final = 86_400
SIZES_LOOKED_AT: Final = 1000
"""Sizes from min_size on at which a scale-in is played through; the smallest are the ones that tip."""

_ABOVE: Final = frozenset((ComparisonOperator.GT, ComparisonOperator.GE))
_BELOW: Final = frozenset((ComparisonOperator.LT, ComparisonOperator.LE))


def warnings(declarations: Declarations) -> list[Problem]:
    """Everything about valid declarations that somebody should look at, by file and line."""
    found = [
        *declarations.ignored,
        *_idle_alarms(declarations),
        *_never_called(declarations),
        *_rates(declarations),
        *_long_windows(declarations),
        *_flapping(declarations),
        *_unused(declarations),
        *_schedules(declarations),
        *_of_heat(declarations),
    ]
    return sorted(found, key=lambda problem: (problem.file, problem.line, problem.column))


def _idle_alarms(declarations: Declarations) -> Iterator[Problem]:
    for alarm in declarations.alarms.values():
        origin = declarations.origin("alarm", alarm.alarm_id)
        if not alarm.enabled:
            yield origin.problem(f'alarm "{alarm.name}" can never fire: it is not enabled')
        if not any(alarm.actions(state) for state in AlarmState):
            yield origin.problem(f'alarm "{alarm.name}" does nothing: it has no actions')
        for which, rule in _rules(alarm):
            impossible = _impossible(rule)
            if impossible:
                yield origin.problem(f"{which} can never {'fire' if rule is alarm.rule else 'hold'}: {impossible}")


def _rules(alarm: Alarm) -> Iterator[tuple[str, Rule]]:
    """The rules over measures that an alarm rests on, each with words for it."""
    for number, leaf in enumerate(leaves_of(alarm.rule), 1):
        if isinstance(leaf, Rule):
            of = f"rule{number} of " if isinstance(alarm.rule, CompositeRule) else ""
            yield f'{of}alarm "{alarm.name}"', leaf


def _never_called(declarations: Declarations) -> Iterator[Problem]:
    """Actions that nothing but a person's word can lead to."""
    for alarm in declarations.alarms.values():
        origin = declarations.origin("alarm", alarm.alarm_id)
        if isinstance(alarm.rule, EventRule) and (alarm.ok_actions or alarm.insufficient_data_actions):
            text = "an event makes it alarm, and nothing but a word from the API makes it anything else"
            yield origin.problem(f'alarm "{alarm.name}" calls only its alarm_actions: {text}')
        for state in AlarmState:
            for url in alarm.actions(state):
                if url.startswith("trust+") and "@" not in url:
                    scheme = url.partition(":")[0]
                    text = f"for alarms in files nobody makes one; put the id of one and @ behind {scheme}://"
                    yield origin.problem(f'alarm "{alarm.name}" calls {url} without a trust: {text}')


def _rates(declarations: Declarations) -> Iterator[Problem]:
    for alarm in declarations.alarms.values():
        for which, rule in _rules(alarm):
            note = rate_note(rule)
            if note:
                yield declarations.origin("alarm", alarm.alarm_id).problem(f"{which} jumps: {note}")


def _impossible(rule: Rule) -> str:
    """Why no aggregate can satisfy the rule's comparison; "" where one can."""
    least = _least(rule)
    if least is None:
        return ""
    impossible = (
        (rule.comparison_operator is ComparisonOperator.LT and rule.threshold <= least)
        or (rule.comparison_operator is ComparisonOperator.LE and rule.threshold < least)
        or (rule.comparison_operator is ComparisonOperator.EQ and rule.threshold < least)
    )
    shown = f"{_last_word(rule) or rule.aggregation_method} is never below {least:g}"
    return f"{shown}, and the condition is {rule.comparison_operator} {rule.threshold:g}" if impossible else ""


def _last_word(rule: Rule) -> str:
    """The method that makes one number of several series; "" where there is only one."""
    return parse(rule.aggregation_method).base if rule.reaggregation_method == POOLED else rule.reaggregation_method


def _least(rule: Rule) -> float | None:
    """The smallest value that the rule can see; None where there is no bound."""
    if rule.rate_of_aggregate:
        return None
    if rule.reaggregation_method == "count":
        return 1.0  # a granule without series has no value at all
    if rule.reaggregation_method == "std":
        return 0.0
    method = parse(rule.aggregation_method)
    if method.base == "count":
        return 1.0
    if method.base == "std" or method.differences is Differences.RATE_PER_SECOND:
        return 0.0  # no difference is taken across a fall
    return None


def _long_windows(declarations: Declarations) -> Iterator[Problem]:
    for alarm in declarations.alarms.values():
        for which, rule in _rules(alarm):
            span = rule.granularity * rule.evaluation_periods
            if span > DAY:
                text = f"{which} looks back over {span / 3600:g} h of points; expected at most 24 h"
                yield declarations.origin("alarm", alarm.alarm_id).problem(text)


@dataclass(frozen=True, slots=True)
class _Side:
    """An alarm's hold on a group, in one direction.

    Attributes:
        rule: the alarm's.
        above: it moves the group when the value is above ``value``, otherwise when it is below.
    """

    alarm: Alarm
    rule: Rule
    policy: ScalingPolicy
    group: Group
    above: bool
    value: float

    @property
    def looks_at(self) -> tuple[object, ...]:
        """Equal for sides that see the same number."""
        rule = self.rule
        methods = (rule.aggregation_method, rule.reaggregation_method, rule.rate_of_aggregate)
        return (self.group.name, self.alarm.sees, rule.metrics, rule.match, rule.group, *methods)


def _flapping(declarations: Declarations) -> Iterator[Problem]:
    by_number: dict[tuple[object, ...], list[_Side]] = {}
    for side in _sides(declarations):
        by_number.setdefault(side.looks_at, []).append(side)
    for sides in by_number.values():
        for out in sides:
            for back in sides:
                opposed = back.above != out.above and back.policy != out.policy
                if opposed and can_scale_out(out.policy, out.group) and can_scale_in(back.policy, back.group):
                    text = _flap(out, back)
                    if text:
                        yield declarations.origin("alarm", back.alarm.alarm_id).problem(text)


def _sides(declarations: Declarations) -> Iterator[_Side]:
    for alarm in declarations.alarms.values():
        rule = alarm.rule
        if not isinstance(rule, Rule) or rule.comparison_operator not in _ABOVE | _BELOW or not alarm.enabled:
            continue
        above = rule.comparison_operator in _ABOVE
        recovery = rule.threshold if rule.recovery_threshold is None else rule.recovery_threshold
        for urls, side_above, value in (
            (alarm.alarm_actions, above, rule.threshold),
            (alarm.ok_actions, not above, recovery),
        ):
            for url in urls:
                policy = declarations.policies.get(policy_name(url))
                if policy is not None:
                    yield _Side(alarm, rule, policy, declarations.groups[policy.group], side_above, value)


def _flap(out: _Side, back: _Side) -> str:
    """Why ``back`` undoes what ``out`` does, or calls for it; "" where it does not."""
    names = f'"{back.alarm.name}" ({back.policy.name}) and "{out.alarm.name}" ({out.policy.name})'
    if (out.value - back.value) * (1 if out.above else -1) < 0 or (out.value == back.value and back.alarm != out.alarm):
        return (
            f"group {out.group.name} flaps: {names} both hold from {min(out.value, back.value):g} "
            f"to {max(out.value, back.value):g}"
        )
    base = _last_word(out.rule)
    if out.above and (base in {"mean", "median"} or base.endswith("pct")):
        return _tips(out, back, names)
    return ""


def _tips(out: _Side, back: _Side, names: str) -> str:
    """Whether the members that stay after a scale-in would carry enough to scale out again."""
    group = out.group
    limits = Limits(group.min_size, group.max_size)
    sizes = {*range(group.min_size + 1, min(group.max_size, group.min_size + SIZES_LOOKED_AT) + 1), group.max_size}
    for size in sorted(sizes):
        after = new_capacity(
            size,
            back.policy.scaling_adjustment,
            back.policy.adjustment_type,
            limits,
            min_adjustment_step=back.policy.min_adjustment_step,
        )
        if 0 < after < size and back.value * size / after >= out.value:
            carried = back.value * size / after
            return (
                f"group {group.name} flaps: {names}: at {back.value:g} it goes from {size} to {after} members, "
                f"which then carry {carried:g} each, and {out.value:g} scales out"
            )
    return ""


def _unused(declarations: Declarations) -> Iterator[Problem]:
    called = {
        policy_name(url)
        for alarm in declarations.alarms.values()
        for state in AlarmState
        for url in alarm.actions(state)
    }
    for policy in declarations.policies.values():
        if policy.name not in called:
            yield declarations.origin("policy", policy.name).problem(f'nobody calls policy "{policy.name}"')
    moved = {policy.group for policy in declarations.policies.values()}
    moved |= {schedule.group for schedule in declarations.schedules.values()}
    for group in declarations.groups.values():
        if group.name not in moved:
            text = f'nobody scales group "{group.name}": no policy and no schedule names it'
            yield declarations.origin("group", group.name).problem(text)


def _schedules(declarations: Declarations) -> Iterator[Problem]:
    for schedule in declarations.schedules.values():
        if narrows_both_days(schedule.cron):
            text = f'schedule "{schedule.name}" fires only on days that are both the day of month and the day of week'
            yield declarations.origin("schedule", schedule.name).problem(text)


def _of_heat(declarations: Declarations) -> Iterator[Problem]:
    """What is known of groups of Heat's before anybody has asked it."""
    taken: dict[tuple[Any, ...], str] = {}
    for group in declarations.groups.values():
        if group.target_type != "heat":
            continue
        origin, options = declarations.origin("group", group.name), group.target
        place = tuple(options.get(key) for key in ("cloud", "project_id", "stack", "group"))
        first = taken.setdefault(place, group.name)
        if first != group.name:
            text = f'group "{group.name}" moves the same group of Heat\'s as "{first}": each undoes what the other does'
            yield origin.problem(text)
        if group.min_size == 0 and options.get("parameter"):
            text = f'group "{group.name}" never gets smaller than 1: Heat takes a parameter of 0 for unset'
            yield origin.problem(text)
