"""Questions to a running controller."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from autoscaler.cli.failures import CommandError, Exit

TIMEOUT = 15.0
"""Seconds for one answer."""
TOKEN_VARIABLES = ("AUTOSCALER_TOKEN", "OS_TOKEN")
"""Where a token of Keystone is looked for, for a controller that asks for one. On the command line everybody on this
machine could read it."""

CA_VARIABLE, CERT_VARIABLE = "AUTOSCALER_COMMANDS_CA", "AUTOSCALER_COMMANDS_CERT"
"""Files (PEM): authorities that the controller's certificate is checked with, and a certificate with its key that is
shown to it."""


def path(*steps: str) -> str:
    """A path of the API; names in it may hold anything."""
    return "/v1/" + "/".join(quote(step, safe="") for step in steps)


def get(api: str, at: str, **params: Any) -> Any:
    """What is at a path; parameters that are None are left out.

    Raises:
        CommandError: the controller cannot be reached, or refuses.
    """
    return _asked(api, "GET", at, params={key: value for key, value in params.items() if value is not None})


def post(api: str, at: str, body: Mapping[str, Any] | None = None, **headers: str | None) -> Any:
    """Ask for a change.

    Args:
        api: where the controller answers.
        at: the path.
        body: keys that are None are left out.
        headers: names with ``_`` for ``-``.

    Raises:
        CommandError: the controller cannot be reached, or refuses.
    """
    sent = {key: value for key, value in (body or {}).items() if value is not None}
    named = {key.replace("_", "-"): value for key, value in headers.items() if value is not None}
    return _asked(api, "POST", at, json=sent, headers=named)


def _asked(api: str, method: str, at: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Any:
    import httpx  # noqa: PLC0415 - a tenth of a second

    url = api if "://" in api else f"http://{api}"
    if not _is_url(url):
        raise CommandError(_no_url(api), Exit.USAGE)
    try:
        # no proxy from the environment: the controller is usually on this machine
        with httpx.Client(base_url=url, timeout=TIMEOUT, trust_env=False, verify=_verified(url)) as client:
            response = client.request(method, at, headers={**_who(), **(headers or {})}, **options)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise CommandError(_no_url(api), Exit.USAGE) from error
    except httpx.TransportError as error:
        raise CommandError(_unreachable(url, error), Exit.UNREACHABLE) from error
    return _answered(response, url)


def _verified(url: str) -> Any:
    """How the controller's certificate is checked, and what is shown to it."""
    import ssl  # noqa: PLC0415 - as above

    ca, certificate = os.environ.get(CA_VARIABLE, ""), os.environ.get(CERT_VARIABLE, "")
    if not url.startswith("https://") or not (ca or certificate):
        return True
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if certificate:
            context.load_cert_chain(certificate)
    except OSError as error:
        raise CommandError(f"{CA_VARIABLE}, {CERT_VARIABLE}: {error}", Exit.USAGE) from error
    return context


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is none
        return False


def _no_url(api: str) -> str:
    return f"--api: expected a URL such as http://127.0.0.1:8042, got {api!r}"


def _unreachable(url: str, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    return (
        f"Cannot reach the controller at {url} ({reason}). "
        "Start it with `autoscaler run`, or say where it is with --api or AUTOSCALER_API."
    )


def _answered(response: Any, url: str) -> Any:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if answer is None:
        raise CommandError(f"What answers at {url} is no autoscaler: status {response.status_code}, and no JSON.")
    if response.is_success:
        return answer
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        raise CommandError(f"What answers at {url} is no autoscaler: status {response.status_code}.")
    raise CommandError(f"The controller refuses: {error.get('message', response.status_code)}")


def _who() -> dict[str, str]:
    """Who asks: a token where there is one, and a name for the controller's records."""
    variable = next((name for name in TOKEN_VARIABLES if os.environ.get(name, "").strip()), None)
    if variable is not None:
        token = os.environ[variable].strip()
        if not token.isascii() or not token.isprintable() or " " in token:
            raise CommandError(f"{variable}: expected a token of Keystone", Exit.USAGE)
        return {"x-auth-token": token}
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        return {}
    return {"x-user-id": name} if name.isascii() and name.isprintable() else {}
