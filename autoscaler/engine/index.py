"""What is looked up by a key, when there are very many keys and most of them know one thing."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass, field

from autoscaler.measures.match import attribute_of, required_any
from autoscaler.measures.measure import Measure
from autoscaler.measures.window import WindowSpec


class Index:
    """Ids by key. A single id is kept without a container of its own, which of 100 000 keys is most of the room."""

    __slots__ = ("_ids",)

    def __init__(self) -> None:
        self._ids: dict[str, str | dict[str, None]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Index) and self._ids == other._ids

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, key: str, id_: str) -> None:
        """Know ``id_`` by ``key``; once more is no more."""
        known = self._ids.setdefault(key, id_)
        if isinstance(known, dict):
            known[id_] = None
        elif known != id_:
            self._ids[key] = {known: None, id_: None}

    def drop(self, key: str, id_: str) -> None:
        """Know ``id_`` by ``key`` no longer, if it was."""
        known = self._ids.get(key)
        if known == id_:
            del self._ids[key]
        elif isinstance(known, dict):
            known.pop(id_, None)
            if len(known) == 1:
                (self._ids[key],) = known

    def of(self, key: str) -> Collection[str]:
        """What is known by ``key``."""
        known = self._ids.get(key)
        if known is None:
            return ()
        return (known,) if isinstance(known, str) else known

    def beyond(self, key: str, accounted: Container[str]) -> Sequence[str]:
        """What is known by ``key`` and not in ``accounted``."""
        known = self._ids.get(key)
        if known is None:
            return ()
        if isinstance(known, str):
            return () if known in accounted else (known,)
        return [id_ for id_ in known if id_ not in accounted]


@dataclass(slots=True)
class Scope:
    """The windows over one metric that see one project.

    Attributes:
        by_attribute: those that want one of some equalities: attribute -> value -> window ids.
        others: ids of the rest.
    """

    by_attribute: dict[str, Index] = field(default_factory=dict)
    others: dict[str, None] = field(default_factory=dict)

    def add(self, spec: WindowSpec) -> None:
        """Have a window found."""
        equalities = required_any(spec.match)
        if equalities is None:
            self.others[spec.window_id] = None
            return
        for equality in equalities:
            index = self.by_attribute.get(equality.attribute)
            if index is None:
                index = self.by_attribute[equality.attribute] = Index()
            index.add(equality.value, spec.window_id)

    def drop(self, spec: WindowSpec) -> None:
        """Have it found no longer."""
        self.others.pop(spec.window_id, None)
        for equality in required_any(spec.match) or ():
            index = self.by_attribute.get(equality.attribute)
            if index is not None:
                index.drop(equality.value, spec.window_id)
                if not index:
                    del self.by_attribute[equality.attribute]

    @property
    def is_empty(self) -> bool:
        """Whether it has no window."""
        return not self.others and not self.by_attribute

    def candidates(self, measure: Measure) -> Iterator[str]:
        """Ids of all windows that ``measure`` may belong to, and of hardly any others; some more than once."""
        yield from self.others
        for attribute, index in self.by_attribute.items():
            value = attribute_of(measure, attribute)
            if value is not None:
                yield from index.of(value)
