"""What must not be shown of a URL, wherever it stands: in logs, errors and answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

HIDDEN: Final = "***"
_URL = re.compile(r"(?<=://)(?P<user>[^?#\s]*@)?(?P<place>[^?#\s]*)(?P<query>\?[^#\s]*)?(?P<fragment>#\S*)?")
_SECRET_VALUE = re.compile(r"(?i)(signature|token|secret|password|awsaccesskeyid)=[^&\s]+")

_CREDENTIALS = re.compile(r"(?i)\b(bearer|basic) +[a-z0-9+/=_.~-]{16,}")
_OWN_TOKEN = re.compile(r"ast_[A-Za-z0-9_-]{43}")
_SECRET_NAME = re.compile(r"(?i)(password|secret|token|authorization|cookie|api[-_]?key)")


def redacted(text: str) -> str:
    """``text`` without what may be secret in its URLs: user and password, fragment, and every value of a query.

    Every value, since nobody can list the names under which signatures and tokens travel. Neither are shown tokens of
    our own, wherever they stand, nor what follows ``Bearer`` or ``Basic``.
    """
    shown = _SECRET_VALUE.sub(r"\1=***", _URL.sub(_shown, text))
    return _OWN_TOKEN.sub("ast_***", _CREDENTIALS.sub(r"\1 ***", shown))


def without_secrets(value: Any) -> Any:
    """A document without what may be secret: what stands under such a name, and of every URL as :func:`redacted`."""
    match value:
        case str():
            return redacted(value)
        case Mapping():
            return {key: HIDDEN if is_secret(key) else without_secrets(inner) for key, inner in value.items()}
        case list() | tuple():
            return [without_secrets(inner) for inner in value]
        case BaseException():
            return redacted(repr(value))
        case _:
            return value


def is_secret(name: object) -> bool:
    """Whether what has this name is not to be shown."""
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None


def _shown(url: re.Match[str]) -> str:
    user = "***@" if url["user"] else ""
    query = "" if url["query"] is None else f"?{'&'.join(map(_hidden, url['query'][1:].split('&')))}"
    return f"{user}{url['place']}{query}{'#***' if url['fragment'] else ''}"


def _hidden(part: str) -> str:
    """One part of a query; without an expression, since anybody may write one that takes long to match."""
    name, equals, value = part.partition("=")
    if not equals:
        return HIDDEN if part else ""
    return f"{name}={HIDDEN if value else ''}"
