"""Kills the members that a controller leaves behind, however it ends.

A program of its own, run by path and with nothing but the standard library. Its standard input is a pipe whose other
end only the controller holds: ``+PGID`` and ``-PGID`` lines tell which process groups are the controller's, and the
end of the pipe tells that it is gone.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Listen until the controller is gone, then kill what it had."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # whoever ends us first would end the controller unwatched
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
