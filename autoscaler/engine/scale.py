"""Groups, from what alarms, schedules and people ask for to what targets are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autoscaler.engine.decide import Decider
from autoscaler.engine.fire import Scheduler
from autoscaler.engine.leases import Leases
from autoscaler.engine.listen import Listener
from autoscaler.engine.plan import Plan
from autoscaler.engine.reconcile import Reconciler
from autoscaler.ports import Calendar, Store, Target, WorkItem

__all__ = ["Plan", "Scaler"]


class Scaler:
    """What the engine does with groups: decide, fire schedules, reconcile.

    Args:
        replica: this process' name; it holds the members that live inside it.
        woken: called with a due time that this process has just set.
        leases: of what this process is at work on.
        poll_interval: seconds between two looks at a target that rests, whatever groups say; None leaves it to them.
    """

    def __init__(
        self,
        store: Store,
        listener: Listener,
        targets: Mapping[str, Target],
        calendar: Calendar,
        *,
        replica: str,
        woken: Callable[[float], None],
        leases: Leases,
        poll_interval: float | None = None,
    ) -> None:
        self._store = store
        self._woken = woken
        self._decider = Decider(store, listener, woken=woken)
        self._scheduler = Scheduler(store, calendar, self._decider, leases, woken=woken)
        self._reconciler = Reconciler(
            store,
            listener,
            targets,
            self._decider,
            replica=replica,
            woken=woken,
            leases=leases,
            poll_interval=poll_interval,
        )
        self.consider = self._decider.consider
        self.execute = self._decider.execute
        self.pause = self._decider.pause
        self.reconsider = self._decider.reconsider
        self.fire = self._scheduler.fire
        self.reconcile = self._reconciler.reconcile
        self.release = self._reconciler.release
        self.due = self._reconciler.due

    @property
    def next_due(self) -> float | None:
        """Unix seconds at which the first of the groups held here is to be looked at."""
        return self._reconciler.next_due

    async def adopt(self, plan: Plan) -> None:
        """Make the plan's groups and schedules due, without moving what is due already."""
        now = await self._store.now()
        items = [WorkItem("group", name, now) for name in sorted(plan.groups)]
        items += await self._scheduler.due(plan, now)
        if items:
            await self._store.mark(items)
        for _, group in sorted(plan.groups.items()):
            await self._decider.adopt_bounds(plan, group)
        self._woken(now)
