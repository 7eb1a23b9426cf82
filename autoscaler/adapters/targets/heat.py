"""AutoScalingGroups of Heat, resized to exact sizes: by a parameter of their stack, or by a pair of policies."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from autoscaler.adapters import http
from autoscaler.adapters.heat import Heat, Resource, StackRef
from autoscaler.adapters.targets.fences import Fences
from autoscaler.adapters.targets.heat_group import MARK, HeatSeen, Watched, victims
from autoscaler.adapters.targets.servers import Servers, ServersSeen
from autoscaler.declarations.targets import HeatOptions
from autoscaler.errors import HeldError, PermanentError, TemporaryError
from autoscaler.scaling.guards import iso
from autoscaler.scaling.policy import Order
from autoscaler.scaling.signals import ANSWERED_PATIENCE, COOLDOWN_MARGIN, UNKNOWN_PATIENCE
from autoscaler.scaling.status import TargetStatus

if TYPE_CHECKING:
    from autoscaler.adapters.openstack import Service
    from autoscaler.scaling.group import Group

log = structlog.get_logger()

STEP: Final = 1.0
"""Seconds after which a pair of policies is looked at for the next step."""
CONFLICT_DELAY: Final = 5.0
"""Seconds after which a stack that somebody else has in hand is asked again."""
COOLDOWN_DELAY: Final = 30.0
"""Seconds that Heat's cooldown is waited for before it is read again: a stack update may have moved it."""

LOOK_DEADLINE: Final = 8.0
"""Seconds within which all of a look must be done."""

Services = Callable[[str, str], Awaitable["Service"]]
"""A service by the name of the cloud ("" for the controller's own) and its type in the catalog."""


@dataclass(frozen=True, slots=True)
class _Signal:
    """A signal whose effect has not been seen yet."""

    at: float
    before: object
    answered: bool = False

    @property
    def known_at(self) -> float:
        return self.at + (ANSWERED_PATIENCE if self.answered else UNKNOWN_PATIENCE)


class HeatTarget:
    """See :class:`autoscaler.ports.Target`.

    Args:
        services: the clouds.
        clock: Unix seconds.
        wedged_after: seconds without any change after which a group that Heat says it is scaling counts as wedged.
        repair: whether such a group is freed, where an update of its stack is not how it is resized anyway.
    """

    resident = False
    pace = 1.0

    def __init__(
        self, services: Services, clock: Callable[[], float], *, wedged_after: float = 600.0, repair: bool = False
    ) -> None:
        self._services = services
        self._clock = clock
        self._wedged_after = wedged_after
        self._repair = repair
        self._fences = Fences()
        self._groups: dict[str, Watched] = {}
        self._servers = Servers(services, clock)
        self._signals: dict[str, _Signal] = {}

    async def status(self, group: Group) -> TargetStatus:
        """Members by the nested stack's list; whatever is wrong with an answer, it is no size."""
        options = _options(group)
        try:
            async with http.within(LOOK_DEADLINE, f"group {group.name}"):
                seen = await self._seen(group, options)
            servers = await self._servers.seen(options, seen)
        except PermanentError as error:
            raise TemporaryError(str(error)) from error
        return _status(seen, servers)

    async def resize(
        self, group: Group, capacity: int, *, fence: int, deadline: float, order: Order = Order.ANY
    ) -> float | None:
        """Update the stack with another parameter, or send the next of the signals that it takes."""
        options = _options(group)
        async with http.within(deadline, f"group {group.name}"):
            seen = await self._seen(group, options)
            self._fences.enter(group.name, fence)
            if seen.busy:
                raise HeldError(seen.busy, delay=self.pace)
            heat = await self._heat(options)
            if seen.is_marked and not seen.is_marked_here:
                raise PermanentError(seen.facts["warning"])
            if seen.is_marked or (seen.wedged and not seen.parameter):
                await _freed(heat, seen)
            if seen.parameter:
                await self._by_parameter(heat, seen, capacity, order)
                return None
            if seen.pair is None:
                raise PermanentError(seen.facts["warning"])
            return await self._by_pair(heat, group, seen, capacity, order)

    async def release(self, group: Group) -> None:
        """Nothing: the members live elsewhere."""
        self._fences.forget(group.name)
        self._groups.pop(group.name, None)
        self._signals.pop(group.name, None)

    async def _heat(self, options: HeatOptions) -> Heat:
        service = await self._services(options.cloud or "", "orchestration")
        return Heat(service, project_id=options.project_id or "")

    async def _seen(self, group: Group, options: HeatOptions) -> HeatSeen:
        known = self._groups.get(group.name)
        if known is None or known.options != options:
            known = self._groups[group.name] = Watched(
                options, self._clock, wedged_after=self._wedged_after, repair=self._repair
            )
        return await known.look(await self._heat(options))

    # --- by a parameter ----------------------------------------------------------------------------------------------

    async def _by_parameter(self, heat: Heat, seen: HeatSeen, capacity: int, order: Order) -> None:
        if capacity == 0:
            raise PermanentError(seen.no_zero)
        # an update that is made a second time, since it stands still, has taken its choice already
        marking, unmarking = ([], []) if seen.stack.is_changing else victims(seen.members, capacity, order)
        nested = seen.nested.ref
        try:
            # unmarked first: an update in between would replace who is marked and not removed
            for member in unmarking:
                await heat.mark(nested, member.name, unhealthy=False, why=f"{MARK}stays")
            for member in marking:
                await heat.mark(nested, member.name, unhealthy=True, why=f"{MARK}to be removed")
            await heat.update(seen.stack.ref, {seen.parameter: capacity})
        except http.RefusedError as error:
            _wait_if_in_hand(error)
            await _taken_back(heat, nested, marking)
            raise

    # --- by a pair of policies ---------------------------------------------------------------------------------------

    async def _by_pair(self, heat: Heat, group: Group, seen: HeatSeen, capacity: int, order: Order) -> float | None:
        if order is Order.NEWEST and capacity < seen.size:
            raise PermanentError(
                f"order newest needs a parameter for the size: policies would remove one more than was marked "
                f"(stack {seen.stack.ref.name} has none for group {seen.group.name})"
            )
        self._know_outcome(group, seen)
        policy = _next_of(seen, capacity)
        if not policy:
            return None
        now = self._clock()
        end = seen.metadata.cooldown_end
        if end is not None and now < end + COOLDOWN_MARGIN:
            delay = min(end + COOLDOWN_MARGIN - now, COOLDOWN_DELAY)
            raise HeldError(f"Heat itself cools down until {iso(math.ceil(end))}", delay=delay)
        signal = self._signals[group.name] = _Signal(now, seen.fingerprint)
        said = f"autoscaler: group {group.name} from {seen.size} to {capacity}"
        try:
            await heat.signal(seen.stack.ref, policy, {"previous": "ok", "current": "alarm", "reason": said})
        except TemporaryError as error:
            if not error.reached:
                del self._signals[group.name]
            raise
        except http.RefusedError as error:
            del self._signals[group.name]
            _wait_if_in_hand(error)
            raise
        self._signals[group.name] = _Signal(signal.at, signal.before, answered=True)
        return STEP

    def _know_outcome(self, group: Group, seen: HeatSeen) -> None:
        """Raise TemporaryError while nobody can say whether the last signal was followed: it is not repeated then."""
        signal = self._signals.get(group.name)
        if signal is None:
            return
        missing = signal.known_at - self._clock()
        if signal.before == seen.fingerprint and missing > 0:
            how = "was answered, and nothing came of it so far" if signal.answered else "was not answered"
            raise HeldError(f"the last signal {how}", delay=min(missing, CONFLICT_DELAY))
        del self._signals[group.name]


