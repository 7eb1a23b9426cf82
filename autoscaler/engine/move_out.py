"""Alarms, histories and quotas back into an Aodh's database: what was changed, made and removed here meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import msgspec

from autoscaler.alarms.alarm import AlarmRecord
from autoscaler.alarms.definition import ACTIONS, Definition, microseconds
from autoscaler.alarms.outcome import POLICY_SCHEME
from autoscaler.engine.moved import (
    MARKS,
    QUOTA_MARKS,
    Left,
    Mark,
    Remark,
    Summary,
    content_of,
    count,
    has_trusts,
    keep_marks,
    mark_of,
    marks,
    pieces,
)
from autoscaler.engine.service import QUOTA
from autoscaler.errors import PermanentError
from autoscaler.measures.aggregation import Differences, parse
from autoscaler.measures.window import ANY_PROJECT
from autoscaler.ports import HISTORY_ENTRIES, AodhAlarm, AodhDatabase, HistoryEntry, Store

if TYPE_CHECKING:
    from typing import Final

KINDS: Final = frozenset(("creation", "rule change", "state transition"))
"""Lines of histories that Aodh has, too; one of a deletion goes with its alarm there."""
RESOURCES: Final = "gnocchi_resources_threshold"
AGGREGATIONS: Final = ("gnocchi_aggregation_by_metrics_threshold", "gnocchi_aggregation_by_resources_threshold")
TYPES: Final = frozenset((RESOURCES, *AGGREGATIONS, "composite", "event", "prometheus", "loadbalancer_member_health"))
"""That Aodh 23 has."""
ACROSS: Final = frozenset(("mean", "median", "std", "min", "max", "sum", "var", "count"))
"""Methods that Gnocchi aggregates several series with."""

CHANGED_THERE: Final = "was changed in Aodh since it was imported"
GONE_THERE: Final = "is gone in Aodh since it was imported"
NOT_IMPORTED: Final = "an alarm with this id is in Aodh that was not imported"


class Step(Enum):
    """What is done with an alarm."""

    NEW = auto()
    CHANGE = auto()
    STATE = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Form:
    """An alarm in Aodh's form.

    Attributes:
        row: None where Aodh cannot hold it.
        beyond: what of it Aodh cannot hold.
    """

    row: AodhAlarm | None
    beyond: Sequence[str] = ()


def form_of(definition: Definition, record: AlarmRecord) -> Form:
    """An alarm as Aodh stores it. Total."""
    why = list(_never(definition.type, definition.rule))
    if why:
        return Form(None, why)
    beyond: list[str] = []
    actions: dict[str, list[str]] = {}
    for key in ACTIONS:
        urls: Sequence[str] = getattr(definition, key)
        actions[key] = [url for url in urls if not url.startswith(POLICY_SCHEME)]
        beyond += [f"{key}: {url}" for url in urls if url.startswith(POLICY_SCHEME)]
    rule = dict(definition.rule)
    if rule.pop("per_series", False):
        beyond.append("per_series: the series of an alarm have one state together there")
    row = AodhAlarm(
        alarm_id=definition.alarm_id,
        type=definition.type,
        name=definition.name,
        description=definition.description,
        enabled=definition.enabled,
        severity=definition.severity,
        repeat_actions=definition.repeat_actions,
        time_constraints=[dict(each) for each in definition.time_constraints],
        rule=rule,
        user_id=definition.user_id,
        project_id=definition.project_id,
        timestamp=_whole(definition.timestamp),
        state=record.state.value,
        state_timestamp=_whole(record.state_timestamp or definition.timestamp),
        state_reason=record.reason,
        **actions,
    )
    return Form(row, beyond)


def _whole(time: float) -> float:
    """As it is read back: whole microseconds."""
    return microseconds(time) / 1e6


def _never(kind: str, rule: Mapping[str, Any]) -> Iterator[str]:
    """Why Aodh has nothing like a rule."""
    if kind not in TYPES:
        yield f"type: Aodh has none that is called {kind}"
    elif kind == "composite":
        for leaf in _leaves(rule):
            if leaf.get("type") == "prometheus":
                yield "a part of type prometheus: Aodh takes none"
            else:
                yield from _never(str(leaf.get("type")), leaf)
    elif kind in {RESOURCES, *AGGREGATIONS}:
        method = str(rule.get("aggregation_method"))
        parsed = parse(method)
        if parsed.differences is Differences.RATE_PER_SECOND or (kind != RESOURCES and parsed.base not in ACROSS):
            yield f"aggregation_method: Aodh has no {method} for {kind}"


def _leaves(rule: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    joined = [parts for key, parts in rule.items() if key in {"and", "or"} and isinstance(parts, list)]
    if not joined:
        yield rule
    for part in (part for parts in joined for part in parts):
        yield from _leaves(part)


def decided(
    wanted: AodhAlarm, record: AlarmRecord, mark: Mark | None, there: AodhAlarm | None, *, overwrite: bool
) -> Step | Left:
    """What is done with an alarm. Total.

    Args:
        wanted: as it is here.
        mark: as both sides were when it was last moved; None where it never was.
        there: its row there; None where there is none.
        overwrite: what was changed in Aodh counts for nothing.
    """
    if there is None:
        return Step.NEW if mark is None or overwrite else Left(GONE_THERE)
    if content_of(there) == content_of(wanted):
        return Step.STATE if _is_behind(wanted, record, there) else Step.NOTHING
    if mark is None and not overwrite:
        return Left(NOT_IMPORTED)
    if mark is not None and not overwrite:
        if content_of(there) != mark.content:
            return Left(CHANGED_THERE)
        if record.revision == mark.revision:
            # as it was imported, whatever is spelled otherwise here
            return Step.STATE if _is_behind(wanted, record, there) else Step.NOTHING
    return Step.CHANGE


def _is_behind(wanted: AodhAlarm, record: AlarmRecord, there: AodhAlarm) -> bool:
    """Whether the state there is another; that of an alarm which has not been evaluated here is Aodh's own."""
    if record.imported:
        return False
    return (wanted.state, wanted.state_reason) != (there.state, there.state_reason)


