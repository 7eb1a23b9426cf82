"""Credentials by name, from a ``clouds.yaml`` as OpenStack's own clients read it.

See https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html. A ``secure.yaml`` beside it holds
what the other must not. Profiles of vendors are not known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from autoscaler.adapters import http
from autoscaler.adapters.keystone import Keystone
from autoscaler.adapters.openstack import Service
from autoscaler.declarations.documents import Document, read
from autoscaler.declarations.wording import nearest
from autoscaler.errors import PermanentError

VARIABLE: Final = "OS_CLIENT_CONFIG_FILE"
PASSWORD, APPLICATION = "password", "v3applicationcredential"
_KINDS: Final = {
    "password": PASSWORD,
    "v3password": PASSWORD,
    "v3applicationcredential": APPLICATION,
    "application_credential": APPLICATION,
}
_INTERFACES: Final = ("public", "internal", "admin")


@dataclass(frozen=True, slots=True)
class CloudCredentials:
    """Who we are in a cloud, as Keystone asks for it; a trust of theirs stands in their scope."""

    identity: Mapping[str, Any] = field(repr=False)
    scope: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class CloudEntry:
    """One cloud.

    Attributes:
        region: of the services; "" for any.
        ca: file of certificates; "" for the system's.
        verify: whether certificates are looked at at all.
    """

    url: str
    credentials: CloudCredentials
    region: str = ""
    interface: str = "public"
    ca: str = ""
    verify: bool = True


def usual_places() -> list[Path]:
    """Where a ``clouds.yaml`` is looked for where nobody says; the first that exists counts."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    named = os.environ.get(VARIABLE)
    return [
        *([Path(named)] if named else []),
        Path("clouds.yaml"),
        home / "openstack" / "clouds.yaml",
        Path("/etc/openstack/clouds.yaml"),
    ]


def cloud_entry(name: str, file: Path | None = None) -> CloudEntry:
    """A cloud by its name.

    Args:
        file: where it stands; None looks in the usual places.

    Raises:
        PermanentError: there is no such file, no such cloud, or what is said of it is not enough; no secret is shown.
    """
    found = file or next((place for place in usual_places() if place.is_file()), None)
    if found is None:
        places = ", ".join(str(place) for place in usual_places())
        raise PermanentError(f"cloud {name}: there is no clouds.yaml ({places})")
    clouds = _clouds(found)
    if name not in clouds:
        raise PermanentError(f'{found}: there is no cloud "{name}"{nearest(name, clouds)}')
    secure = found.with_name("secure.yaml")
    entry = _merged(clouds[name], _clouds(secure).get(name, {}) if secure.is_file() else {})
    try:
        return _entry(entry)
    except _WrongError as error:
        raise PermanentError(f"{found}: cloud {name}: {error}") from None


class Clouds:
    """The clouds that are used, each asked with credentials of its own; to be entered before use.

    Args:
        file: a ``clouds.yaml``; None looks in the usual places.
        clock: Unix seconds.
        timeout: seconds for one call.
    """

    def __init__(self, file: Path | None, *, clock: Callable[[], float], timeout: float = 10.0) -> None:
        self._file = file
        self._clock = clock
        self._timeout = timeout
        self._stack = AsyncExitStack()
        self._opened: dict[str, Callable[[str], Service]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def service(self, cloud: str, kind: str) -> Service:
        """A service of a cloud by its type in the catalog. Raises PermanentError as :func:`cloud_entry`."""
        if cloud not in self._opened:
            self._opened[cloud] = await self._open(cloud_entry(cloud, self._file))
        return self._opened[cloud](kind)

    async def _open(self, entry: CloudEntry) -> Callable[[str], Service]:
        keystone = Keystone(
            entry.url,
            entry.credentials,
            clock=self._clock,
            region=entry.region,
            interface=entry.interface,
            ca=entry.ca,
            verify=entry.verify,
        )
        await self._stack.enter_async_context(keystone)
        context = http.tls(entry.url, entry.ca, verify=entry.verify)
        client = await self._stack.enter_async_context(http.client(verify=context))
        services: dict[str, Service] = {}

        def service(kind: str) -> Service:
            return services.setdefault(kind, Service(kind, keystone, client, timeout=self._timeout))

        return service


class _WrongError(Exception):
    """What is said of a cloud cannot be used."""


def _clouds(file: Path) -> dict[str, dict[str, Any]]:
    document = _read(file)
    clouds = document.value.get("clouds") if isinstance(document.value, dict) else None
    if not isinstance(clouds, dict):
        raise PermanentError(str(document.problem(("clouds",), "expected a mapping of clouds")))
    for name, entry in clouds.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("auth", {}), dict):
            raise PermanentError(str(document.problem(("clouds", name), "expected a mapping, with another under auth")))
    return clouds


