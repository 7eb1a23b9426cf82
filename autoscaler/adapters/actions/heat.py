"""trust+heat actions: unhealthy members of a group are marked so, and the stack is updated, which replaces them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from autoscaler.adapters import http
from autoscaler.adapters.actions.trust import trusted
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.redaction import redacted

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.adapters.heat import Heat, StackRef
    from autoscaler.ports import OutboxRow

NESTED_DEPTH: Final = 3
"""How deep below the stack a member may be; Aodh's (aodh/notifier/heat.py, 23.0.0)."""
WHY: Final = "unhealthy load balancer member"
BUSY_DELAY: Final = 30.0
"""Seconds after which a stack that is being changed is tried again."""

_log = structlog.get_logger(__name__)


class HeatAction:
    """See :class:`autoscaler.ports.Action`; for what an alarm on a load balancer's members says.

    Nothing is done where it names no unhealthy member, or none that the stack has: it was replaced meanwhile.

    Args:
        heat: to be asked by the alarm's trust.
        timeout: seconds for one delivery as a whole.
    """

    schemes = frozenset({"trust+heat"})

    def __init__(self, heat: Heat, timeout: float = 10.0) -> None:
        self._heat = heat
        self._timeout = timeout

    async def deliver(self, row: OutboxRow) -> None:
        """Mark each unhealthy member, then update the stack with its own template."""
        place = redacted(row.url)
        trust_id = trusted(row.url).trust_id
        if not trust_id:
            raise PermanentError(f"{place}: there is no trust to change a stack of the alarm's owner with")
        data = row.body.get("reason_data") or {}
        stack, group = data.get("stack_id"), data.get("asg_id")
        if not stack or not group:
            raise PermanentError(f"{place}: only alarms of type loadbalancer_member_health name a stack and a group")
        members = [str(member["id"]) for member in data.get("unhealthy_members") or () if "id" in member]
        async with http.within(self._timeout, place):
            try:
                await self._heal(row, self._heat.by(trust_id=trust_id), (str(stack), str(group)), members)
            except http.RefusedError as error:
                if error.status == 409:  # somebody changes the stack at this moment
                    raise TemporaryError(str(error), delay=BUSY_DELAY) from error
                raise

    async def _heal(self, row: OutboxRow, heat: Heat, where: tuple[str, str], members: list[str]) -> None:
        stack, group = where
        found = await heat.ref(stack) if members else None
        names = [name for member in members if found and (name := await _member(heat, found, member))]
        if found is None or not names:
            _log.warning("no unhealthy member found in the stack", alarm_id=row.alarm_id, row=row.id, members=members)
            return
        group_stack = await heat.ref(group)
        for name in dict.fromkeys(names):
            await heat.mark(group_stack, name, unhealthy=True, why=WHY)
        await heat.update(found)
        _log.info("stack updated for unhealthy members", alarm_id=row.alarm_id, row=row.id, resources=names)


async def _member(heat: Heat, stack: StackRef, physical_id: str) -> str:
    """The member of the group that a member of the pool belongs to; "" where the stack has none such."""
    found = await heat.resources(stack, physical_resource_id=physical_id, nested_depth=NESTED_DEPTH)
    return found[0].parent if found else ""
