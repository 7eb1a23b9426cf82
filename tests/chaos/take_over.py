"""How long it takes until somebody else has finished what a killed controller had in hand; from the records alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.records import Record, of_kind

LOOKED_FOR = 300.0
"""Seconds after a death in which what was in hand is looked for."""


@dataclass(frozen=True)
class TakeOver:
    """What became of the work of one that was killed.

    Attributes:
        seconds: from the death until all of it was finished; None where it never was.
        by: replicas that finished it; none where that had happened before, or cannot be told.
    """

    step: str
    replica: int
    seconds: float | None
    by: tuple[int, ...]


def take_overs(records: Sequence[Record]) -> list[TakeOver]:
    """One for each controller that died at a step of the protocol."""
    found = []
    for number, record in enumerate(records):
        if record["kind"] == "died":
            after = [r for r in records[number:] if r["at"] <= record["at"] + LOOKED_FOR]
            found.append(_of(record, records[:number], after))
    return found


def _of(died: Record, before: Sequence[Record], after: Sequence[Record]) -> TakeOver:
    finished = [_finished(kind, each, before, after) for kind, all_ in died["in_hand"].items() for each in all_]
    times = [None if record is None else max(0.0, record["at"] - died["at"]) for record in finished]
    by = sorted({record["replica"] for record in finished if record is not None and "replica" in record})
    known = [time for time in times if time is not None]
    whole = max(known, default=0.0) if len(known) == len(times) else None
    return TakeOver(died["step"], died["replica"], whole, tuple(by))


def _finished(kind: str, what: Any, before: Sequence[Record], after: Sequence[Record]) -> Record | None:
    """The record that says that a piece of work is done."""
    match kind:
        case "measures":
            # by then nobody has written it, unless it came twice
            return _first(
                (*reversed(before[-2000:]), *after), "written", lambda r: what[1] in r["points"].get(what[0], ())
            )
        case "windows":
            return _first(after, "accepted", lambda r: any(w == what[0] and v >= what[1] for w, v in r["windows"]))
        case "keys":
            return _first((*before, *after), "answered", lambda r: r["key"] == what)
        case "decisions":
            return _first(after, "decided", lambda r: r["asked"] == what)
        case _:
            return _first(
                (*before, *after),
                "resize",
                lambda r: r["fence"] == what and r["obeyed"] and r["after"] == r["size"],
            )


def _first(records: Iterable[Record], kind: str, is_it: Callable[[Record], bool]) -> Record | None:
    return next((record for record in of_kind(tuple(records), kind) if is_it(record)), None)
