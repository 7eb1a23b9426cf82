"""A controller beside Aodh that changes nothing: it keeps Aodh's alarms and compares what both make of them.

What we did is read from the histories, where every transition is stored with the record that it made; what Aodh did is
told on its bus. So nothing is compared twice or left out, whenever a shadow ends. One shadow at a time keeps the
comparisons of a deployment.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from autoscaler.alarms import agreement
from autoscaler.alarms.agreement import Comparison, Side, Step, Sums, Terms, Uncompared
from autoscaler.alarms.alarm import Alarm, AlarmState
from autoscaler.alarms.definition import Definition, told_with_state
from autoscaler.alarms.evaluation import Transition
from autoscaler.alarms.notice import Notice, Told
from autoscaler.alarms.present import present_reason
from autoscaler.alarms.rules import Rule
from autoscaler.engine.controller import Controller
from autoscaler.engine.ingest import Ingest
from autoscaler.engine.ledger import Leased
from autoscaler.engine.listen import Silence
from autoscaler.engine.orders import ContendedError, DeclaredError, NotFoundError, Orders
from autoscaler.errors import TemporaryError
from autoscaler.ports import (
    HISTORY_ENTRIES,
    REPLICA_SILENCE,
    DeadLetter,
    Heartbeat,
    HistoryEntry,
    Source,
    Undecoded,
    event_id,
    is_imported,
)
from autoscaler.redaction import redacted
from autoscaler.scaling.group import Actor

log = structlog.get_logger()

KIND = "shadow"
"""What comparisons are kept as."""
TOTALS = ""
"""The key of what is kept of all of them together."""
TICK = 1.0
"""Seconds between two looks at what both sides did."""
CENSUS = 5.0
"""Seconds between two looks for alarms that came or went another way than by a notice."""
GRACE = 2.0
"""Seconds that a notification may take."""
ABSENCE = 30.0
"""Seconds without a shadow that still count as none: a restart."""
SUMMARY = 600.0
"""Seconds between two lines in the log that sum it up."""
RETRY = 1.0
FEW = 20
"""Lines of a history that are read at first."""
AT_ONCE = 1000
"""Histories and comparisons that are read in one go."""
HEARD = 16
"""Ids of Aodh's words that are remembered per alarm."""
NEWEST = 200
"""Disagreements that are kept of alarms that are gone."""
UNREADABLE = "not understood"
"""Why a definition of Aodh's is buried."""

