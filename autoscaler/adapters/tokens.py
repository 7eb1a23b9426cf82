"""The file of the controller's own tokens, read again whenever it has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from autoscaler.declarations.tokens import Token, Tokens, parse
from autoscaler.errors import DeclarationError, Problem

if TYPE_CHECKING:
    from typing import Final

log = structlog.get_logger()

LOOK: Final = 1.0
"""Seconds between two looks at the file."""
MAX_BYTES: Final = 4 * 1024 * 1024
"""Some ten thousand tokens."""


class TokenFile:
    """The tokens that are good at this moment.

    A file that cannot be read, or holds a line that is none, leaves those in force that were: a slip of the pen locks
    nobody out, and is said in the log and by ``problem`` until it is mended.

    Args:
        clock: Unix seconds.

    Raises:
        DeclarationError: it cannot be read at all, or not as it is.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._seen, self._tokens = self._read()
        self._problem = ""

    def find(self, token: str) -> Token | None:
        """Which token it is; None where it is none, or none any more. Total."""
        self._look()
        return self._tokens.find(token, self._clock())

    @property
    def problem(self) -> str:
        """Why the file is not in force as it stands; "" where it is."""
        self._look()
        return self._problem

    def _look(self) -> None:
        now = self._clock()
        if 0 <= now - self._looked < LOOK:  # not after the clock was set back
            return
        self._looked = now
        try:
            if self._mark() == self._seen:
                self._problem = ""  # it was away, or as long as another before, and is back
                return
            self._seen, self._tokens = self._read()
        except DeclarationError as error:
            if str(error) != self._problem:
                log.error("tokens not read again", problem=str(error))  # noqa: TRY400 - the text says all
            self._problem = str(error)
        else:
            log.info("tokens read", known=len(self._tokens.tokens))
            self._problem = ""

    def _mark(self) -> tuple[int, ...]:
        """What tells one state of the file from another."""
        try:
            found = self._path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def _read(self) -> tuple[tuple[int, ...], Tokens]:
        seen = self._mark()  # before, so that what changes meanwhile is read again
        try:
            with self._path.open("rb") as stream:
                text = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise self._unreadable(error) from error
        if len(text) > MAX_BYTES:
            raise DeclarationError((self._fault(f"expected at most {MAX_BYTES} bytes"),))
        return seen, parse(text.decode(errors="replace"), str(self._path))

    def _unreadable(self, error: OSError) -> DeclarationError:
        reason = (error.strerror or str(error)).lower()
        return DeclarationError((self._fault(f"expected a file that can be read: {reason}"),))

    def _fault(self, expected: str) -> Problem:
        return Problem(str(self._path), 1, 1, "tokens", expected)
