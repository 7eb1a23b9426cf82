"""Declarations in files: read as text, and watched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import awatch

from autoscaler.declarations.documents import MAX_BYTES
from autoscaler.errors import DeclarationError, Problem

if TYPE_CHECKING:
    from typing import Final

    from watchfiles import Change

DEBOUNCE: Final = 0.2
"""Seconds within which changes count as one: editors and package managers write in several steps."""
LOOK: Final = 2.0
"""Seconds between two looks at the files that nobody tells of."""


def texts(paths: Iterable[Path]) -> dict[str, str]:
    """The text of every declaration file, by its path.

    Args:
        paths: files, or folders of which each ``*.yaml`` and ``*.yml`` is read; hidden ones and ``*.test.yaml`` are
            left out, and folders within are not entered.

    Returns:
        Text in which bytes that are no UTF-8 stand as lone surrogates, and which is cut where it is too long;
        :func:`autoscaler.declarations.load` refuses both in their place.

    Raises:
        DeclarationError: a path cannot be read; every one that cannot is named.
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            for file in _files(path):
                found[str(file)] = _text(file)
        except OSError as error:
            problems.append(Problem(str(error.filename or path), 1, 1, "file", _reason(error)))
    if problems:
        raise DeclarationError(tuple(problems))
    return found


def text(path: Path) -> str:
    """One file, as :func:`texts` has it. Raises DeclarationError."""
    try:
        return _text(path)
    except OSError as error:
        raise DeclarationError((Problem(str(path), 1, 1, "file", _reason(error)),)) from error


async def changes(paths: Iterable[Path], *, stop: asyncio.Event | None = None) -> AsyncIterator[None]:
    """One item whenever declaration files may have changed.

    Folders are watched also for a single file, since editors replace files and Kubernetes replaces links to them. A
    folder that is itself replaced, or is not there yet, is noticed by a look now and then.

    Args:
        paths: as :func:`texts` takes them.
        stop: ends the iteration when set.
    """
    paths = tuple(paths)
    seen = _marks(paths)
    while stop is None or not stop.is_set():
        folders = {(path if path.is_dir() else path.parent).absolute() for path in paths}
        if not all(folder.is_dir() for folder in folders):
            await asyncio.sleep(LOOK)
            continue
        watched = awatch(
            *folders,
            watch_filter=_is_declaration,
            debounce=int(DEBOUNCE * 1000),
            step=50,
            stop_event=stop,
            rust_timeout=int(LOOK * 1000),
            yield_on_timeout=True,
            recursive=False,
        )
        async with aclosing(watched):
            async for events in watched:
                marks = _marks(paths)
                unseen, seen = marks != seen and not events, marks
                if events or unseen:
                    yield None
                if unseen or not all(folder.is_dir() for folder in folders):
                    break


def _marks(paths: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """What tells one state of the files from another without reading them; nothing of what cannot be read."""
    marks: dict[str, tuple[int, ...]] = {}
    for path in paths:
        with suppress(OSError):
            for file in _files(path):
                found = file.stat()
                marks[str(file)] = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    return marks


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if _is_declared(file) and file.is_file())


def _is_declared(file: Path) -> bool:
    return file.suffix in {".yaml", ".yml"} and not file.name.startswith(".") and not file.stem.endswith(".test")


def _is_declaration(_: Change, path: str) -> bool:
    return _is_declared(Path(path)) or Path(path).name == "..data"  # which Kubernetes points at what is mounted


def _text(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1).decode(errors="surrogateescape")


def _reason(error: OSError) -> str:
    return f"expected a file or folder that can be read: {(error.strerror or str(error)).lower()}"