Understand = Callable[[Mapping[str, Any], str], tuple[Definition, AlarmState]]
"""Reads an alarm in Aodh's storage form, told what it sees where its rule does not tell; raises ValueError."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of all comparisons together.

    Attributes:
        began: Unix seconds, when the first of them did.
        alive: Unix seconds, when there was last a shadow.
        gone: of alarms that are gone, or never were here.
        notices: how many were heard.
        buried: how many of them were not understood.
    """

    began: float
    alive: float
    gone: Sums = msgspec.field(default_factory=Sums)
    notices: int = 0
    buried: int = 0


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a shadow has seen.

    Attributes:
        began: Unix seconds.
        now: Unix seconds.
        alarms: how many are compared.
        open: steps that wait for the other side's.
        notices: how many were heard.
        buried: how many of them were not understood.
    """

    began: float
    now: float
    alarms: int
    open: int
    notices: int
    buried: int
    sums: Sums

    @property
    def alarm_ids(self) -> frozenset[str]:
        """Of the alarms that disagreements are about."""
        return frozenset(each.alarm_id for each in self.sums.newest)


class Shadow(Silence):
    """Follows Aodh and compares. Made before the controller it belongs to, which it hears as a listener.

    Args:
        source: of notices.
        understand: reads what is told of an alarm.
        poll: seconds between two looks of Aodh's.
        tolerance: seconds between two transitions that count as one decision; None leaves it to the alarm.
        counted: told how the sums of an alarm have changed, before and after.
    """

    def __init__(
        self,
        source: Source,
        understand: Understand,
        *,
        poll: float,
        tolerance: float | None,
        counted: Callable[[Sums, Sums], None] = lambda _before, _after: None,
    ) -> None:
        self.source = source
        self._understand = understand
        self._poll = poll
        self._tolerance = tolerance
        self._counted = counted
        self._controller: Controller
        self._orders: Orders
        self._looking: Ingest
        self._comparisons: dict[str, Comparison] = {}
        self._kept = Kept(began=0.0, alive=0.0)
        self._dirty: set[str] = set()
        self._open: set[str] = set()
        self._touched: set[str] = set()
        self._first: dict[str, tuple[Transition, str]] = {}  # of alarms that moved before they were known here
        self._heard_until = 0.0
        self._in_hand = False
        self._turn = asyncio.Lock()

    def transitioned(self, alarm: Alarm, transition: Transition) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        self._touched.add(alarm.alarm_id)
        if alarm.alarm_id not in self._comparisons:
            line = event_id(alarm.alarm_id, transition.version, "state transition")
            self._first.setdefault(alarm.alarm_id, (transition, line))

    # --- running -----------------------------------------------------------------------------------------------------

    async def start(self, controller: Controller, leased: Leased, heartbeat: Heartbeat) -> bool:
        """Go on from what is stored, before anything is evaluated; False where another shadow lives here.

        Args:
            leased: told of lanes that a change of an alarm made non-empty.
            heartbeat: of this replica.

        Raises:
            TemporaryError: the store could not be reached.
        """
        self._controller = controller
        self._orders = Orders(controller, leased)
        self._looking = Ingest(controller.store, Silence())
        if not await self._alone(heartbeat):
            return False
        now = await controller.store.now()
        (document,) = await controller.store.kept(KIND, [TOTALS])
        self._kept = Kept(began=now, alive=now) if document is None else msgspec.json.decode(document, type=Kept)
        away = now - self._kept.alive
        if away > ABSENCE:
            log.warning("shadow was away", seconds=round(away), note="what Aodh did meanwhile is not compared")
        await self._census(gone=self._kept.alive if away > ABSENCE else None)
        self._heard_until = now
        return True

    async def _alone(self, heartbeat: Heartbeat) -> bool:
        """Whether no other replica lives in this namespace; one that has just ended is waited for."""
        for _ in range(int(REPLICA_SILENCE) + 2):
            pulse = await self._controller.store.beat(heartbeat)
            if all(replica.replica == heartbeat.replica for replica in pulse.replicas):
                return True
            await asyncio.sleep(1.0)
        return False

    async def run(self) -> None:
        """Follow and compare until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed())
            group.create_task(self._ticks())
            group.create_task(self._summaries())

    async def _feed(self) -> None:
        while True:
            try:
                async with contextlib.aclosing(self.source.deliveries()) as deliveries:
                    async for delivery in deliveries:
                        self._in_hand = True
                        await self.take(delivery.batch.notices, [_letter(each) for each in delivery.batch.rejected])
                        await delivery.ack()
                        self._in_hand = False
            except TemporaryError as error:
                log.warning("notices put off", error=str(error))
                await asyncio.sleep(RETRY)

    async def _ticks(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK)
            ticks += 1
            try:
                await self.look(census=ticks % CENSUS == 0)
            except TemporaryError as error:
                log.warning("comparison put off", error=str(error))

    async def _summaries(self) -> None:
        while True:
            await asyncio.sleep(SUMMARY)
            with contextlib.suppress(TemporaryError):
                await self.sum_up()

    async def end(self) -> None:
        """Store what is known, and sum it up. Raises TemporaryError."""
        await self.look()
        await self.sum_up()

    async def sum_up(self) -> None:
        """Say in the log what came of it. Raises TemporaryError."""
        report = await self.report()
        sums = report.sums
        log.info(
            "shadow summed up",
            alarms=report.alarms,
            agreed=sums.agreed,
            disagreed=sums.disagreed,
            uncompared=sum(sums.uncompared.values()),
            of_decisions=_percent(sums.of_decisions),
            of_time=_percent(sums.of_time),
            earlier_median=sums.delay(0.5),
            **{f"because {key}": count for key, count in sorted(sums.differences.items())},
        )

    # --- what happened -----------------------------------------------------------------------------------------------

    async def look(self, *, census: bool = False) -> None:
        """Take what we did, settle what found no other in time, and store it. Raises TemporaryError."""
        async with self._turn:
            now = await self._controller.store.now()
            if census:
                await self._census()
            touched, self._touched = self._touched, set()
            async with self._restored(touched):
                await self._begin(self._first.keys() & touched)
                for alarm_id, steps in (await self._ours(touched)).items():
                    self._step(alarm_id, steps)
            if self.source.connected and not self.source.waiting and not self._in_hand:
                self._heard_until = now - GRACE
            for alarm_id in list(self._open):
                terms = self._terms(alarm_id)
                self._put(alarm_id, agreement.settled(self._comparisons[alarm_id], alarm_id, terms, self._heard_until))
            self._kept = msgspec.structs.replace(self._kept, alive=now)
            await self._keep()

    async def take(self, notices: Sequence[Notice], letters: Sequence[DeadLetter] = ()) -> None:
        """Take what Aodh told; when this returns, nothing of it can be lost. Raises TemporaryError."""
        async with self._turn:
            buried = list(letters)
            ids = {notice.alarm_id for notice in notices}
            await self._begin(ids & self._first.keys())
            ours = await self._ours(ids)
            try:
                for notice in notices:
                    steps = ours.get(notice.alarm_id, [])
                    ours[notice.alarm_id] = [step for step in steps if step.time > notice.time]
                    self._step(notice.alarm_id, [step for step in steps if step.time <= notice.time])
                    try:
                        await self._heed(notice)
                    except (ValueError, DeclaredError, ContendedError) as error:
                        log.warning("notice not understood", alarm_id=notice.alarm_id, error=str(error))
                        buried.append(_unread(notice, str(error)))
            finally:
                for alarm_id, steps in ours.items():
                    self._step(alarm_id, steps)
            if buried:
                now = await self._controller.store.now()
                await self._controller.store.bury([msgspec.structs.replace(letter, time=now) for letter in buried])
            before = self._kept
            self._count(before.notices + len(notices) + len(letters), before.buried + len(buried))
            try:
                await self._keep()
            except BaseException:
                self._count(before.notices, before.buried)  # all of it is told again
                raise

    def _count(self, notices: int, buried: int) -> None:
        self._kept = msgspec.structs.replace(self._kept, notices=notices, buried=buried)

    async def _heed(self, notice: Notice) -> None:
        """Do here as was done there, and note what Aodh decided."""
        known = self._comparisons.get(notice.alarm_id)
        if known is not None and notice.event_id in known.heard:
            return
        match notice.told:
            case Told.CREATION:
                definition, state = self._understand({**notice.detail, "alarm_id": notice.alarm_id}, "")
                await self._adopt(notice, definition, state)
            case Told.RULE_CHANGE:
                await self._change(notice)
            case Told.STATE_TRANSITION:
                await self._move(notice)
            case Told.DELETION:
                await self._remove(notice)
        if notice.alarm_id in self._comparisons:
            heard = self._comparisons[notice.alarm_id].heard
            self._set(notice.alarm_id, heard=(notice.event_id, *heard)[:HEARD])

    async def _adopt(self, notice: Notice, definition: Definition, state: AlarmState) -> None:
        listing = await self._orders.adopt(definition, state, _actor(notice))
        await self._newly(notice.alarm_id, state, counting=listing.alarm.enabled)

    async def _newly(self, alarm_id: str, state: AlarmState, *, counting: bool) -> None:
        """Both sides begin with an alarm, or go on with another rule, from one state."""
        now = await self._controller.store.now()
        known = self._comparisons.get(alarm_id)
        if known is None:
            found = Comparison(since=now, asof=now, ours=state, aodh=state, counting=counting)
        else:
            found = agreement.changed(known, now, counting=counting)
            found = agreement.restated(found, state, now)
        (lines,) = await self._controller.store.entries([alarm_id], limit=1)
        self._put(alarm_id, msgspec.structs.replace(found, seen=lines[0].event_id if lines else found.seen))

    async def _change(self, notice: Notice) -> None:
        alarm_id = notice.alarm_id
        try:
            listing = await self._orders.listing(alarm_id)
        except NotFoundError:
            raise ValueError("what is changed is not here") from None
        (record,) = await self._controller.store.alarms([alarm_id])
        if listing.origin or record is None:
            raise ValueError("what is changed is not Aodh's")
        stored = msgspec.json.decode(msgspec.json.encode(told_with_state(listing.definition, record)))
        before = listing.definition
        document = {**stored, **notice.detail, "alarm_id": alarm_id}
        moved = document["project_id"] != before.project_id
        definition, state = self._understand(document, "" if moved else before.scope)
        said = notice.detail.get("state")
        listing, changed = await self._orders.replace(
            alarm_id, definition, state if said is not None else None, _actor(notice)
        )
        known = self._comparisons.get(alarm_id)
        if said is not None or known is None:
            await self._newly(alarm_id, changed.state, counting=listing.alarm.enabled)
        else:
            now = await self._controller.store.now()
            self._put(alarm_id, agreement.changed(known, now, counting=listing.alarm.enabled))

    async def _move(self, notice: Notice) -> None:
        alarm_id = notice.alarm_id
        state = AlarmState(notice.detail.get("state") or "")
        if alarm_id not in self._comparisons:
            # an alarm that another has imported a moment ago
            await self._controller.catch_up()
            await self._begin([alarm_id])
        known = self._comparisons.get(alarm_id)
        if known is None:
            if notice.by_evaluator:
                self._note_unknown(notice, state)
            return
        if notice.by_evaluator:
            step = Step(
                side=Side.AODH,
                previous=known.aodh,
                state=state,
                time=notice.time,
                reason=str(notice.detail["transition_reason"]),
                actions=self._actions(alarm_id, state),
                beside=await self._said(alarm_id),
            )
            self._step(alarm_id, [step])
            return
        record = await self._orders.set_state(alarm_id, state, _actor(notice))
        self._put(alarm_id, agreement.restated(known, record.state, await self._controller.store.now()))

    async def _remove(self, notice: Notice) -> None:
        with contextlib.suppress(NotFoundError):
            await self._orders.delete(notice.alarm_id, _actor(notice))
        await self._let_go(notice.alarm_id)

    def _note_unknown(self, notice: Notice, state: AlarmState) -> None:
        step = Step(
            side=Side.AODH,
            previous=AlarmState.INSUFFICIENT_DATA,
            state=state,
            time=notice.time,
            reason=str(notice.detail["transition_reason"]),
        )
        self._add_gone(agreement.of_unknown(notice.alarm_id, step))

    async def _said(self, alarm_id: str) -> str:
        """What we would say of an alarm at this moment; "" where it does not rest on a window."""
        alarm = self._controller.router.by_id.get(alarm_id)
        window_id = self._controller.router.window_of(alarm_id)
        if alarm is None or window_id is None or not isinstance(alarm.rule, Rule):
            return ""
        written = await self._looking.write(self._controller.router, (), [window_id])
        self._looking.forget([window_id])
        view = written.views.get(window_id)
        return "" if view is None else present_reason(alarm.rule, view, self._comparisons[alarm_id].ours)

    # --- what we did -------------------------------------------------------------------------------------------------

    async def _ours(self, alarm_ids: Iterable[str]) -> dict[str, list[Step]]:
        """Our transitions that were not taken yet, oldest first; they count as taken."""
        known = [alarm_id for alarm_id in alarm_ids if alarm_id in self._comparisons]
        found: dict[str, list[Step]] = {}
        for start in range(0, len(known), AT_ONCE):
            piece = known[start : start + AT_ONCE]
            for alarm_id, lines in zip(piece, await self._lines(piece), strict=True):
                found[alarm_id] = self._steps(alarm_id, lines)
                if lines:
                    self._set(alarm_id, seen=lines[-1].event_id)
        return found

    async def _lines(self, alarm_ids: Sequence[str]) -> list[list[HistoryEntry]]:
        """What came to the histories of these since they were looked at, oldest first."""
        found = await self._controller.store.entries(alarm_ids, limit=FEW)
        fresh = []
        for alarm_id, lines in zip(alarm_ids, found, strict=True):
            seen = self._comparisons[alarm_id].seen
            if len(lines) == FEW and all(line.event_id != seen for line in lines):
                lines = await self._controller.store.history(alarm_id, limit=HISTORY_ENTRIES)  # noqa: PLW2901
            new = []
            for line in lines:
                if line.event_id == seen:
                    break
                new.append(line)
            fresh.append(new[::-1])
        return fresh

    def _steps(self, alarm_id: str, lines: Iterable[HistoryEntry]) -> list[Step]:
        steps = []
        state = self._comparisons[alarm_id].ours
        for line in lines:
            if line.type != Told.STATE_TRANSITION or "transition_reason" not in line.detail or is_imported(line):
                continue
            moved = AlarmState(line.detail["state"])
            steps.append(
                Step(
                    side=Side.OURS,
                    previous=state,
                    state=moved,
                    time=line.timestamp,
                    reason=line.detail["transition_reason"],
                    actions=self._actions(alarm_id, moved),
                )
            )
            state = moved
        return steps

    def _actions(self, alarm_id: str, state: AlarmState) -> tuple[str, ...]:
        alarm = self._controller.router.by_id.get(alarm_id)
        return () if alarm is None else tuple(map(redacted, alarm.actions(state)))

    def _step(self, alarm_id: str, steps: Iterable[Step]) -> None:
        for step in steps:
            known = self._comparisons.get(alarm_id)
            if known is not None:
                self._put(alarm_id, agreement.taken(known, alarm_id, step, self._terms(alarm_id)))

    def _terms(self, alarm_id: str) -> Terms:
        alarm = self._controller.router.by_id.get(alarm_id)
        if alarm is None:
            return Terms(tolerance=self._tolerance or 2 * self._poll, poll=self._poll)
        return agreement.terms_of(alarm, poll=self._poll, tolerance=self._tolerance)

    # --- which alarms ------------------------------------------------------------------------------------------------

    async def _census(self, *, gone: float | None = None) -> None:
        """Begin with alarms that have come, and end with those that have gone, another way than by a notice.

        Args:
            gone: when the shadow before this one ended; None where that does not matter.
        """
        present = {
            listing.alarm.alarm_id: listing.alarm.enabled
            for listing in self._controller.catalogue.of(None)
            if not listing.origin
        }
        await self._begin([alarm_id for alarm_id in present if alarm_id not in self._comparisons], gone=gone)
        for alarm_id in [alarm_id for alarm_id in self._comparisons if alarm_id not in present]:
            await self._let_go(alarm_id)
        now = await self._controller.store.now()
        for alarm_id, enabled in present.items():
            known = self._comparisons.get(alarm_id)
            if known is not None and known.counting is not enabled:
                self._put(alarm_id, agreement.changed(known, now, counting=enabled))

    async def _begin(self, alarm_ids: Collection[str], *, gone: float | None = None) -> None:
        """Compare these from now on: as they were compared before, or both sides from one state."""
        listed = [
            alarm_id
            for alarm_id in alarm_ids
            if alarm_id not in self._comparisons
            and (listing := self._controller.catalogue.get(alarm_id)) is not None
            and not listing.origin
        ]
        for start in range(0, len(listed), AT_ONCE):
            await self._begin_some(listed[start : start + AT_ONCE], gone)

    async def _begin_some(self, alarm_ids: Sequence[str], gone: float | None) -> None:
        store = self._controller.store
        now = await store.now()
        documents = await store.kept(KIND, alarm_ids)
        records = await store.alarms(alarm_ids)
        lines = await store.entries(alarm_ids, limit=FEW)
        for alarm_id, document, record, newest in zip(alarm_ids, documents, records, lines, strict=True):
            if document is not None:
                known = msgspec.json.decode(document, type=Comparison)
                self._put(alarm_id, known if gone is None else agreement.absent(known, gone, now))
                self._touched.add(alarm_id)
                continue
            state, since = AlarmState.INSUFFICIENT_DATA if record is None else record.state, now
            before = [line.event_id for line in newest]
            if alarm_id in self._first:
                transition, first = self._first.pop(alarm_id)
                state, since = transition.previous, min(now, transition.time)
                before = before[before.index(first) + 1 :] if first in before else []
            listing = self._controller.catalogue.get(alarm_id)
            self._put(
                alarm_id,
                Comparison(
                    since=since,
                    asof=since,
                    ours=state,
                    aodh=state,
                    counting=listing is not None and listing.alarm.enabled,
                    seen=before[0] if before else "",
                ),
            )

    async def _let_go(self, alarm_id: str) -> None:
        """Compare an alarm no longer; what came of it stays in the sum."""
        known = self._comparisons.get(alarm_id)
        if known is None:
            return
        now = await self._controller.store.now()
        self._put(alarm_id, agreement.ended(known, Uncompared.REMOVED, now))
        sums = self._comparisons.pop(alarm_id).sums
        self._open.discard(alarm_id)
        self._kept = msgspec.structs.replace(self._kept, gone=agreement.added((self._kept.gone, sums), newest=NEWEST))

    def _add_gone(self, sums: Sums) -> None:
        before = self._kept.gone
        self._kept = msgspec.structs.replace(self._kept, gone=agreement.added((before, sums), newest=NEWEST))
        self._counted(before, self._kept.gone)

    # --- keeping -----------------------------------------------------------------------------------------------------

    def _set(self, alarm_id: str, **fields: object) -> None:
        self._put(alarm_id, msgspec.structs.replace(self._comparisons[alarm_id], **fields))

    def _put(self, alarm_id: str, comparison: Comparison) -> None:
        known = self._comparisons.get(alarm_id)
        if known is comparison:
            return
        if known is not None and known.sums is not comparison.sums:
            self._counted(known.sums, comparison.sums)
        self._comparisons[alarm_id] = comparison
        self._dirty.add(alarm_id)
        if comparison.open:
            self._open.add(alarm_id)
        else:
            self._open.discard(alarm_id)

    async def _keep(self) -> None:
        dirty, self._dirty = self._dirty, set()
        documents: dict[str, bytes | None] = {TOTALS: msgspec.json.encode(self._kept)}
        for alarm_id in dirty:
            known = self._comparisons.get(alarm_id)
            documents[alarm_id] = None if known is None else msgspec.json.encode(known)
        try:
            await self._controller.store.keep(KIND, documents)
        except BaseException:
            self._dirty |= dirty
            raise

    @contextlib.asynccontextmanager
    async def _restored(self, touched: set[str]) -> AsyncIterator[None]:
        """What was touched stays so where it could not be taken."""
        try:
            yield
        except BaseException:
            self._touched |= touched
            raise

    # --- the report --------------------------------------------------------------------------------------------------

    def comparison(self, alarm_id: str) -> Comparison | None:
        """One alarm on both sides, as far as it was looked at; None where it is not compared."""
        return self._comparisons.get(alarm_id)

    async def report(self, alarm_id: str | None = None, *, newest: int = 20) -> ShadowReport:
        """What came of it, of one alarm or (None) of all. Raises NotFoundError, TemporaryError."""
        now = await self._controller.store.now()
        if alarm_id is None:
            chosen = list(self._comparisons.values())
            further = [self._kept.gone]
        else:
            found = self._comparisons.get(alarm_id)
            lost = _of(self._kept.gone, alarm_id)
            if found is None and not lost.newest:
                raise NotFoundError(f"alarm {alarm_id} is not compared")
            chosen, further = ([] if found is None else [found]), ([lost] if found is None else [])
        sums = [*(agreement.accounted(comparison, now) for comparison in chosen), *further]
        return ShadowReport(
            began=self._kept.began,
            now=now,
            alarms=len(chosen),
            open=sum(len(comparison.open) for comparison in chosen),
            notices=self._kept.notices,
            buried=self._kept.buried,
            sums=agreement.added(sums, newest=newest),
        )


def _of(sums: Sums, alarm_id: str) -> Sums:
    """What is known of one alarm that is gone: its newest disagreements."""
    found = tuple(each for each in sums.newest if each.alarm_id == alarm_id)
    differences: defaultdict[agreement.Difference, int] = defaultdict(int)
    for each in found:
        differences[each.difference] += 1
    return Sums(differences=dict(differences), newest=found)


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def _actor(notice: Notice) -> Actor:
    return Actor(kind="user", name=notice.user_id, project_id=notice.project_id)


def _letter(found: Undecoded) -> DeadLetter:
    return DeadLetter(
        kind=found.kind, time=0.0, reason=found.rejection, detail=found.detail, source="aodh", payload=found.payload
    )


def _unread(notice: Notice, why: str) -> DeadLetter:
    shown = {"event_id": notice.event_id, "alarm_id": notice.alarm_id, "type": notice.told, "detail": notice.detail}
    return DeadLetter(
        kind="notice",
        time=0.0,
        reason=UNREADABLE,
        detail=why,
        source="aodh",
        payload=msgspec.json.encode(shown).decode(),
    )
