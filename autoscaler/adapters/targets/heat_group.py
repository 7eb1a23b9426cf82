"""One group of Heat's: what a look at it comes to, and who of its members has to go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from autoscaler.adapters import http
from autoscaler.adapters.heat import GroupMetadata, Heat, Resource, Stack, StackRef
from autoscaler.adapters.targets.heat_template import Anatomy, anatomy, parameters_of
from autoscaler.declarations.wording import nearest
from autoscaler.errors import TemporaryError
from autoscaler.scaling.group import Bound
from autoscaler.scaling.guards import iso
from autoscaler.scaling.policy import Order

if TYPE_CHECKING:
    from autoscaler.declarations.targets import HeatOptions

MARK: Final = "autoscaler: "
"""What the reason of a member begins with that was marked here."""
_FAILED: Final = ("CREATE_FAILED", "UPDATE_FAILED", "ROLLBACK_FAILED", "ADOPT_FAILED", "RESUME_FAILED")


@dataclass(frozen=True, slots=True)
class Pair:
    """Names of two policies, of which one adds a member and the other takes one away."""

    grow: str
    shrink: str


@dataclass(frozen=True, slots=True)
class HeatSeen:
    """A group at one look.

    Attributes:
        stack: the one that the group is declared in.
        nested: the one that it consists of.
        members: in the order in which Heat removes them.
        parameter: that the size is set by; "" where it is set by none.
        pair: policies that it is set by, where there is no parameter.
        busy: what is under way; "" where nothing is, or where that does not keep it from being resized.
        wedged: Heat says that it is resizing the group, and has not moved anything for long.
        facts: as in :class:`autoscaler.scaling.status.TargetStatus`.
    """

    stack: Stack
    group: Resource
    nested: Stack
    metadata: GroupMetadata
    members: tuple[Resource, ...]
    template: Anatomy
    parameter: str
    pair: Pair | None
    busy: str
    wedged: bool
    facts: dict[str, str]

    @property
    def size(self) -> int:
        """Members, failed ones included: those are replaced and not gone."""
        return len(self.members)

    @property
    def failed(self) -> list[Resource]:
        """Those that have failed, or that were never made and nobody is at it any more."""
        return [member for member in self.members if member.has_failed or (not self.busy and _was_never_made(member))]

    @property
    def ready(self) -> list[Resource]:
        """Those that serve."""
        return [member for member in self.members if member.is_complete and member.physical_id]

    @property
    def is_marked(self) -> bool:
        """Whether the group as a whole would be replaced by the next update."""
        return self.group.status == "CHECK_FAILED"

    @property
    def is_marked_here(self) -> bool:
        """Whether that is so because a repair was broken off."""
        return self.is_marked and self.group.reason.startswith(MARK)

    @property
    def trouble(self) -> str:
        """Why what was last asked of the group has failed, in Heat's own words."""
        if self.busy:
            return ""
        if self.wedged:
            return self.facts["wedged"]
        if self.nested.status in _FAILED:
            return f"{self.nested.status}: {self.nested.reason}"
        return f"{self.group.status}: {self.group.reason}" if self.group.status in _FAILED else ""

    @property
    def wanted(self) -> int | None:
        """Members that any stack update would make of it."""
        if self.parameter != self.template.parameter and not self.template.computed:
            return None
        try:
            said = int(float(self.stack.parameters[self.parameter]))
        except (KeyError, ValueError):
            return None
        most, least = self.template.most, self.template.least
        if said <= 0:
            return None  # Heat takes 0 for unset
        said = said if most is None else min(said, most)
        return said if least is None else max(said, least)

    @property
    def most(self) -> Bound | None:
        """Heat's own upper bound."""
        most = self.template.most
        return None if most is None else Bound(most, f"the template's max_size is {most}")

    @property
    def least(self) -> Bound | None:
        """Heat's own lower bound, and what it can be told."""
        least = self.template.least or 0
        if self.parameter and least < 1:
            return Bound(1, self.no_zero)
        return Bound(least, f"the template's min_size is {least}") if least else None

    @property
    def no_zero(self) -> str:
        """Why the last member cannot be taken away."""
        return f"Heat takes {self.parameter} 0 for unset, and keeps what there is"

    @property
    def fingerprint(self) -> object:
        """What a signal that is followed changes, whatever else it does."""
        names = frozenset((member.name, member.physical_id) for member in self.members)
        return (names, self.metadata.cooldown_end, self.nested.updated)


