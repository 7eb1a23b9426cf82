"""From written windows to accepted verdicts: steps 4 to 6 of the protocol."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import assert_never

import msgspec
import structlog

from autoscaler.alarms.alarm import Alarm, AlarmRecord, AlarmState
from autoscaler.alarms.composite import evaluate_composite
from autoscaler.alarms.evaluation import Outcome, Sources, Transition, evaluate
from autoscaler.alarms.events import hit, is_hit
from autoscaler.alarms.observation import Observation
from autoscaler.alarms.observed import observe
from autoscaler.alarms.outage import is_told_of, may_have_begun
from autoscaler.alarms.present import present_spans
from autoscaler.alarms.rules import CompositeRule, EventRule, PoolHealthRule, PrometheusRule, Rule, leaves_of
from autoscaler.alarms.short import ShortWay, short_way
from autoscaler.engine.ledger import Attempt, Leased, Ledger
from autoscaler.engine.listen import Listener
from autoscaler.engine.route import Router
from autoscaler.engine.tell import history, notes, notifications, rows
from autoscaler.errors import TemporaryError
from autoscaler.measures.event import Event
from autoscaler.measures.window import WindowView
from autoscaler.ports import Acceptance, Store, WindowDone
from autoscaler.scaling.group import GroupRecord

log = structlog.get_logger()

MEMBERS_RECHECK = 1.0
"""Seconds until a rule over a group whose members are not known yet is looked at again."""


@dataclass(slots=True)
class Evaluated:
    """What one round came to.

    Attributes:
        due: Unix seconds at which the first of what was looked at must be looked at again; infinity for never.
        alarms: how many were evaluated.
    """

    due: float = math.inf
    alarms: int = 0


class _Look(msgspec.Struct):
    """An alarm that is looked at, with those of its windows that are looked at now.

    Attributes:
        leaf_windows: of the alarm as it is looked at, whatever becomes of it meanwhile; see :class:`Router`.
    """

    alarm: Alarm
    leaf_windows: Sequence[str | None]
    views: dict[str, WindowView] = {}
    outcome: Outcome | None = None

    def suspects(self, number: int, leaf: Rule) -> bool:
        """Whether the series of a leaf may have stopped at once, unless we have removed the members they are of."""
        if not is_told_of(leaf):
            return False
        view = self.views.get(self.leaf_windows[number] or "")
        return view is not None and may_have_begun(leaf, view, present_spans(leaf, view, view.asof)[-1])


class _Quiet(msgspec.Struct):
    """A look by the short way, which leaves the alarm's record as it is.

    Attributes:
        alarm: that was looked at.
        state: the one that lasts.
        due: when to look again, Unix seconds.
        acceptance: by which the store is told.
    """

    alarm: Alarm
    state: AlarmState
    due: float
    acceptance: Acceptance


class Evaluator:
    """Evaluates alarms and puts the verdicts into force.

    Args:
        min_interval: seconds between two evaluations of a window over many series.
        moves: names of the groups that an alarm's policies move.
        notify: whether transitions are told on the bus.
        count: whether evaluations are counted by alarm and state.
    """

    def __init__(
        self,
        store: Store,
        listener: Listener,
        *,
        min_interval: float = 0.2,
        notify: bool = False,
        count: bool = False,
        moves: Callable[[Alarm], AbstractSet[str]] = lambda _alarm: frozenset(),
    ) -> None:
        self._store = store
        self._moves = moves
        self._listener = listener
        self._min_interval = min_interval
        self._notify = notify
        self._ledger = Ledger(store)
        self._short: dict[str, ShortWay] = {}
        self._done: dict[str, WindowDone] = {}
        self._evaluated_at: dict[str, float] = {}
        self._deferred: dict[str, float] = {}
        self._warned: set[str] = set()
        self._counts: defaultdict[str, defaultdict[str, int]] | None = None
        if count:
            self._counts = defaultdict(lambda: defaultdict(int))

    def forget(self, alarm_ids: Collection[str]) -> None:
        """Hold nothing of alarms that are gone."""
        self._ledger.forget(alarm_ids)
        self._warned.difference_update(alarm_ids)
        for alarm_id in alarm_ids:
            self._short.pop(alarm_id, None)

    def _forget_gone(self, router: Router, alarms: Iterable[Alarm]) -> None:
        """Hold nothing of those that went while they were evaluated, whose records came back with the answers."""
        self.forget([alarm.alarm_id for alarm in alarms if alarm.alarm_id not in router.by_id])

    def forget_windows(self, window_ids: Iterable[str]) -> None:
        """Hold nothing of windows that nobody looks at any more."""
        for window_id in window_ids:
            self._evaluated_at.pop(window_id, None)
            self._deferred.pop(window_id, None)

    # --- windows -----------------------------------------------------------------------------------------------------

    def judged_until(self, router: Router, window_id: str) -> float:
        """Up to where a window's boundaries have been judged by all alarms that judge each, Unix seconds of event time.

        -infinity where that is not known of one; infinity where no enabled alarm does.
        """
        return min(
            (
                self._ledger.point(alarm.alarm_id)
                for alarm in router.watching(window_id)
                if alarm.enabled and isinstance(alarm.rule, Rule) and alarm.rule.in_order
            ),
            default=math.inf,
        )

    async def evaluate(
        self, router: Router, views: Mapping[str, WindowView], sources: Sources, leased: Leased
    ) -> Evaluated:
        """Evaluate every alarm of ``views`` (by window id) and accept the verdicts.

        Windows over many series that were evaluated a moment ago are put off, never left out.

        Args:
            leased: called with the head of each lane that this made non-empty, which is leased to us.

        Raises:
            TemporaryError: the store could not be reached; the windows' marks bring them up again.
        """
        done = Evaluated()
        ready = self._without_deferred(router, views, done)
        found = self._told_apart(router, ready)
        done.alarms = len(found)
        quiet = [each for each in found.values() if isinstance(each, _Quiet)]
        members = await self._members([each for each in found.values() if isinstance(each, _Look)])
        tried: list[tuple[_Look, Attempt]] = []

        def attempt(look: _Look) -> Attempt:
            tried.append((look, self._attempt(look, members, sources)))
            return tried[-1][1]

        def again(acceptance: Acceptance) -> Attempt:
            window_id = acceptance.window_id
            return attempt(_Look(found[acceptance.alarm_id].alarm, (window_id,), {window_id: ready[window_id]}))

        def noted(acceptance: Acceptance) -> None:
            look = found[acceptance.alarm_id]
            assert isinstance(look, _Quiet)
            self._counted(look.alarm, look.state)

        verdicts = [each.acceptance if isinstance(each, _Quiet) else attempt(each) for each in found.values()]
        try:
            await self._ledger.settle(verdicts, leased, again, None if self._counts is None else noted)
        finally:
            self._forget_gone(router, [look.alarm for look, _ in tried])
        for view in ready.values():
            view.late = None
        self._finish(ready, quiet, tried, done)
        return done

    def _told_apart(self, router: Router, views: Mapping[str, WindowView]) -> dict[str, _Look | _Quiet]:
        """Each alarm of these windows once, with all of them that it looks at; quiet where nothing changes by it."""
        found: dict[str, _Look | _Quiet] = {}
        for window_id, view in views.items():
            for alarm in router.watching(window_id):
                alarm_id = alarm.alarm_id
                quiet = self._quiet(alarm, window_id, view)
                if quiet is not None:
                    found[alarm_id] = quiet
                    continue
                look = found.get(alarm_id)
                if not isinstance(look, _Look):
                    look = found[alarm_id] = _Look(alarm, router.leaf_windows[alarm_id])
                look.views[window_id] = view
        return found

    def _quiet(self, alarm: Alarm, window_id: str, view: WindowView) -> _Quiet | None:
        short = self._short_way(alarm)
        record = self._ledger.known(alarm.alarm_id) if short.of_whole_window else None
        if record is None or (due := short.due(record, view)) is None:
            return None
        return _Quiet(alarm, record.state, due, Acceptance(alarm.alarm_id, window_id, view.version, record.version))

    def _short_way(self, alarm: Alarm) -> ShortWay:
        known = self._short.get(alarm.alarm_id)
        if known is None or known.alarm is not alarm:
            known = self._short[alarm.alarm_id] = short_way(alarm)
        return known

    def _without_deferred(
        self, router: Router, views: Mapping[str, WindowView], done: Evaluated
    ) -> dict[str, WindowView]:
        """The windows that may be evaluated now; the others come up by :meth:`due`, or by their mark if we die."""
        ready: dict[str, WindowView] = {}
        for window_id, view in views.items():
            if window_id not in router.windows:
                continue  # it vanished since it was written
            earliest = self._evaluated_at.get(window_id, -self._min_interval) + self._min_interval
            if view.asof < earliest and any(not _is_single(alarm) for alarm in router.watching(window_id)):
                self._deferred[window_id] = earliest
                done.due = min(done.due, earliest)
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

    async def _members(self, looks: Iterable[_Look]) -> dict[str, GroupRecord]:
        """The records of every group that a rule looks at, and of those whose members may have stopped by our doing."""
        groups: set[str] = set()
        for look in looks:
            for number, leaf in enumerate(leaves_of(look.alarm.rule)):
                if not isinstance(leaf, Rule):
                    continue
                if leaf.group is not None:
                    groups.add(leaf.group)
                elif look.suspects(number, leaf):
                    groups |= self._moves(look.alarm)
        return {name: (await self._store.group(name)).record for name in sorted(groups)}

    def _attempt(self, look: _Look, members: Mapping[str, GroupRecord], sources: Sources) -> Attempt:
        alarm = look.alarm
        asof = max(view.asof for view in look.views.values())
        (window_id, view), *further = look.views.items()

        def make(stored: AlarmRecord | None) -> Acceptance | None:
            if _is_void(alarm, stored):
                look.outcome = None
                return None
            before = AlarmRecord(version=_first_version(asof)) if stored is None else stored
            look.outcome = outcome = self._outcome(look, before, members, sources, asof)
            looks = [(window_id, view.version), *((other, seen.version) for other, seen in further)]
            return self._acceptance(alarm, stored, before, outcome, asof, looks)

        return Attempt(alarm.alarm_id, make, lambda acceptance: self._accepted(alarm, look.outcome, acceptance))

    def _outcome(
        self,
        look: _Look,
        before: AlarmRecord,
        members: Mapping[str, GroupRecord],
        sources: Sources,
        asof: float,
    ) -> Outcome:
        alarm = look.alarm
        if isinstance(alarm.rule, Rule) and not members:
            return self._of_window(alarm, before, next(iter(look.views.values())), sources)
        leaves = leaves_of(alarm.rule)
        views: dict[int, WindowView] = {}
        for number, window_id in enumerate(look.leaf_windows):
            leaf = leaves[number]
            if window_id is None or window_id not in look.views or not isinstance(leaf, Rule):
                continue
            whole = look.views[window_id]
            view = (
                self._of_moved(alarm, whole, members) if leaf.group is None else _of_members(whole, members[leaf.group])
            )
            if view is None:
                return Outcome(before, next_due=asof + MEMBERS_RECHECK, held=True)
            views[number] = view
        match alarm.rule:
            case Rule():
                return self._of_window(alarm, before, views[0], sources)
            case CompositeRule():
                outcome = evaluate_composite(alarm, before, views, sources, asof)
            case EventRule() | PrometheusRule() | PoolHealthRule():
                raise AssertionError(f"{alarm.type} alarms have no windows")
            case _:
                assert_never(alarm.rule)
        return self._warned_of(alarm, outcome)

    def _of_window(self, alarm: Alarm, before: AlarmRecord, view: WindowView, sources: Sources) -> Outcome:
        if (due := self._short_way(alarm).due(before, view)) is not None:
            return Outcome(before, next_due=due)
        return self._warned_of(alarm, evaluate(alarm, before, view, sources))

    def _warned_of(self, alarm: Alarm, outcome: Outcome) -> Outcome:
        if outcome.as_aligned and alarm.alarm_id not in self._warned:
            self._warned.add(alarm.alarm_id)
            log.warning("sliding window taken as aligned", alarm=alarm.name)
        return outcome

    def _of_moved(self, alarm: Alarm, view: WindowView, members: Mapping[str, GroupRecord]) -> WindowView:
        """A window with the size of the group that the alarm moves, where that was asked for and is one."""
        moved = self._moves(alarm) & members.keys()
        return replace(view, members=_count(members[next(iter(moved))])) if len(moved) == 1 else view

    def _finish(
        self,
        views: Mapping[str, WindowView],
        quiet: Iterable[_Quiet],
        tried: Iterable[tuple[_Look, Attempt]],
        done: Evaluated,
    ) -> None:
        dues: dict[str, float] = {}
        unsettled: set[str] = set()
        for each in quiet:
            window_id = each.acceptance.window_id
            dues[window_id] = min(each.due, dues.get(window_id, math.inf))
        for look, attempt in tried:
            if not attempt.settled:
                unsettled.update(look.views)
            if look.outcome is not None and look.outcome.next_due is not None:
                for window_id in look.views:
                    dues[window_id] = min(look.outcome.next_due, dues.get(window_id, math.inf))
        for window_id, view in views.items():
            if window_id not in unsettled:
                due = dues.get(window_id)
                self._done[window_id] = WindowDone(window_id, view.version, due)
                if due is not None and due < done.due:
                    done.due = due

    async def finish(self) -> None:
        """Take the marks away, or move them, of all windows that were looked at since the last time.

        What is written again meanwhile is told once; what never is comes up again by its mark.

        Raises:
            TemporaryError: the store could not be reached; then it is told next time.
        """
        if not self._done:
            return
        told, self._done = self._done, {}
        try:
            await self._store.done(list(told.values()))
        except BaseException:
            self._done = told | self._done
            raise

    # --- events and observations -------------------------------------------------------------------------------------

    async def hear(self, router: Router, events: Sequence[Event], now: float, leased: Leased) -> int:
        """Have every event hit the alarms that wait for it, in order; how many alarms were asked.

        Raises:
            TemporaryError: the store could not be reached; hearing the same events again is harmless.
        """
        asked = 0
        for event in events:
            waiting = router.event_alarms(event.project_id)
            asked += len(waiting)
            # most alarms wait for something else, and nothing need be known of them to tell
            attempts = [
                self._heard(alarm, event, now)
                for alarm in waiting
                if isinstance(alarm.rule, EventRule) and is_hit(alarm.rule, event)
            ]
            await self._ledger.settle(attempts, leased)
            self._forget_gone(router, waiting)
        return asked

    def _heard(self, alarm: Alarm, event: Event, now: float) -> Attempt:
        outcome: Outcome | None = None

        def make(stored: AlarmRecord | None) -> Acceptance | None:
            nonlocal outcome
            outcome = None
            if _is_void(alarm, stored):
                return None
            before = AlarmRecord(version=_first_version(now)) if stored is None else stored
            outcome = hit(alarm, before, event, now)
            return None if outcome is None else self._acceptance(alarm, stored, before, outcome, now)

        return Attempt(alarm.alarm_id, make, lambda acceptance: self._accepted(alarm, outcome, acceptance))

    async def observe(
        self, alarm: Alarm, seen: Mapping[int, Observation], now: float, sources: Sources, leased: Leased
    ) -> float | None:
        """Evaluate what a probe saw; when to look again beside the usual interval.

        Raises:
            TemporaryError: the store could not be reached.
        """
        outcome: Outcome | None = None

        def make(stored: AlarmRecord | None) -> Acceptance | None:
            nonlocal outcome
            outcome = None
            if _is_void(alarm, stored):
                return None
            before = AlarmRecord(version=_first_version(now)) if stored is None else stored
            outcome = observe(alarm, before, seen, now, sources)
            acceptance = self._acceptance(alarm, stored, before, outcome, now)
            return acceptance if acceptance.record is not None or acceptance.history else None

        attempt = Attempt(alarm.alarm_id, make, lambda acceptance: self._accepted(alarm, outcome, acceptance))
        await self._ledger.settle([attempt], leased)
        self._count(alarm, outcome)
        return None if outcome is None else outcome.next_due

    # --- both --------------------------------------------------------------------------------------------------------

    def _acceptance(
        self,
        alarm: Alarm,
        stored: AlarmRecord | None,
        before: AlarmRecord,
        outcome: Outcome,
        now: float,
        looks: Sequence[tuple[str, int]] = (("", 0),),
    ) -> Acceptance:
        """What is to be accepted; ``looks`` are the windows that were looked at, and their versions."""
        (window_id, window_version), *further = looks
        expected = 0 if stored is None else stored.version
        late = notes(alarm, outcome, window_version) if window_id else []
        if outcome.record is before or outcome.record == before:
            return Acceptance(alarm.alarm_id, window_id, window_version, expected, history=late, further=further)
        entries = history(alarm, stored, outcome, now)
        told = notifications(entries, publisher="aodh.evaluator", now=now) if self._notify else []
        return Acceptance(
            alarm.alarm_id,
            window_id,
            window_version,
            expected,
            outcome.record,
            rows=[*rows(alarm, outcome, now), *told],
            history=[*entries, *late],
            further=further,
        )

    def _accepted(self, alarm: Alarm, outcome: Outcome | None, acceptance: Acceptance) -> None:
        if acceptance.window_id:
            self._count(alarm, outcome)
        for happening in outcome.happenings if outcome else ():
            if isinstance(happening, Transition):
                self._listener.transitioned(alarm, happening)

    def _count(self, alarm: Alarm, outcome: Outcome | None) -> None:
        if outcome is not None:
            self._counted(alarm, outcome.record.state)

    def _counted(self, alarm: Alarm, state: AlarmState) -> None:
        if self._counts is not None:
            self._counts[alarm.alarm_id][state] += 1

    async def tally(self) -> None:
        """Store what was counted since the last time. Raises TemporaryError; then it is stored next time, if twice."""
        if self._counts:
            counted, self._counts = self._counts, defaultdict(lambda: defaultdict(int))
            try:
                await self._store.tally(counted)
            except TemporaryError:
                for alarm_id, states in counted.items():
                    for state, times in states.items():
                        self._counts[alarm_id][state] += times
                raise


def _is_single(alarm: Alarm) -> bool:
    return all(not isinstance(leaf, Rule) or leaf.single for leaf in leaves_of(alarm.rule))


def _is_void(alarm: Alarm, stored: AlarmRecord | None) -> bool:
    """Whether the alarm was changed or removed through the API and this replica has yet to learn it."""
    return alarm.revision > 0 and (stored is None or stored.revision > alarm.revision)


def _first_version(now: float) -> int:
    """Of the clock, so that no id of an action is ever used again after the alarm was forgotten and declared anew."""
    return max(0, int(now * 1e6))


def _of_members(view: WindowView, group: GroupRecord) -> WindowView | None:
    """What the ready members reported; everything where the target does not name them, None while it was never read."""
    if group.size is None:
        return None
    own = view if group.ready and not group.members else view.only(group.members)
    return replace(own, members=_count(group))


def _count(group: GroupRecord) -> int | None:
    """How many members are there to report; those that we remove are not waited for."""
    if group.desired_capacity is None or group.size is None:
        return None
    return min(group.ready, group.desired_capacity)
