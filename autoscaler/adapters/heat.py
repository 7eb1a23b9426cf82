"""Heat's API, as far as groups, their members and their signals go.

See https://docs.openstack.org/api-ref/orchestration/v1/. Times are Unix seconds by Heat's clock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec

from autoscaler.adapters import http
from autoscaler.errors import PermanentError, TemporaryError

if TYPE_CHECKING:
    from autoscaler.adapters.openstack import Service

GROUP_TYPES: Final = ("OS::Heat::AutoScalingGroup", "AWS::AutoScaling::AutoScalingGroup")
POLICY_TYPES: Final = ("OS::Heat::ScalingPolicy", "AWS::AutoScaling::ScalingPolicy")

_ANSWER: Final = "Heat's answer"


class StackRef(msgspec.Struct, frozen=True):
    """Both parts that a stack's path is made of."""

    name: str
    id: str

    @property
    def path(self) -> str:
        """``/stacks/NAME/ID``."""
        return f"/stacks/{quote(self.name, safe='')}/{quote(self.id, safe='')}"


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack, without its outputs.

    Attributes:
        status: such as ``UPDATE_IN_PROGRESS``.
        parameters: as texts; those that Heat hides are asterisks.
        updated: when its last update began; None before the first.
    """

    ref: StackRef
    status: str
    reason: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    updated: float | None = None

    @property
    def is_changing(self) -> bool:
        """Whether something is under way in it."""
        return self.status.endswith("_IN_PROGRESS")


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of a stack.

    Attributes:
        physical_id: what it is outside of Heat, such as the id of a server; "" while there is none.
        status: such as ``CREATE_COMPLETE``.
        required_by: names of the resources of the same stack that depend on it.
        nested: the stack that it consists of; None where it is none.
    """

    name: str
    type: str
    physical_id: str
    status: str
    reason: str = ""
    created: float = 0.0
    updated: float = 0.0
    required_by: tuple[str, ...] = ()
    parent: str = ""
    nested: StackRef | None = None

    @property
    def has_failed(self) -> bool:
        """Whether Heat replaces or removes it first."""
        return self.status.endswith("_FAILED")

    @property
    def is_complete(self) -> bool:
        """Whether it is there, and nothing is being done to it."""
        return self.status.endswith("_COMPLETE") and not self.status.startswith(("INIT_", "DELETE_"))


@dataclass(frozen=True, slots=True)
class GroupMetadata:
    """What Heat notes of a group's scaling.

    Attributes:
        in_progress: a signal's resize is under way, or was when its engine died.
        cooldown_end: until when signals are dropped; None where none was recorded.
        cooldown_by: the adjustment that recorded it, as ``TYPE : NUMBER``.
    """

    in_progress: bool = False
    cooldown_end: float | None = None
    cooldown_by: str = ""


class _Link(msgspec.Struct, frozen=True):
    href: str
    rel: str = ""


class _Stack(msgspec.Struct, frozen=True):
    stack_name: str
    id: str
    stack_status: str
    stack_status_reason: str | None = ""
    parameters: dict[str, Any] = {}
    updated_time: str | None = None


class _Resource(msgspec.Struct, frozen=True):
    resource_name: str
    resource_type: str = ""
    physical_resource_id: str | None = ""
    resource_status: str = ""
    resource_status_reason: str | None = ""
    creation_time: str | None = None
    updated_time: str | None = None
    required_by: tuple[str, ...] = ()
    parent_resource: str | None = ""
    links: tuple[_Link, ...] = ()


class _OneStack(msgspec.Struct, frozen=True):
    stack: _Stack


class _OneResource(msgspec.Struct, frozen=True):
    resource: _Resource


class _Resources(msgspec.Struct, frozen=True):
    resources: list[_Resource]