class Watched:
    """A group that is looked at again and again; what seldom changes is read once.

    Args:
        clock: Unix seconds.
        wedged_after, repair: as :class:`autoscaler.adapters.targets.heat.HeatTarget`.
    """

    def __init__(
        self, options: HeatOptions, clock: Callable[[], float], *, wedged_after: float, repair: bool = False
    ) -> None:
        self.options = options
        self._clock = clock
        self._wedged_after = wedged_after
        self._repair = repair
        self._ref: StackRef | None = None
        self._read_at: object = None
        self._template: dict[str, object] = {}

    async def look(self, heat: Heat) -> HeatSeen:
        """The group as it is.

        Raises:
            TemporaryError: it, or its stack, is away or not made yet.
            PermanentError: as :meth:`autoscaler.adapters.openstack.Service.call`.
        """
        try:
            return await self._look(heat)
        except http.RefusedError as error:
            if error.status in {404, 410}:
                self._ref = None  # it may have been made anew under its name
            raise

    async def _look(self, heat: Heat) -> HeatSeen:
        name = self.options.group
        ref = self._ref = self._ref or await heat.ref(self.options.stack)
        # in this order: what is over when it is looked at first cannot have members under way
        stack = await heat.stack(ref)
        if stack.status.startswith("DELETE_"):
            self._ref = None
            raise TemporaryError(f"stack {ref.name} is {stack.status}")
        template = await self._anatomy(heat, stack)
        group = await heat.resource(ref, name)
        if group.nested is None:
            raise TemporaryError(f"group {name} of stack {ref.name} has no members yet: it is {group.status}")
        nested, metadata, members = await self._inside(heat, ref, group.nested)
        return self._concluded(stack, group, nested, metadata, members, template)

    async def _inside(self, heat: Heat, ref: StackRef, inner: StackRef) -> tuple[Stack, GroupMetadata, list[Resource]]:
        nested = await heat.stack(inner)
        metadata = await heat.metadata(ref, self.options.group)
        members = await heat.resources(inner)
        return nested, metadata, [member for member in members if member.status != "DELETE_COMPLETE"]

    async def _anatomy(self, heat: Heat, stack: Stack) -> Anatomy:
        """Of the template, which is read again when the stack was updated."""
        read_at = (stack.ref.id, stack.updated, stack.status)
        if self._read_at != read_at:
            self._template, self._read_at = dict(await heat.template(stack.ref)), read_at
        found = anatomy(self._template, self.options.group, stack.parameters)
        if found is None:
            raise TemporaryError(f"stack {stack.ref.name} has no AutoScalingGroup {self.options.group}")
        parameter = self.options.parameter
        if parameter and parameter not in stack.parameters:
            known = parameters_of(self._template)
            raise TemporaryError(f'stack {stack.ref.name} has no parameter "{parameter}"{nearest(parameter, known)}')
        return found

    def _concluded(
        self,
        stack: Stack,
        group: Resource,
        nested: Stack,
        metadata: GroupMetadata,
        members: Sequence[Resource],
        template: Anatomy,
    ) -> HeatSeen:
        declared = self.options.policies
        parameter = "" if declared else self.options.parameter or template.parameter
        pair = None
        if declared:
            pair = Pair(declared["out"], declared["in"])
        elif not parameter and len(template.outs) == len(template.ins) == 1:
            pair = Pair(template.outs[0], template.ins[0])
        busy = _busy(stack, group, nested, metadata)
        still = self._standing_still(stack, nested, group, members) if busy else ""
        facts = {"stack": f"{stack.ref.name}/{stack.ref.id}"}
        if parameter:
            facts["resized by"] = f"parameter {parameter}"
        elif pair is not None:
            facts["resized by"] = f"policies {pair.grow}, {pair.shrink}"
        if metadata.cooldown_end is not None and self._clock() < metadata.cooldown_end:
            facts["heat cools down until"] = iso(int(metadata.cooldown_end))
        warning = _warning(group, template, parameter, pair)
        if still and not metadata.in_progress and busy == _busy_within(group, nested):
            busy = still = ""  # what a dead engine leaves behind for ever, and nobody minds
        updating = stack.is_changing or _in_progress(group)
        wedged = bool(still) and (_in_progress(group) or nested.is_changing if updating else metadata.in_progress)
        if wedged and (self._repair or not updating if parameter else self._repair and not updating):
            busy = ""  # an update of the stack, which is how it is resized, sets it free, and so does a repair
        facts |= {name: text for name, text in (("warning", warning), ("wedged", still)) if text}
        return HeatSeen(
            stack,
            group,
            nested,
            metadata,
            tuple(sorted(members, key=_goes)),
            template,
            parameter,
            pair,
            busy,
            wedged,
            facts,
        )

    def _standing_still(self, stack: Stack, nested: Stack, group: Resource, members: Sequence[Resource]) -> str:
        """Since when nothing has moved though something is under way; "" while that may be as it should."""
        times = [member.updated for member in members] + [member.created for member in members]
        last = max([stack.updated or 0.0, nested.updated or 0.0, group.updated, *times])
        if self._clock() - last < self._wedged_after:
            return ""
        return (
            f"nothing has moved since {iso(last)} though Heat calls a resize under way: its engine may have died in "
            "it; an update of the stack sets it free, and so does AUTOSCALER_HEAT_REPAIR"
        )


