"""One declared thing on its way to its domain value, with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from autoscaler.declarations.documents import Document, Origin, Path
    from autoscaler.errors import Problem

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, slots=True)
class Item(Generic[ValueT]):
    """One declared thing and where it stands.

    Attributes:
        value: its domain value.
        raw: the mapping it was read from.
        source: the file.
        path: its place in the file.
        leaves: of an alarm, the place of each of :func:`autoscaler.alarms.rules.leaves_of` its rule in the mapping.
    """

    value: ValueT
    raw: dict[str, Any]
    source: Document
    path: Path
    leaves: tuple[Path, ...] = ()

    def origin(self, *inner: str | int) -> Origin:
        """The place of the thing, or of what stands at ``inner`` in it."""
        return self.source.origin((*self.path, *inner))

    def problem(self, expected: str, *inner: str | int) -> Problem:
        """A fault of the thing, or of what stands at ``inner`` in it."""
        return self.origin(*inner).problem(expected)
