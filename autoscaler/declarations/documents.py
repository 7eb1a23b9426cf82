"""YAML text -> plain values that know where they stand.

The text is read event by event and never constructed by tags, so a document can only hold text, numbers, true, false,
null, lists and mappings. Plain scalars are resolved by YAML 1.2's core schema: ``on``, ``no`` and ``08:30`` are text,
``1e3`` is a number, and Gnocchi's ``=`` is an ordinary key. Keys are always text. JSON is a subset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from autoscaler.errors import Problem

if TYPE_CHECKING:
    from typing import Final

MAX_BYTES: Final = 1024 * 1024
"""Longest file that is read."""

MAX_DEPTH: Final = 32
"""Deepest nesting of lists and mappings."""

MAX_NODES: Final = 100_000
"""Values in a file, those that aliases repeat counted each time."""

Path = tuple[str | int, ...]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where the wheel has it: ten times as fast
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something is declared: a file, and a place in it counted from 1."""

    file: str
    line: int
    column: int
    key: str

    def problem(self, expected: str) -> Problem:
        """A fault at this place."""
        return Problem(self.file, self.line, self.column, self.key, expected)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class _Mark:
    line: int
    column: int


_START = _Mark(1, 1)


@dataclass(slots=True)
class Document:
    """One file's value, with the place of everything in it.

    Attributes:
        value: text, numbers, booleans, None, lists and dicts.
    """

    file: str
    value: Any = None
    # by (id of the container, key or index), so that what an alias repeats needs no second entry
    _values: dict[tuple[int, str | int], _Mark] = field(default_factory=dict, repr=False)
    _keys: dict[tuple[int, str | int], _Mark] = field(default_factory=dict, repr=False)
    # what stands under a key for the second time; were it gone, another container might get its id, and its places
    _refused: list[Any] = field(default_factory=list, repr=False)
    _root: _Mark = _START

    def origin(self, path: Path, *, of_key: bool = False) -> Origin:
        """The place of the value (or its key) at ``path``, or of the nearest thing around it that exists."""
        mark, container = self._root, self.value
        for depth, step in enumerate(path):
            found = self._values.get((id(container), step))
            if found is None:
                break
            last = depth == len(path) - 1
            mark = self._keys.get((id(container), step), found) if of_key and last else found
            container = container[step]
        return Origin(self.file, mark.line, mark.column, spelled(path))

    def problem(self, path: Path, expected: str, *, of_key: bool = False) -> Problem:
        """A fault of what stands at ``path``."""
        return self.origin(path, of_key=of_key).problem(expected)


