"""Any service that can say how large a group is and be told how large it should be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Self

import msgspec

from autoscaler.adapters import http
from autoscaler.declarations.targets import HttpOptions
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.redaction import redacted
from autoscaler.scaling.policy import Order
from autoscaler.scaling.status import TargetStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    import httpx

    from autoscaler.scaling.group import Group


class Member(msgspec.Struct, frozen=True):
    """One member in an answer; a bare id means that it serves."""

    id: str
    ready: bool = True


class Answer(msgspec.Struct, frozen=True):
    """What GET answers; further keys are let be.

    Attributes:
        size: members, whatever their condition.
        members: of them those known by id; None means that none is told.
        ready: of them those that serve; None means all, or as the members say.
    """

    size: int
    members: list[str | Member] | None = None
    ready: int | None = None


class HttpTarget:
    """See :class:`autoscaler.ports.Target`.

    ``GET url`` answers :class:`Answer`; ``PUT url`` is sent ``{"size": n, "fence": f}`` under an Idempotency-Key that
    is the same whenever the same resize is sent again.

    Args:
        client: to call with; closed with the target. None means one of its own.
    """

    resident = False
    pace = 0.5

    def __init__(self, client: httpx.AsyncClient | None = None) -> None:
        self._client = client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def status(self, group: Group) -> TargetStatus:
        """GET the size; whatever is wrong with the answer, it is no size."""
        options = _options(group)
        request = http.Request("GET", options.url, options.timeout, _headers(options))
        try:
            return _status(await http.called(self._connected(), request), request)
        except PermanentError as error:
            raise TemporaryError(str(error)) from error

    async def resize(
        self,
        group: Group,
        capacity: int,
        *,
        fence: int,
        deadline: float,
        order: Order = Order.ANY,  # noqa: ARG002
    ) -> None:
        """PUT the size; the service itself knows who goes first."""
        options = _options(group)
        headers = _headers(options) | {
            "content-type": "application/json",
            "idempotency-key": f"{group.name}:{fence}:{capacity}",
        }
        content = json.dumps({"size": capacity, "fence": fence}).encode()
        request = http.Request("PUT", options.url, min(options.timeout, deadline), headers, content)
        await http.called(self._connected(), request)

    async def release(self, group: Group) -> None:
        """Nothing: the members live elsewhere."""

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = http.client()
        return self._client


def _options(group: Group) -> HttpOptions:
    return HttpOptions.model_validate(dict(group.target))


def _headers(options: HttpOptions) -> dict[str, str]:
    headers: Mapping[str, str] = options.headers
    return {"accept": "application/json", **{name.lower(): value for name, value in headers.items()}}


def _status(body: bytes, request: http.Request) -> TargetStatus:
    place = f"GET {redacted(request.url)}"
    answer = http.decoded(body, Answer, f'{place}: {{"size": n, …}} was expected, and the answer')
    problem = _problem(answer)
    if problem:
        raise TemporaryError(f"{place}: {problem}")
    if answer.members is None:
        ready = answer.size if answer.ready is None else answer.ready
        return TargetStatus(size=answer.size, ready=(), counted_ready=ready)
    serving = [_id(member) for member in answer.members if isinstance(member, str) or member.ready]
    return TargetStatus(size=answer.size, ready=serving, counted_ready=answer.ready)


def _problem(answer: Answer) -> str:
    """What makes an answer of the right form nonsense; "" when nothing does."""
    members = [_id(member) for member in answer.members or ()]
    if answer.size < 0:
        return f"size is {answer.size}, expected 0 or more"
    if answer.ready is not None and not 0 <= answer.ready <= answer.size:
        return f"ready is {answer.ready}, expected 0 to size, which is {answer.size}"
    if len(members) > answer.size:
        return f"{len(members)} members are listed, size is only {answer.size}"
    if len(set(members)) < len(members):
        return "a member is listed twice"
    return ""


def _id(member: str | Member) -> str:
    return member if isinstance(member, str) else member.id
