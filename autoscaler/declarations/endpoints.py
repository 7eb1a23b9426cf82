"""``endpoints.yaml``: what the controller shows to webhooks, so that they know it, and how it knows them.

Secrets stand in files or in the environment; in the document itself only where it says ``plain``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from autoscaler.declarations.documents import Path, read
from autoscaler.declarations.fields import Declared, Flag, Number, Short, Text
from autoscaler.declarations.reading import Reader
from autoscaler.declarations.targets import HeaderName, HeaderValue, Variable
from autoscaler.declarations.wording import shown, unknown_key
from autoscaler.errors import DeclarationError

if TYPE_CHECKING:
    from typing import Final

SECTIONS: Final = ("endpoints", "signing")
_WAYS: Final = (
    "expected {file: PATH} or {env: NAME}, or {plain: TEXT} where the secret may be read by all who read this"
)
LONGEST: Final = 14.0
"""Seconds for one delivery."""


class Secret(Declared):
    """A text that is not for everybody."""

    file: Text | None = None
    """File that it stands in, read again when it changes; from the folder of the document where it is no whole path."""

    env: Variable | None = None
    """Variable of the environment that it stands in."""

    plain: Text | None = Field(default=None, repr=False)
    """The secret itself."""

    @model_validator(mode="before")
    @classmethod
    def _is_no_text(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(_WAYS)  # noqa: TRY004 - pydantic's own error
        return value

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(each is not None for each in (self.file, self.env, self.plain)) != 1:
            raise ValueError(_WAYS)
        return self

    def __str__(self) -> str:
        return f"file {self.file}" if self.file else f"variable {self.env}" if self.env else "plain secret"


class Basic(Declared):
    """A user and a password."""

    username: Short
    """User."""

    password: Secret
    """Password."""


class Auth(Declared):
    """What the Authorization header holds; one of both."""

    bearer: Secret | None = None
    """Token."""

    basic: Basic | None = None
    """User and password."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.bearer is None) == (self.basic is None):
            raise ValueError("expected either bearer or basic")
        return self


class Certificate(Declared):
    """A client certificate, in PEM."""

    certificate: Text
    """File of the certificate."""

    key: Text | None = None
    """File of its key; the same file where it is not named."""


class Endpoint(Declared):
    """What is shown to one receiver of webhooks."""

    url: Text
    """Scheme, host and port, which must be the same, and the beginning of the path; the longest that fits counts."""

    headers: dict[HeaderName, HeaderValue | Secret] = Field(default_factory=dict)
    """Sent with each call: texts, or secrets."""

    auth: Auth | None = None
    """For the Authorization header."""

    signing: tuple[Secret, ...] = ()
    """Secrets by which calls are signed, each for itself; those of the whole document where there are none."""

    client_certificate: Certificate | None = None
    """Shown in place of ``AUTOSCALER_WEBHOOK_CERT``."""

    ca: Text | None = None
    """File of the authorities that the receiver's certificate is checked with."""

    timeout: Annotated[Number, Field(gt=0, le=LONGEST)] | None = None
    """Seconds within which it must have answered; ``AUTOSCALER_WEBHOOK_TIMEOUT`` where it is not set."""

    tenants: Flag = False
    """Also for alarms made through the API: whoever makes one has all this shown to the receiver in the controller's
    name."""

    @field_validator("url")
    @classmethod
    def _is_a_place(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            sound = parts.port != 0 and not (parts.query or parts.fragment or "@" in parts.netloc)
        except ValueError:
            parts, sound = urlsplit(""), False
        if parts.scheme not in {"http", "https"} or not parts.hostname or not sound:
            raise ValueError("expected http:// or https://, a host, and at most a port and the beginning of a path")
        return url

    @field_validator("headers")
    @classmethod
    def _are_free(cls, headers: dict[str, HeaderValue | Secret]) -> dict[str, HeaderValue | Secret]:
        for name in headers:
            if name.lower() in TAKEN or name.lower().startswith("webhook-"):
                raise ValueError(f"expected no header that the controller sends itself, got {name}")
        return headers


TAKEN: Final = frozenset((
    *("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "expect"),
    *("idempotency-key", "x-openstack-request-id", "x-auth-token"),
))  # fmt: skip
"""Headers, in lower case."""


class Endpoints(Declared):
    """A whole document.

    Attributes:
        signing: for the operator's own alarms, wherever they lead.
    """

    endpoints: tuple[Endpoint, ...] = ()
    signing: tuple[Secret, ...] = ()


def parse(text: str, file: str) -> Endpoints:
    """A document of endpoints.

    Raises:
        DeclarationError: with every problem of it at its place.
    """
    document, problems = read(file, text)
    reader = Reader(mixed_as_aodh=False)
    reader.problems += problems
    endpoints: list[Endpoint] = []
    signing: list[Secret] = []
    if document is not None and not isinstance(document.value, dict):
        expected = f"expected a mapping with {', '.join(SECTIONS)}, got {shown(document.value)}"
        reader.problems.append(document.problem((), expected))
    elif document is not None:
        for section, things in document.value.items():
            path: Path = (section,)
            if section not in SECTIONS:
                reader.problems.append(document.problem(path, unknown_key(section, SECTIONS), of_key=True))
            elif not isinstance(things, list):
                reader.problems.append(document.problem(path, f"expected a list, got {shown(things)}"))
            elif section == "endpoints":
                found = [reader.validated(Endpoint, document, (*path, at), raw) for at, raw in enumerate(things)]
                endpoints = [endpoint for endpoint in found if endpoint is not None]
            else:
                secrets = [reader.validated(Secret, document, (*path, at), raw) for at, raw in enumerate(things)]
                signing = [secret for secret in secrets if secret is not None]
        for at, endpoint in enumerate(endpoints):
            if endpoint.url in {other.url for other in endpoints[:at]} and not reader.problems:
                twice = document.problem(("endpoints", at, "url"), f"expected each URL once, got {endpoint.url} again")
                reader.problems.append(twice)
    if reader.problems:
        raise DeclarationError(tuple(sorted(reader.problems, key=lambda problem: (problem.line, problem.column))))
    return Endpoints(endpoints=tuple(endpoints), signing=tuple(signing))
