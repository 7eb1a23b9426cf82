"""What outlives a controller: a log of all that happened outside of it, written as it happens.

A process that is killed has written all lines of what it did, since each is one write to an unbuffered file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from autoscaler.ports import OutboxRow, TargetStatus
from autoscaler.scaling.group import Group

FIRST_SIZE = 2


class Outside:
    """A broker's acknowledgements, a clock, a webhook's receiver and a target, in one file.

    Args:
        path: of the log; made when missing, carried on when not.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self) -> None:
        os.close(self._file)

    def say(self, kind: str, value: Any) -> None:
        os.write(self._file, msgspec.json.encode([kind, value]) + b"\n")

    def said(self, kind: str) -> list[Any]:
        lines = [msgspec.json.decode(line) for line in self._path.read_bytes().splitlines()]
        return [value for said, value in lines if said == kind]


class Receiver:
    """See :class:`autoscaler.ports.Action`."""

    schemes = frozenset({"https"})

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def deliver(self, row: OutboxRow) -> None:
        self._outside.say("post", {"id": row.id, "body": row.body})


class Members:
    """See :class:`autoscaler.ports.Target`."""

    resident = False
    pace = 0.5

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def status(self, group: Group) -> TargetStatus:
        resizes = self._outside.said("put")
        size = resizes[-1]["size"] if resizes else FIRST_SIZE
        return TargetStatus(size=size, ready=(), counted_ready=size)

    async def resize(self, group: Group, capacity: int, *, fence: int, deadline: float, order: str = "") -> None:
        self._outside.say("put", {"size": capacity, "fence": fence})

    async def release(self, group: Group) -> None:
        """Nothing to let go of."""
