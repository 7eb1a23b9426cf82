"""Keystone: whose a token is, tokens of our own, trusts, and where the other services are.

See https://docs.openstack.org/api-ref/identity/v3/. No token stands in any text that this module raises or logs.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, Protocol, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from autoscaler.adapters.http import client, tls
from autoscaler.errors import PermanentError, TemporaryError, TrustGoneError, TrustScopedError
from autoscaler.redaction import HIDDEN, redacted
from autoscaler.settings import Settings

TIMEOUT: Final = 10.0
"""Seconds for one answer of Keystone."""
MARGIN: Final = 60.0
"""Seconds before its end at which a token of ours is renewed; a quarter of its life where that is less."""
NEGATIVE_CACHE: Final = 5.0
"""Seconds for which a token that is none stays so, at most: a Keystone that lags behind may know it in a moment."""
CATALOG_CACHE: Final = 60.0
"""Seconds for which a catalog, or the id of a project, is believed."""
REMEMBERED: Final = 10_000
"""Tokens that are remembered, of others and for trusts; as many that are none."""

_PLAUSIBLE: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_NO_TRUSTS: Final = "trusts need the controller's user and password: an application credential can stand for no trust"
_V = TypeVar("_V")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")


@dataclass(frozen=True, slots=True)
class PasswordCredentials:
    """A user with a password, who works in a project."""

    username: str
    password: str = field(repr=False)
    user_domain: str = "Default"
    project: str = "service"
    project_domain: str = "Default"

    @property
    def identity(self) -> dict[str, Any]:
        """As Keystone asks for it."""
        user = {"name": self.username, "domain": {"name": self.user_domain}, "password": self.password}
        return {"methods": ["password"], "password": {"user": user}}

    @property
    def scope(self) -> dict[str, Any] | None:
        """The project."""
        return {"project": {"name": self.project, "domain": {"name": self.project_domain}}}


@dataclass(frozen=True, slots=True)
class ApplicationCredentials:
    """An application credential, which has its project in itself and can take the scope of no trust."""

    id: str
    secret: str = field(repr=False)

    @property
    def identity(self) -> dict[str, Any]:
        """As Keystone asks for it."""
        credential = {"id": self.id, "secret": self.secret}
        return {"methods": ["application_credential"], "application_credential": credential}

    @property
    def scope(self) -> dict[str, Any] | None:
        """None may be asked for."""
        return None


class Credentials(Protocol):
    """Who we are."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """As Keystone asks for it."""
        ...

    @property
    def scope(self) -> Mapping[str, Any] | None:
        """What is asked to be worked in; None where none may be asked for."""
        ...


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What Keystone says of a token.

    Attributes:
        project_id: "" where the token is scoped to no project; then it has no roles for us.
        roles: names in lower case, implied ones among them.
        role_ids: of the same roles.
        expires: Unix seconds.
        trust_id: of the trust that it stands for; "" where for none.
    """

    user_id: str
    project_id: str
    roles: frozenset[str]
    role_ids: tuple[str, ...]
    expires: float
    trust_id: str = ""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> TokenInfo:
        """From the ``token`` of Keystone's answer; KeyError, TypeError or ValueError where it is none."""
        project = answer.get("project")
        roles = answer.get("roles", []) if project else []
        return cls(
            user_id=answer["user"]["id"],
            project_id=project["id"] if project else "",
            roles=frozenset(role["name"].lower() for role in roles),
            role_ids=tuple(role["id"] for role in roles),
            expires=datetime.fromisoformat(answer["expires_at"]).timestamp(),
            trust_id=answer.get("OS-TRUST:trust", {}).get("id", ""),
        )


@dataclass(frozen=True, slots=True)
class _Held:
    """A token of ours; ``project`` is what it is scoped to, as DOMAIN/NAME."""

    token: str = field(repr=False)
    info: TokenInfo
    project: str


