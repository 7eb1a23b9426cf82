"""What is shown to the receivers of webhooks: headers, credentials, signatures, certificates.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body, one
for each secret, so that a receiver may have the old or the new one while they are changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import httpx

from autoscaler.adapters import http
from autoscaler.adapters.files import text
from autoscaler.declarations.endpoints import parse
from autoscaler.errors import DeclarationError, PermanentError, Problem, TemporaryError

if TYPE_CHECKING:
    from autoscaler.declarations.endpoints import Endpoint, Secret

SCHEME: Final = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret that signs; the standard's."""
MAX_BYTES: Final = 64 * 1024
"""Of a file with a secret."""
AWAY_DELAY: Final = 5.0
"""Seconds until a secret that cannot be read is looked for again; whoever changes it is at it."""

_SLASHES: Final = re.compile(r"[/\\]")
_DECODED: Final = 2
"""How often more a path is decoded than it should be."""

Marks = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Identification:
    """Who we are to one receiver, and how it is known; "" where nothing else was said than to all.

    Attributes:
        marks: differ whenever one of the files does.
    """

    ca: str = ""
    certificate: str = ""
    key: str = ""
    marks: Marks = ()


ANYBODY: Final = Identification()


@dataclass(frozen=True, slots=True)
class Shown:
    """What goes with a call to one receiver.

    Attributes:
        timeout: seconds; None where nothing else was said than for all.
    """

    headers: Mapping[str, str]
    identification: Identification = ANYBODY
    timeout: float | None = None


