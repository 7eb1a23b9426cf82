"""Who sends a request, found out before any path sees it."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

import structlog
from starlette.requests import Request

from autoscaler.api.failures import Failures
from autoscaler.api.faults import RETRY_AFTER, RefusedError, refusal
from autoscaler.api.identity import Authenticate, Identity, with_implied
from autoscaler.api.refusals import Refusal, Refused
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
        "/docs",
        "/docs/oauth2-redirect",
        "/openapi.json",
    )
)
"""Paths that nobody is asked for a token at."""
METRICS: Final = "/metrics"
"""One more, where the settings say so."""

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
        if request.state.open:
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
        if request.state.open:
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
    """Puts who asks beside each request, or refuses it.

    Args:
        open_paths: where nobody is asked for a token.
        failures: makes those wait who show many wrong ones; None makes nobody wait.
        refused: told of each that is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticate: Authenticate,
        *,
        failures: Failures | None = None,
        refused: Refused | None = None,
        open_paths: Collection[str] = OPEN,
    ) -> None:
        self._app = app
        self._authenticate = authenticate
        self._open = frozenset(open_paths)
        self._failures = failures or Failures(0, clock=float)
        self._refused = refused or (lambda _: None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request.state.open = scope["path"] in self._open
        try:
            request.state.identity = await self._identity(request)
        except RefusedError as error:
            await refusal(scope["path"], error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _identity(self, request: Request) -> Identity:
        """Who asks. Raises RefusedError."""
        address, token = _address(request), "" if request.state.open else token_of(request)
        if not token:
            return await self._asked(request, Refusal.NO_TOKEN)
        wait = self._failures.wait(address, token)
        if wait:
            self._refused(Refusal.TOO_MANY_WRONG_TOKENS)
            message = "too many wrong tokens were shown from this address"
            raise RefusedError(429, message, {"Retry-After": str(math.ceil(wait))})
        try:
            identity = await self._asked(request, Refusal.WRONG_TOKEN)
        except RefusedError as error:
            match error.status:
                case 401:
                    self._failures.wrong(address, token)
                    log.info("wrong token", address=address)
                case 503:
                    self._failures.unknown(address, token)
                case _:
                    self._failures.good(address, token)
            raise
        except BaseException:
            self._failures.unknown(address, token)
            raise
        self._failures.good(address, token)
        return identity

    async def _asked(self, request: Request, refusal: Refusal) -> Identity:
        try:
            return await self._authenticate(request)
        except RefusedError as error:
            if error.status == 401:
                self._refused(refusal)
            raise
        except TemporaryError as error:
            log.warning("token not looked at", error=str(error))
            away = "Keystone cannot be asked at the moment"
            raise RefusedError(503, away, {"Retry-After": RETRY_AFTER}) from error


def _name(request: Request, header: str) -> str:
    """A header that names somebody; "" where it is missing or blank."""
    name = request.headers.get(header, "").strip()
    if len(name) > _LONGEST or not name.isprintable():
        raise RefusedError(400, f"{header}: expected at most {_LONGEST} printable characters")
    return name


def _address(request: Request) -> str:
    """Where a request comes from; "" where nobody knows, or where a proxy says what is no address."""
    try:
        return "" if request.client is None else str(ipaddress.ip_address(request.client.host))
    except ValueError:
        return ""