def spelled(path: Path) -> str:
    """A path as people write it: ``alarms[0].rule.threshold``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "file"


class _RefusedError(Exception):
    def __init__(self, mark: _Mark, key: str, expected: str) -> None:
        super().__init__(expected)
        self.mark, self.key, self.expected = mark, key, expected


def read(file: str, text: str) -> tuple[Document | None, list[Problem]]:
    """The value of a YAML text, and what is wrong with it as YAML.

    Returns:
        The document, None where no value can be had, and every problem found on the way. Bytes that were not UTF-8
        are expected as lone surrogates (``errors="surrogateescape"``) and reported with their place.
    """
    problems: list[Problem] = []
    try:
        return _composed(file, text, problems), problems
    except _RefusedError as error:
        found = Problem(file, error.mark.line, error.mark.column, error.key, error.expected)
    except yaml.reader.ReaderError as error:
        mark = _mark_at(text, error.position)
        expected = f"expected no character that YAML does not allow: {error.reason}"
        found = Problem(file, mark.line, mark.column, "syntax", expected)
    except yaml.MarkedYAMLError as error:
        mark = _mark(error.problem_mark) if error.problem_mark else _START
        words = ", ".join(part for part in (error.context, error.problem) if part)
        found = Problem(file, mark.line, mark.column, "syntax", f"expected YAML: {words}")
    return None, [*problems, found]


def _composed(file: str, text: str, problems: list[Problem]) -> Document | None:
    _measured(text)
    return _Composer(file, yaml.parse(text.removeprefix("\ufeff"), Loader=_LOADER), problems).document()


def _measured(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) & 0xFF
        raise _RefusedError(_mark_at(text, error.start), "file", f"expected UTF-8, got the byte 0x{byte:02x}") from None
    if size > MAX_BYTES:
        raise _RefusedError(_START, "file", f"expected at most {MAX_BYTES} bytes, got more")


def _mark_at(text: str, position: int) -> _Mark:
    before = text[:position]
    return _Mark(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)


def _mark(mark: Any) -> _Mark:
    return _Mark(mark.line + 1, mark.column + 1)


class _Composer:
    """Builds one value from events, depth and expanded size bounded."""

    def __init__(self, file: str, events: Iterator[yaml.Event], problems: list[Problem]) -> None:
        self._problems = problems
        self._document = Document(file)
        self._events = events
        self._anchors: dict[str, tuple[Any, int]] = {}

    def document(self) -> Document | None:
        """The only document of the stream; None, with a problem, where there is nothing in it."""
        next(self._events)  # the stream starts
        if isinstance(next(self._events), yaml.StreamEndEvent):
            self._say_nothing()
            return None
        event = next(self._events)
        self._document._root = _mark(event.start_mark)  # noqa: SLF001 - it is being built here
        self._document.value, _ = self._node(event, (), 0)
        next(self._events)  # the document ends
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            raise _RefusedError(_mark(following.start_mark), "file", "expected one document per file, got a second")
        if self._document.value is None and not self._problems:
            self._say_nothing()
            return None
        return self._document

    def _say_nothing(self) -> None:
        self._problems.append(
            self._document.problem(
                (), "expected alarms, groups, policies, schedules or derived_metrics, but the file is empty"
            )
        )

    def _node(self, event: yaml.Event, path: Path, depth: int) -> tuple[Any, int]:
        """A value and how many it holds, itself included."""
        mark = _mark(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                expected = f"expected an anchor &{event.anchor} that ends before its alias"
                raise _RefusedError(mark, spelled(path), expected)
            return self._anchors[event.anchor]
        if depth > MAX_DEPTH:
            raise _RefusedError(mark, "file", f"expected at most {MAX_DEPTH} levels of nesting")
        self._refuse_tags(event, mark, path)
        if isinstance(event, yaml.ScalarEvent):
            built: tuple[Any, int] = (_scalar(event), 1)
        elif isinstance(event, yaml.SequenceStartEvent):
            built = self._sequence(path, depth)
        else:
            built = self._mapping(path, depth)
        if built[1] > MAX_NODES:
            raise _RefusedError(mark, "file", f"expected at most {MAX_NODES} values, aliases written out")
        if event.anchor is not None:  # type: ignore[attr-defined]
            self._anchors[event.anchor] = built  # type: ignore[attr-defined]
        return built

    def _refuse_tags(self, event: yaml.Event, mark: _Mark, path: Path) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            raise _RefusedError(mark, spelled(path), f"expected a plain value, got the tag {shown}")

    def _sequence(self, path: Path, depth: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        size = 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            index = len(values)
            self._document._values[id(values), index] = _mark(event.start_mark)  # noqa: SLF001
            value, held = self._node(event, (*path, index), depth + 1)
            values.append(value)
            size += held
        return values, size

    def _mapping(self, path: Path, depth: int) -> tuple[dict[str, Any], int]:
        values: dict[str, Any] = {}
        size = 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            mark = _mark(event.start_mark)
            if not isinstance(event, yaml.ScalarEvent):
                raise _RefusedError(mark, spelled(path), "expected text as a key")
            key = event.value
            self._refuse_tags(event, mark, (*path, key))
            if key == "<<" and event.implicit[0]:
                raise _RefusedError(mark, spelled((*path, key)), "expected the keys themselves, merges are not read")
            twice = key in values
            if twice:
                first = self._document._keys[id(values), key]  # noqa: SLF001
                expected = f"expected each key once, it stands in line {first.line} already"
                place = Origin(self._document.file, mark.line, mark.column, spelled((*path, key)))
                self._problems.append(place.problem(expected))
            following = next(self._events)
            value, held = self._node(following, (*path, key), depth + 1)
            size += held
            if twice:
                self._document._refused.append(value)  # noqa: SLF001
            else:
                self._document._keys[id(values), key] = mark  # noqa: SLF001
                self._document._values[id(values), key] = _mark(following.start_mark)  # noqa: SLF001
                values[key] = value
        return values, size


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if not event.implicit[0]:  # quoted or a block
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text) and len(text) < 400:  # longer ones are no numbers to anybody
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
