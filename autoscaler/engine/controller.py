"""The engine as one thing: measures in, work done, people heard. The loops around it are in ``run.py``.

A live controller and a replay use exactly this; they differ in what calls it, and when.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial

import msgspec
import structlog

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.definition import Definition, encode
from autoscaler.alarms.evaluation import Sources
from autoscaler.alarms.observation import Observation, Unknown
from autoscaler.alarms.rules import PoolHealthRule, PrometheusRule, Rule, leaves_of
from autoscaler.engine.act import DEADLINE, MAX_ATTEMPTS, ByScheme
from autoscaler.engine.act import Actor as LaneActor
from autoscaler.engine.catalogue import Catalogue, Dialect, Listing
from autoscaler.engine.evaluate import Evaluated, Evaluator
from autoscaler.engine.ingest import Ingest, Written
from autoscaler.engine.leases import LEASE, Head, Leases
from autoscaler.engine.ledger import Leased
from autoscaler.engine.listen import Listener
from autoscaler.engine.route import Router, Touched
from autoscaler.engine.scale import Plan, Scaler
from autoscaler.engine.signal import Signaller
from autoscaler.errors import AutoscalerError, Rejection
from autoscaler.measures.event import Event
from autoscaler.measures.measure import Measure, as_json
from autoscaler.ports import (
    Acceptance,
    Accepted,
    Action,
    Batch,
    Calendar,
    Claimed,
    DeadLetter,
    Decoder,
    Form,
    Orchestration,
    OutboxRow,
    Probe,
    Store,
    Target,
    Told,
    Undecoded,
    WorkItem,
)
from autoscaler.scaling.group import Group
from autoscaler.scaling.policy import ScalingPolicy, Schedule

log = structlog.get_logger()

PROBE_TIMEOUT = 10.0
"""Seconds in which whoever is asked must have answered."""
WORK_LIMIT = 500
AT_ONCE = 1000
"""Definitions that are understood in one go; measures go on after each."""
PROBES_AT_ONCE = 200
"""Questions to one service at a time, so that one that hangs takes no more than so many sockets."""
UNKNOWN_KEPT = 5.0
"""Seconds for which work on an alarm that this replica does not know is left to those who may."""
UNKNOWN_REMEMBERED = 60.0
"""Seconds after which such work has been dropped by another replica, or is new again."""


def no_dialect() -> Dialect:
    """Understands nothing: for engines that have only declared alarms and tell of none."""

    def refuse(_: object) -> Alarm:
        raise ValueError("this engine takes no definitions")

    def tell(alarm: Alarm) -> Definition:
        raise ValueError(f"this engine does not tell of {alarm.name}")

    return Dialect(refuse, tell, "")


class Controller:
    """One replica's engine.

    Args:
        replica: this process' name among the others.
        woken: called with each due time that this process sets, so that its loop can sleep until then.
        max_attempts: deliveries of an action that are tried before it is buried.
        action_deadline: seconds after which it is buried, however often it was tried.
        jitter: from 0 to 1, spreads retries; None means random.
        clock: seconds, by which endpoints that do not answer are left alone.
        poll_interval: seconds between two looks at every target, whatever groups say; None leaves it to them.
        probes: who is asked, by what a rule is; alarms that rest on others stay in insufficient data and say so.
        probe_interval: seconds between two questions for each alarm.
        notify: whether changes of alarms are told on the bus.
        count: whether evaluations are counted, see :meth:`autoscaler.ports.Store.tally`.
        heat: where the actions lead that signal Heat's groups; None sends them like any other.
        wedged_after: seconds without any change after which a group that Heat says it is scaling counts as wedged.
        repair: whether such a group is freed.

    Attributes:
        adopted: generation whose adoption is complete; "" before the first.
        catalogue: every alarm, as people list them.
        leases: of what this replica is at work on; kept by whoever has it do something.
        unread_from: Unix seconds of event time from which on measures may be being read that boundaries rest on;
            infinity where all is read.
        unreadable: what is wrong with definitions that this version does not understand, by alarm id.
    """

    def __init__(
        self,
        store: Store,
        listener: Listener,
        *,
        actions: Mapping[str, Action],
        targets: Mapping[str, Target],
        calendar: Calendar,
        replica: str,
        woken: Callable[[float], None] = lambda _due: None,
        min_evaluation_interval: float = 0.2,
        max_attempts: int = MAX_ATTEMPTS,
        action_deadline: float = DEADLINE,
        jitter: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
        poll_interval: float | None = None,
        probes: Mapping[type[PrometheusRule | PoolHealthRule], Probe] | None = None,
        probe_interval: float = 15.0,
        notify: bool = False,
        count: bool = False,
        heat: Orchestration | None = None,
        wedged_after: float = 600.0,
        repair: bool = False,
    ) -> None:
        self.store = store
        self.listener = listener
        self.sources = Sources()
        self.unread_from = math.inf
        self.router = Router(())
        self.catalogue = Catalogue()
        self.plan = Plan({}, {}, {}, self.router, "")
        self.adopted = ""
        self.notify = notify
        self.unreadable: dict[str, str] = {}
        self._declared: set[str] = set()  # of every adoption since the last complete one
        self._complete: Mapping[str, Alarm] = {}
        self._known_groups: dict[str, Group] = {}
        self._stored: dict[str, Definition] = {}  # those that are not understood
        self._adopting = asyncio.Lock()
        self._following = asyncio.Lock()
        self._position: str | None = None
        self._catching_up = 0
        self._removed: set[str] = set()  # while somebody catches up; ids are never used again
        self._unmarked: set[tuple[str, str]] = set()
        self._unknown_since: dict[tuple[str, str], float] = {}
        self._dialect = no_dialect()
        self._understood = ""  # key of the dialect by which all that is known is understood
        self.leases = Leases(store)
        self.scaler = Scaler(
            store,
            listener,
            targets,
            calendar,
            replica=replica,
            woken=woken,
            leases=self.leases,
            poll_interval=poll_interval,
        )
        self._evaluator = Evaluator(
            store,
            listener,
            min_interval=min_evaluation_interval,
            notify=notify,
            count=count,
            moves=self._moved_by,
        )
        self._ingest = Ingest(store, listener)
        carried_out = ByScheme(actions, listener.circuit, clock=clock)
        self.signaller: Signaller | None = None
        if heat is not None:
            self.signaller = Signaller(
                store,
                listener,
                heat,
                carried_out.deliver,
                alarm=self._alarm,
                wedged_after=wedged_after,
                repair=repair,
                woken=woken,
            )
        self._actor = LaneActor(
            store,
            listener,
            carried_out,
            self._call_policy,
            signaller=self.signaller,
            left=self.leases.left,
            woken=woken,
            max_attempts=max_attempts,
            deadline=action_deadline,
            jitter=jitter or random.random,
        )
        self._probes = probes or {}
        self._asking = {kind: asyncio.Semaphore(PROBES_AT_ONCE) for kind in self._probes}
        self._probe_interval = probe_interval
        self._woken = woken

    # --- declarations ------------------------------------------------------------------------------------------------

    async def adopt(
        self,
        generation: str,
        alarms: Mapping[str, Alarm],
        groups: Mapping[str, Group],
        policies: Mapping[str, ScalingPolicy],
        schedules: Mapping[str, Schedule],
        *,
        origins: Mapping[str, str] | None = None,
        dialect: Dialect | None = None,
    ) -> None:
        """Run these declarations from now on; what was declared before and is not any more is forgotten.

        Args:
            origins: where each alarm is declared, by id.
            dialect: how definitions are understood from now on; where its key is another than before, alarms that are
                stored are understood anew.

        Raises:
            TemporaryError: the store could not be reached. They are run, and ``adopted`` is not theirs: to be adopted
                again, which does all that is left to do.
        """
        async with self._adopting:
            now = await self.store.now()
            # also of those whose adoption was broken off
            gone = [alarm_id for alarm_id in self._declared if alarm_id not in alarms]
            dropped = [group for name, group in self._known_groups.items() if name not in groups]
            self._dialect = dialect or self._dialect
            windows: set[str] = set()
            probed: list[str] = []
            for alarm_id in gone:
                self._forget(alarm_id)
            for alarm_id, alarm in alarms.items():
                self._let_go(self.router.put(alarm))
                if self._complete.get(alarm_id) != alarm:
                    windows.update(self._windows_of(alarm_id))
                    probed += [alarm_id] if self._is_probed(alarm_id) else []
                self._list(alarm, (origins or {}).get(alarm_id, ""), now)
            self._declared |= alarms.keys()
            self._known_groups |= groups
            self.plan = Plan(groups, policies, schedules, self.router, generation)
            await self._understand_again()
            if gone:
                await self.store.forget(gone)
            items = [WorkItem("window", window_id, now) for window_id in windows]
            items += [WorkItem("probe", alarm_id, now) for alarm_id in probed]
            if items:
                await self.store.mark(items)
            await self.scaler.release(dropped)
            await self.scaler.adopt(self.plan)
            self._declared, self._complete = set(alarms), dict(alarms)
            self._known_groups, self.adopted = dict(groups), generation

    def was_declared(self, alarm_ids: Iterable[str]) -> None:
        """Have the next adoption forget these, where they are declared no more: others ran them before this began."""
        self._declared.update(alarm_ids)

    def _list(self, alarm: Alarm, origin: str, now: float) -> None:
        """Have a declared alarm listed, unless nobody here tells of alarms."""
        if not self._dialect.key:
            return
        known = self.catalogue.get(alarm.alarm_id)
        if known is not None and (known.alarm, known.origin) == (alarm, origin):
            return
        told = msgspec.structs.replace(self._dialect.definition_of(alarm), timestamp=now)
        self.catalogue.put(Listing(alarm, "", now, origin or "a file", encode(told)))

    def _windows_of(self, alarm_id: str) -> Iterable[str]:
        return (window_id for window_id in self.router.leaf_windows.get(alarm_id, ()) if window_id is not None)

    def _forget(self, alarm_id: str) -> None:
        touched = self.router.remove(alarm_id)
        self.catalogue.remove(alarm_id)
        self._evaluator.forget([alarm_id])
        self._let_go(touched)

    def _let_go(self, touched: Touched) -> None:
        """Hold nothing of windows that nobody looks at any more."""
        self._evaluator.forget_windows(touched.vanished)
        self._ingest.forget(touched.vanished)

    # --- definitions -------------------------------------------------------------------------------------------------

    def understood(self, definition: Definition) -> Alarm:
        """What a definition means. Raises ValueError, naming the key, where it cannot be understood."""
        return self._dialect.alarm_of(definition)

    async def accept(self, acceptance: Acceptance, leased: Leased) -> bool:
        """Put somebody's word into force; False when the alarm's record was another than expected."""
        asked = time.monotonic()
        (answer,) = await self.store.accept([acceptance], lease=LEASE)
        if not isinstance(answer, Accepted):
            return False
        for lane in answer.lanes:
            leased(Head(next(row for row in acceptance.rows if row.lane == lane), asked))
        return True

    async def restore(self) -> None:
        """Learn every definition that is stored."""
        async with self._following:
            await self._restore()

    async def _restore(self) -> None:
        # not those that are made while the stored ones are read
        listings = self.catalogue.of(None)
        known = {each.alarm.alarm_id: each.alarm.revision for each in listings if each.alarm.revision}
        found = await self.store.definitions()
        gone = known | {alarm_id: definition.revision for alarm_id, definition in self._stored.items()}
        for number, definition in enumerate(found.definitions):
            gone.pop(definition.alarm_id, None)
            self._learn(definition.alarm_id, definition)
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        for alarm_id, revision in gone.items():
            present = self._stored.get(alarm_id) or self.router.by_id.get(alarm_id)
            if present is not None and present.revision == revision:  # else it was made anew meanwhile
                self._learn(alarm_id, None)
        self._position = found.position
        for alarm_id in found.recent:
            self._unmarked.update(("window", window_id) for window_id in self._windows_of(alarm_id))
        await self._mark()
        now = await self.store.now()
        # those whose time is known keep it; of the others not all are asked about at once
        probes = [WorkItem("probe", alarm_id, now + self._spread(alarm_id)) for alarm_id in self.router.probed()]
        if probes:
            await self.store.mark(probes)

    def _spread(self, alarm_id: str) -> float:
        """A share of the interval between two questions, the same for an alarm each time."""
        return self._probe_interval * (zlib.crc32(alarm_id.encode()) % 1000) / 1000

    async def follow(self, patience: float = 0.0) -> None:
        """Learn what was changed since the last time; waits for it at most ``patience`` seconds."""
        async with self._following:
            if self._position is None:
                await self._restore()
                return
            await self._mark()
            changes = await self.store.changes(self._position, patience=patience)
            if not changes.complete:
                log.warning("changes of alarms were missed; reading all of them")
                await self._restore()
                return
            for alarm_id, definition in changes.changed.items():
                self._learn(alarm_id, definition)
                self._unmarked.update(("window", window_id) for window_id in self._windows_of(alarm_id))
                if alarm_id in self.router.by_id:
                    self._unmarked.add(("probe", alarm_id))
            self._position = changes.position
            await self._mark()

    async def catch_up(self) -> None:
        """Know all that anybody had changed when this was called; it is marked by :meth:`follow`, which comes by."""
        self._catching_up += 1
        try:
            begun = position = self._position
            while position is not None:
                changes = await self.store.changes(position, patience=0.0)
                for alarm_id, definition in changes.changed.items():
                    # what others have learnt meanwhile may be newer than what was read
                    if alarm_id not in self._removed:
                        self._learn(alarm_id, definition)
                if changes.complete and not changes.changed:
                    return
                position = changes.position if changes.complete else None
            async with self._following:
                if self._position == begun:
                    await self._restore()
                    return
        finally:
            self._catching_up -= 1
            if not self._catching_up:
                self._removed.clear()
        # everything was read anew by another, who may have begun before this was called
        await self.catch_up()

    async def learn(self, changed: Mapping[str, Definition | None]) -> None:
        """Know what was changed here; whoever follows the changes, here too, has it looked at."""
        for alarm_id, definition in changed.items():
            self._learn(alarm_id, definition)

    def _learn(self, alarm_id: str, definition: Definition | None) -> None:
        if definition is None:
            if self._catching_up:
                self._removed.add(alarm_id)
            self._stored.pop(alarm_id, None)
            self.unreadable.pop(alarm_id, None)
            if alarm_id in self.router.by_id and alarm_id not in self._declared:
                self._forget(alarm_id)
            return
        known = self.router.by_id.get(alarm_id)
        if known is not None and known.revision >= definition.revision:
            return
        try:
            alarm = self._dialect.alarm_of(definition)
        except ValueError as error:
            if self.unreadable.get(alarm_id) != str(error):
                log.error("alarm not understood", alarm=alarm_id, error=str(error))  # noqa: TRY400 - one line says it
            self._stored[alarm_id], self.unreadable[alarm_id] = definition, str(error)
            return
        self._stored.pop(alarm_id, None)
        self.unreadable.pop(alarm_id, None)
        self._let_go(self.router.put(alarm))
        self.catalogue.put(Listing(alarm, definition.user_id, definition.timestamp, "", encode(definition)))

    async def _understand_again(self) -> None:
        """Stored definitions by the dialect in force, where they were understood by another."""
        key = self._dialect.key
        if key == self._understood:
            return
        for number, known in enumerate([listing for listing in self.catalogue.of(None) if listing.alarm.revision]):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            listing = self.catalogue.get(known.alarm.alarm_id)
            if listing is None or listing.alarm.revision != known.alarm.revision:
                continue  # gone, or learnt meanwhile
            try:
                alarm = self._dialect.alarm_of(listing.definition)
            except ValueError as error:
                # it goes on as it was understood before
                log.error("alarm not understood", alarm=listing.alarm.alarm_id, error=str(error))  # noqa: TRY400
                continue
            if alarm != listing.alarm:
                self._let_go(self.router.put(alarm))
                self.catalogue.put(replace(listing, alarm=alarm))
                self._unmarked.update(("window", window_id) for window_id in self._windows_of(alarm.alarm_id))
        for alarm_id, definition in list(self._stored.items()):
            self._learn(alarm_id, definition)
        self._understood = key

    async def _mark(self) -> None:
        """Have what was changed looked at."""
        if self._unmarked:
            now = await self.store.now()
            marked, self._unmarked = self._unmarked, set()
            try:
                await self.store.mark(
                    [
                        WorkItem(kind, key, now)
                        for kind, key in marked
                        if (key in self.router.windows if kind == "window" else self._is_probed(key))
                    ]
                )
            except BaseException:
                self._unmarked |= marked
                raise
            self._woken(now)

    def _is_probed(self, alarm_id: str) -> bool:
        alarm = self.router.by_id.get(alarm_id)
        return alarm is not None and alarm.enabled and bool(_probed_leaves(alarm))

    # --- measures ----------------------------------------------------------------------------------------------------

    async def write(self, measures: Sequence[Measure], due: Sequence[str] = ()) -> Written:
        """Steps 2 and 3: when this returns, the measures may be acknowledged."""
        written = await self._ingest.write(
            self.router,
            measures,
            due,
            unread_from=self.unread_from,
            judged_until=partial(self._evaluator.judged_until, self.router),
        )
        self.sources = replace(self.sources, metrics=self._ingest.heard)
        if written.refused:
            await self.bury_refused(written.refused)
        return written

    def _moved_by(self, alarm: Alarm) -> AbstractSet[str]:
        return self.plan.moved_by(alarm)

    async def evaluate(self, written: Written, leased: Leased) -> Evaluated:
        """Steps 4 and 5 for what was written; what ``leased`` is told is this replica's to carry out."""
        if not written.views:
            return Evaluated()
        evaluated = await self._evaluator.evaluate(self.router, written.views, self.sources, leased)
        self.listener.evaluated(evaluated.alarms, written.lag)
        self._woken(evaluated.due)
        return evaluated

    async def finish(self) -> None:
        """Step 6 for what was evaluated since the last time; it is no part of the way from a measure to an action."""
        await self._evaluator.finish()

    async def hear(self, events: Sequence[Event], leased: Leased) -> None:
        """Have events hit the alarms that wait for them: when this returns, they may be acknowledged."""
        now = await self.store.now()
        asked = await self._evaluator.hear(self.router, events, now, leased)
        self.listener.evaluated(asked, None)

    async def hear_of_groups(self, told: Sequence[Told]) -> None:
        """Take note of what Heat told of its groups: when this returns, it may be acknowledged."""
        if self.signaller is not None:
            await self.signaller.hear(told)

    async def bury(self, batch: Batch) -> None:
        """Keep what a source could not decode, and count it."""
        if not batch.rejected:
            return
        now = await self.store.now()
        await self.store.bury([_letter(found, batch.source, now) for found in batch.rejected])
        for found in batch.rejected:
            self.listener.rejected(found.rejection, 1)

    async def bury_refused(self, refused: Sequence[Measure]) -> None:
        """Keep measures of series that had no room."""
        now = await self.store.now()
        text = "the window has as many series as it may have"
        form = Form(Decoder.NATIVE, trusted=True)  # what it says of its project was judged already
        letters = [
            _letter(Undecoded(Rejection.TOO_MANY_SERIES, text, as_json(measure), form=form), "window", now)
            for measure in refused
        ]
        await self.store.bury(letters)

    # --- work --------------------------------------------------------------------------------------------------------

    async def claim(self) -> Claimed:
        """What is due, leased to this replica, and what it looks at by itself: windows put off, groups held here."""
        await self.finish()
        claimed = await self.store.claim(limit=WORK_LIMIT, lease=LEASE)
        claimed = replace(claimed, items=await self._known(claimed))
        own = [WorkItem("window", window_id, claimed.now) for window_id in self._evaluator.due(claimed.now)]
        claimed_keys = {(item.kind, item.key) for item in claimed.items}
        own += [
            WorkItem("group", name, claimed.now)
            for name in self.scaler.due(claimed.now)
            if ("group", name) not in claimed_keys
        ]
        nexts = (claimed.next_due, self._evaluator.next_due, self.scaler.next_due)
        dues = [due for due in nexts if due is not None]
        return Claimed([*claimed.items, *own], min(dues, default=None), claimed.now)

    async def _known(self, claimed: Claimed) -> list[WorkItem]:
        """What is due without the windows and probes of alarms that nobody knows any more."""
        while self._unknown_since:
            oldest = next(iter(self._unknown_since))
            if claimed.now - self._unknown_since[oldest] < UNKNOWN_REMEMBERED:
                break
            del self._unknown_since[oldest]
        known, dropped = [], []
        for item in claimed.items:
            place = (item.kind, item.key)
            is_known = {
                "window": lambda key: key in self.router.windows,
                "probe": self._is_probed,
            }.get(item.kind, lambda _: True)(item.key)
            if is_known:
                self._unknown_since.pop(place, None)
                known.append(item)
            elif claimed.now - self._unknown_since.setdefault(place, claimed.now) >= UNKNOWN_KEPT:
                dropped.append(item)
        if dropped:
            await self.store.finish(dropped, None)
            for item in dropped:
                del self._unknown_since[item.kind, item.key]
        return known

    async def do(self, item: WorkItem, leased: Leased = lambda _: None) -> None:
        """Do one thing that is due, other than looking at a window (those go through :meth:`write` together).

        Raises:
            TemporaryError: the store could not be reached; the lease brings the item up again.
        """
        match item.kind:
            case "lane":
                if not await self._actor.drain(item.key):
                    await self.leases.finish(item, None)
            case "group":
                await self.scaler.reconcile(self.plan, item)
            case "schedule":
                await self.scaler.fire(self.plan, item)
            case "probe":
                await self._look(item, leased)
            case kind:
                log.error("unknown work", kind=kind, key=item.key)
                await self.store.finish([item], None)

    async def _look(self, item: WorkItem, leased: Leased) -> None:
        """Ask for what an alarm rests on, and evaluate it."""
        alarm = self.router.by_id.get(item.key)
        if alarm is None or not alarm.enabled:
            await self.leases.finish(item, None)
            return
        async with asyncio.TaskGroup() as group:
            asked = {number: group.create_task(self._seen(rule)) for number, rule in _probed_leaves(alarm).items()}
        seen = {number: answer.result() for number, answer in asked.items()}
        now = await self.store.now()
        due = await self._evaluator.observe(alarm, seen, now, self.sources, leased)
        if item.key not in self.router.by_id:
            self._evaluator.forget([item.key])
        self.listener.evaluated(1, None)
        following = now + self._probe_interval
        following = following if due is None else min(following, due)
        await self.leases.finish(item, following)
        self._woken(following)

    async def _seen(self, rule: PrometheusRule | PoolHealthRule) -> Observation:
        probe = self._probes.get(type(rule))
        if probe is None:
            asked = "Prometheus server" if isinstance(rule, PrometheusRule) else "load balancer service"
            return Unknown(f"the controller is configured without a {asked}")
        try:
            async with asyncio.timeout(PROBE_TIMEOUT), self._asking[type(rule)]:
                return await probe.look(rule)
        except TimeoutError:
            return Unknown(f"no answer within {PROBE_TIMEOUT:g} s")
        except AutoscalerError as error:
            return Unknown(str(error))

    async def tally(self) -> None:
        """Store how often alarms were evaluated. Raises TemporaryError."""
        await self._evaluator.tally()

    async def carry_out(self, head: Head) -> None:
        """Carry out a lane that this replica has leased, from its head on."""
        await self._actor.carry_out(head.row)

    def _alarm(self, alarm_id: str) -> Alarm | None:
        return self.router.by_id.get(alarm_id)

    async def _call_policy(self, row: OutboxRow) -> None:
        await self.scaler.consider(self.plan, row.alarm_id, row.url, row.id)


def _probed_leaves(alarm: Alarm) -> dict[int, PrometheusRule | PoolHealthRule]:
    """What of an alarm's condition must be asked for, by the number of its leaf."""
    if isinstance(alarm.rule, PoolHealthRule):
        return {0: alarm.rule}
    return {number: leaf for number, leaf in enumerate(leaves_of(alarm.rule)) if not isinstance(leaf, Rule)}


def _letter(found: Undecoded, source: str, now: float) -> DeadLetter:
    return DeadLetter(
        kind=found.kind,
        time=now,
        reason=found.rejection,
        detail=found.detail,
        source=source,
        payload=found.payload,
        form=found.form,
    )