class SecretReader:
    """Reads secrets, those in files again whenever they have changed.

    Args:
        folder: that paths begin in.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[Marks, str]] = {}

    def path(self, name: str) -> Path:
        """A file that a document names."""
        return self._folder / name

    def text(self, secret: Secret) -> str:
        """Its text, without white space around it.

        Raises:
            TemporaryError: it cannot be read now; nothing of it is said.
        """
        if secret.plain is not None:
            return secret.plain.strip()
        found = self._of_file(secret.file) if secret.file is not None else os.environ.get(secret.env or "", "").strip()
        if not found:
            raise _away(f"{secret} is empty or not set")
        return found

    def _of_file(self, name: str) -> str:
        path = self.path(name)
        try:
            marks = self.marks(name)
            known = self._known.get(path)
            if known is not None and known[0] == marks:
                return known[1]
            with path.open("rb") as stream:
                found = stream.read(MAX_BYTES).decode().strip()
        except OSError as error:
            raise _away(f"file {path}: {(error.strerror or str(error)).lower()}") from error
        except UnicodeDecodeError as error:
            raise _away(f"file {path}: expected UTF-8") from error
        self._known[path] = (marks, found)
        return found

    def marks(self, name: str) -> Marks:
        """What tells one state of a file from another. Raises OSError."""
        found = self.path(name).stat()
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def key(self, secret: Secret) -> bytes:
        """A secret that signs.

        Raises:
            TemporaryError: it cannot be read now, or is none.
        """
        written = self.text(secret)
        try:
            key = base64.b64decode(written.removeprefix(SCHEME), validate=True)
        except (binascii.Error, ValueError):  # ValueError: no ASCII
            key = b""
        if not written.startswith(SCHEME) or not SHORTEST <= len(key) <= LONGEST:
            raise _away(f"{secret}: expected {SCHEME} and {SHORTEST} to {LONGEST} bytes in base64")
        return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature of a message, as Standard Webhooks writes it."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


class EndpointBook:
    """What the operator's document says of receivers.

    Args:
        path: of the document.
        now: Unix seconds, the clock that signatures are dated by.

    Raises:
        DeclarationError: the document is wrong, or a secret that it names cannot be read.
    """

    def __init__(self, path: Path, *, now: Callable[[], float]) -> None:
        self._now = now
        self._declared = parse(text(path), str(path))
        self._secrets = SecretReader(path.absolute().parent)
        self._places = [
            (http.origin_of(endpoint.url), httpx.URL(endpoint.url).path.rstrip("/"), endpoint)
            for endpoint in self._declared.endpoints
        ]
        self._check(path)

    def shown(self, url: str, *, declared: bool, message_id: str, body: bytes) -> Shown:
        """What goes with a call to ``url``.

        Args:
            declared: whether the alarm is the operator's own; others' have only what is for them, too.
            message_id: the same for each try.
            body: as it is sent.

        Raises:
            TemporaryError: a secret cannot be read now.
            PermanentError: that is no URL to call.
        """
        endpoint = self._endpoint(url, declared=declared)
        headers = {} if endpoint is None else self._headers(endpoint)
        signing = self._signing(endpoint, declared=declared)
        if signing:
            timestamp = int(self._now())
            signatures = [signature(self._secrets.key(secret), message_id, timestamp, body) for secret in signing]
            headers |= {
                "webhook-id": message_id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": " ".join(signatures),
            }
        if endpoint is None:
            return Shown(headers)
        return Shown(headers, self._identification(endpoint), endpoint.timeout)

    def _endpoint(self, url: str, *, declared: bool) -> Endpoint | None:
        """The one with the longest path that fits; host and port are read as they are by what calls them.

        A path that a receiver may take for one above it counts as the root: what is plainly written so was made plain
        by the client, what is left is written so that it is not noticed.
        """
        origin = http.origin_of(url)
        path = httpx.URL(url).path
        if _climbs(path):
            path = "/"
        fitting = [
            (len(prefix), endpoint)
            for place, prefix, endpoint in self._places
            if place == origin and (declared or endpoint.tenants) and (path == prefix or path.startswith(f"{prefix}/"))
        ]
        return max(fitting, key=lambda found: found[0])[1] if fitting else None

    def _signing(self, endpoint: Endpoint | None, *, declared: bool) -> Sequence[Secret]:
        if endpoint is not None and endpoint.signing:
            return endpoint.signing
        return self._declared.signing if declared else ()

    def _headers(self, endpoint: Endpoint) -> dict[str, str]:
        found = {
            name.lower(): value if isinstance(value, str) else self._header(value)
            for name, value in endpoint.headers.items()
        }
        auth = endpoint.auth
        if auth is None:
            return found
        if auth.bearer is not None:
            return found | {"authorization": f"Bearer {self._header(auth.bearer)}"}
        assert auth.basic is not None
        pair = f"{auth.basic.username}:{self._secrets.text(auth.basic.password)}"
        return found | {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def _header(self, secret: Secret) -> str:
        line = self._secrets.text(secret)
        if not (line.isascii() and line.isprintable()):
            raise _away(f"{secret}: expected one line of ASCII text")
        return line

    def _identification(self, endpoint: Endpoint) -> Identification:
        own = endpoint.client_certificate
        names = [name for name in (endpoint.ca, own and own.certificate, own and own.key) if name]
        if not names:
            return ANYBODY
        try:
            marks = [mark for name in names for mark in self._secrets.marks(name)]
        except OSError as error:
            raise _away(f"certificates of {endpoint.url}: {error}") from error
        ca, certificate, key = (
            str(self._secrets.path(name)) if name else ""
            for name in (endpoint.ca, own and own.certificate, own and own.key)
        )
        return Identification(ca, certificate, key, tuple(marks))

    def _check(self, path: Path) -> None:
        """Every secret can be read now; later a file may be away for a moment, while it is changed."""
        problems = []
        for place, endpoint in [("signing", None), *((found.url, found) for found in self._declared.endpoints)]:
            try:
                for secret in self._declared.signing if endpoint is None else endpoint.signing:
                    self._secrets.key(secret)
                if endpoint is not None:
                    self._headers(endpoint)
                    self._identification(endpoint)
            except (TemporaryError, PermanentError) as error:
                problems.append(Problem(str(path), 1, 1, place, str(error)))
        if problems:
            raise DeclarationError(tuple(problems))


def _climbs(path: str) -> bool:
    """Whether a path, decoded once, leads upwards for one that decodes it again, or has its own idea of slashes."""
    for _ in range(_DECODED):
        path = unquote(path)
    return any(segment.partition(";")[0] in {".", ".."} for segment in _SLASHES.split(path))


def _away(message: str) -> TemporaryError:
    return TemporaryError(f"endpoints: {message}", delay=AWAY_DELAY, tried=False, reached=False)
