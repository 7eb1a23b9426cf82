"""The options of each target type, as they stand under a group's ``target`` beside ``type``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, Strict, field_validator

from autoscaler.declarations.fields import Declared, Number, Text, Whole, matching
from autoscaler.scaling.policy import Order

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

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


ORDERS: Final[Mapping[str, tuple[Order, ...]]] = {
    "process": (Order.OLDEST, Order.NEWEST),
    "http": (),
    "dry_run": (),
}
"""What a policy may say of who goes first, by the type of its group's target."""

TARGETS: Final[Mapping[str, type[ProcessOptions | HttpOptions | DryRunOptions]]] = {
    "process": ProcessOptions,
    "http": HttpOptions,
    "dry_run": DryRunOptions,
}