def written(step: Step, wanted: AodhAlarm, record: AlarmRecord, there: AodhAlarm | None) -> AodhAlarm:
    """The row that is to be there afterwards."""
    base = wanted if there is None or step in {Step.NEW, Step.CHANGE} else there
    source = there if there is not None and (record.imported or step is Step.NOTHING) else wanted
    return msgspec.structs.replace(
        base, state=source.state, state_timestamp=source.state_timestamp, state_reason=source.state_reason
    )


@dataclass(frozen=True, slots=True)
class Exporter:
    """Writes back what an Aodh lacks. Its evaluators must not be running meanwhile.

    Args:
        overwrite: what was changed in Aodh since the import is replaced nevertheless.
        dry_run: nothing is written.
    """

    store: Store
    database: AodhDatabase
    overwrite: bool = False
    dry_run: bool = False
    summary: Summary = field(default_factory=Summary)

    async def run(self) -> Summary:
        """Write all of it, each alarm with its lines in a transaction.

        Raises:
            TemporaryError: the store or the database cannot be reached; what was written before stays written.
            PermanentError: the database is none of Aodh's.
        """
        found = await self.database.alarms()
        there = {row.alarm_id: row for row in found.alarms}
        definitions = (await self.store.definitions()).definitions
        for some in pieces(definitions):
            await self._write(some, there, found.unreadable)
        await self._remove(there, {definition.alarm_id for definition in definitions})
        await self._write_quotas()
        return self.summary

    # --- alarms ------------------------------------------------------------------------------------------------------

    async def _write(
        self, definitions: Sequence[Definition], there: Mapping[str, AodhAlarm], unreadable: Mapping[str, str]
    ) -> None:
        ids = [definition.alarm_id for definition in definitions]
        records = await self.store.alarms(ids)
        kept = await marks(self.store, ids)
        lines = await self._lines(ids)
        made: dict[str, Mark | None] = {}
        for definition, record, mark in zip(definitions, records, kept, strict=True):
            alarm_id = definition.alarm_id
            if record is None or record.revision != definition.revision:
                why = "was changed here at the same time; run it again"
                self.summary.failed.append(Remark("alarm", alarm_id, definition.name, why))
            elif alarm_id in unreadable:
                self.summary.failed.append(Remark("alarm", alarm_id, definition.name, unreadable[alarm_id]))
            else:
                now_there = await self._put(definition, record, mark, there.get(alarm_id), lines.get(alarm_id, []))
                if now_there is not None:
                    after = mark_of(now_there, record.revision)
                    made |= {} if after == mark else {alarm_id: after}
        if not self.dry_run:
            await keep_marks(self.store, made)

    async def _lines(self, ids: Sequence[str]) -> dict[str, list[HistoryEntry]]:
        """The lines that were made here, of kinds that Aodh has, and are not there; oldest first."""
        there = await self.database.event_ids(ids, after=0.0)
        ours = await self.store.entries(ids, limit=HISTORY_ENTRIES)
        return {
            alarm_id: [
                entry
                for entry in reversed(entries)
                if entry.type in KINDS and _is_ours(entry) and entry.event_id not in there.get(alarm_id, ())
            ]
            for alarm_id, entries in zip(ids, ours, strict=True)
        }

    async def _put(
        self,
        definition: Definition,
        record: AlarmRecord,
        mark: Mark | None,
        there: AodhAlarm | None,
        lines: Sequence[HistoryEntry],
    ) -> AodhAlarm | None:
        """The row that is equal to the alarm from now on; None where none is."""
        alarm_id, name, summary = definition.alarm_id, definition.name, self.summary
        form = form_of(definition, record)
        if form.row is None:
            summary.left.append(Remark("alarm", alarm_id, name, "; ".join(form.beyond)))
            return None
        step = decided(form.row, record, mark, there, overwrite=self.overwrite)
        if isinstance(step, Left):
            summary.left.append(Remark("alarm", alarm_id, name, step.why))
            return None
        row = written(step, form.row, record, there)
        if not self.dry_run and (step is not Step.NOTHING or lines):
            try:
                await self.database.put(None if step is Step.NOTHING else row, lines)
            except PermanentError as error:
                summary.failed.append(Remark("alarm", alarm_id, name, str(error)))
                return None
        self._tell(step, definition, lines)
        if step in {Step.NEW, Step.CHANGE} and form.beyond:
            summary.beyond.append(Remark("alarm", alarm_id, name, "; ".join(form.beyond)))
        return row

    def _tell(self, step: Step, definition: Definition, lines: Sequence[HistoryEntry]) -> None:
        summary = self.summary
        summary.history += len(lines)
        match step:
            case Step.NEW:
                count(summary.new, definition.type)
            case Step.CHANGE:
                count(summary.changed, definition.type)
            case Step.STATE:
                count(summary.states, definition.type)
            case Step.NOTHING:
                summary.unchanged += 1
        if step in {Step.NEW, Step.CHANGE}:
            summary.with_trusts += has_trusts(definition)
            if definition.scope == ANY_PROJECT:
                summary.unconfined.append(definition.alarm_id)

    async def _remove(self, there: Mapping[str, AodhAlarm], here: set[str]) -> None:
        """Take those out of Aodh that were moved from or to it, and are gone here."""
        for some in pieces(sorted(there.keys() - here)):
            kept = await marks(self.store, some)
            for alarm_id, mark in zip(some, kept, strict=True):
                if mark is None:
                    continue
                row = there[alarm_id]
                if content_of(row) != mark.content and not self.overwrite:
                    why = f"{CHANGED_THERE}, and was removed here"
                    self.summary.left.append(Remark("alarm", alarm_id, row.name, why))
                    continue
                if not self.dry_run:
                    await self.database.remove(alarm_id)
                    await keep_marks(self.store, {alarm_id: None})
                self.summary.removed += 1
        if not self.dry_run:
            nowhere = set(await self.store.kept_keys(MARKS)) - there.keys() - here
            await keep_marks(self.store, dict.fromkeys(nowhere))

    # --- quotas ------------------------------------------------------------------------------------------------------

    async def _write_quotas(self) -> None:
        theirs = await self.database.quotas()
        projects = sorted({*await self.store.kept_keys(QUOTA), *await self.store.kept_keys(QUOTA_MARKS)})
        ours = await self.store.kept(QUOTA, projects)
        before = await self.store.kept(QUOTA_MARKS, projects)
        made: dict[str, bytes | None] = {}
        for project_id, present, mark in zip(projects, ours, before, strict=True):
            there = str(theirs[project_id]).encode() if project_id in theirs else None
            # a row of -1 is no limit here; there it would let the project make no alarm any more
            wanted = None if present in {None, b"-1"} else int(present)
            if there == present or (there is None and wanted is None):
                made[project_id] = present
            elif there == mark or self.overwrite:
                if not self.dry_run:
                    await self.database.put_quota(project_id, wanted)
                made[project_id] = present
                self.summary.quotas += 1
            else:
                said = "none" if there is None else there.decode()
                self.summary.left.append(Remark("quota", project_id, "", f"{CHANGED_THERE}: it is {said} there"))
        if made and not self.dry_run:
            await self.store.keep(QUOTA_MARKS, made)


def _is_ours(entry: HistoryEntry) -> bool:
    """Whether a line was made here: our ids are made of what happened, Aodh's are drawn."""
    try:
        return uuid.UUID(entry.event_id).version == 5
    except ValueError:
        return False
