"""A state in a file: lines of JSON, gzipped where the name ends in ``.gz``, with a header and a checksum.

The first line says what it is and from when, the last how many lines there are and their SHA-256. The file holds
secrets, such as the URLs of webhooks, and is its owner's alone (mode 0600).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

import msgspec

from autoscaler.errors import PermanentError
from autoscaler.ports import STATE_FORM, Saved, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

GZIP: Final = b"\x1f\x8b"
FILE: Final = 1
"""The form of the file itself; that of what it holds is the state's."""


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="autoscaler state"):
    """The first line.

    Attributes:
        form: of the state that is told.
        version: that has written it.
        shards: how many parts the state was in.
        time: Unix seconds at which it was begun.
    """

    file: int = FILE
    form: int = STATE_FORM
    version: str
    namespace: str
    shards: int
    time: float


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="end"):
    """The last line; ``lines`` and ``sha256`` are of all before it."""

    lines: int
    sha256: str


_encode = msgspec.json.Encoder().encode
_header = msgspec.json.Decoder(Header)
_line = msgspec.json.Decoder(Saved | End)


@contextmanager
def written(path: Path, header: Header) -> Iterator[Callable[[Saved], None]]:
    """Take entries, one call for each; the file is there, and whole, only when the block has ended well.

    Raises:
        PermanentError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # never readable by another, not even for a moment
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as plain:
                packed = gzip.GzipFile(fileobj=plain, mode="wb", mtime=0) if path.suffix == ".gz" else None
                yield from _write(cast("IO[bytes]", packed or plain), header)
                if packed is not None:
                    packed.close()
                plain.flush()
                os.fsync(plain.fileno())
            part.replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                part.unlink()
            raise
    except OSError as error:
        raise PermanentError(f"{path}: {error.strerror or error}") from error


def _write(out: IO[bytes], header: Header) -> Iterator[Callable[[Saved], None]]:
    digest, lines = hashlib.sha256(), 0

    def line(entry: Header | Saved) -> None:
        nonlocal lines
        text = _encode(entry) + b"\n"
        digest.update(text)
        out.write(text)
        lines += 1

    line(header)
    yield line
    out.write(_encode(End(lines=lines, sha256=digest.hexdigest())) + b"\n")


def checked(path: Path) -> Header:
    """The header of a file that is whole, every line of it understood.

    Raises:
        PermanentError: it is not; the text says which line, and why.
    """
    for _ in read(path):
        pass
    with _opened(path) as file:
        return _first(path, file.readline())


def read(path: Path) -> Iterator[Saved]:
    """The entries of a file, in order. Raises as :func:`checked`, when it comes to what is wrong."""
    with _opened(path) as file:
        yield from _entries(path, file)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as plain:
            packed = plain.peek(2)[:2] == GZIP
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=plain)) if packed else plain
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PermanentError(f"{path}: cut off or damaged: {error}") from error
    except OSError as error:
        raise PermanentError(f"{path}: {error.strerror or error}") from error


def _first(path: Path, text: bytes) -> Header:
    try:
        header = _header.decode(text)
    except msgspec.MsgspecError as error:
        raise PermanentError(f"{path}:1: no export of autoscaler's state: {error}") from error
    if header.file != FILE:
        raise PermanentError(f"{path}:1: a file of form {header.file}, and this version knows form {FILE}")
    if refusal(header.form):
        raise PermanentError(f"{path}:1: {refusal(header.form)}")
    return header


def _entries(path: Path, file: IO[bytes]) -> Iterator[Saved]:
    text = file.readline()
    _first(path, text)
    digest, number = hashlib.sha256(text), 1
    for text in file:
        number += 1
        try:
            entry = _line.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise PermanentError(f"{path}:{number}: {error}") from error
        if isinstance(entry, End):
            if (entry.lines, entry.sha256) != (number - 1, digest.hexdigest()):
                raise PermanentError(f"{path}:{number}: what is before does not match this checksum: it was changed")
            if file.read(1):
                raise PermanentError(f"{path}:{number + 1}: there is more after the last line")
            return
        digest.update(text)
        yield entry
    raise PermanentError(f"{path}:{number}: the last line is missing: it was cut off")
