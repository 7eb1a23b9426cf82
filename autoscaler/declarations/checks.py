"""What must hold between declared things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.definition import ACTIONS
from autoscaler.alarms.rules import Rule, TreatMissingData, leaves_of
from autoscaler.declarations.alarm import policy_name
from autoscaler.declarations.targets import orders
from autoscaler.declarations.wording import nearest
from autoscaler.scaling.group import Group
from autoscaler.scaling.policy import AdjustmentType, ScalingPolicy, Schedule

if TYPE_CHECKING:
    from typing import TypeVar

    from autoscaler.declarations.items import Item
    from autoscaler.errors import Problem
    from autoscaler.measures.derived import Derivation

    ValueT = TypeVar("ValueT")


@dataclass(slots=True)
class Contents:
    """Everything that was read and is right in itself, duplicates included.

    Attributes:
        names: of groups and policies, by section, also of those that are wrong in themselves.
    """

    alarms: list[Item[Alarm]] = field(default_factory=list)
    groups: list[Item[Group]] = field(default_factory=list)
    policies: list[Item[ScalingPolicy]] = field(default_factory=list)
    schedules: list[Item[Schedule]] = field(default_factory=list)
    derived: list[Item[Derivation]] = field(default_factory=list)
    names: dict[str, set[str]] = field(default_factory=lambda: {"groups": set(), "policies": set()})


def cross_checked(contents: Contents, *, rules_only: bool = False) -> Iterator[Problem]:
    """Everything that is wrong between things that are right in themselves.

    Args:
        rules_only: alarms may name policies and groups that are not among the contents.
    """
    yield from _twice(contents.alarms, lambda alarm: f"{alarm.project_id}/{alarm.name}", "in its project")
    yield from _twice(contents.groups, lambda group: group.name, "among groups")
    yield from _twice(contents.policies, lambda policy: policy.name, "among policies")
    yield from _twice(contents.schedules, lambda schedule: schedule.name, "among schedules")
    yield from _derived(contents)
    yield from _Relations(contents, rules_only=rules_only).problems()


def can_scale_in(policy: ScalingPolicy, group: Group) -> bool:
    """Whether ``policy`` may ask for fewer members than there are within the group's declared bounds."""
    if policy.adjustment_type is AdjustmentType.EXACT_CAPACITY:
        return policy.scaling_adjustment < group.max_size
    if policy.scaling_adjustment == 0:
        return bool(policy.min_adjustment_step)  # 0 percent with a step is minus the step, as in Heat
    return policy.scaling_adjustment < 0


def can_scale_out(policy: ScalingPolicy, group: Group) -> bool:
    """Whether ``policy`` may ask for more members than there are within the group's declared bounds."""
    if policy.adjustment_type is AdjustmentType.EXACT_CAPACITY:
        return policy.scaling_adjustment > group.min_size
    return policy.scaling_adjustment > 0


def _twice(items: Iterable[Item[ValueT]], identity: Callable[[ValueT], str], where: str) -> Iterator[Problem]:
    seen: dict[str, Item[ValueT]] = {}
    for item in items:
        first = seen.setdefault(identity(item.value), item)
        if first is not item:
            yield item.problem(f"expected a name of its own {where}; it is taken at {first.origin('name')}", "name")


def _derived(contents: Contents) -> Iterator[Problem]:
    """Derived metrics are made of measured ones, and each is looked at by itself."""
    by_name: dict[str, Item[Derivation]] = {}
    for item in contents.derived:
        first = by_name.setdefault(item.raw["name"], item)
        if first is not item:
            expected = f"expected a name of its own among derived metrics; it is taken at {first.origin('name')}"
            yield item.problem(expected, "name")
    for item in contents.derived:
        made_of = {("from",): item.value.base, ("divide_by", "metric"): item.value.divisor}
        for path, metric in made_of.items():
            if metric in by_name:
                yield item.problem(f'expected a metric that is measured, "{metric}" is derived itself', *path)
    for alarm in contents.alarms:
        for leaf, place in zip(leaves_of(alarm.value.rule), alarm.leaves, strict=True):
            if isinstance(leaf, Rule) and leaf.further_metrics:
                made = [metric for metric in (leaf.metric, *leaf.further_metrics) if metric in by_name]
                if made:
                    expected = f'expected metrics that are measured, "{made[0]}" is derived, and stands by itself only'
                    yield alarm.problem(expected, *place, "metrics")


def _known(item: Item[ValueT], name: str, names: set[str], what: str, *inner: str | int) -> Iterator[Problem]:
    if name not in names:
        close = nearest(name, names)
        yield item.problem(f'expected the name of a declared {what}, there is no "{name}"{close}', *inner)


