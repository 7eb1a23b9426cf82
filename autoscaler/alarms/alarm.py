"""An alarm as declared, and its live record."""

from __future__ import annotations

import hashlib
import uuid
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from autoscaler.alarms.rules import Condition, plain
from autoscaler.alarms.time_constraints import TimeConstraint
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from typing import Final

ALARM_NAMESPACE: Final = uuid.UUID("6a5de0b1-3c0f-5d4e-9c5b-0b3f9f8b7a11")
TRUST_GONE: Final = (
    "its trust+ actions are left out: the trust is gone, since its maker has left or lost the role; whoever changes "
    "the alarm makes a new one"
)
REPEAT_INTERVAL: Final = 60.0
"""Seconds between repeated actions; Aodh's evaluation cycle."""


class AlarmState(StrEnum):
    """As Aodh spells them."""

    OK = "ok"
    ALARM = "alarm"
    INSUFFICIENT_DATA = "insufficient data"


class Severity(StrEnum):
    """As Aodh spells them."""

    LOW = "low"
    MODERATE = "moderate"
    CRITICAL = "critical"


class Alarm(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """An alarm's definition; names and defaults are Aodh's (aodh/api/controllers/v2/alarms.py, 23.0.0).

    Attributes:
        alarm_id: for declared ones uuid5 of project and name, see :func:`declared_id`.
        project_id: the owner of what it may move; "" is the operator's.
        scope: the project whose measures and events it sees, :data:`ANY_PROJECT` for all; None means its own.
        type: as declared, one of the names of :mod:`autoscaler.declarations`.
        repeat_interval: seconds; only with ``repeat_actions``.
        revision: of the definition, raised by each change through the API; 0 for alarms declared in files.
    """

    alarm_id: str
    name: str
    type: str
    rule: Condition
    project_id: str = ""
    scope: str | None = None
    revision: int = 0
    description: str = ""
    enabled: bool = True
    severity: Severity = Severity.LOW
    ok_actions: tuple[str, ...] = ()
    alarm_actions: tuple[str, ...] = ()
    insufficient_data_actions: tuple[str, ...] = ()
    repeat_actions: bool = False
    repeat_interval: float = REPEAT_INTERVAL
    time_constraints: tuple[TimeConstraint, ...] = ()

    @cached_property
    def definition(self) -> str:
        """A digest of what is evaluated; it changes when the rule or its constraints do."""
        evaluated = [plain(self.rule), self.sees, self.time_constraints]
        return hashlib.sha256(msgspec.json.encode(evaluated)).hexdigest()[:16]

    def actions(self, state: AlarmState) -> tuple[str, ...]:
        """The action URLs that ``state`` calls, in declared order."""
        match state:
            case AlarmState.OK:
                return self.ok_actions
            case AlarmState.ALARM:
                return self.alarm_actions
            case AlarmState.INSUFFICIENT_DATA:
                return self.insufficient_data_actions
            case _:
                assert_never(state)

    @property
    def sees(self) -> str:
        """The project whose measures and events it sees, or :data:`ANY_PROJECT`."""
        return self.project_id if self.scope is None else self.scope

    def may_move(self, owner: str) -> bool:
        """Whether it may call what ``owner`` owns.

        The operator's alarms may call everything, others what is their own project's; those that were made by an
        operator through the API, and so see every project, also what is the operator's.
        """
        return self.project_id in {"", ANY_PROJECT, owner} or (self.scope == ANY_PROJECT and owner == "")


def declared_id(project_id: str, name: str) -> str:
    """The id of an alarm that is declared in a file: the same on every replica and after every restart."""
    return str(uuid.uuid5(ALARM_NAMESPACE, f"{project_id}/{name}"))


class Evidence(msgspec.Struct, frozen=True):
    """What the newest verdict rests on, for the guards of scaling.

    Attributes:
        begins: Unix seconds, start of the newest decisive granule.
        ends: Unix seconds, its end.
        reporting: per decisive granule, oldest first, how many series reported.
        fullest: how many series the fullest of the granules looked at had.
        resting_on_missing: True when a treatment of missing data, not measures, decided.
    """

    begins: float
    ends: float
    reporting: tuple[int, ...]
    fullest: int
    resting_on_missing: bool = False


class Outage(msgspec.Struct, frozen=True):
    """Most series of a window have stopped at once.

    Attributes:
        since: Unix seconds of the point at which it was noticed.
        stopped: Unix seconds, the newest measure of those that stopped.
        silent: how many stopped.
        reported: how many reported until then.
        believed: it has lasted so long that they are taken to be gone.
    """

    since: float
    stopped: float
    silent: int
    reported: int
    believed: bool = False


class LeafRecord(msgspec.Struct, frozen=True):
    """What is known of one leaf of a composite alarm.

    Attributes:
        state: as a plain alarm over this leaf would have it.
        certain: all values that count are on one side.
        trend: where they are on both, the newest one's side; None elsewhere.
        seen: it was looked at since the rule was made or changed.
        breaching_since: see :class:`AlarmRecord`, as for the three below.
        evidence: kept up to date only where policies may ask for it.
    """

    state: AlarmState = AlarmState.INSUFFICIENT_DATA
    certain: bool = False
    trend: AlarmState | None = None
    seen: bool = False
    breaching_since: float | None = None
    clear_since: float | None = None
    held_since: float | None = None
    evidence: Evidence | None = None
    note: str = ""
    outage: Outage | None = None


class AlarmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of an alarm; replaced as a whole by compare-and-set on its version.

    Attributes:
        version: raised by whatever changes the record; 0 was never stored.
        definition: digest of the definition that ``state`` was evaluated by.
        revision: of the definition in force, see :attr:`Alarm.revision`; an evaluation by an older one is void.
        state_timestamp: Unix seconds of the last change of ``state``.
        point: Unix seconds, the end of the last granule that was evaluated in order (``evaluate: boundary``).
        considered: Unix seconds, the end of the granule for which policies were last (re)considered.
        consider_at: Unix seconds at which a guard that held a policy ends; None means none waits.
        repeats: how often the present state's actions were repeated.
        repeat_at: Unix seconds of the next repetition; None means none.
        breaching_since: Unix seconds since which the verdict asks for ``alarm`` (``for``).
        clear_since: Unix seconds since which it does not (``keep_firing_for``).
        held_since: Unix seconds since which missing data is not believed because a source is behind.
        evidence: of the newest definite verdict; None before the first.
        outage: of the source of its measures, as its last look found it; of a composite alarm the leaves have theirs.
        note: what more there is to say than Aodh's ``reason`` does; for people.
        leaves: of a composite alarm, in order; empty before the first look.
        instances: of an alarm with a state per series: series -> state.
        events: ids of the events that were taken last, newest first; the same told again changes nothing.
        trust_gone: the trust that its actions were to be carried out by, found worth nothing; "" while there is none.
        trust_gone_at: Unix seconds.
        imported: the state is another system's word; it stays, and nothing is done, until the first full window.
    """

    version: int = 0
    definition: str = ""
    revision: int = 0
    state: AlarmState = AlarmState.INSUFFICIENT_DATA
    state_timestamp: float = 0.0
    reason: str = "Not evaluated yet"
    reason_data: dict[str, Any] = msgspec.field(default_factory=dict)
    point: float | None = None
    considered: float | None = None
    consider_at: float | None = None
    repeats: int = 0
    repeat_at: float | None = None
    breaching_since: float | None = None
    clear_since: float | None = None
    held_since: float | None = None
    evidence: Evidence | None = None
    note: str = ""
    leaves: tuple[LeafRecord, ...] = ()
    instances: dict[str, AlarmState] = msgspec.field(default_factory=dict)
    events: tuple[str, ...] = ()
    trust_gone: str = ""
    trust_gone_at: float = 0.0
    imported: bool = False
    outage: Outage | None = None

    @property
    def in_outage(self) -> bool:
        """Whether its state, or that of a part of it, is held since most series have stopped at once."""
        outages = (self.outage, *(leaf.outage for leaf in self.leaves))
        return any(outage is not None and not outage.believed for outage in outages)

    @property
    def state_reason(self) -> str:
        """The reason as people are told it: Aodh's sentence, then what more there is to say."""
        notes = [note for note in (self.note, TRUST_GONE if self.trust_gone else "") if note]
        return f"{self.reason} ({'; '.join(notes)})" if notes else self.reason
