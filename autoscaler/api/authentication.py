"""Who sends a request, found out before any path sees it."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Protocol

import structlog
from starlette.requests import Request

from autoscaler.api.faults import RETRY_AFTER, RefusedError, refusal
from autoscaler.api.identity import Authenticate, Identity, with_implied
from autoscaler.declarations.tokens import Token, is_own
from autoscaler.errors import TemporaryError
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from typing import Final

    from starlette.types import ASGIApp, Receive, Scope, Send

log = structlog.get_logger()

OPEN: Final = frozenset(
    (
        "/",
        "/healthcheck",
        "/healthz",
        "/readyz",
        "/livez",
        "/metrics",
        "/docs",
        "/docs/oauth2-redirect",
        "/openapi.json",
    )
)
"""Paths that nobody is asked for a token at."""

BEARER: Final = 'Bearer realm="autoscaler"'

_LONGEST: Final = 255
"""Characters of a user or project."""


class Known(Protocol):
    """What Keystone says of a token."""

    @property
    def user_id(self) -> str:
        """Whose it is."""
        ...

    @property
    def project_id(self) -> str:
        """That it is scoped to; "" for none."""
        ...

    @property
    def roles(self) -> frozenset[str]:
        """In that project."""
        ...


class Tokens(Protocol):
    """Asks Keystone."""

    async def validate(self, token: str) -> Known | None:
        """Whose a token is, None where it is none. Raises TemporaryError while nobody knows."""
        ...


class OwnTokens(Protocol):
    """Knows the controller's own."""

    def find(self, token: str) -> Token | None:
        """Which token it is; None where it is none, or none any more. Total."""
        ...


def noauth() -> Authenticate:
    """Whoever the headers ``X-User-Id``, ``X-Project-Id`` and ``X-Roles`` name is believed.

    Who names neither project nor roles is the operator: only this machine reaches the API, unless it was forced open.
    """

    async def authenticate(request: Request) -> Identity:
        project_id = _name(request, "x-project-id")
        roles = request.headers.get("x-roles")
        if project_id == ANY_PROJECT:
            raise RefusedError(400, f"X-Project-Id: expected a project; {ANY_PROJECT} stands for all of them")
        return Identity(
            user_id=_name(request, "x-user-id"),
            project_id=project_id,
            roles=with_implied(frozenset(role.strip() for role in (roles or "").split(",") if role.strip())),
            request_id=request.state.request_id,
            address=_address(request),
            operator=not project_id and roles is None,
        )

    return authenticate


def by_tokens(own: OwnTokens) -> Authenticate:
    """Whoever shows one of the controller's own tokens, see :func:`token_of`."""

    async def authenticate(request: Request) -> Identity:
        if request.scope["path"] in OPEN:
            return _anonymous(request)
        token = token_of(request)
        identity = _own(own, token, request)
        if identity is None:
            found = "this one is not valid" if token else "there is none"
            raise RefusedError(401, f"expected a token of this controller's, {found}", {"WWW-Authenticate": BEARER})
        return identity

    return authenticate


def keystone(tokens: Tokens, uri: str, *, own: OwnTokens | None = None) -> Authenticate:
    """Whoever the token in ``X-Auth-Token`` belongs to, by Keystone's word.

    Args:
        tokens: asks Keystone.
        uri: where tokens are to be had, for who has none.
        own: the controller's own tokens, for those who cannot ask Keystone for one; None where it has none.
    """
    challenge = f'Keystone uri="{uri}"'
    headers = {"WWW-Authenticate": challenge if own is None else f"{challenge}, {BEARER}"}

    async def authenticate(request: Request) -> Identity:
        if request.scope["path"] in OPEN:
            return _anonymous(request)
        token = token_of(request)
        identity = None if own is None else _own(own, token, request)
        if identity is not None:
            return identity
        # what stands in Authorization may be a password, and is none of Keystone's business
        theirs = request.headers.get("x-auth-token", "").strip()
        known = await tokens.validate(theirs) if theirs and not is_own(theirs) else None
        if known is None:
            found = "this one is not valid" if token else "there is none"
            raise RefusedError(401, f"expected a token of Keystone in X-Auth-Token, {found}", headers)
        if not known.project_id:
            raise RefusedError(403, "expected a token that is scoped to a project")
        return Identity(
            user_id=known.user_id,
            project_id=known.project_id,
            roles=with_implied(known.roles),
            token=theirs,
            checked=True,
            request_id=request.state.request_id,
            address=_address(request),
        )

    return authenticate


def token_of(request: Request) -> str:
    """The token that a request shows; "" where it shows none.

    It stands in ``X-Auth-Token``, or in ``Authorization`` as a bearer's or as the password of whatever user, since
    Prometheus and Ceilometer's ``http://`` publisher have no other way. Never in the URL: those are written into logs.
    """
    token = request.headers.get("x-auth-token", "").strip()
    if token:
        return token
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return shown.strip()
        case "basic":
            try:
                return base64.b64decode(shown.strip(), validate=True).decode().partition(":")[2]
            except (binascii.Error, ValueError):
                return ""
        case _:
            return ""


def _own(own: OwnTokens, shown: str, request: Request) -> Identity | None:
    token = own.find(shown) if is_own(shown) else None
    if token is None:
        return None
    return Identity(
        user_id=f"token:{token.name}",
        project_id=token.project_id,
        roles=with_implied(token.roles),
        checked=True,
        scope=token.scope,
        request_id=request.state.request_id,
        address=_address(request),
    )


def _anonymous(request: Request) -> Identity:
    return Identity("", "", frozenset(), request_id=request.state.request_id, address=_address(request))


class Authentication:
    """Puts who asks beside each request, or refuses it."""

    def __init__(self, app: ASGIApp, authenticate: Authenticate) -> None:
        self._app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            request.state.identity = await self._authenticate(request)
        except RefusedError as error:
            await refusal(scope["path"], error)(scope, receive, send)
        except TemporaryError as error:
            log.warning("token not looked at", error=str(error))
            away = RefusedError(503, "Keystone cannot be asked at the moment", {"Retry-After": RETRY_AFTER})
            await refusal(scope["path"], away)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _name(request: Request, header: str) -> str:
    """A header that names somebody; "" where it is missing or blank."""
    name = request.headers.get(header, "").strip()
    if len(name) > _LONGEST or not name.isprintable():
        raise RefusedError(400, f"{header}: expected at most {_LONGEST} printable characters")
    return name


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host