class _Metadata(msgspec.Struct, frozen=True):
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heat:
    """Asks Heat. Every method raises what :meth:`autoscaler.adapters.openstack.Service.call` raises.

    Args:
        service: Heat, with the controller's own credentials, or another's.
        trust_id: of the trust by which it is asked; "" asks with the credentials themselves.
        project_id: whose stacks are meant; "" means those of the project that the token is scoped to.
    """

    service: Service
    trust_id: str = ""
    project_id: str = ""

    def by(self, *, trust_id: str = "", project_id: str = "") -> Heat:
        """The same Heat, asked with other rights."""
        return dataclasses.replace(self, trust_id=trust_id, project_id=project_id)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def ref(self, stack: str) -> StackRef:
        """A stack that is named by its name, id, ``NAME/ID`` or ARN.

        Heat answers a request for either part by a redirect to both. Of where it leads only that part is used: it is
        made of the address that Heat was called at, which behind a proxy may not be ours.
        """
        rest = stack.partition("stacks/")[2] or stack
        if "/" in rest:
            return _ref(rest)
        try:
            await self._call("GET", f"/stacks/{quote(rest, safe='')}")
        except http.RefusedError as error:
            if not error.location:
                raise
            return _ref(unquote(urlsplit(error.location).path.partition("/stacks/")[2]))
        raise TemporaryError(f"Heat does not say where stack {stack} is")

    async def stack(self, ref: StackRef) -> Stack:
        """A stack."""
        answer = await self._call("GET", f"{ref.path}?resolve_outputs=False")
        found = http.decoded(answer, _OneStack, _ANSWER).stack
        return Stack(
            StackRef(found.stack_name, found.id),
            found.stack_status,
            found.stack_status_reason or "",
            {name: str(value) for name, value in found.parameters.items()},
            _time(found.updated_time),
        )

    async def resource(self, ref: StackRef, name: str) -> Resource:
        """One resource of a stack."""
        answer = await self._call("GET", f"{ref.path}/resources/{quote(name, safe='')}")
        return _resource(http.decoded(answer, _OneResource, _ANSWER).resource)

    async def resources(self, ref: StackRef, **asked: str | int) -> list[Resource]:
        """The resources of a stack, in Heat's order; ``asked`` narrows them, such as ``type`` or ``nested_depth``."""
        query = f"?{urlencode(asked)}" if asked else ""
        answer = await self._call("GET", f"{ref.path}/resources{query}")
        return [_resource(found) for found in http.decoded(answer, _Resources, _ANSWER).resources]

    async def metadata(self, ref: StackRef, group: str) -> GroupMetadata:
        """What is noted of a group's scaling."""
        answer = await self._call("GET", f"{ref.path}/resources/{quote(group, safe='')}/metadata")
        return group_metadata(http.decoded(answer, _Metadata, _ANSWER).metadata)

    async def template(self, ref: StackRef) -> Mapping[str, Any]:
        """A stack's template, as it was given."""
        answer = await self._call("GET", f"{ref.path}/template")
        found: Mapping[str, Any] = http.decoded(answer, dict[str, Any], _ANSWER)
        return found

    async def events(self, ref: StackRef, resource: str, *, limit: int = 20) -> Sequence[Mapping[str, Any]]:
        """What happened to a resource, newest first, as Heat tells it."""
        query = urlencode({"limit": limit, "sort_dir": "desc"})
        answer = await self._call("GET", f"{ref.path}/resources/{quote(resource, safe='')}/events?{query}")
        decoded = http.decoded(answer, dict[str, list[dict[str, Any]]], _ANSWER)
        found: Sequence[Mapping[str, Any]] = decoded.get("events", [])
        return found

    # --- changing ----------------------------------------------------------------------------------------------------

    async def update(self, ref: StackRef, parameters: Mapping[str, Any] | None = None) -> None:
        """Have a stack updated with its own template, and other values for these parameters."""
        await self._call("PATCH", ref.path, {"parameters": dict(parameters)} if parameters else {})

    async def mark(self, ref: StackRef, resource: str, *, unhealthy: bool, why: str) -> None:
        """Have a resource replaced or removed first, or (False) take that back."""
        path = f"{ref.path}/resources/{quote(resource, safe='')}"
        await self._call("PATCH", path, {"mark_unhealthy": unhealthy, "resource_status_reason": why})

    async def signal(self, ref: StackRef, resource: str, body: Mapping[str, Any]) -> None:
        """Signal a resource; Heat answers before it decides anything."""
        await self._call("POST", f"{ref.path}/resources/{quote(resource, safe='')}/signal", dict(body))

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        return await self.service.call(method, path, body=body, trust_id=self.trust_id, project_id=self.project_id)


def group_metadata(found: Mapping[str, Any]) -> GroupMetadata:
    """A group's metadata as Heat has them; what is written otherwise than today's Heat writes it is not known."""
    ends = found.get("cooldown_end")
    end, by = next(iter(ends.items()), ("", "")) if isinstance(ends, Mapping) else ("", "")
    return GroupMetadata(found.get("scaling_in_progress") is True, _time(str(end)), str(by))


def _ref(rest: str) -> StackRef:
    name, _, more = rest.partition("/")
    stack_id = more.partition("/")[0]
    if not name or not stack_id:
        raise PermanentError(f"Heat does not know a stack {rest!r}")
    return StackRef(name, stack_id)


def _resource(found: _Resource) -> Resource:
    nested = next((link.href for link in found.links if link.rel == "nested"), None)
    return Resource(
        name=found.resource_name,
        type=found.resource_type,
        physical_id=found.physical_resource_id or "",
        status=found.resource_status,
        reason=found.resource_status_reason or "",
        created=_time(found.creation_time) or 0.0,
        updated=_time(found.updated_time) or 0.0,
        required_by=found.required_by,
        parent=found.parent_resource or "",
        nested=None if nested is None else _ref(unquote(urlsplit(nested).path.partition("/stacks/")[2])),
    )


def _time(text: str | None) -> float | None:
    """Unix seconds; Heat writes UTC, with or without saying so."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
