"""A group of Heat's in virtual time: it drops signals as Heat does, and can lose answers, engines and its temper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autoscaler.adapters.orchestration import place_of
from autoscaler.engine.signal import HEAT
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import OutboxRow, Place, Rights
from autoscaler.scaling.signals import HeatGroup

STACK_ID = "5c3b"


def alarm_url(policy: str) -> str:
    path = f"arn%3Aopenstack%3Aheat%3A%3Ashop%3Astacks/web/{STACK_ID}/resources/{policy}"
    return f"http://heat:8000/v1/signal/{path}?SignatureMethod=HmacSHA256&AWSAccessKeyId=k&Signature=s%2Fs%3D"


def signal_url(policy: str, trust: str = "") -> str:
    return f"trust+http://{trust}heat:8004/v1/shop/stacks/web/{STACK_ID}/resources/{policy}/signal"


class HeatTwin:
    """See :class:`autoscaler.ports.Orchestration`, and an action that reaches its policies ``up`` and ``down``.

    Attributes:
        resize_time: seconds that a resize takes.
        readable: rights by which the group may be read.
        away: raised by every question while it is set.
        answer: raised by a signal, after it was taken.
        lost: raised by a signal instead of being taken.
        signals: policies, in the order in which signals arrived.
    """

    schemes = frozenset(("http", "trust+http"))

    def __init__(self, *, cooldown: float = 0.0, least: int = 1, most: int = 5, repairable: bool = False) -> None:
        self.clock: Callable[[], float] = lambda: 0.0
        self.repairable = repairable
        self.cooldown = cooldown
        self.bounds = (least, most)
        self.size = least
        self.resize_time = 2.0
        self.wedged_after = 60.0
        self.readable = {Rights()}
        self.away: TemporaryError | None = None
        self.answer: TemporaryError | None = None
        self.lost: TemporaryError | PermanentError | None = None
        self.signals: list[str] = []
        self.tokens: list[str] = []
        self.sizes: list[int] = []
        self.marks: list[bool] = []
        self.stack_status = self.status = "CREATE_COMPLETE"
        self.nested_status = "CREATE_COMPLETE"
        self.cooldown_end: float | None = None
        self.cooldown_by = ""
        self.updated: float | None = None
        self.engine_dies = False
        self.updates: int | None = None  # the size that the stack is updated to just before the next signal
        self._ends: float | None = None
        self._in_progress = False

    # --- Orchestration -----------------------------------------------------------------------------------------------

    def place(self, url: str) -> Place | None:
        return place_of(url)

    async def look(self, place: Place, rights: Rights) -> HeatGroup:
        if self.away is not None:
            raise self.away
        if rights not in self.readable:
            raise PermanentError("403")
        self._run()
        return HeatGroup(
            name=f"{HEAT}{STACK_ID}:group",
            project_id=place.project_id,
            stack="web",
            group="group",
            stack_status=self.stack_status,
            status=self.status,
            nested_status=self.nested_status,
            in_progress=self._in_progress,
            cooldown_end=self.cooldown_end,
            cooldown_by=self.cooldown_by,
            size=self.size,
            updated=self.updated,
            nested_id="nested",
            limits=self.bounds,
        )

    async def signal(self, place: Place, body: Mapping[str, Any]) -> None:
        self.tokens.append("operator")
        self._take(place.policy)

    async def mark(self, place: Place, rights: Rights, *, unhealthy: bool) -> None:
        self.marks.append(unhealthy)
        self.status = "CHECK_FAILED" if unhealthy else "CHECK_COMPLETE"
        if not unhealthy:
            self._in_progress, self.nested_status, self.engine_dies = False, "UPDATE_COMPLETE", False

    # --- Action ------------------------------------------------------------------------------------------------------

    async def deliver(self, row: OutboxRow) -> None:
        place = place_of(row.url)
        assert place is not None
        self.tokens.append(place.trust_id)
        self._take(place.policy)

    # --- Heat --------------------------------------------------------------------------------------------------------

    def resize(self, change: int, by: str) -> None:
        """What a signal comes to, or a person's."""
        self._run()
        now, (least, most) = self.clock(), self.bounds
        wanted = max(least, min(most, self.size + change))
        cooling = self.cooldown_end is not None and now < self.cooldown_end
        busy = self._in_progress or self.stack_status.endswith("IN_PROGRESS")
        if not self.status.endswith("COMPLETE") or wanted == self.size or busy or cooling:
            return  # without a word
        self._in_progress, self.updated, self.size = True, now, wanted
        self.nested_status = "UPDATE_IN_PROGRESS"
        self.cooldown_by = by
        self.sizes.append(wanted)
        self._ends = None if self.engine_dies else now + self.resize_time

    def _take(self, policy: str) -> None:
        if self.lost is not None:
            raise self.lost
        self.signals.append(policy)
        if self.updates is not None:
            self.size, self.updates, self.updated = self.updates, None, self.clock()
            self.cooldown_end, self.cooldown_by = self.clock(), f"ExactCapacity : {self.size}"
            return
        self.resize({"up": 1, "down": -1}[policy], f"change_in_capacity : {policy}")
        if self.answer is not None:
            raise self.answer

    def _run(self) -> None:
        now = self.clock()
        if self._in_progress and self._ends is not None and now >= self._ends:
            self._in_progress, self.nested_status = False, "UPDATE_COMPLETE"
            self.cooldown_end = max(self.cooldown_end or 0.0, self._ends + self.cooldown)
