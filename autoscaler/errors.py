"""Every error this package raises on purpose.

```
AutoscalerError
├── TemporaryError       may work later; the loop that owns the call retries it
│   ├── HeldError             nothing has failed: it is not yet time
│   │   └── RestingError          an endpoint that does not answer is left alone
│   └── UnknownStateError     the store's state is in a form that this version does not know
├── PermanentError       will not work later; recorded and dropped
│   ├── InvalidMeasureError   a measure that cannot be taken, with a reason to count it by
│   ├── AddressRefusedError   a place that may not be called for whoever named it
│   ├── TrustScopedError      a token that stands for a trust cannot make another
│   └── TrustGoneError        a trust that gives nobody a token any more
├── SettingsError        the environment or command line says what cannot be
└── DeclarationError     documents that cannot be loaded, every problem with its place
```
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

REFUSED_DELAY: Final = 30.0
"""Seconds before asking again where the answer was no: credentials and permissions are mended by people."""


class AutoscalerError(Exception):
    """Root of the tree."""


class TemporaryError(AutoscalerError):
    """A call that may succeed later.

    Args:
        message: what failed, for people.
        delay: seconds to wait before the next try, where the other side named one.
        tried: False where it did not even come to a try, so that none is to be counted.
        reached: False where the other side has certainly not done what was asked for.
        silent: True where it does not answer, or another answers in its place that it does not.
    """

    def __init__(
        self,
        message: str,
        *,
        delay: float | None = None,
        tried: bool = True,
        reached: bool = True,
        silent: bool = False,
    ) -> None:
        super().__init__(message)
        self.delay = delay
        self.tried = tried
        self.reached = reached
        self.silent = silent


class HeldError(TemporaryError):
    """Something that waits for its time, or for another's; it is asked for again after ``delay`` seconds."""

    def __init__(self, message: str, *, delay: float) -> None:
        super().__init__(message, delay=delay, tried=False, reached=False)


class UnknownStateError(TemporaryError):
    """State in a form that this version does not know: nothing of it was read or written.

    Whoever meets it stops working; trying again helps only where the state is put back.
    """


class RestingError(HeldError):
    """A call to an endpoint that does not answer and is left alone for a while; nothing was sent."""


class PermanentError(AutoscalerError):
    """A call that will fail in the same way however often it is repeated."""


class Rejection(StrEnum):
    """Why a measure was not taken; metric label, log key and API text alike."""

    UNDECODABLE = "undecodable"
    WRONG_TYPE = "wrong type"
    UNKNOWN_KEY = "unknown key"
    MISSING_KEY = "missing key"
    NOT_FINITE = "not finite"
    BAD_TIMESTAMP = "bad timestamp"
    TOO_FAR_AHEAD = "too far ahead"
    TOO_LONG_AGO = "too long ago"
    TOO_LONG = "too long"
    TOO_MANY_SERIES = "too many series"
    BAD_SIGNATURE = "bad signature"
    OVERRUN = "overrun"
    OUT_OF_SCOPE = "out of scope"


class InvalidMeasureError(PermanentError):
    """A measure that cannot be taken; nothing of it was stored."""

    def __init__(self, rejection: Rejection, detail: str) -> None:
        super().__init__(f"{rejection}: {detail}")
        self.rejection = rejection
        self.detail = detail


class AddressRefusedError(PermanentError):
    """A place that may not be called for whoever named it; nothing was sent there."""


class TrustScopedError(PermanentError):
    """A trust was to be made with a token that stands for a trust itself, which Keystone lets make no other."""


class TrustGoneError(PermanentError):
    """There is no such trust any more, or it is worth nothing: who made it has left or lost the role."""


class SettingsError(AutoscalerError):
    """Settings that cannot be used; one line for each, and nothing was started."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a document, where it stands and what was expected there."""

    file: str
    line: int
    column: int
    key: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.key}: {self.expected}"


class DeclarationError(AutoscalerError):
    """Documents that cannot be loaded; nothing of them is in force."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