def _read(file: Path) -> Document:
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise PermanentError(f"{file}: {error.strerror or error}") from error
    if not text.strip():
        raise PermanentError(f"{file}: expected a mapping of clouds, but the file is empty")
    document, problems = read(str(file), text)
    if problems or document is None:
        raise PermanentError("\n".join(str(problem) for problem in problems))
    return document


def _merged(entry: Mapping[str, Any], secure: Mapping[str, Any]) -> dict[str, Any]:
    both = {**entry, **secure}
    both["auth"] = {**entry.get("auth", {}), **secure.get("auth", {})}
    return both


def _entry(entry: Mapping[str, Any]) -> CloudEntry:
    if "profile" in entry or "cloud" in entry:
        raise _WrongError("profiles of vendors are not known; write auth_url and the rest out")
    auth = {name: str(value) for name, value in entry["auth"].items() if value is not None}
    if "auth_url" not in auth:
        raise _WrongError("expected auth_url under auth")
    interface = str(entry.get("interface") or entry.get("endpoint_type") or "public").removesuffix("URL")
    if interface not in _INTERFACES:
        raise _WrongError(f"expected interface {', '.join(_INTERFACES)}, got {interface!r}")
    return CloudEntry(
        auth["auth_url"],
        _credentials(entry.get("auth_type"), auth),
        str(entry.get("region_name") or ""),
        interface,
        str(entry.get("cacert") or ""),
        _verify(entry),
    )


def _verify(entry: Mapping[str, Any]) -> bool:
    said = entry.get("verify", not entry.get("insecure", False))
    if not isinstance(said, bool):
        raise _WrongError(f"expected true or false for verify, got {said!r}")
    return said


def _credentials(kind: object, auth: Mapping[str, str]) -> CloudCredentials:
    by_application = "application_credential_secret" in auth
    told = str(kind) if kind else APPLICATION if by_application else PASSWORD
    if told not in _KINDS:
        raise _WrongError(f"expected auth_type {', '.join(_KINDS)}, got {told}")
    return _by_application(auth) if _KINDS[told] == APPLICATION else _by_password(auth)


def _by_application(auth: Mapping[str, str]) -> CloudCredentials:
    if "trust_id" in auth:
        raise _WrongError("an application credential can stand for no trust; expected username and password")
    if "application_credential_secret" not in auth:
        raise _WrongError("expected application_credential_secret under auth")
    credential: dict[str, Any] = {"secret": auth["application_credential_secret"]}
    if "application_credential_id" in auth:
        credential["id"] = auth["application_credential_id"]
    elif "application_credential_name" in auth:
        credential |= {"name": auth["application_credential_name"], "user": _user(auth)}
    else:
        raise _WrongError("expected application_credential_id, or application_credential_name with a user, under auth")
    identity = {"methods": ["application_credential"], "application_credential": credential}
    return CloudCredentials(identity, None)


def _by_password(auth: Mapping[str, str]) -> CloudCredentials:
    if "password" not in auth:
        raise _WrongError("expected password, or application_credential_secret, under auth")
    identity = {"methods": ["password"], "password": {"user": {**_user(auth), "password": auth["password"]}}}
    return CloudCredentials(identity, _scope(auth))


def _user(auth: Mapping[str, str]) -> dict[str, Any]:
    if "user_id" in auth:
        return {"id": auth["user_id"]}
    name = auth.get("username") or auth.get("user_name")
    if name is None:
        raise _WrongError("expected username or user_id under auth")
    return {"name": name, "domain": _domain(auth, "user")}


def _scope(auth: Mapping[str, str]) -> dict[str, Any]:
    if "trust_id" in auth:
        return {"OS-TRUST:trust": {"id": auth["trust_id"]}}
    project_id = auth.get("project_id") or auth.get("tenant_id")
    if project_id:
        return {"project": {"id": project_id}}
    name = auth.get("project_name") or auth.get("tenant_name")
    if name is None:
        raise _WrongError("expected project_name, project_id or trust_id under auth")
    return {"project": {"name": name, "domain": _domain(auth, "project")}}


def _domain(auth: Mapping[str, str], whose: str) -> dict[str, str]:
    for key in (f"{whose}_domain", "domain", "default_domain"):
        if f"{key}_id" in auth:
            return {"id": auth[f"{key}_id"]}
        if f"{key}_name" in auth:
            return {"name": auth[f"{key}_name"]}
    return {"id": "default"}