class _Remembered(Generic[_V]):
    """Answers by key, each for a while; the oldest make room."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, _V]] = OrderedDict()

    def get(self, key: str) -> _V | None:
        until, answer = self._answers.get(key, (0.0, None))
        return answer if self._clock() < until else None

    def put(self, key: str, answer: _V, until: float) -> None:
        self._answers[key] = (until, answer)
        self._answers.move_to_end(key)
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)

    def forget(self, key: str) -> None:
        self._answers.pop(key, None)


class _Shared(Generic[_V]):
    """One question at a time for each key: whoever asks the same meanwhile is given the same answer, or error."""

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Future[_V]] = {}

    async def ask(self, key: str, question: Callable[[], Awaitable[_V]]) -> _V:
        while (asked := self._asked.get(key)) is not None:
            await asyncio.wait([asked])
            if not asked.cancelled():
                return asked.result()
        asked = self._asked[key] = asyncio.get_running_loop().create_future()
        try:
            answer = await question()
        except (TemporaryError, PermanentError) as error:
            asked.set_exception(error)
            asked.exception()  # nobody else may have asked
            raise
        else:
            asked.set_result(answer)
            return answer
        finally:
            asked.cancel()  # does nothing to one that is answered; else those who wait ask for themselves
            del self._asked[key]


class Keystone:
    """Asks Keystone. Every method raises :class:`TemporaryError` while it is away, or refuses us ourselves.

    Args:
        url: such as ``https://keystone.example.org:5000/v3``; ``/v3`` may be left out.
        credentials: who we are. To look at others' tokens, Keystone wants the role ``service`` or ``admin`` of us.
        region: of the services in the catalog; "" for any.
        interface: ``internal``, ``public`` or ``admin``.
        ca: file of certificates that Keystone's is checked with; "" for the system's.
        verify: whether Keystone's certificate is looked at at all.
        clock: Unix seconds.
        token_cache: seconds for which a word on a token is believed, and so a revoked one goes on.

    Raises:
        PermanentError: ``ca`` cannot be read.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        clock: Callable[[], float],
        region: str = "",
        interface: str = "internal",
        ca: str = "",
        verify: bool = True,
        token_cache: float = 60.0,
    ) -> None:
        base = url.rstrip("/")
        self._url = base if base.endswith("/v3") else f"{base}/v3"
        self._credentials = credentials
        self._region = region
        self._interface = interface
        self._clock = clock
        self._token_cache = token_cache
        self._client = client(verify=tls("Keystone", ca, verify=verify))
        self._held: _Remembered[_Held] = _Remembered(clock)
        self._known: _Remembered[TokenInfo] = _Remembered(clock)
        self._unknown: _Remembered[bool] = _Remembered(clock)
        self._catalogs: _Remembered[list[Any]] = _Remembered(clock)
        self._projects: _Remembered[str] = _Remembered(clock)
        self._holding: _Shared[_Held] = _Shared()
        self._validating: _Shared[TokenInfo | None] = _Shared()
        self._cataloguing: _Shared[list[Any]] = _Shared()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    # --- tokens of others --------------------------------------------------------------------------------------------

    async def validate(self, token: str) -> TokenInfo | None:
        """Whose ``token`` is, or None where it is none, or none any more."""
        if not _PLAUSIBLE.fullmatch(token):
            return None
        key = hashlib.sha256(token.encode()).hexdigest()
        info = self._known.get(key)
        if info is not None:
            return info
        if self._unknown.get(key):
            return None
        return await self._validating.ask(key, lambda: self._validated(token, key))

    async def _validated(self, token: str, key: str) -> TokenInfo | None:
        answer = await self._as_ourselves("GET", "/auth/tokens?nocatalog", subject=token)
        now = self._clock()
        match answer.status_code:
            case 200:
                info = self._info(answer)
                self._known.put(key, info, min(now + self._token_cache, info.expires))
                return info
            case 404:
                self._unknown.put(key, answer=True, until=now + min(NEGATIVE_CACHE, self._token_cache))
                return None
            case 401 | 403:
                raise TemporaryError(self._said(answer, "does not let us look at tokens; is our role service?", token))
            case _:
                raise TemporaryError(self._said(answer, "cannot say whose a token is", token))

    # --- tokens of our own -------------------------------------------------------------------------------------------

    async def token(self, trust_id: str = "") -> str:
        """A token of ours, or one that stands for a trust.

        Raises:
            TrustGoneError: nobody gets a token for this trust any more.
            PermanentError: our credentials are of a kind that cannot stand for a trust.
        """
        return (await self._hold(trust_id)).token

    async def renewed(self, refused: str, trust_id: str = "") -> str:
        """As :meth:`token`, but another than the one that a service has refused before its time."""
        held = self._held.get(trust_id)
        if held is not None and held.token == refused:
            self._held.forget(trust_id)
        return await self.token(trust_id)

    async def _hold(self, trust_id: str = "") -> _Held:
        held = self._held.get(trust_id)
        return held or await self._holding.ask(trust_id, lambda: self._authenticated(trust_id))

    async def _authenticated(self, trust_id: str) -> _Held:
        scope = self._credentials.scope
        if trust_id:
            scope = self._trust_scope(trust_id)
        auth = {"identity": self._credentials.identity, **({} if scope is None else {"scope": scope})}
        answer = await self._call("POST", "/auth/tokens?nocatalog", body={"auth": auth})
        if trust_id and answer.status_code in {401, 403, 404}:
            await self._authenticated("")  # 401 is said of a trust that is gone, and of a password that is wrong
            raise TrustGoneError(self._said(answer, f"gives no token for trust {trust_id}: the trust is gone"))
        if answer.status_code != 201:
            raise TemporaryError(self._said(answer, "refuses our credentials"))
        now, info = self._clock(), self._info(answer)
        until = info.expires - min(MARGIN, (info.expires - now) / 4)
        held = _Held(answer.headers["x-subject-token"], info, _project_of(self._part(answer, "token")))
        self._held.put(trust_id, held, until)
        return held

    def _trust_scope(self, trust_id: str) -> dict[str, Any]:
        if not _ID.fullmatch(trust_id):
            raise TrustGoneError("the trust is gone: what stands in its place is no id of a trust")
        if isinstance(self._credentials, ApplicationCredentials):
            raise PermanentError(_NO_TRUSTS)
        return {"OS-TRUST:trust": {"id": trust_id}}

    # --- trusts ------------------------------------------------------------------------------------------------------

    async def make_trust(self, token: str) -> str:
        """Have whoever's token this is trust us with their roles in its project; the trust's id.

        Raises:
            TrustScopedError: the token stands for a trust itself.
            PermanentError: the token is none any more, has no project, or Keystone refuses.
        """
        if isinstance(self._credentials, ApplicationCredentials):
            raise PermanentError(_NO_TRUSTS)
        info = await self.validate(token)
        if info is None:
            raise PermanentError("the token that a trust was to be made with is none any more")
        if info.trust_id:
            raise TrustScopedError("a token that stands for a trust cannot make another trust")
        if not info.project_id:
            raise PermanentError("a trust can be made only with a token that is scoped to a project")
        trust = {
            "trustor_user_id": info.user_id,
            "trustee_user_id": (await self._hold()).info.user_id,
            "project_id": info.project_id,
            "roles": [{"id": role_id} for role_id in info.role_ids],
            "impersonation": True,
            "allow_redelegation": False,
        }
        answer = await self._call("POST", "/OS-TRUST/trusts", token=token, body={"trust": trust})
        if answer.status_code != 201:
            raise PermanentError(self._said(answer, "refuses to make a trust", token))
        trust_id: str = self._part(answer, "trust")["id"]
        return trust_id

    async def drop_trust(self, trust_id: str) -> None:
        """End a trust; one that is gone already is fine.

        Raises:
            PermanentError: Keystone refuses.
        """
        if not _ID.fullmatch(trust_id):
            return
        path = f"/OS-TRUST/trusts/{trust_id}"
        try:
            answer = await self._call("DELETE", path, token=await self.token(trust_id))
        except PermanentError:  # it is gone, or nobody can stand for it: our own role may do
            answer = await self._as_ourselves("DELETE", path)
        self._held.forget(trust_id)
        self._catalogs.forget(trust_id)
        if answer.status_code in {401, 403}:
            answer = await self._as_ourselves("DELETE", path)
        if answer.status_code not in {204, 404}:
            raise PermanentError(self._said(answer, f"refuses to end trust {trust_id}"))

    # --- what there is -----------------------------------------------------------------------------------------------

    async def endpoint(self, service_type: str, trust_id: str = "") -> str:
        """Where a service is, without a slash at the end.

        Args:
            service_type: such as ``orchestration``.
            trust_id: of whom the service is asked for, where its address has the project in it.

        Raises:
            PermanentError: the catalog has none such.
        """
        for service in await self._catalog(trust_id):
            if service["type"] != service_type:
                continue
            for found in service["endpoints"]:
                if found["interface"] == self._interface and self._region in {"", found.get("region_id")}:
                    return str(found["url"]).rstrip("/")
        place = f" in region {self._region}" if self._region else ""
        raise PermanentError(f"the catalog has no {self._interface} endpoint of type {service_type}{place}")

    async def endpoints(self, service_types: Sequence[str]) -> list[str]:
        """Where services of these types are in our region, by every interface."""
        return [
            str(found["url"])
            for service in await self._catalog("")
            if service["type"] in service_types
            for found in service["endpoints"]
            if self._region in {"", found.get("region_id")}
        ]

    async def _catalog(self, trust_id: str) -> list[Any]:
        catalog = self._catalogs.get(trust_id)
        return catalog or await self._cataloguing.ask(trust_id, lambda: self._catalogued(trust_id))

    async def _catalogued(self, trust_id: str) -> list[Any]:
        answer = await self._as_ourselves("GET", "/auth/catalog", trust_id=trust_id)
        if answer.status_code != 200:
            raise TemporaryError(self._said(answer, "shows no catalog"))
        catalog: list[Any] = self._part(answer, "catalog")
        self._catalogs.put(trust_id, catalog, self._clock() + CATALOG_CACHE)
        return catalog

    async def project_id(self, name: str, domain: str = "Default") -> str | None:
        """The id of a project, None where there is none such, or none that we may see: our own, for most."""
        key = f"{domain}/{name}"
        known = self._projects.get(key)
        if known is not None:
            return known
        held = await self._hold()
        if held.project == key:
            return held.info.project_id
        domains = await self._listed("domains", f"?name={quote(domain, safe='')}")
        if not domains:
            return None
        projects = await self._listed("projects", f"?name={quote(name, safe='')}&domain_id={domains[0]['id']}")
        if not projects:
            return None
        found = str(projects[0]["id"])
        self._projects.put(key, found, self._clock() + CATALOG_CACHE)
        return found

    async def _listed(self, what: str, query: str) -> list[Any]:
        answer = await self._as_ourselves("GET", f"/{what}{query}")
        if answer.status_code in {403, 404}:
            return []
        if answer.status_code != 200:
            raise TemporaryError(self._said(answer, f"lists no {what}"))
        found: list[Any] = self._part(answer, what)
        return found

    # --- calls -------------------------------------------------------------------------------------------------------

    async def _as_ourselves(self, method: str, path: str, *, subject: str = "", trust_id: str = "") -> httpx.Response:
        """Call with a token of ours, with a new one where that has come to an end before its time."""
        token = await self.token(trust_id)
        answer = await self._call(method, path, token=token, subject=subject)
        if answer.status_code != 401:
            return answer
        return await self._call(method, path, token=await self.renewed(token, trust_id), subject=subject)

    async def _call(
        self, method: str, path: str, *, token: str = "", subject: str = "", body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """One answer of Keystone that is its word and no failure."""
        headers = {"X-Auth-Token": token, "X-Subject-Token": subject}
        sent = {name: value for name, value in headers.items() if value}
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._client.request(method, self._url + path, headers=sent, json=body, timeout=TIMEOUT)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TemporaryError(f"{self._place}: no answer within {TIMEOUT:g} s") from error
        except httpx.HTTPError as error:
            raise TemporaryError(f"{self._place}: {str(error) or type(error).__name__}") from error
        if answer.is_server_error or answer.status_code in {408, 429}:
            raise TemporaryError(self._said(answer, "fails", token, subject))
        return answer

    @property
    def _place(self) -> str:
        return f"Keystone at {redacted(self._url)}"

    def _info(self, answer: httpx.Response) -> TokenInfo:
        try:
            return TokenInfo.of(self._part(answer, "token"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TemporaryError(f"{self._place}: the answer is not Keystone's") from error

    def _part(self, answer: httpx.Response, name: str) -> Any:
        try:
            return answer.json()[name]
        except (KeyError, TypeError, ValueError) as error:
            raise TemporaryError(f"{self._place}: the answer is not Keystone's") from error

    def _said(self, answer: httpx.Response, what: str, *secrets: str) -> str:
        try:
            words = str(answer.json()["error"]["message"])
        except (KeyError, TypeError, ValueError):
            words = ""
        for secret in secrets:
            words = words.replace(secret, HIDDEN) if secret else words
        told = f" ({' '.join(words.split())[:200]})" if words else ""
        return f"{self._place} {what}: status {answer.status_code}{told}"


def keystone_of(settings: Settings, clock: Callable[[], float]) -> Keystone | None:
    """The Keystone that the settings name, None where they name none. Raises PermanentError as :class:`Keystone`."""
    if settings.keystone_url is None:
        return None
    credentials: Credentials
    if settings.keystone_credential_id is not None:
        credentials = ApplicationCredentials(
            settings.keystone_credential_id, _shown(settings.keystone_credential_secret)
        )
    else:
        credentials = PasswordCredentials(
            settings.keystone_username or "",
            _shown(settings.keystone_password),
            settings.keystone_user_domain,
            settings.keystone_project,
            settings.keystone_project_domain,
        )
    return Keystone(
        settings.keystone_url,
        credentials,
        clock=clock,
        region=settings.keystone_region or "",
        interface=settings.keystone_interface,
        ca=str(settings.keystone_ca or ""),
        token_cache=settings.token_cache,
    )


def _shown(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()


def _project_of(token: Mapping[str, Any]) -> str:
    project = token.get("project")
    return f"{project['domain']['name']}/{project['name']}" if project else ""
