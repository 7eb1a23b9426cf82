"""What the controller says of itself, asked for over its public HTTP API."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import httpx

from autoscaler.demo.bus import GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Json = dict[str, Any]


class Kind(StrEnum):
    """What sort of thing happened."""

    NOTE = "note"
    LOAD = "load"
    CAPACITY = "capacity"
    TRANSITION = "alarm"
    DECISION = "decision"
    REFUSAL = "refusal"


@dataclass(slots=True)
class Observer:
    """Asks, and tells what is new since it asked last.

    Attributes:
        since: Unix seconds; what was decided before is not told.
        alarms: as last answered, in order of name.
        group: as last answered, None before the first answer.
        first_rise: Unix seconds of the first scale-out, None before it.
        answering: whether the controller answered last time.
    """

    client: httpx.AsyncClient
    base_url: str
    since: float
    tell: Callable[[Kind, str], None]
    alarms: list[Json] = field(default_factory=list)
    group: Json | None = None
    first_rise: float | None = None
    answering: bool = True
    _states: dict[str, tuple[str, str]] = field(default_factory=dict)
    _told: dict[str, None] = field(default_factory=dict)
    _last_hold: tuple[Any, ...] = ()

    async def ready(self) -> str:
        """What the controller still misses; "" when it is ready."""
        try:
            response = await self.client.get(f"{self.base_url}/readyz")
        except httpx.HTTPError as error:
            return str(error) or type(error).__name__
        return "" if response.is_success else response.text

    async def look(self) -> None:
        """Ask once, and tell."""
        try:
            alarms = await self._get("/v1/alarms")
            group = await self._get(f"/v1/groups/{GROUP}")
            decisions = await self._get(f"/v1/groups/{GROUP}/decisions")
        except httpx.HTTPError:
            if self.answering:
                self.tell(Kind.NOTE, "the controller does not answer")
            self.answering = False
            return
        if not self.answering:
            self.tell(Kind.NOTE, f"the controller answers again and wants {group['desired_capacity']} workers")
        self.answering = True
        self.alarms, self.group = sorted(alarms, key=lambda alarm: str(alarm["name"])), group
        for alarm in self.alarms:
            self._compare(alarm)
        self._hear(reversed(decisions))

    async def _get(self, path: str) -> Any:
        response = await self.client.get(f"{self.base_url}{path}")
        return response.raise_for_status().json()

    def _compare(self, alarm: Json) -> None:
        state = alarm["state"]
        before, since = self._states.get(alarm["name"], ("insufficient data", ""))
        if state != before or (since and alarm["state_timestamp"] != since):
            self.tell(Kind.TRANSITION, f"{alarm['name']}: {before} -> {state}: {alarm['state_reason']}")
        self._states[alarm["name"]] = (state, alarm["state_timestamp"])

    def _hear(self, decisions: Iterable[Json]) -> None:
        """Tell of new decisions, oldest first; equal holds in a row are one."""
        for decision in decisions:
            time = datetime.fromisoformat(decision["time"]).timestamp()
            if decision["id"] in self._told or time < self.since:
                continue
            self._told[decision["id"]] = None
            if decision["decision"] == "scale":
                self._scaled(decision, time)
            else:
                self._held(decision)

    def _scaled(self, decision: Json, time: float) -> None:
        self._last_hold = ()
        if self.first_rise is None and (decision["to"] or 0) > (decision["from"] or 0):
            self.first_rise = time
        alarm = f", alarm {decision['alarm']}" if decision["alarm"] else ""
        text = f"{decision['from']} -> {decision['to']}: {decision['text']} ({decision['reason']}{alarm})"
        self.tell(Kind.DECISION, text)

    def _held(self, decision: Json) -> None:
        hold = tuple(decision[key] for key in ("policy", "reason", "from"))
        if hold == self._last_hold and decision["times"] > 1:
            return
        self._last_hold = hold
        by = f"{decision['policy']} " if decision["policy"] else ""
        self.tell(Kind.REFUSAL, f"{by}held at {decision['from']} ({decision['reason']}): {decision['text']}")