def victims(members: Sequence[Resource], capacity: int, order: Order) -> tuple[list[Resource], list[Resource]]:
    """Who has to be marked, and unmarked, before a group is given exactly ``capacity`` members.

    Heat removes those first that have failed, then the oldest; a marked one counts as failed. So those are marked that
    are to go before their turn, and whoever asks again finds them marked, and marks nobody else. Those that were never
    made are marked too: Heat would keep them and remove who serves.

    Args:
        members: in the order in which Heat removes them.
    """
    leaving = max(0, len(members) - capacity)
    ours = [member for member in members if member.has_failed and member.reason.startswith(MARK)]
    unmade = [member for member in members if _was_never_made(member)] if leaving else []
    failed = [member for member in members if member.has_failed and member not in ours]
    room = max(0, leaving - len(failed) - len(unmade))
    if order is not Order.NEWEST:
        return unmade, ours
    serving = [member for member in members if member not in failed and member not in unmade and member not in ours]
    going = [*ours, *sorted(serving, key=_age, reverse=True)][:room]
    return unmade + [member for member in going if member not in ours], [one for one in ours if one not in going]


def _was_never_made(member: Resource) -> bool:
    return member.status.startswith("INIT_")


def _age(member: Resource) -> tuple[float, str]:
    return member.created, member.name


def _goes(member: Resource) -> tuple[bool, float, str]:
    return not member.has_failed, *_age(member)


def _in_progress(group: Resource) -> bool:
    return group.status.endswith("_IN_PROGRESS")


def _busy(stack: Stack, group: Resource, nested: Stack, metadata: GroupMetadata) -> str:
    """What keeps a size from being final, and a request from being heard."""
    if stack.is_changing:
        return f"stack {stack.ref.name} is {stack.status}"
    if stack.status.startswith("SUSPEND"):
        return f"stack {stack.ref.name} is suspended"
    if _in_progress(group):
        return f"group {group.name} is {group.status}"
    if metadata.in_progress:
        return f"Heat is scaling group {group.name} itself"
    return _busy_within(group, nested)


def _busy_within(group: Resource, nested: Stack) -> str:
    return f"group {group.name} is {nested.status} within" if nested.is_changing else ""


def _warning(group: Resource, template: Anatomy, parameter: str, pair: Pair | None) -> str:
    """What somebody should change in the template, or undo; "" where nothing."""
    name = group.name
    if group.status == "CHECK_FAILED":
        return f"group {name} is marked unhealthy: the next update of the stack would replace all of its members"
    if not parameter and pair is None:
        found = f"{len(template.outs)} policies add one member, {len(template.ins)} take one away"
        return f"group {name} cannot be resized: no parameter of the stack is its desired_capacity, and {found}"
    if parameter and (parameter == template.parameter or template.computed):
        return ""
    if template.literal:
        setter = f"the number {template.literal}"
    elif template.parameter:
        setter = f"parameter {template.parameter}"
    elif template.computed:
        setter = "something else"
    elif parameter:
        return f"parameter {parameter} changes nothing: desired_capacity of group {name} is not set by it"
    else:
        return ""
    return f"desired_capacity of group {name} is set by {setter}: each update of the stack resets the size to that"
