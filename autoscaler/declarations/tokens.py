"""The controller's own tokens, as a file holds them: one on each line, in JSON, by their hash.

A token is 256 random bits, so one SHA-256 is enough: nobody can try them all, and there is no dictionary of them. A
slow hash protects passwords, which people choose; here it would only let strangers keep the controller busy.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from autoscaler.declarations.wording import one_of, shown, unknown_key
from autoscaler.errors import DeclarationError, Problem

if TYPE_CHECKING:
    from typing import Final

PREFIX: Final = "ast_"
"""What every token begins with, so that it is known from one of Keystone, and found where it was left lying about."""
ROLES: Final = ("admin", "member", "reader", "service", "monitor")
_WITHOUT_PROJECT: Final = frozenset(("admin", "service", "monitor"))
_KEYS: Final = ("name", "hash", "project", "roles", "sends", "expires")
_NAME: Final = re.compile(r"[A-Za-z0-9_.@-]{1,100}")
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TOKEN: Final = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_LONGEST: Final = 255
"""Characters of a project, or of a pattern."""
_MOST_PATTERNS: Final = 100
_INDEX: Final = 4
"""Bytes of a hash by which tokens are looked up before they are compared."""


class Sends(StrEnum):
    """What a sender may be allowed to send."""

    MEASURES = "measures"
    EVENTS = "events"
    SAMPLES = "samples"
    REMOTE_WRITE = "remote_write"
    GNOCCHI = "gnocchi"


class Scope:
    """What a token may send, and under which names.

    Args:
        names: patterns of metric names, of event types for events; ``*`` and ``?`` stand for any characters.
    """

    def __init__(self, names: Mapping[Sends, Sequence[str]]) -> None:
        self._patterns = {kind: re.compile("|".join(map(_expression, some))) for kind, some in names.items()}

    def covers(self, kind: Sends) -> bool:
        """Whether anything of this kind may be sent."""
        return kind in self._patterns

    def allows(self, kind: Sends, name: str) -> bool:
        """Whether a measure or an event of this name may be."""
        pattern = self._patterns.get(kind)
        return pattern is not None and pattern.fullmatch(name) is not None


def _expression(pattern: str) -> str:
    """Of a pattern; brackets in it are brackets, and no choice of characters."""
    return fnmatch.translate(pattern.replace("[", "[[]"))


@dataclass(frozen=True, slots=True)
class Token:
    """One of the controller's own tokens; it asks with roles, or it sends within a scope.

    Attributes:
        digest: SHA-256 of the token.
        project_id: whose it is; "" for none, which only some roles may have.
        scope: None where it has roles.
        expires: Unix seconds; None means never.
    """

    name: str
    digest: bytes = field(repr=False)
    project_id: str = ""
    roles: frozenset[str] = frozenset()
    scope: Scope | None = None
    expires: float | None = None


@dataclass(frozen=True)
class Tokens:
    """All of a file."""

    tokens: Sequence[Token] = ()

    @cached_property
    def _by_index(self) -> Mapping[bytes, Sequence[Token]]:
        found: defaultdict[bytes, list[Token]] = defaultdict(list)
        for token in self.tokens:
            found[token.digest[:_INDEX]].append(token)
        return found

    def find(self, token: str, now: float) -> Token | None:
        """Which one it is; None where it is none, or none any more.

        The hashes are compared in a time that does not depend on where they differ.
        """
        digest = digest_of(token)
        found: Token | None = None
        for known in self._by_index.get(digest[:_INDEX], ()):
            if hmac.compare_digest(known.digest, digest):
                found = known
        return None if found is None or (found.expires is not None and found.expires <= now) else found


def digest_of(token: str) -> bytes:
    """What a file holds in the place of a token."""
    return hashlib.sha256(token.encode()).digest()


def is_own(token: str) -> bool:
    """Whether it has the form of these tokens; those of Keystone have not."""
    return _TOKEN.fullmatch(token) is not None


def new_token() -> str:
    """A token that nobody has."""
    return PREFIX + secrets.token_urlsafe(32)


def line(
    token: str,
    name: str,
    *,
    project: str = "",
    roles: Sequence[str] = (),
    sends: Mapping[Sends, Sequence[str]] | None = None,
    expires: datetime | None = None,
) -> str:
    """The line of the file for a token.

    Raises:
        DeclarationError: no such token may be.
    """
    document: dict[str, Any] = {"name": name, "project": project}
    if roles:
        document["roles"] = list(roles)
    if sends:
        document["sends"] = {kind.value: list(names) for kind, names in sends.items()}
    if expires is not None:
        document["expires"] = expires.astimezone(UTC).isoformat(timespec="seconds")
    document["hash"] = f"sha256:{digest_of(token).hex()}"
    written = json.dumps({key: value for key, value in document.items() if value != ""})
    parse(written, "the token")
    return written


def parse(text: str, file: str) -> Tokens:
    """The tokens of a file; empty lines and those that begin with ``#`` mean nothing.

    Raises:
        DeclarationError: with every line that is none; no hash is quoted.
    """
    tokens: list[Token] = []
    problems: list[Problem] = []
    for number, written in enumerate(text.splitlines(), 1):
        if not written.strip() or written.lstrip().startswith("#"):
            continue
        try:
            token = _token(_document(written))
            _check_new(token, tokens)
        except _WrongError as error:
            problems.append(Problem(file, number, 1, error.key, error.expected))
        else:
            tokens.append(token)
    if problems:
        raise DeclarationError(tuple(problems))
    return Tokens(tokens)


class _WrongError(Exception):
    def __init__(self, key: str, expected: str) -> None:
        super().__init__(f"{key}: {expected}")
        self.key = key
        self.expected = expected


def _document(written: str) -> Mapping[str, Any]:
    try:
        document = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise _WrongError("token", "expected an object in JSON, on one line") from error
    if not isinstance(document, dict):
        raise _WrongError("token", "expected an object in JSON, on one line")
    for key in document:
        if key not in _KEYS:
            raise _WrongError(key[:60], unknown_key(key[:60], _KEYS))
    return document


def _check_new(token: Token, others: Iterable[Token]) -> None:
    for other in others:
        if other.name == token.name:
            raise _WrongError("name", f"there is another token named {token.name}")
        if hmac.compare_digest(other.digest, token.digest):
            raise _WrongError("hash", f"this is the token of {other.name}")


def _token(document: Mapping[str, Any]) -> Token:
    name = _text(document, "name")
    if not _NAME.fullmatch(name):
        raise _WrongError("name", f"expected 1 to 100 letters, digits and _.@-, got {shown(name)}")
    found = _text(document, "hash")
    if not _HASH.fullmatch(found):
        # not quoted: whoever pasted the token itself here does not want it in the log
        raise _WrongError("hash", "expected sha256: and 64 hexadecimal digits, as `autoscaler token make` says it")
    project_id = _text(document, "project")
    if len(project_id) > _LONGEST or not project_id.isprintable() or project_id == "any":
        raise _WrongError("project", f"expected the id of a project, got {shown(project_id)}")
    roles, sends = document.get("roles"), document.get("sends")
    if (roles is None) == (sends is None):
        raise _WrongError("roles", "expected either roles, of one who asks, or sends, of one who sends")
    if roles is None:
        roles, scope = frozenset[str](), _scope(sends)
    else:
        roles, scope = _roles(roles), None
    if not project_id and not (roles and roles <= _WITHOUT_PROJECT):
        raise _WrongError("project", f"expected a project, save with the roles {', '.join(sorted(_WITHOUT_PROJECT))}")
    digest = bytes.fromhex(found.removeprefix("sha256:"))
    return Token(name, digest, project_id, roles, scope, _expires(document.get("expires")))


def _text(document: Mapping[str, Any], key: str) -> str:
    found = document.get(key, "")
    if not isinstance(found, str):
        raise _WrongError(key, f"expected text, got {shown(found)}")
    return found


def _roles(roles: object) -> frozenset[str]:
    if not isinstance(roles, list) or not roles:
        raise _WrongError("roles", f"expected a list of {', '.join(ROLES)}")
    for role in roles:
        if role not in ROLES:
            raise _WrongError("roles", one_of(ROLES, role))
    return frozenset(roles)


def _scope(sends: object) -> Scope:
    if not isinstance(sends, dict) or not sends:
        raise _WrongError("sends", 'expected what may be sent and under which names, as {"measures": ["cpu", "mem*"]}')
    found: dict[Sends, list[str]] = {}
    for kind, names in sends.items():
        if kind not in set(Sends):
            raise _WrongError("sends", one_of(Sends, kind))
        if not isinstance(names, list) or not 0 < len(names) <= _MOST_PATTERNS:
            raise _WrongError(f"sends.{kind}", f"expected a list of 1 to {_MOST_PATTERNS} names")
        for name in names:
            if not isinstance(name, str) or not 0 < len(name) <= _LONGEST:
                raise _WrongError(f"sends.{kind}", f"expected names such as cpu or mem*, got {shown(name)}")
        found[Sends(kind)] = names
    return Scope(found)


def _expires(written: object) -> float | None:
    if written is None:
        return None
    try:
        at = datetime.fromisoformat(written) if isinstance(written, str) else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise _WrongError("expires", f"expected a time with its zone, as 2030-01-31T00:00:00Z, got {shown(written)}")
    return at.timestamp()
