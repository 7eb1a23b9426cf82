"""Declarations in files: read as text, and watched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import awatch

from autoscaler.declarations.documents import MAX_BYTES
from autoscaler.errors import DeclarationError, Problem

if TYPE_CHECKING:
    import asyncio
    from typing import Final

    from watchfiles import Change

DEBOUNCE: Final = 0.2
"""Seconds within which changes count as one: editors and package managers write in several steps."""


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


async def changes(paths: Iterable[Path], *, stop: asyncio.Event | None = None) -> AsyncIterator[None]:
    """One item whenever declaration files may have changed.

    Folders are watched also for a single file, since editors replace files and Kubernetes replaces links to them.

    Args:
        paths: as :func:`texts` takes them.
        stop: ends the iteration when set.
    """
    folders = {(path if path.is_dir() else path.parent).absolute() for path in paths}
    async for _ in awatch(
        *folders,
        watch_filter=_is_declaration,
        debounce=int(DEBOUNCE * 1000),
        step=50,
        stop_event=stop,
        recursive=False,
    ):
        yield None


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
