"""Becomes a member's command once the controller has said that it is watched.

A program of its own, run by path and with nothing but the standard library. The controller writes one byte when the
guard knows this process; the end of the pipe before that means that the controller died meanwhile. On Linux the kernel
is asked to kill the member with its controller as well, in case the guard is killed first.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
COMMAND_NOT_FOUND = 127


def main() -> None:
    """Wait for the word, then exec the command line given as arguments."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent or not os.read(0, 1):
        sys.exit(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would hand that on
    try:
        os.execvp(command[0], command)  # noqa: S606 - running the operator's command is the purpose
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(COMMAND_NOT_FOUND)


if __name__ == "__main__":
    main()
