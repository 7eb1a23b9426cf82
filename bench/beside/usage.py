"""What processes take of the machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    """Of some processes.

    Attributes:
        cpu: seconds of CPU so far, or per minute.
        memory: MiB resident, pages that several share counted once.
        processes: how many they are.
    """

    cpu: float
    memory: float
    processes: int

    def since(self, before: Usage, seconds: float) -> Usage:
        """As it is now, with the seconds of CPU per minute since then."""
        return Usage((self.cpu - before.cpu) / seconds * 60, self.memory, self.processes)

    def document(self) -> dict[str, float]:
        """As JSON."""
        return asdict(self)


def usage(pids: Iterable[int]) -> Usage:
    """Of processes and of those that they have seen end; shells that only wait for a server are left out."""
    cpu = memory = 0.0
    processes = 0
    for process in _living(pids):
        with suppress(psutil.NoSuchProcess):
            if process.name() != "sh":
                cpu += sum(process.cpu_times()[:4])
                memory += process.memory_full_info().pss / 2**20
                processes += 1
    return Usage(cpu, memory, processes)


def _living(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)
