"""What the engine asks of its edges. Every port has a memory twin that passes the same contract suite.

The store's calls are the protocol of ``docs/architecture.md``: each acts on one shard at a time and is atomic there, so
a crash between two of them loses nothing; whoever repeats them does no harm.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Protocol

import msgspec

from autoscaler.alarms.alarm import ALARM_NAMESPACE, AlarmRecord
from autoscaler.alarms.definition import Definition, scrubbed
from autoscaler.alarms.notice import Notice
from autoscaler.alarms.observation import Observation
from autoscaler.alarms.rules import PoolHealthRule, PrometheusRule
from autoscaler.errors import Rejection
from autoscaler.measures.event import Event
from autoscaler.measures.measure import Measure
from autoscaler.measures.window import WindowSpec
from autoscaler.scaling.decision import Decision
from autoscaler.scaling.group import Actor, Group, GroupRecord, Word
from autoscaler.scaling.policy import Order
from autoscaler.scaling.signals import HeatGroup
from autoscaler.scaling.status import TargetStatus

MARK_DELAY = 2.0
"""Seconds after which anybody may evaluate a window that its writer has not."""
HISTORY_ENTRIES = 1000
"""How many are kept per alarm."""
DECISIONS = 1000
"""How many are kept per group, and how many ids are known as decided."""
ACTION = "action"
LETTER_KINDS = ("measure", "event", "notice", ACTION)
"""What dead letters are of."""
AUDITS = 10_000
"""Changes that are kept."""
DEAD_LETTERS = 10_000
"""How many are kept per kind."""
DEAD_LETTER_BYTES = 64 * 1024 * 1024
"""How long their payloads may be together, per kind."""
REVIVED = 7 * 86_400.0
"""Seconds for which it is known that an action was put into its lane once more, so that it is not twice."""
GENERATIONS = 1000
"""How many superseded generations of declarations are known as such."""
CHANGES = 10_000
"""Changes of definitions that are kept per shard; a replica that missed more reads all definitions anew."""
REPLICA_SILENCE = 5.0
"""Seconds without a heartbeat after which a replica counts as gone."""
STATE_FORM = 1
"""The newest form of the state that this version reads and writes; raised by whatever changes what is stored."""
OLDEST_STATE_FORM = 1
"""The oldest form that it reads and writes; at least that of the version before, so that both can run at once."""


UNJUDGED_KEPT = 7200.0
"""Seconds before the horizon for which a window keeps points that boundaries still to be judged rest on, whatever keeps
these from being judged."""


def cutoff(newest: float, now: float, horizon: float, kept_from: float) -> float:
    """Unix seconds; points of a window at or before it are too old. See :class:`WindowWrite` for ``kept_from``."""
    behind = min(newest, now) - horizon
    return max(min(behind, kept_from), behind - UNJUDGED_KEPT)


def sweep_interval(horizon: float) -> float:
    """Seconds between two looks for series of a window that have fallen silent."""
    return max(horizon, 60.0)


# --- windows ---------------------------------------------------------------------------------------------------------


class WindowWrite(msgspec.Struct, frozen=True):
    """Points for one window; with none it only moves ``asof`` on.

    Attributes:
        held: version that the caller has in hand, 0 for none; the reply carries only what it lacks.
        points: packed (:func:`autoscaler.measures.series.pack`), in time order, by resource id.
        leaves: series that no longer match, by resource id: Unix seconds of the measure that said so. A series whose
            newest point is not newer than that is taken out.
        kept_from: Unix seconds; points that are newer are kept for :data:`UNJUDGED_KEPT` more than the horizon says.
    """

    spec: WindowSpec
    held: int = 0
    points: Mapping[str, bytes] = {}
    leaves: Mapping[str, float] = {}
    kept_from: float = math.inf


class WindowReply(msgspec.Struct, frozen=True):
    """A window after a write.

    Attributes:
        version: raised by each write, never used twice, also after the window was forgotten and made anew, or after a
            server has lost its last writes: a look at what was lost is older than any look after it.
        asof: Unix seconds, the store's clock, never running backwards for a window.
        newest: event time of the newest point ever written, None while there is none.
        whole: ``series`` is all there is; else only what was written just now, and the rest is as in ``held``.
        series: packed points by resource id.
        gone: resource ids that are no longer in the window; only where not ``whole``.
        too_old: how many points were behind the horizon and not stored, by resource id.
        refused: resource ids of new series beyond ``max_series``; their points were not stored.
        grown: series that are not told in ``series`` though they were written, since the caller has them in hand: all
            that it wrote was put behind what there was, and so many points went from the front.
    """

    version: int
    asof: float
    newest: float | None
    whole: bool
    series: Mapping[str, bytes]
    gone: Sequence[str] = ()
    too_old: Mapping[str, int] = {}
    refused: Sequence[str] = ()
    grown: Mapping[str, int] = {}


# --- alarms and their outbox -----------------------------------------------------------------------------------------


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One action to be carried out.

    Attributes:
        id: ``alarm_id:version:i``, unique for ever; the idempotency key of what is sent.
        alarm_id: whose.
        url: where to; ``policy://NAME``, ``http…``, ``log://``.
        body: for webhooks Aodh's JSON body; for policies state and evidence.
        created: Unix seconds, the store's clock.
        repeat: says again what an earlier row said; an undelivered one is replaced by a newer.
        attempts: failed deliveries.
        declared: the alarm stands in a file of the operator's; else anybody may have made it.
        project_id: the alarm's; "" where it has none.
    """

    id: str
    alarm_id: str
    url: str
    body: dict[str, Any]
    created: float
    repeat: bool = False
    attempts: int = 0
    declared: bool = False
    project_id: str = ""

    @property
    def lane(self) -> str:
        """Rows of one lane are delivered one after another: (alarm, endpoint)."""
        return lane_of(self.alarm_id, self.url)


