"""What all rows share: the brokers, a folder, and who is told how it goes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.rows import Measured
from tests.servers import HASHING, MosquittoServer, RabbitServer


@dataclass
class World:
    """Servers, each started when it is first asked for.

    Attributes:
        folder: for the files of controllers.
        rounds: that each row has.
        flame: where a flame graph of the hot path goes; None where none is wanted.
    """

    folder: Path
    rounds: int
    servers: contextlib.ExitStack
    flame: Path | None = None

    @cached_property
    def rabbit(self) -> RabbitServer:
        """A broker for AMQP."""
        return self.servers.enter_context(RabbitServer(plugins=HASHING))

    @property
    def amqp(self) -> str:
        """Its URL, for who may stand still for long."""
        return f"{self.rabbit.url}?heartbeat=600"

    @cached_property
    def mosquitto(self) -> MosquittoServer:
        """A broker for MQTT."""
        return self.servers.enter_context(MosquittoServer())

    @staticmethod
    def say(found: Measured) -> None:
        """How the newest round of a row went."""
        theirs = f" against {found.theirs[-1]:,.5g}" if found.theirs else ""
        print(f"  {found.row.key}: {found.ours[-1]:,.5g} {found.row.unit}{theirs}", flush=True)


def names(count: int) -> list[str]:
    """Of so many series."""
    return [f"vm-{number:06}" for number in range(count)]


class Sizes:
    """How many measures a round has: so many that the slowest needs about as long as a round should last.

    Args:
        first: measures of the round by which everybody warms up; no other has fewer.
        step: the number is a multiple of it.
        longest: measures of a round at most.
    """

    seconds = 3.0

    def __init__(self, first: int, step: int, longest: int = 1_000_000) -> None:
        self._step = step
        self._least = first
        self._longest = longest
        self.count = first

    def learn(self, took: Sequence[float] | Iterator[float]) -> None:
        """Seconds that each needed for so many."""
        wanted = min(self._longest, max(self._least, self.count / max(took) * self.seconds))
        self.count = round(wanted / self._step) * self._step
