"""The rows of the table: what is measured, against what, and what it must come to."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        key: for ONLY=, and in the JSON.
        title: what is measured.
        reference: what it is divided by; "" where the figure stands for itself.
        unit: of the figures.
        must, aim: of the ratio, or of the figure where there is no reference.
        rises: whether more is better.
        floor: what the figure itself should be beside that, in its unit, for the aim to be met; 0 for nothing.
    """

    key: str
    title: str
    reference: str
    unit: str
    must: float
    aim: float
    rises: bool = True
    floor: float = 0.0


ROWS: Final = (
    Row("amqp", "AMQP, one measure per message", "no-op aio-pika consumer", "messages/s", 0.70, 0.90),
    Row("mqtt", "MQTT QoS 1, one measure per message", "no-op aiomqtt consumer", "messages/s", 0.60, 0.85),
    Row(
        "batches",
        "AMQP, 100 measures per message, 10 000 series with an alarm each",
        "a function of Redis that does nothing",
        "measures/s",
        0.40,
        0.60,
        floor=200_000,
    ),
    Row("groups", "aggregation over 1 000 members, 100 groups", "the row above", "measures/s", 0.7, 0.9),
    Row(
        "alarms",
        "cost of a measure with 100 000 alarms",
        "the same with 10 alarms",
        "µs/measure",
        1.3,
        1.1,
        rises=False,
    ),
    Row(
        "due",
        "alarms evaluated, all due at once, windows read from Redis",
        "a function of Redis that does nothing",
        "alarms/s",
        0.3,
        0.6,
        floor=50_000,
    ),
    Row(
        "p50",
        "measure published → webhook received at 1 000/s, p50",
        "publish → consume → POST",
        "ms",
        3,
        1.5,
        rises=False,
    ),
    Row("p99", "the same, p99", "publish → consume → POST", "ms", 5, 1.5, rises=False),
    Row(
        "stored",
        "Redis per series, 5-minute window at 10 s",
        "16 bytes per point",
        "bytes",
        4,
        2,
        rises=False,
    ),
    Row("resident", "a controller with 100 000 alarms, resident", "", "MiB", 1024, 300, rises=False),
    Row("start", "its start until ready", "", "s", 10, 3, rises=False),
)
BY_KEY: Final = {row.key: row for row in ROWS}


@dataclass(slots=True)
class Measured:
    """What the rounds of a row came to.

    Attributes:
        ours, theirs: figures of each round, in the row's unit; ``theirs`` of the reference that ran beside it.
    """

    row: Row
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def add(self, ours: float, theirs: float | None = None) -> None:
        """One more round."""
        self.ours.append(ours)
        if theirs is not None:
            self.theirs.append(theirs)

    @property
    def judged(self) -> Sequence[float]:
        """What is held against the limits: the ratio of each round, or the figures where there is no reference."""
        if not self.row.reference:
            return self.ours
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def met(self) -> str:
        """``aim``, ``must`` or ``no``."""
        found = statistics.median(self.judged)
        if self._holds(found, self.row.aim) and statistics.median(self.ours) >= self.row.floor:
            return "aim"
        return "must" if self._holds(found, self.row.must) else "no"

    def _holds(self, found: float, limit: float) -> bool:
        return found >= limit if self.row.rises else found <= limit

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "row": self.row.key,
            "title": self.row.title,
            "reference": self.row.reference,
            "unit": self.row.unit,
            "ours": self.ours,
            "theirs": self.theirs,
            "judged": {
                "median": statistics.median(self.judged),
                "lowest": min(self.judged),
                "highest": max(self.judged),
            },
            "must": self.row.must,
            "aim": self.row.aim,
            "floor": self.row.floor,
            "met": self.met,
        }


def table(found: Iterable[Measured]) -> str:
    """All of them as a table of Markdown."""
    lines = [
        "| row | ours | reference | ratio, median (range) | must | aim | met |",
        "| --- | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for each in found:
        row = each.row
        theirs = f"{_figure(statistics.median(each.theirs))}: {row.reference}" if each.theirs else ""
        ratio = f"{statistics.median(each.judged):.2f} ({min(each.judged):.2f}–{max(each.judged):.2f})"
        sign = "≥" if row.rises else "≤"
        floor = f"; {_figure(row.floor)}" if row.floor else ""
        lines.append(
            f"| {row.title} | {_figure(statistics.median(each.ours))} {row.unit} | {theirs} | {ratio} "
            f"| {sign} {row.must:g} | {sign} {row.aim:g}{floor} | {each.met} |"
        )
    return "\n".join(lines)


def _figure(value: float) -> str:
    """With three digits that say something, and a space between thousands."""
    if value >= 1000:
        return f"{round(value, -2 if value >= 100_000 else 0):,.0f}".replace(",", " ")
    return f"{value:.3g}"