def lane_of(alarm_id: str, url: str) -> str:
    """The lane of an alarm's rows for one endpoint, with whatever trust it is called."""
    return f"{alarm_id}|{scrubbed(url)}"


def alarm_of(lane: str) -> str:
    """The alarm that a lane belongs to; no alarm id has a ``|`` in it."""
    return lane.partition("|")[0]


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an alarm's history; kinds and details are Aodh's.

    Attributes:
        event_id: see :func:`event_id`.
        type: ``creation``, ``rule change``, ``state transition``, ``deletion`` or ``late measure``.
        timestamp: Unix seconds.
        user_id: who did it; "" where the controller did.
        project_id: whose.
        on_behalf_of: the alarm's project.
    """

    event_id: str
    alarm_id: str
    type: str
    detail: dict[str, Any]
    timestamp: float
    user_id: str = ""
    project_id: str = ""
    on_behalf_of: str = ""
    severity: str = ""


def event_id(alarm_id: str, version: int, kind: str) -> str:
    """The id of what happened to an alarm at a version: the same whoever works it out."""
    return str(uuid.uuid5(ALARM_NAMESPACE, f"{alarm_id}:{version}:{kind}"))


def is_imported(entry: HistoryEntry) -> bool:
    """Whether a line was written by Aodh, whose ids are drawn, and copied here."""
    try:
        return uuid.UUID(entry.event_id).version != 5
    except ValueError:
        return True


class Acceptance(msgspec.Struct, frozen=True):
    """A verdict on an alarm, and all that follows from it.

    Attributes:
        window_id: of the window that was looked at.
        window_version: of that look.
        further: ids and versions of other windows that were looked at with it, of a composite alarm; if any of them is
            stale, all of it is.
        expected: version of the record that ``record`` was made from; 0 for none.
        record: the new record, None when the verdict changes nothing.
        rows: actions to add to the outbox, in order.
        history: entries to add, oldest first.
        definition: takes the place of the stored one, or is the first; every replica is told.
        removed: record and definition go, every replica is told; history and undelivered rows stay.
    """

    alarm_id: str
    window_id: str
    window_version: int
    expected: int
    record: AlarmRecord | None = None
    rows: Sequence[OutboxRow] = ()
    history: Sequence[HistoryEntry] = ()
    definition: Definition | None = None
    removed: bool = False
    further: Sequence[tuple[str, int]] = ()


class Accepted(msgspec.Struct, frozen=True):
    """The verdict is in force; ``lanes`` were empty, are now leased to the caller, and hold its rows first."""

    lanes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Stale:
    """A newer version of the same window was accepted for this alarm before; the verdict was dropped."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The record has changed meanwhile; this is the present one, None where there is none."""

    record: AlarmRecord | None


@dataclass(frozen=True, slots=True)
class Definitions:
    """Every stored definition, and where in the stream of changes they are from.

    Attributes:
        recent: ids of alarms that were changed within the last minute; whoever did it may have died over it.
        position: to go on from with :meth:`Store.changes`.
    """

    definitions: Sequence[Definition]
    recent: Sequence[str]
    position: str


@dataclass(frozen=True, slots=True)
class DefinitionChanges:
    """What was changed since a position.

    Attributes:
        changed: by alarm id, each as it is now; None where it is gone.
        complete: False where changes were missed: read all definitions anew.
    """

    changed: Mapping[str, Definition | None]
    position: str
    complete: bool = True


