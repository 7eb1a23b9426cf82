"""What stands around the controllers: a receiver of webhooks, and a service with a size. Both record, and misbehave."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from tests.receiver import Answer, Received, Receiver, answering, answering_json, hanging, resetting

if TYPE_CHECKING:
    from tests.chaos.records import Records

SLOWNESS = 1.0
"""Seconds that a slow answer takes; less than a controller waits."""


class Mood(StrEnum):
    """How a service answers."""

    WELL = "well"
    SLOW = "slow"
    HANGING = "hanging"
    FAILING = "failing"
    RESETTING = "resetting"
    HALF_WAY = "half-way"
    LYING = "lying"


@dataclass
class Outside(Receiver):
    """Webhooks at ``/hook/ALARM``, a group at ``/group``.

    The group is a careful one: a resize that is older than what it obeyed is refused.

    Attributes:
        hooks: how webhooks are answered.
        group: how the group answers; ``half-way`` takes a resize, goes half of the way and fails, ``lying`` tells one
            member more than there are.
    """

    records: Records = field(kw_only=True)
    hooks: Mood = Mood.WELL
    group: Mood = Mood.WELL
    size: int = 2
    fence: int = 0
    answered: dict[str, float] = field(default_factory=dict)
    obeyed: dict[int, float] = field(default_factory=dict)
    latest: dict[str, tuple[str, float]] = field(default_factory=dict)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    serial: int = 0

    def _answer_to(self, got: Received) -> Answer:
        self.received.clear()
        method, path, _ = got.request_line.split(" ")
        if path == "/group":
            return self._told() if method == "GET" else self._resized(got)
        return self._posted(path.removeprefix("/hook/"), got)

    def _posted(self, alarm: str, got: Received) -> Answer:
        self.serial += 1
        key, serial = got.headers.get("idempotency-key", ""), self.serial
        self.records.say("post", serial=serial, alarm=alarm, key=key, body=got.body.decode(), headers=got.headers)
        if self.hooks is not Mood.WELL:
            wrong = _wrong(self.hooks)
            if wrong is not None:
                return wrong

        async def answer(writer: asyncio.StreamWriter) -> None:
            if self.hooks is Mood.SLOW:
                await asyncio.sleep(SLOWNESS)
            await answering(200)(writer)
            self.records.say("answered", serial=serial, alarm=alarm, key=key)
            now = asyncio.get_running_loop().time()
            self.answered.setdefault(key, now)
            self.latest[alarm] = (got.json["current"], now)
            self.stirred.set()

        return answer

    def _told(self) -> Answer:
        wrong = _wrong(self.group)
        size = self.size + (self.group is Mood.LYING)
        return wrong or self._after(answering_json({"size": size}))

    def _resized(self, got: Received) -> Answer:
        asked = got.json
        size, fence = asked["size"], asked["fence"]
        obeyed = fence >= self.fence
        before = self.size
        if obeyed:
            self.fence = fence
            self.size = before + (size - before) // 2 if self.group is Mood.HALF_WAY else size
        key = got.headers.get("idempotency-key", "")
        self.records.say("resize", size=size, fence=fence, key=key, obeyed=obeyed, before=before, after=self.size)
        if not obeyed:
            return answering(409, "a newer resize was obeyed")
        if self.size == size:
            self.obeyed.setdefault(fence, asyncio.get_running_loop().time())
            self.stirred.set()
        if self.group is Mood.HALF_WAY:
            return answering(500, "half-way")
        return _wrong(self.group) or self._after(answering_json({}))

    def _after(self, answer: Answer) -> Answer:
        async def slowly(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(SLOWNESS)
            await answer(writer)

        return slowly if self.group is Mood.SLOW else answer

    async def until(self) -> None:
        """Wait for the next thing that is received."""
        self.stirred.clear()
        await self.stirred.wait()


def _wrong(mood: Mood) -> Answer | None:
    match mood:
        case Mood.HANGING:
            return hanging
        case Mood.FAILING:
            return answering(500, "out of order")
        case Mood.RESETTING:
            return resetting
        case _:
            return None


def told(record: dict[str, str]) -> tuple[str, str]:
    """State and reason of a recorded webhook."""
    body = json.loads(record["body"])
    return body["current"], body["reason"]
