"""Append-only records of all that happened: each process of a run writes a file of lines, and nobody changes one.

A process that is killed has written all lines of what it did, since each is one write to an unbuffered file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

Record = dict[str, Any]
"""What was said: ``kind``, ``at`` in Unix seconds by this machine's clock, and what else the kind has."""


class Records:
    """One writer's file.

    Args:
        path: made when missing, carried on when not.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def say(self, kind: str, **facts: Any) -> None:
        """Keep a line."""
        os.write(self._file, msgspec.json.encode({"kind": kind, "at": time.time(), **facts}) + b"\n")

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)


def read(folder: Path) -> list[Record]:
    """Everything that all writers of a folder have said, in the order of time."""
    lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines())
    # a killed writer may leave half of its last line behind only where the disk was full
    found: list[Record] = [msgspec.json.decode(line) for line in lines if line.endswith(b"}")]
    return sorted(found, key=lambda record: float(record["at"]))


def of_kind(records: Sequence[Record], *kinds: str) -> Iterator[Record]:
    """Those of some kinds."""
    return (record for record in records if record["kind"] in kinds)
