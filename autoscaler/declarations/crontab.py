"""Five-column crontab lines that schedules may use.

A subset of what APScheduler's ``CronTrigger.from_crontab`` reads, on which all readers of crontab lines agree. Weekdays
are names: APScheduler's 0 is Monday, cron's is Sunday, and nobody should have to know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONGEST: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:(?P<star>\*)|(?P<first>[0-9]+|[a-z]+)(?:-(?P<last>[0-9]+|[a-z]+))?)(?:/(?P<step>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()
    only_words: bool = False

    def values(self, text: str) -> set[int]:
        """Every value that ``text`` allows."""
        return {value for part in text.lower().split(",") for value in self._part(part)}

    def _part(self, part: str) -> range:
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError(f"expected {self._expected()} as {self.name}, got {part!r}")
        if found["star"]:
            first, last = self.low, self.high
        else:
            first = self._value(found["first"])
            last = self._value(found["last"]) if found["last"] else first
            if found["step"] and not found["last"]:
                raise ValueError(f"expected a range or * before /{found['step']} in the {self.name}, got {part!r}")
        if first > last or (found["last"] and found["first"].isdigit() != found["last"].isdigit()):
            raise ValueError(f"expected a rising range in the {self.name}, got {part!r}")
        step = int(found["step"] or 1)
        if found["step"] and not 1 <= step <= last - first:
            raise ValueError(f"expected a step of at least 1 and at most the range in the {self.name}, got {part!r}")
        return range(first, last + 1, step)

    def _value(self, text: str) -> int:
        if text in self.words:
            return self.low + self.words.index(text)
        if not text.isdigit() or self.only_words or len(text) > 9 or not self.low <= int(text) <= self.high:
            raise ValueError(f"expected {self._expected()} as {self.name}, got {text!r}")
        return int(text)

    def _expected(self) -> str:
        if self.only_words:
            return f"names ({', '.join(self.words)}; numbers mean different days to different readers)"
        return f"{self.low} to {self.high}"


_COLUMNS: Final = (
    _Column("minute", 0, 59),
    _Column("hour", 0, 23),
    _Column("day of month", 1, 31),
    _Column("month", 1, 12, _MONTHS),
    _Column("day of week", 0, 6, _WEEKDAYS, only_words=True),
)


def check(line: str) -> None:
    """Refuse a crontab line that is malformed or can never come true.

    Raises:
        ValueError: says what was expected.
    """
    columns = line.split()
    if len(columns) != len(_COLUMNS):
        names = ", ".join(column.name for column in _COLUMNS)
        raise ValueError(f"expected five columns ({names}), got {len(columns)}")
    values = [column.values(text) for column, text in zip(_COLUMNS, columns, strict=True)]
    if min(values[2]) > max(_LONGEST[month - 1] for month in values[3]):
        raise ValueError(f"expected a day that comes, got day {columns[2]} of month {columns[3]}")


def narrows_both_days(line: str) -> bool:
    """Whether day of month and day of week are both restricted: cron takes either then, APScheduler only both."""
    columns = line.split()
    return columns[2] != "*" and columns[4] != "*"