class _Relations:
    """Who names whom, and whether that may be."""

    def __init__(self, contents: Contents, *, rules_only: bool) -> None:
        self._contents = contents
        self._rules_only = rules_only
        self._groups = {item.value.name: item.value for item in contents.groups}
        self._policies = {item.value.name: item.value for item in contents.policies}

    def problems(self) -> Iterator[Problem]:
        """Every one that is wrong."""
        for policy in self._contents.policies:
            yield from self._known_group(policy, policy.value.group, "group")
            yield from self._order(policy)
        for schedule in self._contents.schedules:
            yield from self._known_group(schedule, schedule.value.group, "group")
            if schedule.value.group in self._groups:
                yield from _bounds(schedule, self._groups[schedule.value.group])
        for alarm in self._contents.alarms:
            yield from self._members(alarm)
            yield from self._actions(alarm)

    def _known_group(self, item: Item[Any], name: str, *inner: str | int) -> Iterator[Problem]:
        return _known(item, name, self._contents.names["groups"], "group", *inner)

    def _order(self, item: Item[ScalingPolicy]) -> Iterator[Problem]:
        """Whether the group's target lets anybody say who goes first."""
        group = self._groups.get(item.value.group)
        if group is None or not item.value.order:
            return
        if not can_scale_in(item.value, group):
            yield item.problem("expected only with a policy that can make its group smaller", "order")
        known = orders(group.target_type, group.target)
        if item.value.order not in known:
            text = f"one of {', '.join(known)}" if known else "none"
            by = " that is resized by policies" if group.target.get("policies") else ""
            yield item.problem(f"expected {text} for a target of type {group.target_type}{by}", "order")

    def _members(self, item: Item[Alarm]) -> Iterator[Problem]:
        for leaf, place in zip(leaves_of(item.value.rule), item.leaves, strict=True):
            if not isinstance(leaf, Rule) or leaf.group is None:
                continue
            if not self._rules_only:
                yield from self._known_group(item, leaf.group, *place, "group")
            group = self._groups.get(leaf.group)
            if group is not None and not item.value.may_move(group.project_id):
                yield item.problem(_foreign(item.value, "group", leaf.group, group.project_id), *place, "group")

    def _actions(self, item: Item[Alarm]) -> Iterator[Problem]:
        for key in ACTIONS:
            for index, url in enumerate(item.raw.get(key) or ()):
                name = policy_name(url)
                if name:
                    if not self._rules_only:
                        yield from _known(item, name, self._contents.names["policies"], "policy", key, index)
                    yield from self._allowed(item, name, key, index)

    def _allowed(self, item: Item[Alarm], name: str, key: str, index: int) -> Iterator[Problem]:
        policy = self._policies.get(name)
        group = self._groups.get(policy.group) if policy else None
        if policy is None or group is None:
            return
        if not item.value.may_move(policy.project_id):
            yield item.problem(_foreign(item.value, "policy", name, policy.project_id), key, index)
        cause = _silence_behind(item.value, key)
        if cause and can_scale_in(policy, group):
            expected = f'expected a policy that cannot scale in, since {cause}; "{name}" can make {group.name} smaller'
            yield item.problem(expected, key, index)


def _bounds(item: Item[Schedule], group: Group) -> Iterator[Problem]:
    """The bounds that a schedule leaves its group with."""
    schedule = item.value
    least = group.min_size if schedule.min_size is None else schedule.min_size
    most = group.max_size if schedule.max_size is None else schedule.max_size
    if least > most:
        key = "min_size" if schedule.min_size is not None else "max_size"
        yield item.problem(f"expected min_size <= max_size, but they would be {least} and {most}", key)
    elif schedule.desired_capacity is not None and not least <= schedule.desired_capacity <= most:
        expected = f"expected {least} to {most} (min_size to max_size), got {schedule.desired_capacity}"
        yield item.problem(expected, "desired_capacity")


def _foreign(alarm: Alarm, what: str, name: str, owner: str) -> str:
    owned = f'belongs to project "{owner}"' if owner else "is the operator's"
    return f'expected a {what} of the alarm\'s own project "{alarm.project_id}", "{name}" {owned}'


def _silence_behind(alarm: Alarm, key: str) -> str:
    """Why actions of ``key`` may be called though nothing was measured; "" where they are not."""
    # one part of a composite alarm is enough, however it is joined: the others may be there and hold
    treated = {leaf.treat_missing_data for leaf in leaves_of(alarm.rule) if isinstance(leaf, Rule)}
    if key == "insufficient_data_actions":
        return "missing data calls this action"
    if key == "alarm_actions" and TreatMissingData.BREACHING in treated:
        return "treat_missing_data: breaching makes missing data call this action"
    if key == "ok_actions" and TreatMissingData.OK in treated:
        return "treat_missing_data: ok makes missing data call this action"
    return ""
