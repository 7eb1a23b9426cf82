"""The engine as one thing: measures in, work done, people heard. The loops around it are in ``run.py``.

A live controller and a replay use exactly this; they differ in what calls it, and when.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec
import structlog

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.evaluation import Sources
from autoscaler.engine.act import MAX_ATTEMPTS
from autoscaler.engine.act import Actor as LaneActor
from autoscaler.engine.evaluate import LANE_LEASE, Evaluated, Evaluator, Leased
from autoscaler.engine.ingest import Ingest, Written
from autoscaler.engine.listen import Listener
from autoscaler.engine.route import Router
from autoscaler.engine.scale import GROUP_LEASE, Plan, Scaler
from autoscaler.errors import Rejection
from autoscaler.measures.measure import Measure
from autoscaler.ports import (
    Action,
    Batch,
    Calendar,
    Claimed,
    DeadLetter,
    OutboxRow,
    Store,
    Target,
    Undecoded,
    WorkItem,
)
from autoscaler.scaling.group import Group
from autoscaler.scaling.policy import ScalingPolicy, Schedule

log = structlog.get_logger()

WORK_LEASE = 5.0
"""Seconds for which claimed work is this replica's; another takes it up after that."""
LONG_LEASE = {"lane": LANE_LEASE, "group": GROUP_LEASE}
"""Of work that waits for somebody else's answer: longer than that may take."""
WORK_LIMIT = 500


class Controller:
    """One replica's engine.

    Args:
        replica: this process' name among the others.
        woken: called with each due time that this process sets, so that its loop can sleep until then.
        max_attempts: deliveries of an action that are tried before it is buried.
        jitter: from 0 to 1, spreads retries; None means random.
        poll_interval: seconds between two looks at every target, whatever groups say; None leaves it to them.

    Attributes:
        adopted: generation whose adoption is complete; "" before the first.
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
        jitter: Callable[[], float] | None = None,
        poll_interval: float | None = None,
    ) -> None:
        self.store = store
        self.listener = listener
        self.sources = Sources()
        self.router = Router(())
        self.plan = Plan({}, {}, {}, {}, {}, "")
        self.adopted = ""
        self._complete = self.router, self.plan
        self._adopting = asyncio.Lock()
        self.scaler = Scaler(
            store, listener, targets, calendar, replica=replica, woken=woken, poll_interval=poll_interval
        )
        self._evaluator = Evaluator(store, listener, min_interval=min_evaluation_interval)
        self._ingest = Ingest(store, listener)
        self._actor = LaneActor(
            store,
            listener,
            actions,
            self._call_policy,
            woken=woken,
            max_attempts=max_attempts,
            jitter=jitter or random.random,
        )
        self._woken = woken

    # --- declarations ------------------------------------------------------------------------------------------------

    async def adopt(
        self,
        generation: str,
        alarms: Mapping[str, Alarm],
        groups: Mapping[str, Group],
        policies: Mapping[str, ScalingPolicy],
        schedules: Mapping[str, Schedule],
    ) -> None:
        """Run these declarations from now on; what was declared before and is not any more is forgotten.

        Raises:
            TemporaryError: the store could not be reached. They are run, and ``adopted`` is not theirs: to be adopted
                again, which does all that is left to do.
        """
        async with self._adopting:
            (before, plan_before), router = self._complete, Router(alarms.values())
            # also of those whose adoption was broken off
            gone = [alarm_id for alarm_id in {**before.by_id, **self.router.by_id} if alarm_id not in router.by_id]
            known = {**plan_before.groups, **self.plan.groups}
            dropped = [group for name, group in known.items() if name not in groups]
            now = await self.store.now()
            new = [name for name in router.windows if _alarms(router, name) != _alarms(before, name)]
            plan = Plan(groups, policies, schedules, dict(router.by_id), router.window_of, generation)
            self.router, self.plan = router, plan
            if gone:
                await self.store.forget(gone)
                self._evaluator.forget(gone)
            if new:
                await self.store.mark([WorkItem("window", window_id, now) for window_id in new])
            await self.scaler.release(dropped)
            await self.scaler.adopt(plan)
            self._complete, self.adopted = (router, plan), generation

    # --- measures ----------------------------------------------------------------------------------------------------

    async def write(self, measures: Sequence[Measure], due: Sequence[str] = ()) -> Written:
        """Steps 2 and 3: when this returns, the measures may be acknowledged."""
        written = await self._ingest.write(self.router, measures, due)
        if written.refused:
            await self.bury_refused(written.refused)
        return written

    async def evaluate(self, written: Written, leased: Leased) -> Evaluated:
        """Steps 4 to 6 for what was written; what ``leased`` is told is this replica's to carry out."""
        if not written.views:
            return Evaluated()
        evaluated = await self._evaluator.evaluate(self.router, written.views, self.sources, leased)
        self.listener.evaluated(evaluated.alarms, written.lag)
        for due in evaluated.dues:
            self._woken(due)
        return evaluated

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
        letters = [
            _letter(Undecoded(Rejection.TOO_MANY_SERIES, text, msgspec.json.encode(measure).decode()), "window", now)
            for measure in refused
        ]
        await self.store.bury(letters)

    # --- work --------------------------------------------------------------------------------------------------------

    async def claim(self) -> Claimed:
        """What is due, leased to this replica, and what it looks at by itself: windows put off, groups held here."""
        claimed = await self.store.claim(limit=WORK_LIMIT, lease=WORK_LEASE)
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

    async def do(self, item: WorkItem) -> None:
        """Do one thing that is due, other than looking at a window (those go through :meth:`write` together).

        Raises:
            TemporaryError: the store could not be reached; the lease brings the item up again.
        """
        if item.kind in LONG_LEASE:
            item = await self._kept(item, LONG_LEASE[item.kind])
        match item.kind:
            case "lane":
                await self._actor.drain(item.key)
            case "group":
                await self.scaler.reconcile(self.plan, item)
            case "schedule":
                await self.scaler.fire(self.plan, item)
            case kind:
                log.error("unknown work", kind=kind, key=item.key)
                await self.store.finish(item, None)

    async def _kept(self, item: WorkItem, lease: float) -> WorkItem:
        """The item, leased for ``lease`` seconds, unless it was marked or claimed by another meanwhile."""
        until = item.leased_until - WORK_LEASE + lease
        await self.store.finish(item, until)
        return replace(item, leased_until=until)

    async def carry_out(self, head: OutboxRow) -> None:
        """Carry out a lane that this replica has leased, from its head on."""
        await self._actor.carry_out(head)

    async def _call_policy(self, row: OutboxRow) -> None:
        await self.scaler.consider(self.plan, row.alarm_id, row.url, row.id)


def _alarms(router: Router, window_id: str) -> list[Alarm]:
    return router.alarms.get(window_id, [])


def _letter(found: Undecoded, source: str, now: float) -> DeadLetter:
    return DeadLetter(
        kind="measure",
        time=now,
        reason=found.rejection,
        detail=found.detail,
        source=source,
        payload=found.payload,
    )
