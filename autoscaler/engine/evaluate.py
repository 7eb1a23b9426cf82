"""From written windows to accepted verdicts: steps 4 to 6 of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

import structlog

from autoscaler.alarms.alarm import Alarm, AlarmRecord
from autoscaler.alarms.evaluation import (
    POLICY_SCHEME,
    Consideration,
    LateNote,
    Outcome,
    Repetition,
    Sources,
    Transition,
    evaluate,
)
from autoscaler.engine.listen import Listener
from autoscaler.engine.route import Router
from autoscaler.measures.window import WindowView
from autoscaler.ports import (
    Acceptance,
    Accepted,
    HistoryEntry,
    OutboxRow,
    Retry,
    Stale,
    Store,
    WindowDone,
)
from autoscaler.scaling.group import GroupRecord
from autoscaler.scaling.guards import iso

log = structlog.get_logger()

LANE_LEASE = 15.0
"""Seconds within which a leased lane's head must have been dealt with; longer than a delivery's deadline."""
MAX_RETRIES = 20
"""Lost races for one alarm in one round, after which the window's mark brings it up again."""
MEMBERS_RECHECK = 1.0
"""Seconds until a rule over a group whose members are not known yet is looked at again."""


Leased = Callable[[OutboxRow], None]


@dataclass(slots=True)
class Evaluated:
    """What one round came to.

    Attributes:
        dues: Unix seconds at which something must be looked at again.
        alarms: how many were evaluated.
    """

    dues: list[float] = field(default_factory=list)
    alarms: int = 0


@dataclass(slots=True)
class _Open:
    """An alarm whose verdict is not accepted yet."""

    alarm: Alarm
    window_id: str
    view: WindowView
    outcome: Outcome | None = None


