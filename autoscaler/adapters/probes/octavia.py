"""Octavia: the members of a load balancer's pool that are not healthy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import msgspec
import structlog

from autoscaler.adapters import http
from autoscaler.alarms.observation import PoolMembers
from autoscaler.alarms.rules import PoolHealthRule
from autoscaler.errors import AutoscalerError, PermanentError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

    from autoscaler.adapters.openstack import Service
    from autoscaler.alarms.observation import Observation
    from autoscaler.alarms.rules import PrometheusRule

FAILED: Final = "failed to communicate with load balancing service"
"""Aodh's words (aodh/evaluator/loadbalancer.py, 23.0.0)."""
MAX_PAGES: Final = 100

_log = structlog.get_logger(__name__)


class Link(msgspec.Struct, frozen=True):
    """To another page of a list."""

    rel: str = ""
    href: str = ""


class Page(msgspec.Struct, frozen=True):
    """What a list of members answers."""

    members: list[dict[str, Any]]
    members_links: list[Link] = []


class OctaviaProbe:
    """See :class:`autoscaler.ports.Probe`.

    A member is unhealthy that is switched on, in operating status ERROR, and no longer new: what runs on it needs time
    to start.

    Args:
        load_balancing: Octavia.
        clock: Unix seconds.
        member_creation_time: seconds for which a member is new.
        timeout: seconds for one look as a whole.
    """

    def __init__(
        self,
        load_balancing: Service,
        clock: Callable[[], float],
        *,
        member_creation_time: float = 120.0,
        timeout: float = 10.0,
    ) -> None:
        self._octavia = load_balancing
        self._clock = clock
        self._member_creation_time = member_creation_time
        self._timeout = timeout

    async def look(self, rule: PrometheusRule | PoolHealthRule) -> Observation:
        """The unhealthy members of the rule's pool, as Octavia describes them."""
        if not isinstance(rule, PoolHealthRule):
            raise PermanentError("Octavia knows pools only")
        try:
            async with http.within(self._timeout, f"pool {rule.pool_id}"):
                members = await self._members(rule.pool_id)
                if any(_is_foreign(member, rule.scope_to_project) for member in members):
                    raise PermanentError(f"pool {rule.pool_id} not found")  # as if: whose it is, is nobody's business
        except TemporaryError as error:
            raise TemporaryError(f"{FAILED}: {error}") from error
        except AutoscalerError as error:
            raise PermanentError(f"{FAILED}: {error}") from error
        now = self._clock()
        return PoolMembers(tuple(member for member in members if self._is_unhealthy(member, now)))

    async def _members(self, pool_id: str) -> list[dict[str, Any]]:
        path = f"/v2/lbaas/pools/{quote(pool_id, safe='')}/members"
        found: list[dict[str, Any]] = []
        query = ""
        for _ in range(MAX_PAGES):
            answer = await self._octavia.call("GET", path + query)
            page = http.decoded(answer, Page, "the list of members")
            found += page.members
            following = [link.href for link in page.members_links if link.rel == "next"]
            if not following:
                return found
            query = f"?{urlsplit(following[0]).query}"  # its host is Octavia's own idea of where it is
        raise PermanentError(f"the pool has more than {MAX_PAGES} pages of members")

    def _is_unhealthy(self, member: Mapping[str, Any], now: float) -> bool:
        if not member.get("admin_state_up") or member.get("operating_status") != "ERROR":
            return False
        try:
            created = datetime.fromisoformat(str(member.get("created_at")))
        except ValueError:
            _log.warning("age of a pool's member unknown", member=member.get("id"), created=member.get("created_at"))
            return False
        # Octavia's times are UTC whether they say so or not
        return now - created.replace(tzinfo=UTC).timestamp() >= self._member_creation_time


def _is_foreign(member: Mapping[str, Any], project_id: str | None) -> bool:
    return project_id is not None and member.get("project_id") != project_id
