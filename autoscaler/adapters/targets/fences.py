"""The highest fence seen of each group, by targets that keep it in this process."""

from __future__ import annotations

from autoscaler.errors import PermanentError


class Fences:
    """Refuses what was asked before something that has already been done."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def enter(self, group: str, fence: int) -> None:
        """Note ``fence``; the same again is let through.

        Raises:
            PermanentError: a higher one was seen; nothing may be done.
        """
        highest = self._highest.get(group, fence)
        if fence < highest:
            raise PermanentError(f"group {group}: resize {fence} comes after resize {highest}, which replaced it")
        self._highest[group] = fence

    def forget(self, group: str) -> None:
        """Let any fence be the first again."""
        self._highest.pop(group, None)