def _next_of(seen: HeatSeen, capacity: int) -> str:
    """The policy that brings a group nearer to a size; "" where none is needed.

    Heat counts from the members that have not failed, and with each resize replaces or removes those that have.
    """
    if seen.pair is None or (seen.size == capacity and not seen.failed):
        return ""
    serving = seen.size - len(seen.failed)
    return seen.pair.grow if serving <= capacity else seen.pair.shrink


async def _freed(heat: Heat, seen: HeatSeen) -> None:
    """Have Heat forget that it is scaling a group: a mark that is taken back takes that with it.

    Whoever dies in between leaves the group marked, and is recognised by the reason; no update is made before.
    """
    ref, name = seen.stack.ref, seen.group.name
    if not seen.is_marked:
        await heat.mark(ref, name, unhealthy=True, why=f"{MARK}to be freed")
    await heat.mark(ref, name, unhealthy=False, why=f"{MARK}freed")
    log.warning("group repaired", stack=ref.name, group=name)
    raise HeldError(f"group {name} was wedged and has been freed", delay=STEP)


def _wait_if_in_hand(error: http.RefusedError) -> None:
    """Raise TemporaryError where somebody else is changing the stack."""
    if error.status == 409:
        raise HeldError(f"somebody else has it in hand: {error}", delay=CONFLICT_DELAY) from error


async def _taken_back(heat: Heat, nested: StackRef, marked: Sequence[Resource]) -> None:
    """Nobody stays marked for a resize that is not made: the next update of any kind would replace them."""
    for member in marked:
        with suppress(PermanentError, TemporaryError):
            await heat.mark(nested, member.name, unhealthy=False, why=f"{MARK}stays")


def _status(seen: HeatSeen, servers: ServersSeen) -> TargetStatus:
    bounds = [bound for bound in (seen.most, servers.most) if bound is not None]
    return TargetStatus(
        size=seen.size,
        ready=[member.physical_id for member in seen.ready],
        busy=seen.busy,
        trouble=seen.trouble,
        failed=[member.name for member in seen.failed],
        maintenance=servers.moving,
        most=min(bounds, key=lambda bound: bound.size, default=None),
        least=seen.least,
        wanted=seen.wanted,
        facts={**seen.facts, **servers.facts},
    )


def _options(group: Group) -> HeatOptions:
    return HeatOptions.model_validate(dict(group.target))
