"""What one look at an alarm may come to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from autoscaler.alarms.alarm import AlarmRecord, AlarmState
from autoscaler.measures.window import ANY_PROJECT

MAX_HOLD = 600.0
"""Seconds after which missing data is believed though a source is still behind."""
RECHECK = 1.0
"""Seconds until an evaluation that was held back is tried again."""
POLICY_SCHEME = "policy://"


@dataclass(frozen=True, slots=True)
class Sources:
    """What is known of the measures' sources.

    Attributes:
        caught_up: nothing waits to be read anywhere, or nothing waits for long; what is missing is truly missing.
        max_hold: seconds after which that is believed anyway.
        read_until: Unix seconds of event time up to which all is read everywhere, though what is later may wait; None
            where nothing waits, or nobody knows.
        given_up: a source has brought nothing for so long that ``read_until`` does not wait for it any more.
        metrics: names of the metrics that were heard lately, by the project of who was measured.
    """

    caught_up: bool = True
    max_hold: float = MAX_HOLD
    metrics: Mapping[str, Collection[str]] = field(default_factory=dict)
    read_until: float | None = None
    given_up: bool = False

    def read_by(self, now: float) -> float:
        """The time up to which what was measured can be taken as a whole; ``now`` where nothing is known to wait."""
        return now if self.read_until is None else min(now, self.read_until)

    def heard(self, sees: str) -> list[str]:
        """Names that an alarm may be told of: of the project that it sees, and of measures without one."""
        projects = self.metrics if sees == ANY_PROJECT else dict.fromkeys((sees, ""))
        return list(dict.fromkeys(name for project in projects for name in self.metrics.get(project, ())))


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of an alarm's state.

    An event that hits an alarm which stays in ``alarm`` is one from ``alarm`` to ``alarm``; of an alarm with a state
    per series each series has its own.

    Attributes:
        version: the record's that it made.
        reason: Aodh's sentence, alone in what webhooks carry.
        note: what more there is to say, for the history.
    """

    version: int
    time: float
    previous: AlarmState
    current: AlarmState
    reason: str
    reason_data: dict[str, Any]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Repetition:
    """The state's actions are due once more; ``number`` counts from 1."""

    version: int
    time: float
    state: AlarmState
    number: int
    reason: str
    reason_data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Consideration:
    """The state lasts, and its policies are to be reconsidered."""

    version: int
    time: float
    state: AlarmState


@dataclass(frozen=True, slots=True)
class LateNote:
    """A measure came when the window had left its time behind; nothing changes.

    Attributes:
        time: when it was noticed.
        measured: Unix seconds, its event time; of several the oldest.
        state: what the alarm would have been at that point, seen from its present state; None where what lies before
            is no longer kept.
        reason: of that state.
    """

    time: float
    measured: float
    state: AlarmState | None
    reason: str


class OutageTurn(StrEnum):
    """What became of an outage."""

    BEGAN = "began"
    ENDED = "ended"
    BELIEVED = "believed"


@dataclass(frozen=True, slots=True)
class OutageNote:
    """Most series of a window have stopped at once, or they report again, or are taken to be gone.

    Attributes:
        version: the record's that it made.
        time: of the point at which it was noticed.
        stopped: Unix seconds, the newest measure of those that stopped.
        silent: how many stopped.
        reported: how many reported until then.
    """

    version: int
    time: float
    turn: OutageTurn
    stopped: float
    silent: int
    reported: int


Happening = Transition | Repetition | Consideration | LateNote | OutageNote


class Outcome(msgspec.Struct, frozen=True):
    """What one evaluation came to.

    Attributes:
        record: equal to the one given when nothing changed.
        happenings: in order; each but a note belongs to a version of the record.
        next_due: Unix seconds at which to look again though nothing arrives; None means never.
        held: missing data is not believed yet.
        as_aligned: a window should slide, but its granule is too short for how often series report.
    """

    record: AlarmRecord
    happenings: Sequence[Happening] = ()
    next_due: float | None = None
    held: bool = False
    as_aligned: bool = False
