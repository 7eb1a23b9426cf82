"""Heat as the actions of alarms lead to it: the policy behind a URL, its group, and what to do about it."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from autoscaler.adapters.actions.webhook import aodh_body
from autoscaler.adapters.heat import Heat, Resource, Stack, StackRef
from autoscaler.alarms.definition import trust_of
from autoscaler.engine.signal import HEAT
from autoscaler.errors import PermanentError
from autoscaler.ports import Place
from autoscaler.scaling.signals import HeatGroup

if TYPE_CHECKING:
    from autoscaler.ports import Rights

WHY: Final = "autoscaler: ends what was noted of a resize whose engine died"
"""What is written beside a mark; it is gone a moment later."""
REMEMBERED: Final = 10_000
"""Stacks whose groups and bounds are remembered until they are updated."""

_BOUNDS: Final = (("min_size", "MinSize"), ("max_size", "MaxSize"))
_SIGNED: Final = re.compile(r"/signal/arn:openstack:heat::([^:/]+):stacks/([^/]+)/([^/]+)/resources/([^/]+)/?")
_SIGNAL: Final = re.compile(r"/v1/([^/]+)/stacks/([^/]+)/([^/]+)/resources/([^/]+)/signal/?")


def place_of(url: str) -> Place | None:
    """The policy that a URL signals: an ``alarm_url`` that Heat has signed, or a ``signal_url`` with ``trust+``.

    Both carry names of project, stack and policy in their path, wherever it begins.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme in {"http", "https"} and "Signature=" in parts.query:
        found = _SIGNED.search(unquote(parts.path))
        return None if found is None else _place(found, signed=True)
    if parts.scheme in {"trust+http", "trust+https"}:
        found = _SIGNAL.search(parts.path)
        return None if found is None else _place(found, trust_id=trust_of(url))
    return None


def _place(found: re.Match[str], *, trust_id: str = "", signed: bool = False) -> Place:
    project_id, stack, stack_id, policy = map(unquote, found.groups())
    return Place(project_id, stack, stack_id, policy, trust_id, signed)


class _Known(NamedTuple):
    """What of a policy's group only an update of its stack changes."""

    group: str
    adjustment_type: str
    limits: tuple[int | None, int | None]


class HeatOrchestration:
    """See :class:`autoscaler.ports.Orchestration`.

    Args:
        heat: asked by the rights of alarms, or with the controller's own.
    """

    def __init__(self, heat: Heat) -> None:
        self._heat = heat
        self._known: OrderedDict[tuple[str, str, float | None], _Known] = OrderedDict()

    def place(self, url: str) -> Place | None:
        """See :class:`autoscaler.ports.Orchestration`."""
        return place_of(url)

    async def look(self, place: Place, rights: Rights) -> HeatGroup:
        """See :class:`autoscaler.ports.Orchestration`."""
        heat = self._by(place, rights)
        stack = await heat.stack(_ref(place))
        known = await self._behind(heat, stack, place.policy)
        noted = await heat.metadata(stack.ref, known.group)
        group = await heat.resource(stack.ref, known.group)
        members: list[Resource] = []
        nested: Stack | None = None
        if group.nested is not None:
            members = await heat.resources(group.nested)
            nested = await heat.stack(group.nested)
        failed = sum(member.has_failed for member in members)
        return HeatGroup(
            name=f"{HEAT}{stack.ref.id}:{known.group}",
            project_id=place.project_id,
            stack=stack.ref.name,
            group=known.group,
            stack_status=stack.status,
            status=group.status,
            nested_status="" if nested is None else nested.status,
            in_progress=noted.in_progress,
            cooldown_end=noted.cooldown_end,
            cooldown_by=noted.cooldown_by,
            size=len(members) - failed,
            failed=failed,
            updated=None if nested is None else nested.updated,
            nested_id="" if group.nested is None else group.nested.id,
            adjustment_type=known.adjustment_type,
            limits=known.limits,
        )

    async def signal(self, place: Place, body: Mapping[str, Any]) -> None:
        """See :class:`autoscaler.ports.Orchestration`."""
        await self._heat.by(project_id=place.project_id).signal(_ref(place), place.policy, aodh_body(body))

    async def mark(self, place: Place, rights: Rights, *, unhealthy: bool) -> None:
        """See :class:`autoscaler.ports.Orchestration`."""
        heat = self._by(place, rights)
        stack = await heat.stack(_ref(place))
        known = await self._behind(heat, stack, place.policy)
        await heat.mark(stack.ref, known.group, unhealthy=unhealthy, why=WHY)

    def _by(self, place: Place, rights: Rights) -> Heat:
        return self._heat.by(trust_id=rights.trust_id, project_id="" if rights.trust_id else place.project_id)

    async def _behind(self, heat: Heat, stack: Stack, policy: str) -> _Known:
        """The group that a policy moves. PermanentError where there is none."""
        key = (stack.ref.id, policy, stack.updated)
        known = self._known.get(key)
        if known is None:
            template = await heat.template(stack.ref)
            resources: Mapping[str, Any] = template.get("resources") or template.get("Resources") or {}
            of_policy = _properties(resources, policy)
            name = _moved_by(of_policy)
            if not name:
                raise PermanentError(f"{policy} of stack {stack.ref.name} is no scaling policy of a group")
            of_group = _properties(resources, name)
            least, most = (_number(of_group, keys, stack.parameters) for keys in _BOUNDS)
            kind = of_policy.get("adjustment_type") or of_policy.get("AdjustmentType")
            known = _Known(name, kind if isinstance(kind, str) else "", (least, most))
            self._known[key] = known
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known


def _ref(place: Place) -> StackRef:
    return StackRef(place.stack, place.stack_id)


def _properties(resources: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The properties of a resource, as HOT or CloudFormation has them."""
    found = resources.get(name)
    inner = (found.get("properties") or found.get("Properties")) if isinstance(found, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _moved_by(policy: Mapping[str, Any]) -> str:
    """The name of the group that a policy names; "" where it is no policy."""
    named = policy.get("auto_scaling_group_id") or policy.get("AutoScalingGroupName")
    if isinstance(named, Mapping):
        named = named.get("get_resource") or named.get("Ref")
    return named if isinstance(named, str) else ""


def _number(properties: Mapping[str, Any], keys: tuple[str, str], parameters: Mapping[str, str]) -> int | None:
    """A size that a template gives as a number or by a parameter; None where it is made otherwise."""
    value = next((properties[key] for key in keys if key in properties), None)
    if isinstance(value, Mapping):
        value = parameters.get(str(value.get("get_param") or value.get("Ref")))
    try:
        return None if value is None else int(float(value))
    except (TypeError, ValueError):
        return None
