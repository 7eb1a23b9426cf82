"""Who asks: a user in a project with roles, as Keystone, a token of the controller's own or the headers say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import Request

from autoscaler.declarations.tokens import Scope
from autoscaler.measures.window import ANY_PROJECT
from autoscaler.scaling.group import Actor

if TYPE_CHECKING:
    from typing import Final

ADMIN: Final = "admin"
MEMBER: Final = "member"
READER: Final = "reader"
SERVICE: Final = "service"
MONITOR: Final = "monitor"
ANONYMOUS: Final = "anonymous"

_IMPLIED: Final = {ADMIN: frozenset((MEMBER, READER, MONITOR)), MEMBER: frozenset((READER,))}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    Attributes:
        roles: in lower case; implied ones are among them: an admin is a member, a member a reader.
        token: what was shown to Keystone; "" where nothing was.
        checked: whether a token said who they are, so that it decides whose their measures are.
        scope: all that they may do is to send this; None where roles say what they may.
        operator: nobody was asked to say who they are, at an address that only this machine reaches: ``noauth``
            without project and roles. May use all of ``/v1``; Aodh's paths refuse them, as Aodh does.
    """

    user_id: str
    project_id: str
    roles: frozenset[str]
    token: str = field(default="", repr=False)
    checked: bool = False
    scope: Scope | None = None
    request_id: str = ""
    address: str = ""
    operator: bool = False

    @property
    def is_admin(self) -> bool:
        """Whether they may act for every project."""
        return ADMIN in self.roles

    @property
    def sees_all(self) -> bool:
        """Whether every project's, and the operator's own, is theirs to see and change in ``/v1``."""
        return self.is_admin or self.operator

    def may(self, role: str) -> bool:
        """Whether they may do what ``role`` may."""
        return self.operator or role in self.roles

    def owns(self, project_id: str) -> bool:
        """Whether what belongs to a project is theirs; what belongs to none, or to any, is the operator's."""
        if self.sees_all:
            return True
        return project_id == self.project_id and project_id not in {"", ANY_PROJECT}

    def project_of(self, named: str) -> str:
        """The project that a measure counts for, where a token says who sends it.

        Args:
            named: by the measure; counts only where an admin or a service says so.
        """
        return named if self.is_admin or SERVICE in self.roles else self.project_id

    @property
    def actor(self) -> Actor:
        """As decisions and histories name them."""
        return Actor(
            kind="user",
            name=self.user_id or ANONYMOUS,
            project_id=self.project_id,
            request_id=self.request_id,
            address=self.address,
        )


Authenticate = Callable[[Request], Awaitable[Identity]]
"""Who sends a request; raises :class:`autoscaler.api.faults.RefusedError`."""


def with_implied(roles: frozenset[str]) -> frozenset[str]:
    """Roles in lower case, and those that Keystone has them imply."""
    lower = frozenset(role.lower() for role in roles)
    return lower.union(*(_IMPLIED.get(role, frozenset()) for role in lower))


def identity_of(request: Request) -> Identity:
    """Who sends ``request``; set before any path sees it."""
    identity: Identity = request.state.identity
    return identity


Asker = Annotated[Identity, Depends(identity_of)]
