"""trust+heat actions: unhealthy members of a group are marked so, and the stack is updated, which replaces them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import structlog

from autoscaler.adapters import http
from autoscaler.adapters.actions.trust import trusted
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from autoscaler.adapters.openstack import Service
    from autoscaler.ports import OutboxRow

NESTED_DEPTH: Final = 3
"""How deep below the stack a member may be; Aodh's (aodh/notifier/heat.py, 23.0.0)."""
WHY: Final = "unhealthy load balancer member"
BUSY_DELAY: Final = 30.0
"""Seconds after which a stack that is being changed is tried again."""

_log = structlog.get_logger(__name__)


class Resource(msgspec.Struct, frozen=True):
    """A resource of a stack, as far as it matters."""

    resource_name: str = ""
    parent_resource: str = ""


class Resources(msgspec.Struct, frozen=True):
    """What a list of resources answers."""

    resources: list[Resource]


class HeatAction:
    """See :class:`autoscaler.ports.Action`; for what an alarm on a load balancer's members says.

    Nothing is done where it names no unhealthy member, or none that the stack has: it was replaced meanwhile.

    Args:
        orchestration: Heat.
        timeout: seconds for one delivery as a whole.
    """

    schemes = frozenset({"trust+heat"})

    def __init__(self, orchestration: Service, timeout: float = 10.0) -> None:
        self._heat = orchestration
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
                await self._heal(row, trust_id, (str(stack), str(group)), members)
            except http.RefusedError as error:
                if error.status == 409:  # somebody changes the stack at this moment
                    raise TemporaryError(str(error), delay=BUSY_DELAY) from error
                raise

    async def _heal(self, row: OutboxRow, trust_id: str, where: tuple[str, str], members: list[str]) -> None:
        stack, group = where
        stack_path = await self._path(stack, trust_id) if members else ""
        names = [name for member in members if (name := await self._member(stack_path, member, trust_id))]
        if not names:
            _log.warning("no unhealthy member found in the stack", alarm_id=row.alarm_id, row=row.id, members=members)
            return
        group_path = await self._path(group, trust_id)
        for name in dict.fromkeys(names):
            await self._call(
                "PATCH",
                f"{group_path}/resources/{quote(name, safe='')}",
                trust_id,
                {"mark_unhealthy": True, "resource_status_reason": WHY},
            )
        await self._call("PATCH", stack_path, trust_id, {})
        _log.info("stack updated for unhealthy members", alarm_id=row.alarm_id, row=row.id, resources=names)

    async def _path(self, stack: str, trust_id: str) -> str:
        """``/stacks/NAME/ID`` of a stack that is named by its name, id or ARN.

        Heat answers a request for either part by a redirect to both. Of where it leads only that part is used: it is
        made of the address that Heat was called at, which behind a proxy may not be ours.
        """
        rest = stack.partition("stacks/")[2] or stack
        if "/" not in rest:
            try:
                await self._call("GET", f"/stacks/{quote(rest, safe='')}", trust_id)
            except http.RefusedError as error:
                if not error.location:
                    raise
                rest = urlsplit(error.location).path.partition("/stacks/")[2]
                return _checked(rest, quoted=True)
            raise TemporaryError(f"Heat does not say where stack {stack} is")
        return _checked(rest, quoted=False)

    async def _member(self, stack_path: str, physical_id: str, trust_id: str) -> str:
        """The member of the group that a member of the pool belongs to; "" where the stack has none such."""
        query = urlencode({"physical_resource_id": physical_id, "nested_depth": NESTED_DEPTH})
        answer = await self._call("GET", f"{stack_path}/resources?{query}", trust_id)
        try:
            found = msgspec.json.decode(answer, type=Resources).resources
        except msgspec.DecodeError as error:
            raise TemporaryError(f"Heat's list of resources cannot be read: {error}") from error
        return found[0].parent_resource if found else ""

    async def _call(self, method: str, path: str, trust_id: str, body: Mapping[str, Any] | None = None) -> bytes:
        return await self._heat.call(method, path, body=body, trust_id=trust_id)


def _checked(rest: str, *, quoted: bool) -> str:
    name, _, more = rest.partition("/")
    stack_id = more.partition("/")[0]
    if not name or not stack_id:
        raise PermanentError(f"Heat does not know a stack {rest!r}")
    parts = (name, stack_id) if quoted else (quote(name, safe=""), quote(stack_id, safe=""))
    return "/stacks/" + "/".join(parts)