# --- work ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkItem:
    """Something due.

    Attributes:
        kind: ``window``, ``lane``, ``group``, ``schedule`` or ``probe``.
        key: window id, lane, group name, schedule name or alarm id.
        due: Unix seconds at which it was.
        leased_until: Unix seconds; set where it was claimed.
    """

    kind: str
    key: str
    due: float
    leased_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was due, now leased to the caller; ``next_due`` is the earliest of the rest, None where there is none."""

    items: Sequence[WorkItem]
    next_due: float | None
    now: float


class WindowDone(msgspec.Struct, frozen=True):
    """Every alarm of a window has accepted its verdict at ``version``.

    Attributes:
        next_due: Unix seconds at which it must be looked at again though nothing arrives; None means never.
    """

    window_id: str
    version: int
    next_due: float | None


# --- groups ----------------------------------------------------------------------------------------------------------


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """Everything is held, by a person's word; ``token`` differs for each freeze."""

    token: str
    since: float
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group as stored, with the freeze in force; ``record.version`` 0 means never stored."""

    record: GroupRecord
    freeze: Freeze | None
    now: float


@dataclass(frozen=True, slots=True)
class GroupPut:
    """A new record of a group, made from version ``expected`` under ``freeze``.

    Attributes:
        decision: to keep with it. If its id was decided before, nothing is written and the earlier one is the answer.
        reconcile_at: Unix seconds at which the target is to be looked at; None leaves the time as it is.
        coalesce: the newest kept decision, being a hold of the same policy, reason, from and to, is replaced by this
            one, which counts both.
        kept: seconds after which record and decisions go, unless there is another put; None keeps them.
    """

    name: str
    expected: int
    freeze: Freeze | None
    record: GroupRecord
    decision: Decision | None = None
    reconcile_at: float | None = None
    coalesce: bool = True
    kept: float | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Written."""

    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class AlreadyDecided:
    """The decision's id was decided before, like this."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Changed:
    """Somebody else was first (or froze): decide again from this."""

    state: GroupState


# --- dead letters and replicas ---------------------------------------------------------------------------------------


class Decoder(StrEnum):
    """What reads a payload of which enough was kept.

    Of remote write, Gnocchi's bodies and broken datagrams not enough is: their letters only tell people what it was.
    """

    NATIVE = "native"
    SIGNED = "signed"
    """Ceilometer's, whose signatures are looked at where a secret is set."""
    SAMPLES = "samples"
    EVENTS = "events"


class Form(msgspec.Struct, frozen=True):
    """How something was read, so that it can be read again.

    Attributes:
        decoder: one of :class:`Decoder`; "" where too little of it was kept.
        trusted: whether it may name its project.
        project_id: that it counts for, whatever it names; "" where nobody said.
    """

    decoder: str = ""
    trusted: bool = False
    project_id: str = ""


NOT_KEPT = Form()
"""Of what nobody can read again."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be taken or delivered, kept to be looked at, sent on its way again, or dropped.

    Attributes:
        id: ``KIND-…``, given by the store; "" before.
        kind: ``measure``, ``event``, ``notice`` or ``action``.
        reason: short, from an enum.
        payload: of an action its row; else as received, cut at 64 KiB.
        source: e.g. ``mqtt://broker``.
    """

    id: str = ""
    kind: str
    time: float
    reason: str
    detail: str
    source: str
    payload: str
    form: Form = NOT_KEPT


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change by somebody's word.

    Attributes:
        id: given by the store, rising with time; "" before.
        event_id: unique for ever.
        time: Unix seconds, given by the store where it is 0.
        change: what was done, of :class:`autoscaler.engine.audit.Change`.
        kind: of what it was done to: ``alarm``, ``group``, ``policy``, ``quota`` …
        target: its id or name.
        project_id: whose it is; "" where it is nobody's.
        before: what it was, as far as it was otherwise; no secret is in it.
        after: what it is.
    """

    event_id: str
    actor: Actor
    change: str
    kind: str
    target: str
    project_id: str = ""
    before: Any = None
    after: Any = None
    id: str = ""
    time: float = 0.0


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica says of itself each second.

    Attributes:
        clock: Unix seconds by its own clock.
        caught_up: every source is connected with nothing unprocessed for 1 s.
        prompt: every source is, or brings without a pause what was measured a moment ago.
        read_until: Unix seconds of event time up to which it has written all that was for it to take; None where it is
            caught up, or does not know.
        given_up: some source has brought nothing for so long that it is not waited for any more.
        behind: seconds that its slowest source is behind, as far as known: the age of the newest measure taken from it
            while others wait.
        form: the newest form of the state that it knows; those that do not say know the first.
    """

    replica: str
    clock: float
    caught_up: bool
    prompt: bool = False
    behind: float = 0.0
    version: str = ""
    form: int = 1
    read_until: float | None = None
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Pulse:
    """The answer to a heartbeat: who lives, what is in force, what time it is at the store."""

    replicas: Sequence[Heartbeat]
    generation: str
    now: float


NO_POSITIONS: Final[Mapping[str, int]] = MappingProxyType({})
"""At seats of which nobody says how far anything was taken."""


class Bus(StrEnum):
    """At which replicas share seats."""

    MQTT = "mqtt"
    AMQP = "amqp"


