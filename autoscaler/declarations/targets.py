"""The options of each target type, as they stand under a group's ``target`` beside ``type``."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, Strict, ValidationInfo, field_validator

from autoscaler.declarations.fields import Declared, Number, Short, Text, Whole, matching
from autoscaler.scaling.policy import Order

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

Variable = Annotated[str, Strict(), matching(r"[A-Za-z_][A-Za-z0-9_]*", "a name of letters, digits and _")]
Plain = Annotated[str, Strict(), matching(r"[^\x00]*", "text without NUL")]
HeaderName = Annotated[str, Strict(), matching(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "the name of a header")]
HeaderValue = Annotated[str, Strict(), matching(r"[\t\x20-\x7e]*", "one line of ASCII text")]


class ProcessOptions(Declared):
    """Members are processes of the controller's own machine."""

    command: tuple[Text, ...]
    """A program and its arguments, a list or one line of words as a shell splits them; no shell runs them.
    ``{member}`` and ``{group}`` stand for the names."""

    env: dict[Variable, Plain] = Field(default_factory=dict)
    """Variables beyond the controller's own; the values are text."""

    graceful_stop: Annotated[Number, Field(ge=0, le=3600)] = 10.0
    """Seconds from SIGTERM to SIGKILL."""

    ready_after: Annotated[Number, Field(ge=0, le=3600)] = 0.0
    """Seconds that a member lives before it counts as ready."""

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, command: Any) -> Any:
        try:
            words = shlex.split(command) if isinstance(command, str) else command
        except ValueError as error:
            raise ValueError(f"expected words as a shell splits them, but there is {str(error).lower()}") from error
        if words in ([], ()):
            raise ValueError("expected a program and its arguments, got nothing")
        return words


class HttpOptions(Declared):
    """Members belong to a service that answers GET with the size and takes a PUT of it."""

    url: Text
    """Where to GET and PUT, http or https."""

    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Sent with each request."""

    timeout: Annotated[Number, Field(gt=0, le=300)] = 10.0
    """Seconds within which a request must have been answered."""

    poll_interval: Annotated[Number, Field(ge=0.1, le=3600)] = 5.0
    """Seconds between two looks at the size while nothing is under way."""

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("expected a URL such as https://host/path")
        return url


class DryRunOptions(Declared):
    """Nothing is moved: the size is a number."""

    size: Annotated[Whole, Field(ge=0, le=1_000_000)] | None = None
    """Members to begin with; the group's desired_capacity where there is none."""


class HeatOptions(Declared):
    """Members belong to an AutoScalingGroup of a stack."""

    stack: Text
    """Name, id or NAME/ID of the stack that the group stands in."""

    group: Text
    """Name of the group's resource there."""

    parameter: Text | None = None
    """Parameter of the stack that the size is set by; found by itself where desired_capacity is taken from one."""

    policies: dict[Literal["out", "in"], Text] | None = None
    """Names of two policies of the stack, of which ``out`` adds one member and ``in`` takes one away, where there is no
    such parameter; found by themselves where there is exactly one of each."""

    cloud: Text | None = None
    """Entry of clouds.yaml whose credentials are used; the controller's own where there is none."""

    project_id: Short | None = None
    """Whose stack it is, where the credentials are not its project's own; the stack is named by its id then."""

    poll_interval: Annotated[Number, Field(ge=1, le=3600)] = 10.0
    """Seconds between two looks at the group while nothing is under way."""

    @field_validator("project_id")
    @classmethod
    def _names_an_id(cls, project_id: str, info: ValidationInfo) -> str:
        stack = str(info.data.get("stack", "/"))
        if "/" not in stack and not _UUID.fullmatch(stack):
            raise ValueError("expected with the stack's id, or NAME/ID: Heat finds names in one's own project only")
        return project_id

    @field_validator("policies")
    @classmethod
    def _is_a_pair(cls, policies: dict[str, str] | None, info: ValidationInfo) -> dict[str, str] | None:
        if policies is None:
            return None
        if info.data.get("parameter"):
            raise ValueError("expected either parameter or policies, got both")
        if len(policies) != 2 or policies["out"] == policies["in"]:
            raise ValueError("expected the names of two policies, as out and as in")
        return policies


ORDERS: Final[Mapping[str, tuple[Order, ...]]] = {
    "process": (Order.OLDEST, Order.NEWEST),
    "heat": (Order.OLDEST, Order.NEWEST, Order.UNHEALTHY),
    "http": (),
    "dry_run": (),
}


def orders(target_type: str, options: Mapping[str, Any]) -> tuple[Order, ...]:
    """What a policy may say of who goes first, by the target of its group."""
    known = ORDERS[target_type]
    if options.get("policies"):  # a resize by one more or less would remove one more than was marked
        known = tuple(order for order in known if order is not Order.NEWEST)
    return known


TARGETS: Final[Mapping[str, type[ProcessOptions | HeatOptions | HttpOptions | DryRunOptions]]] = {
    "process": ProcessOptions,
    "heat": HeatOptions,
    "http": HttpOptions,
    "dry_run": DryRunOptions,
}
