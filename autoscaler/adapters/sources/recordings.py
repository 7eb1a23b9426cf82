"""Measures from files, for replay: CSV of one series, or native measures as JSON lines; ``-`` is standard input."""

from __future__ import annotations

import csv
import io
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from autoscaler.adapters.sources.decode import RECORDED, SHOWN_LENGTH, decode, finite, from_iso8601, in_time
from autoscaler.errors import InvalidMeasureError, PermanentError, Rejection
from autoscaler.measures.measure import Measure
from autoscaler.ports import Undecoded

STDIN: Final = "-"
_BYTES: Final = "surrogateescape"
"""Bytes that are not UTF-8 come through as they are, and spoil their own row only."""
_COLUMNS: Final = ["timestamp", "value"]


@dataclass(frozen=True, slots=True)
class Label:
    """What a CSV does not say about its series.

    Attributes:
        metric: "" where none was given; then a CSV cannot be read.
        resource_id: "" for the file's name without its ending.
    """

    metric: str = ""
    resource_id: str = ""
    project_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def read(paths: Sequence[str], label: Label) -> Iterator[Measure | Undecoded]:
    """The measures of all files, file after file, each in its own order, duplicates and backward steps included.

    A file is JSON lines if its first character is a bracket, else CSV with the header ``timestamp,value``. Times
    without zone are UTC, and no time is too old or too far ahead. A row or line that cannot be taken is yielded in
    its place, with file and line.

    Raises:
        PermanentError: a file that cannot be read, is empty, or is a CSV with another header or without a metric.
    """
    for path in paths:
        with _opened(path) as file:
            name = "stdin" if path == STDIN else path
            first, head = _first_line(file, name)
            lines = itertools.chain([head], file)
            if head.lstrip()[0] in "{[":
                yield from _json_lines(lines, name, first)
            else:
                yield from _csv(lines, name, first, label)


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    """The file as text."""
    try:
        if path == STDIN:
            file = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors=_BYTES, newline="")
            try:
                yield file
            finally:
                file.detach()  # it is not ours to close
        else:
            with Path(path).open(encoding="utf-8-sig", errors=_BYTES, newline="") as file:
                yield file
    except OSError as error:
        raise PermanentError(f"{path}: {error.strerror or error}") from error


def _first_line(file: TextIO, name: str) -> tuple[int, str]:
    """Number and text of the first line that is not blank."""
    for number, line in enumerate(file, 1):
        if line.strip():
            return number, line
    raise PermanentError(f"{name}: empty")


def _json_lines(lines: Iterator[str], name: str, first: int) -> Iterator[Measure | Undecoded]:
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        decoded = decode(line.encode(errors=_BYTES), now=0.0, trusted=True, limits=RECORDED)
        found: dict[int, Measure | Undecoded] = dict(zip(decoded.indexes, decoded.measures, strict=True))
        found.update((fault.index or 0, _placed(fault, name, number)) for fault in decoded.rejected)
        for index in sorted(found):
            yield found[index]


def _placed(fault: Undecoded, name: str, line: int) -> Undecoded:
    return Undecoded(fault.rejection, f"{name}:{line}: {fault.detail}", fault.payload, fault.index)


def _csv(lines: Iterator[str], name: str, first: int, label: Label) -> Iterator[Measure | Undecoded]:
    try:
        header = [column.strip() for column in next(csv.reader([next(lines)]))]
    except csv.Error as error:
        raise PermanentError(f"{name}:{first}: expected the header timestamp,value or JSON lines: {error}") from error
    if header != _COLUMNS:
        shown = ascii(",".join(header)[:80])
        raise PermanentError(f"{name}:{first}: expected the header timestamp,value or JSON lines, found {shown}")
    if not label.metric:
        raise PermanentError(f"{name}: a CSV does not name its metric; say which with --metric")
    resource_id = label.resource_id or Path(name).stem
    for number, line in enumerate(lines, first + 1):
        if not line.strip():
            continue
        try:
            at, value = _row(line)
        except InvalidMeasureError as error:
            shown = line.rstrip("\r\n")[:SHOWN_LENGTH].encode(errors=_BYTES).decode(errors="replace")
            yield _placed(Undecoded(error.rejection, error.detail, shown), name, number)
        else:
            yield Measure(label.metric, resource_id, at, value, label.project_id, "", label.metadata)


def _row(line: str) -> tuple[float, float]:
    """Timestamp and value; a row is one line, so that one broken quote does not swallow the rest of the file."""
    try:
        cells = next(csv.reader([line.rstrip("\r\n")], strict=True))
    except csv.Error as error:
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"not CSV: {error}") from error
    if len(cells) != len(_COLUMNS):
        raise InvalidMeasureError(Rejection.UNDECODABLE, f"expected 2 cells, found {len(cells)}")
    at, value = (cell.strip() for cell in cells)
    number = _number(at)
    seconds = from_iso8601(at) if number is None else finite("timestamp", number)
    return in_time(seconds, 0.0, RECORDED), finite("value", value if (number := _number(value)) is None else number)


def _number(text: str) -> float | None:
    """The number that a cell spells; None where it spells none."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