class Evaluator:
    """Evaluates the alarms of windows and puts the verdicts into force.

    Args:
        min_interval: seconds between two evaluations of a window over many series.
    """

    def __init__(self, store: Store, listener: Listener, *, min_interval: float = 0.2) -> None:
        self._store = store
        self._listener = listener
        self._min_interval = min_interval
        self._records: dict[str, AlarmRecord | None] = {}
        self._evaluated_at: dict[str, float] = {}
        self._deferred: dict[str, float] = {}
        self._warned: set[str] = set()

    def forget(self, alarm_ids: Iterable[str]) -> None:
        """Hold nothing of alarms that are no longer declared."""
        for alarm_id in alarm_ids:
            self._records.pop(alarm_id, None)

    async def evaluate(
        self, router: Router, views: Mapping[str, WindowView], sources: Sources, leased: Leased
    ) -> Evaluated:
        """Evaluate every alarm of ``views`` (by window id) and accept the verdicts.

        Windows over many series that were evaluated a moment ago are put off, never left out.

        Args:
            leased: called with the head of each lane that this made non-empty, as soon as it is leased to us.

        Raises:
            TemporaryError: the store could not be reached; the windows' marks bring them up again.
        """
        done = Evaluated()
        ready = self._without_deferred(router, views, done)
        members = await self._members(router, ready)
        open_ = [
            _Open(alarm, window_id, view) for window_id, view in ready.items() for alarm in router.alarms[window_id]
        ]
        done.alarms = len(open_)
        await self._fetch(alarm.alarm for alarm in open_)
        unsettled = await self._settle(open_, members, sources, leased)
        for view in ready.values():
            view.late = None
        await self._finish(ready, open_, unsettled, done)
        return done

    def _without_deferred(
        self, router: Router, views: Mapping[str, WindowView], done: Evaluated
    ) -> dict[str, WindowView]:
        """The windows that may be evaluated now; the others come up by :meth:`due`, or by their mark if we die."""
        ready: dict[str, WindowView] = {}
        for window_id, view in views.items():
            earliest = self._evaluated_at.get(window_id, -self._min_interval) + self._min_interval
            if view.asof < earliest and any(not alarm.rule.single for alarm in router.alarms[window_id]):
                self._deferred[window_id] = earliest
                done.dues.append(earliest)
                continue
            self._evaluated_at[window_id] = view.asof
            self._deferred.pop(window_id, None)
            ready[window_id] = view
        return ready

    def due(self, now: float) -> list[str]:
        """Windows that were put off until ``now`` or before."""
        found = [window_id for window_id, due in self._deferred.items() if due <= now]
        for window_id in found:
            del self._deferred[window_id]
        return found

    @property
    def next_due(self) -> float | None:
        """Unix seconds at which the first of the windows that were put off comes up."""
        return min(self._deferred.values(), default=None)

    async def _members(self, router: Router, views: Iterable[str]) -> dict[str, GroupRecord]:
        """The records of every group that a rule looks at."""
        groups = {alarm.rule.group for window_id in views for alarm in router.alarms[window_id] if alarm.rule.group}
        return {name: (await self._store.group(name)).record for name in sorted(groups)}

    async def _fetch(self, alarms: Iterable[Alarm]) -> None:
        unknown = sorted({alarm.alarm_id for alarm in alarms if alarm.alarm_id not in self._records})
        if unknown:
            self._records.update(zip(unknown, await self._store.alarms(unknown), strict=True))

    async def _settle(
        self,
        open_: Sequence[_Open],
        members: Mapping[str, GroupRecord],
        sources: Sources,
        leased: Leased,
    ) -> set[str]:
        """Accept until everything is in force or stale; the ids of windows for which that did not come about."""
        for _ in range(MAX_RETRIES):
            if not open_:
                return set()
            acceptances = [self._verdict(item, members, sources) for item in open_]
            answers = await self._store.accept(acceptances, lease=LANE_LEASE)
            lost = []
            for item, acceptance, answer in zip(open_, acceptances, answers, strict=True):
                match answer:
                    case Accepted(lanes):
                        self._accepted(item, acceptance)
                        for lane in lanes:
                            leased(next(row for row in acceptance.rows if row.lane == lane))
                    case Stale():
                        # whoever was faster changed the record; it is read afresh next time
                        self._records.pop(item.alarm.alarm_id, None)
                    case Retry(record):
                        self._records[item.alarm.alarm_id] = record
                        lost.append(item)
                    case _:
                        assert_never(answer)
            open_ = lost
            await self._fetch(item.alarm for item in open_)
        return {item.window_id for item in open_}

    def _verdict(self, item: _Open, members: Mapping[str, GroupRecord], sources: Sources) -> Acceptance:
        alarm = item.alarm
        stored = self._records.get(alarm.alarm_id)
        before = AlarmRecord(version=_first_version(item.view.asof)) if stored is None else stored
        view = item.view if alarm.rule.group is None else _of_members(item.view, members[alarm.rule.group])
        if view is None:
            item.outcome = Outcome(before, next_due=item.view.asof + MEMBERS_RECHECK, held=True)
        else:
            item.outcome = evaluate(alarm, before, view, sources)
        if item.outcome.as_aligned and alarm.alarm_id not in self._warned:
            self._warned.add(alarm.alarm_id)
            log.warning("sliding window taken as aligned", alarm=alarm.name, granularity=alarm.rule.granularity)
        changed = item.outcome.record != before
        return Acceptance(
            alarm_id=alarm.alarm_id,
            window_id=item.window_id,
            window_version=item.view.version,
            expected=0 if stored is None else stored.version,
            record=item.outcome.record if changed else None,
            rows=rows(alarm, item.outcome, item.view.asof) if changed else (),
            history=[
                *(history(alarm, stored, item.outcome, item.view.asof) if changed else ()),
                *notes(alarm, item.outcome, item.view.version),
            ],
        )

    def _accepted(self, item: _Open, acceptance: Acceptance) -> None:
        if acceptance.record is not None:
            self._records[item.alarm.alarm_id] = acceptance.record
        for happening in item.outcome.happenings if item.outcome else ():
            if isinstance(happening, Transition):
                self._listener.transitioned(item.alarm, happening)

    async def _finish(
        self, views: Mapping[str, WindowView], open_: Sequence[_Open], unsettled: set[str], done: Evaluated
    ) -> None:
        dues: dict[str, list[float]] = {window_id: [] for window_id in views}
        for item in open_:
            if item.outcome is not None and item.outcome.next_due is not None:
                dues[item.window_id].append(item.outcome.next_due)
        marks = [
            WindowDone(window_id, view.version, min(dues[window_id], default=None))
            for window_id, view in views.items()
            if window_id not in unsettled
        ]
        if marks:
            await self._store.done(marks)
        done.dues += [mark.next_due for mark in marks if mark.next_due is not None]


