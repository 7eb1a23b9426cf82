"""How a command fails: one sentence on standard error and a number."""

from __future__ import annotations

from enum import IntEnum

from autoscaler.errors import AutoscalerError


class Exit(IntEnum):
    """What the shell is told."""

    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3


class CommandError(AutoscalerError):
    """A command that cannot do what it was asked; the message is for the person who asked."""

    def __init__(self, message: str, status: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.status = status
