"""Who asks: a user in a project with roles, as Keystone or the headers of a request say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import Request

from autoscaler.scaling.group import Actor

if TYPE_CHECKING:
    from typing import Final

ADMIN: Final = "admin"
MEMBER: Final = "member"
READER: Final = "reader"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    Attributes:
        roles: in lower case; implied ones are among them: an admin is a member, a member a reader.
        token: what was shown to Keystone; "" where nothing was.
        operator: nobody was asked to say who they are, at an address that only this machine reaches: ``noauth``
            without any of its headers. May use all of ``/v1``; Aodh's paths refuse them, as Aodh does.
    """

    user_id: str
    project_id: str
    roles: frozenset[str]
    token: str = ""
    request_id: str = ""
    address: str = ""
    operator: bool = False

    @property
    def is_admin(self) -> bool:
        """Whether they may act for every project."""
        return ADMIN in self.roles

    @property
    def actor(self) -> Actor:
        """As decisions and histories name them."""
        return Actor(
            kind="user",
            name=self.user_id,
            project_id=self.project_id,
            request_id=self.request_id,
            address=self.address,
        )


Authenticate = Callable[[Request], Awaitable[Identity]]
"""Who sends a request; raises :class:`autoscaler.api.faults.Refused`."""


def identity_of(request: Request) -> Identity:
    """Who sends ``request``; set before any path sees it."""
    identity: Identity = request.state.identity
    return identity


Asker = Annotated[Identity, Depends(identity_of)]
