"""What the v2 API is told when it is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from autoscaler.api.identity import Identity


class Trusts(Protocol):
    """Makes the trusts by which ``trust+…`` actions act for whoever made the alarm."""

    async def make(self, identity: Identity) -> str:
        """The id of a new trust.

        Raises:
            TrustScopedError: there can be none.
            TemporaryError, PermanentError: none was made; the text says why.
        """
        ...

    async def drop(self, trust_id: str) -> None:
        """Take a trust away; one that is gone already is fine. Raises TemporaryError, PermanentError."""
        ...


async def nobody() -> str | None:
    """Where no project is known."""
    return None


async def everywhere(url: str) -> bool:  # noqa: ARG001 - whatever it is
    """Where alarms may call anything."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of the v2 API.

    Attributes:
        alarm_max_actions: per state; -1 means any number.
        project_alarm_quota: alarms of a project of which nothing else was said; -1 means any number.
        user_alarm_quota: alarms of a user; -1 means any number.
        evaluation_metrics: whether ``/v2/metrics`` answers.
        trusts: None means that there is no Keystone to make any.
        admits: whether an alarm may have an action that calls a URL.
        service_project: the id of the project whose services create resources for others; None where it is not known.
    """

    alarm_max_actions: int = -1
    project_alarm_quota: int = -1
    user_alarm_quota: int = -1
    evaluation_metrics: bool = False
    trusts: Trusts | None = None
    admits: Callable[[str], Awaitable[bool]] = everywhere
    service_project: Callable[[], Awaitable[str | None]] = nobody