@dataclass(frozen=True, slots=True)
class Seating:
    """Which seats a replica has now.

    Attributes:
        mine: seats that it asked for and has, at most until its lease ends.
        share: how many of them it is to have; it lets go of the rest as soon as it can.
        elsewhere: seats that it asked for and another replica has.
        spare: one that nobody asked for, now its own, to be cleared; "" where there is none.
        soonest: seconds after which the first lease of others ends, unless it is renewed; 0 where there is none.
        positions: the farthest that was reached at those in ``mine``.
    """

    mine: Sequence[str]
    share: int
    elsewhere: Sequence[str] = ()
    spare: str = ""
    soonest: float = 0.0
    positions: Mapping[str, int] = field(default_factory=dict)


# --- the state as a whole --------------------------------------------------------------------------------------------


class SavedAlarm(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="alarm"):
    """All that is stored of an alarm, as of one moment; also of one that is gone.

    Attributes:
        record: None where it is gone.
        definition: None where it is declared in files, or gone.
        tally: how often it was evaluated to each state.
        history: oldest first.
        rows: actions that have yet to be carried out, lane by lane, the head first.
    """

    alarm_id: str
    record: AlarmRecord | None = None
    definition: Definition | None = None
    tally: dict[str, int] = msgspec.field(default_factory=dict)
    history: tuple[HistoryEntry, ...] = ()
    rows: tuple[OutboxRow, ...] = ()


class SavedGroup(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="group"):
    """All that is stored of a group, as of one moment; decisions oldest first."""

    name: str
    record: GroupRecord
    decisions: tuple[Decision, ...] = ()


class SavedDocument(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="document"):
    """A small document, see :meth:`Store.keep`."""

    kind: str
    key: str
    document: bytes


class SavedDeclarations(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="declarations"):
    """The declarations in force."""

    generation: str
    documents: bytes


class SavedFreeze(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="freeze"):
    """The freeze in force."""

    freeze: Freeze


class SavedChange(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="change"):
    """A change by somebody's word; oldest first."""

    change: AuditEntry


class SavedLetter(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="letter"):
    """A dead letter; those of a kind come oldest first."""

    letter: DeadLetter


Saved = SavedAlarm | SavedGroup | SavedDocument | SavedDeclarations | SavedFreeze | SavedChange | SavedLetter


# --- the form of the state -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Schema:
    """In which form state is.

    Attributes:
        form: in which all of it is written by everybody; whoever does not know this form leaves all of it alone.
        oldest: of the forms that records may still be in.
        by: the version that raised it, "" where nobody has.
        since: Unix seconds of that.
        shards: how many parts it is in.
    """

    form: int = STATE_FORM
    oldest: int = STATE_FORM
    by: str = ""
    since: float = 0.0
    shards: int = 1

    @property
    def refusal(self) -> str:
        """Why this version may not touch the state; "" where it may."""
        return refusal(self.form) or refusal(self.oldest)


def refusal(form: int) -> str:
    """Why this version may not touch what is in a form, for people; "" where it may."""
    if OLDEST_STATE_FORM <= form <= STATE_FORM:
        return ""
    known = f"form {STATE_FORM}" if OLDEST_STATE_FORM == STATE_FORM else f"forms {OLDEST_STATE_FORM} to {STATE_FORM}"
    if form > STATE_FORM:
        way = "run the newer version that has raised it, or import an export from before that"
    else:
        way = "export it with the version that ran before, and import that here"
    return f"the state is in form {form}, and this version knows {known}: nothing was read or changed; {way}"


# --- the store -------------------------------------------------------------------------------------------------------


