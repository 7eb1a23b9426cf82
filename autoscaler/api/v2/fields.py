"""Values of a request's body, taken as WSME takes them: numbers also from text, null for the default.

Source:
    wsme/rest/json.py and wsme/types.py, 0.13.0. Where WSME would cut (60.7 to 60) or crash, the value is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from autoscaler.api.v2.errors import invalid, missing, unknown_attributes
from autoscaler.api.v2.times import parsed

if TYPE_CHECKING:
    from typing import Final

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

_TRUE: Final = frozenset(("true", "t", "yes", "y", "on", "1"))
_FALSE: Final = frozenset(("false", "f", "no", "n", "off", "0"))
LONGEST: Final = 4096
"""Characters of a text that is no query, list or address."""
LONGEST_QUERY: Final = 65_536
"""Characters of a search or a query that an alarm rests on."""


class Object:
    """A JSON object whose keys are taken one by one.

    Args:
        document: as decoded.
        place: what it is called in messages about its keys.
        name: what it is called where it is none.
        known: the keys it may have.
    """

    def __init__(self, document: Any, place: str, name: str, known: Collection[str]) -> None:
        if not isinstance(document, Mapping):
            raise invalid(name, document, "Expected an object")
        unknown = document.keys() - set(known)
        if unknown:
            raise unknown_attributes(place, unknown)
        self._document: Mapping[str, Any] = document

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self._document.get(key) is not None

    def names(self, key: str) -> bool:
        """Whether the key is there, be it null."""
        return key in self._document

    def required(self, key: str, take: Callable[[str, Any], T]) -> T:
        """A value that must be there."""
        if not self.has(key):
            raise missing(key)
        return take(key, self._document[key])

    def optional(self, key: str, take: Callable[[str, Any], T], default: T) -> T:
        """A value, or the default."""
        return take(key, self._document[key]) if self.has(key) else default

    def given(self, key: str, take: Callable[[str, Any], T]) -> T | None:
        """A value; None where there is none."""
        return take(key, self._document[key]) if self.has(key) else None


def text(name: str, value: Any) -> str:
    """Text of any length."""
    if not isinstance(value, str):
        raise invalid(name, value, f"Wrong type. Expected '<class 'str'>', got '{type(value)}'")
    return value


def short_text(name: str, value: Any) -> str:
    """Text for a name or a description."""
    return _at_most(LONGEST, name, value)


def query_text(name: str, value: Any) -> str:
    """Text of a search or a query."""
    return _at_most(LONGEST_QUERY, name, value)


def _at_most(characters: int, name: str, value: Any) -> str:
    taken = text(name, value)
    if len(taken) > characters:
        raise invalid(name, value, f"Value should have at most {characters} characters")
    return taken


def flag(name: str, value: Any) -> bool:
    """A truth value, also as text."""
    if isinstance(value, int):
        return bool(value)
    if isinstance(value, str) and value in _TRUE:
        return True
    if isinstance(value, str) and value in _FALSE:
        return False
    raise invalid(name, value, "Value not an unambiguous boolean")


def number(name: str, value: Any) -> float:
    """A finite number, also as text."""
    if isinstance(value, bool):
        raise invalid(name, value, f"Wrong type. Expected '{float}', got '{bool}'")
    try:
        taken = float(value)
    except (TypeError, ValueError, OverflowError):
        taken = math.nan
    if not math.isfinite(taken):
        raise invalid(name, value, "Value should be a finite number")
    return taken


def whole(minimum: int, maximum: int | None = None) -> Callable[[str, Any], int]:
    """A whole number within bounds, also as text."""

    def take(name: str, value: Any) -> int:
        taken = number(name, value)
        if not taken.is_integer():
            raise invalid(name, value, "Value should be a whole number")
        if taken < minimum:
            raise invalid(name, value, f"Value should be greater or equal to {minimum}")
        if maximum is not None and taken > maximum:
            raise invalid(name, value, f"Value should be lower or equal to {maximum}")
        return int(taken)

    return take


def one_of(kind: type[E]) -> Callable[[str, Any], E]:
    """One of a closed choice."""

    def take(name: str, value: Any) -> E:
        if isinstance(value, str) and value in set(kind):
            return kind(value)
        raise invalid(name, value, f"Value should be one of: {', '.join(kind)}")

    return take


def texts(name: str, value: Any) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(text(name, item) for item in listed(name, value))


def listed(name: str, value: Any) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise invalid(name, value, "Value not a valid list")
    return value


def few(most: int) -> Callable[[str, Any], list[Any]]:
    """A list that is worked through again and again."""

    def take(name: str, value: Any) -> list[Any]:
        taken = listed(name, value)
        if len(taken) > most:
            raise invalid(name, value, f"Value should have at most {most} items")
        return taken

    return take


def time(name: str, value: Any) -> int:
    """A time, in microseconds since 1970."""
    try:
        return parsed(text(name, value))
    except ValueError as error:
        raise invalid(name, value, "Value should be an ISO 8601 time") from error