def _first_version(now: float) -> int:
    """Of the clock, so that no id of an action is ever used again after the alarm was forgotten and declared anew."""
    return max(0, int(now * 1e6))


def _of_members(view: WindowView, group: GroupRecord) -> WindowView | None:
    """What the ready members reported; everything where the target does not name them, None while it was never read."""
    if group.size is None:
        return None
    if group.ready and not group.members:
        return view
    return view.only(group.members)


def rows(alarm: Alarm, outcome: Outcome, now: float) -> list[OutboxRow]:
    """The actions that follow from an evaluation, in order."""
    found: list[OutboxRow] = []
    for happening in outcome.happenings:
        match happening:
            case Transition():
                urls = alarm.actions(happening.current)
                body = _body(alarm, happening.previous, happening.current, happening.reason, happening.reason_data)
                repeat = False
            case Repetition():
                urls = tuple(url for url in alarm.actions(happening.state) if not url.startswith(POLICY_SCHEME))
                body = _body(alarm, happening.state, happening.state, happening.reason, happening.reason_data)
                repeat = True
            case Consideration():
                urls = tuple(url for url in alarm.actions(happening.state) if url.startswith(POLICY_SCHEME))
                body = {"current": happening.state}
                repeat = True
            case LateNote():
                continue
            case _:
                assert_never(happening)
        found += [
            OutboxRow(
                id=f"{alarm.alarm_id}:{happening.version}:{index}",
                alarm_id=alarm.alarm_id,
                url=url,
                body=body,
                created=now,
                repeat=repeat,
            )
            for index, url in enumerate(urls)
        ]
    return found


def _body(alarm: Alarm, previous: str, current: str, reason: str, reason_data: dict[str, Any]) -> dict[str, Any]:
    """What a webhook carries: Aodh's keys in Aodh's order (aodh/notifier/rest.py, 23.0.0)."""
    return {
        "alarm_name": alarm.name,
        "alarm_id": alarm.alarm_id,
        "severity": alarm.severity,
        "previous": previous,
        "current": current,
        "reason": reason,
        "reason_data": reason_data,
    }


def history(alarm: Alarm, before: AlarmRecord | None, outcome: Outcome, now: float) -> list[HistoryEntry]:
    """What an alarm's history keeps of an evaluation, oldest first; kinds and details are Aodh's."""
    entries: list[tuple[str, dict[str, Any], float, int]] = []
    if before is None:
        created = {"name": alarm.name, "type": alarm.type, "state": AlarmRecord().state}
        entries.append(("creation", created, now, outcome.record.version))
    elif before.definition != outcome.record.definition:
        entries.append(("rule change", {"definition": outcome.record.definition}, now, outcome.record.version))
    entries += [
        (
            "state transition",
            {"state": happening.current, "transition_reason": happening.reason},
            happening.time,
            happening.version,
        )
        for happening in outcome.happenings
        if isinstance(happening, Transition)
    ]
    return [
        HistoryEntry(
            event_id=f"{alarm.alarm_id}:{version}:{kind.split()[0]}",
            alarm_id=alarm.alarm_id,
            type=kind,
            detail=detail,
            timestamp=time,
        )
        for kind, detail, time, version in entries
    ]


def notes(alarm: Alarm, outcome: Outcome, window_version: int) -> list[HistoryEntry]:
    """What an alarm's history keeps of measures that came too late for its window; they change no record."""
    return [
        HistoryEntry(
            event_id=f"{alarm.alarm_id}:{window_version}:late",
            alarm_id=alarm.alarm_id,
            type="late measure",
            detail={"measured": iso(note.measured), "state": note.state, "reason": note.reason},
            timestamp=note.time,
        )
        for note in outcome.happenings
        if isinstance(note, LateNote)
    ]