class Store(Protocol):
    """State that outlives a process, and the protocol that keeps it exact.

    Every method raises :class:`autoscaler.errors.TemporaryError` when the store cannot be reached or answers too late;
    what was asked may then have happened or not, and repeating it is harmless. Every method but ``now``, ``schema`` and
    ``close`` raises :class:`autoscaler.errors.UnknownStateError` where the state is in a form that this version does
    not know, and has then done nothing.
    """

    async def now(self) -> float:
        """Unix seconds by the store's clock, the only one that due times, leases and cooldowns know."""
        ...

    async def write(self, writes: Sequence[WindowWrite]) -> list[WindowReply]:
        """Merge points, raise versions, and mark each window as due in :data:`MARK_DELAY`; replies in the order asked.

        Points at or before the :func:`cutoff` are trimmed or, when new, counted as too old. A mark that is already due
        earlier stays.
        """
        ...

    async def accept(self, acceptances: Sequence[Acceptance], *, lease: float) -> list[Accepted | Stale | Retry]:
        """Put verdicts into force, each atomically with its history, actions and definition; answers as asked.

        Stale is told per alarm and window: of a composite alarm every window has a newest look of its own.

        A row with ``repeat`` replaces an undelivered repeat at the end of its lane, unless that is the lane's head
        and leased.
        """
        ...

    async def done(self, marks: Sequence[WindowDone]) -> None:
        """Take the marks of evaluated windows away, or move them to their next due time.

        A window that was written meanwhile keeps its mark (at the latest in :data:`MARK_DELAY`).
        """
        ...

    async def mark(self, items: Sequence[WorkItem]) -> None:
        """Make work due at ``item.due``, or leave it where it is due earlier already."""
        ...

    async def claim(self, *, limit: int, lease: float) -> Claimed:
        """Lease at most ``limit`` due items for ``lease`` seconds each; unfinished ones come up again after that."""
        ...

    async def hold(self, items: Sequence[WorkItem], *, lease: float) -> list[WorkItem | None]:
        """Lease work for ``lease`` seconds from now, each as it is now leased; in the order asked.

        For 0 seconds it is given back: due at once, for others to have. None for what is not leased as
        ``item.leased_until`` says (0 asks for no such time): it was marked, claimed, put off or finished meanwhile, and
        is left as it is.
        """
        ...

    async def finish(self, items: Sequence[WorkItem], next_due: float | None) -> None:
        """Move claimed work to its next due time, or (None) take it away.

        Work that was marked meanwhile, or whose lease ran out and was claimed by another, stays as it is: its due time
        is no longer its ``leased_until``.
        """
        ...

    async def alarms(self, alarm_ids: Sequence[str]) -> list[AlarmRecord | None]:
        """Present records in the order asked; None where nothing was ever accepted."""
        ...

    async def forget(self, alarm_ids: Sequence[str]) -> None:
        """Drop the records of alarms that are no longer declared; history and undelivered actions stay.

        An alarm that was made through the API stays as it is.
        """
        ...

    async def definitions(self) -> Definitions:
        """All stored definitions."""
        ...

    async def changes(self, position: str, *, patience: float) -> DefinitionChanges:
        """What was changed since ``position``; waits ``patience`` seconds for the first change, then has none.

        Of very many changes only the first are told; the next call goes on at once.
        """
        ...

    async def history(self, alarm_id: str, *, limit: int) -> list[HistoryEntry]:
        """Newest first, also of an alarm that is gone; entries leave after the store's retention."""
        ...

    async def entries(self, alarm_ids: Sequence[str], *, limit: int) -> list[list[HistoryEntry]]:
        """The histories of several alarms, each as :meth:`history`, in the order asked."""
        ...

    async def histories(self, project_id: str | None) -> list[str]:
        """Ids of all alarms that have a history, of one project (``on_behalf_of``) or (None) of all."""
        ...

    async def tally(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Add to how often each alarm was evaluated to each state: alarm id -> state -> times.

        Counts end with the alarm's record, and without one nothing is counted.
        """
        ...

    async def tallies(self, alarm_ids: Sequence[str]) -> list[Mapping[str, int]]:
        """How often each alarm was evaluated to each state, in the order asked; states that never were are left out."""
        ...

    async def keep(self, kind: str, entries: Mapping[str, bytes | None]) -> None:
        """Keep small documents by key, such as quotas and the attributes of resources; None drops one."""
        ...

    async def kept(self, kind: str, keys: Sequence[str]) -> list[bytes | None]:
        """What is kept, in the order asked."""
        ...

    async def kept_keys(self, kind: str) -> list[str]:
        """The keys of all that is kept of a kind, in no order."""
        ...

    async def head(self, lane: str) -> OutboxRow | None:
        """The row of a leased lane that is to be delivered; None when the lane is empty."""
        ...

    async def delivered(self, lane: str, row_id: str, *, lease: float) -> OutboxRow | None:
        """Take the head away if it is still ``row_id``; the next row, leased for ``lease`` seconds, or None.

        None too when the head is another row: somebody else has taken over.
        """
        ...

    async def revive(self, row: OutboxRow, token: str, *, lease: float) -> Accepted | None:
        """Put a row at the end of its lane once more, without failed deliveries; lanes as :meth:`accept`.

        None, and nothing is done, where the same token was used within :data:`REVIVED`.
        """
        ...

    async def undelivered(
        self, lane: str, row_id: str, *, retry_at: float, tried: bool = True, leased_until: float = math.inf
    ) -> None:
        """Make the lane due at ``retry_at`` if its head is still ``row_id``; count a failed delivery if ``tried``.

        Nothing is done after ``leased_until``, when somebody else may have begun with the same row.
        """
        ...

    async def lanes(self, alarm_id: str) -> Mapping[str, int]:
        """How many rows wait in each non-empty lane of an alarm."""
        ...

    async def group(self, name: str) -> GroupState:
        """A group's record with the freeze in force."""
        ...

    async def put_group(self, put: GroupPut) -> Put | AlreadyDecided | Changed:
        """Compare-and-set a group's record, atomically with its decision and reconcile mark."""
        ...

    async def decisions(self, name: str, *, limit: int) -> list[Decision]:
        """Newest first; a bounded number is kept."""
        ...

    async def freeze(self, freeze: Freeze | None) -> None:
        """Hold everything, or nothing any more."""
        ...

    async def schedule(self, name: str, digest: str, first: float) -> float:
        """The due time of a schedule; ``first`` becomes it where the schedule is new or its digest differs."""
        ...

    async def advance(self, name: str, due: float, following: float | None) -> bool:
        """Move a schedule from ``due`` to ``following`` (None: never again); False when it was moved before."""
        ...

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Keep what could not be taken or delivered; the oldest make room."""
        ...

    async def dead_letters(self, kind: str, *, limit: int, before: str = "") -> list[DeadLetter]:
        """Newest first; only those that are older than the one with the id ``before``, where it is given.

        None where that is no id of this kind.
        """
        ...

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """One of them; None where there is none such, or none any more."""
        ...

    async def drop_letters(self, letter_ids: Sequence[str]) -> list[bool]:
        """Keep these no longer; whether each was there, in the order asked."""
        ...

    async def audit(self, entry: AuditEntry) -> None:
        """Keep a change; of more than :data:`AUDITS` the oldest make room."""
        ...

    async def audits(self, *, limit: int, before: str = "") -> list[AuditEntry]:
        """Newest first; ``before`` is the id of the last one already seen; none where it is no id."""
        ...

    async def beat(self, heartbeat: Heartbeat) -> Pulse:
        """Say that a replica lives, and learn who else does; one that was silent for 5 s is left out."""
        ...

    async def sit(
        self,
        replica: str,
        seats: Sequence[str],
        *,
        keep: Sequence[str],
        lease: float,
        cleared: Sequence[str] = (),
        left: Sequence[str] = (),
        bus: Bus = Bus.MQTT,
        positions: Mapping[str, int] = NO_POSITIONS,
    ) -> Seating:
        """Take a share of some seats for ``lease`` seconds, and be counted as long among those who share them.

        All who ask for the same have as many, and nobody has a seat twice. A seat is free when it was let go of, or
        when its lease has run out; whoever was not counted until now gets only what was let go of, since the others
        come as soon after an outage. A seat that is stored and was not asked for is given to whoever has some of those
        that were, or asked for none at all, one at a time.

        Args:
            seats: all there are to be, the same for every replica.
            keep: those that the caller has; what else is its own is let go of.
            cleared: seats of its own that are to be no more.
            left: seats of older times, to be cleared by anybody; left as they are where they are known.
            bus: whose seats these are; those of one bus know nothing of another's.
            positions: that were reached at seats; kept where they are the farthest, and the seat is no other's.
        """
        ...

    async def rise(self, replica: str) -> None:
        """Let go of all seats at every bus, and be counted no more."""
        ...

    async def leave(self, replica: str) -> None:
        """Say that a replica lives no more, rather than have it silent for 5 s."""
        ...

    async def replicas(self) -> Sequence[Heartbeat]:
        """Who lives, asked by somebody who is none of them."""
        ...

    async def schema(self) -> Schema:
        """In which form the state is, also where this version does not know it; of a new one, as it would be made."""
        ...

    async def upgrade(self, by: str) -> Schema:
        """Have everything written in :data:`STATE_FORM` from now on, by everybody; ``by`` is this version.

        From then on whoever does not know that form is refused, in the midst of what they do. No way leads back.
        """
        ...

    def saved(self) -> AsyncGenerator[Saved, None]:
        """All that an export holds, one after another, while others go on working: each entity as of one moment.

        Windows are left out, since what is measured comes again, and so are due times. Changes and dead letters come
        before alarms, and actions that were buried meanwhile after them: so an action that is on its way from one to
        the other is in the one, or the other, or both. Raises TemporaryError also at the end, where something that was
        moved from one server to another may be missing.
        """
        ...

    async def begin_import(self, *, shards: int, replace: bool) -> None:
        """Make the state an empty one of so many shards; until :meth:`end_import` no other replica begins on it.

        Args:
            replace: what is there is removed, in whatever form it is.

        Raises:
            PermanentError: a replica lives, or something is there and is not to be replaced; nothing was changed.
        """
        ...

    async def end_import(self) -> None:
        """Have replicas begin. Raises PermanentError where one was quicker: then nothing is certain."""
        ...

    async def restore_group(self, name: str, record: GroupRecord, decisions: Sequence[Decision]) -> None:
        """Put a group into an empty state, as it was exported; decisions oldest first."""
        ...

    async def publish(self, generation: str, documents: bytes, *, insist: bool) -> str:
        """Put declarations into force and return the generation that is now in force.

        One that was published before and superseded is put into force only with ``insist``, so a replica that starts
        with yesterday's files does not undo today's.
        """
        ...

    async def generation(self) -> tuple[str, bytes] | None:
        """The declarations in force, None before the first."""
        ...

    async def close(self) -> None:
        """Let go of connections; nothing is lost."""
        ...


# --- Aodh's database -------------------------------------------------------------------------------------------------


class AodhAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as Aodh stores it: what is JSON there decoded, what is null there empty, and times as Unix seconds.

    Source:
        aodh/storage/sqlalchemy/models.py, 23.0.0.
    """

    alarm_id: str
    type: str
    name: str
    description: str
    enabled: bool
    severity: str
    ok_actions: list[Any]
    alarm_actions: list[Any]
    insufficient_data_actions: list[Any]
    repeat_actions: bool
    time_constraints: list[Any]
    rule: dict[str, Any]
    user_id: str
    project_id: str
    timestamp: float
    state: str
    state_timestamp: float
    state_reason: str


@dataclass(frozen=True, slots=True)
class AodhAlarms:
    """All alarms of a database; why each of the others could not be read, by id."""

    alarms: Sequence[AodhAlarm]
    unreadable: Mapping[str, str] = field(default_factory=dict)


class AodhDatabase(Protocol):
    """Where an Aodh keeps its alarms.

    Every method raises :class:`autoscaler.errors.TemporaryError` where the database cannot be reached, and
    :class:`autoscaler.errors.PermanentError` where it is none of Aodh's.
    """

    async def alarms(self) -> AodhAlarms:
        """All of them."""
        ...

    async def histories(
        self, alarm_ids: Sequence[str], *, after: float, limit: int
    ) -> Mapping[str, list[HistoryEntry]]:
        """What happened to alarms after a time, oldest first, of each the newest ``limit`` lines.

        By id of the alarms that have any.
        """
        ...

    async def event_ids(self, alarm_ids: Sequence[str], *, after: float) -> Mapping[str, set[str]]:
        """The ids of all lines of their histories after a time, by id of the alarms that have any."""
        ...

    async def lines_until(self, time: float) -> int:
        """How many lines of histories there are that are not younger."""
        ...

    async def quotas(self) -> Mapping[str, int]:
        """How many alarms projects may have, by project; -1 is any number."""
        ...

    async def put(self, alarm: AodhAlarm | None, history: Sequence[HistoryEntry]) -> None:
        """Write an alarm (None leaves it), new or in place of the one with its id, and add lines; both or neither."""
        ...

    async def remove(self, alarm_id: str) -> None:
        """Take an alarm out, with its history."""
        ...

    async def put_quota(self, project_id: str, limit: int | None) -> None:
        """Say how many alarms a project may have; None says nothing of it any more."""
        ...


# --- stored measures --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredResource:
    """A resource of an archive.

    Attributes:
        id: as measures name it.
        project_id: whose it is; "" where nobody said.
        metadata: its attributes, as text.
        metrics: ids of its metrics, by name.
    """

    id: str
    project_id: str
    metadata: Mapping[str, str]
    metrics: Mapping[str, str]


class Archive(Protocol):
    """Where measures were stored as aggregates, before they came here.

    Every method raises :class:`autoscaler.errors.TemporaryError` where it cannot be reached, and
    :class:`autoscaler.errors.PermanentError` where it refuses.
    """

    async def resource(self, resource_id: str) -> StoredResource | None:
        """One resource."""
        ...

    async def search(self, kind: str, search: Any) -> Sequence[StoredResource]:
        """The resources of a type that a search of Gnocchi's form finds, in order of their ids there."""
        ...

    async def metric(self, metric_id: str) -> StoredResource | None:
        """The resource that has a metric, with this one alone, under its id; a metric without one is its own."""
        ...

    async def aggregates(
        self, metric_id: str, method: str, granularity: float, after: float
    ) -> Sequence[tuple[float, float]] | None:
        """Stored aggregates from a time on: start of the granule in Unix seconds, and value; oldest first.

        None where the metric, or the method at this granularity, is not stored.
        """
        ...


# --- sources, actions, targets ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Undecoded:
    """A message, or one measure or event of it, that could not be taken.

    Attributes:
        index: of the measure in its message; None for the whole message.
        kind: ``measure``, ``event`` or ``notice``.
        form: how ``payload`` was read.
    """

    rejection: Rejection
    detail: str
    payload: str
    index: int | None = None
    kind: str = "measure"
    form: Form = NOT_KEPT


@dataclass(frozen=True, slots=True)
class Told:
    """What Heat told of a resize that a signal set off.

    Attributes:
        nested_id: of the stack that the group's members are in.
    """

    nested_id: str
    word: Word


@dataclass(frozen=True, slots=True)
class Batch:
    """What has arrived from one source since the last batch.

    Attributes:
        measures: decoded, in order of arrival.
        rejected: what could not be decoded.
        source: for people and dead letters.
        events: decoded, in order of arrival.
        told: of groups that Heat owns, in order of arrival.
        notices: what Aodh tells, in order of arrival; only a shadow has a source of these.
    """

    measures: Sequence[Measure]
    rejected: Sequence[Undecoded] = ()
    source: str = ""
    events: Sequence[Event] = ()
    told: Sequence[Told] = ()
    notices: Sequence[Notice] = ()


class Delivery(Protocol):
    """A batch in hand."""

    @property
    def batch(self) -> Batch:
        """What arrived."""
        ...

    async def ack(self) -> None:
        """Everything of the batch is written, buried or counted: the broker may forget it.

        Does nothing for messages of a connection that has since been lost; the broker sends those again.
        """
        ...


class Source(Protocol):
    """Measures from somewhere."""

    name: str

    def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """Batches, each what has arrived while the one before was worked on; connects again by itself, for ever.

        At most one delivery is unacknowledged at a time.
        """
        ...

    @property
    def connected(self) -> bool:
        """Whether the link stands at this moment."""
        ...

    @property
    def waiting(self) -> int:
        """Messages that have arrived and are in no delivery yet."""
        ...


class Seat(Protocol):
    """A session at a broker that one replica has at a time, whichever it is."""

    @property
    def elsewhere(self) -> bool:
        """Whether another replica has it, as far as is known."""
        ...

    def occupied(self) -> AbstractAsyncContextManager[str]:
        """Wait until it is this replica's, and have it until the link has ended; the session's name."""
        ...

    def stands(self) -> None:
        """The link stands: the session has all that is published from now on."""
        ...

    async def called(self) -> None:
        """Wait until it is to be left: what is in hand may be finished, the session stays."""
        ...


class StreamSeat(Seat, Protocol):
    """A seat at what keeps all that was taken from it: whoever has it says how far that was."""

    @property
    def position(self) -> int | None:
        """How far, as its holders have counted; None where nobody has yet."""
        ...

    def reached(self, position: int) -> None:
        """All up to here has been written. What is behind what was reached before changes nothing."""
        ...


class SpareSeat(Seat, Protocol):
    """A session that is to be no more."""

    def cleared(self) -> None:
        """Nothing was left in it, and it has ended."""
        ...


class Action(Protocol):
    """Carries out the rows of some URL schemes."""

    schemes: frozenset[str]

    async def deliver(self, row: OutboxRow) -> None:
        """Carry it out once.

        Raises:
            TemporaryError: not delivered, or not known to be; worth another try.
            PermanentError: never will be.
        """
        ...


class Probe(Protocol):
    """Asks a service about what alarms of some kind rest on."""

    async def look(self, rule: PrometheusRule | PoolHealthRule) -> Observation:
        """What there is at this moment.

        Raises:
            TemporaryError, PermanentError: nothing is known; the text says why, and is shown to the alarm's owner.
        """
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A scaling policy of a stack, as the URL of an action names it.

    Attributes:
        project_id: whose stack it is.
        stack: its name.
        trust_id: that the URL holds; "" where it holds none.
        signed: whoever has the URL may signal, and nothing else.
    """

    project_id: str
    stack: str
    stack_id: str
    policy: str
    trust_id: str = ""
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Rights:
    """By which Heat is asked.

    Attributes:
        trust_id: of the trust of whoever made an alarm; "" means the controller's own credentials.
    """

    trust_id: str = ""


class Orchestration(Protocol):
    """Heat, as far as the actions of alarms lead to its groups.

    Every method that asks it raises TemporaryError while it is away, TrustGoneError where the trust is worth nothing,
    and PermanentError where Heat refuses.
    """

    def place(self, url: str) -> Place | None:
        """The policy that an action signals; None of any other action. Asks nobody."""
        ...

    async def look(self, place: Place, rights: Rights) -> HeatGroup:
        """The policy's group at this moment. PermanentError also where there is no group behind it."""
        ...

    async def signal(self, place: Place, body: Mapping[str, Any]) -> None:
        """Signal a policy by the controller's own rights, for an action that has no other."""
        ...

    async def mark(self, place: Place, rights: Rights, *, unhealthy: bool) -> None:
        """Mark the policy's group, or (False) take that back, which ends what Heat notes of its scaling."""
        ...


class Target(Protocol):
    """Something whose number of members can be read and set."""

    resident: bool
    """True when the members live and die with this process, so that one replica must hold them."""
    pace: float
    """Seconds between two looks while something is under way."""

    async def status(self, group: Group) -> TargetStatus:
        """Size and members now.

        Raises:
            TemporaryError: cannot be read; this is not a size of 0.
        """
        ...

    async def resize(
        self, group: Group, capacity: int, *, fence: int, deadline: float, order: Order = Order.ANY
    ) -> float | None:
        """Ask for exactly ``capacity`` members; the same again is harmless.

        Args:
            fence: a target that has seen a higher one refuses.
            deadline: seconds within which the request must have been answered.
            order: who goes first where it is fewer than there are.

        Returns:
            Seconds after which it is to be asked again, where this was only a step on the way and nothing is under way
            by then; None where all was asked for.

        Raises:
            TemporaryError: not known to have been asked for; not tried at all, where the target has to be waited for.
            PermanentError: refused, in the target's own words.
        """
        ...

    async def release(self, group: Group) -> None:
        """Let go of the group: members that live in this process end, others stay."""
        ...


class Calendar(Protocol):
    """When schedules fire."""

    def following(self, cron: str, timezone: str, after: float) -> float | None:
        """Unix seconds of the first firing later than ``after``; None when there is none."""
        ...
