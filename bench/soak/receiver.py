"""Where alarms tell their changes and groups have their size; each change is checked against the one before."""

from __future__ import annotations

import json
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from tests.receiver import Answer, Received, Receiver, answering, answering_json

REMEMBERED = 200
"""Keys of deliveries that are known as seen, per alarm."""


@dataclass
class _Told:
    """What an alarm has told: its state, and the keys of the newest deliveries."""

    state: str | None = None
    keys: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


@dataclass
class Hooks(Receiver):
    """Takes webhooks and sizes.

    Attributes:
        transitions: changes of state that were told, each once.
        repeats: webhooks of an alarm that stayed in its state, each once.
        again: webhooks that were told before under the same key.
        broken: alarms whose webhook did not go on from the state that was told before, with both.
        sizes: of groups.
        resizes: how often a size was set.
    """

    transitions: int = 0
    repeats: int = 0
    again: int = 0
    broken: list[str] = field(default_factory=list)
    sizes: Counter[str] = field(default_factory=Counter)
    resizes: int = 0
    _told: dict[str, _Told] = field(default_factory=dict)
    _recent: Counter[str] = field(default_factory=Counter)

    def most_repeats(self) -> int:
        """How many repeats the busiest alarm has told since the last call."""
        most = max(self._recent.values(), default=0)
        self._recent.clear()
        return most

    def _answer_to(self, got: Received) -> Answer:
        self.received.clear()  # nobody looks at them later, and they would be most of our memory
        method, path, _ = got.request_line.split()
        if not path.startswith("/groups/"):
            self._hear(got.json, got.headers["idempotency-key"])
            return answering(200)
        name = path.removeprefix("/groups/")
        if method == "PUT":
            self.resizes += 1
            self.sizes[name] = json.loads(got.body)["size"]
        return answering_json({"size": self.sizes[name]})

    def _hear(self, body: dict[str, Any], key: str) -> None:
        told = self._told.setdefault(body["alarm_id"], _Told())
        if key in told.keys:
            self.again += 1
            return
        told.keys.append(key)
        before, after = body["previous"], body["current"]
        if told.state is not None and before != told.state:
            self.broken.append(f"{body['alarm_name']}: {told.state!r} was followed by {before!r} -> {after!r}")
        told.state = after
        if before == after:
            self.repeats += 1
            self._recent[body["alarm_id"]] += 1
        else:
            self.transitions += 1
