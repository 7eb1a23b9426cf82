"""Controllers that start at once: forked from a process that has read all of the program already.

``python -m tests.chaos.nursery`` waits for orders on its standard input, one line each, and answers each with the id of
the process that it has forked. What is forked is the launcher of :mod:`tests.chaos.controller`; only the reading of the
program, which takes seconds on a busy machine, is done before.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tests.chaos.controller import launch, read_program
from tests.e2e.controller import ControllerProcess

POLL = 0.002


class Forked:
    """A process that another one has started for us; as :class:`subprocess.Popen`, as far as anybody asks."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """None while it lives; who waits for nobody gets no exit status."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Raises TimeoutError."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise TimeoutError(f"process {self.pid} does not end")
            time.sleep(POLL)
        return 0


class Nursery:
    """The process that forks controllers."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def fork(self, environment: dict[str, str], log: Path) -> Forked:
        """A new controller."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = msgspec.json.encode({"environment": environment, "log": str(log)})
        self._process.stdin.write(order + b"\n")
        self._process.stdin.flush()
        return Forked(int(self._process.stdout.readline()))


class NurseryController(ControllerProcess):
    """See :class:`tests.e2e.controller.ControllerProcess`."""

    def __init__(self, nursery: Nursery, folder: Path, *, port: int, settings: dict[str, str]) -> None:
        super().__init__(folder, port=port, settings=settings)
        self._nursery = nursery

    def start(self) -> None:
        self._process = self._nursery.fork(self._environment, self._log)


def forked(order: bytes) -> int:
    """The id of a new process, which never comes back from here."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        faulthandler.enable()
        told = msgspec.json.decode(order)
        log = os.open(told["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(told["environment"])
        sys.argv = ["autoscaler", "run"]
        launch()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - whatever it is, the process ends by it
        traceback.print_exc()  # nobody above does
    finally:
        os._exit(code)


def bury(*_: object) -> None:
    """Take note of who has died; unless it was killed, or ended well, say how."""
    with suppress(ChildProcessError):
        while (dead := os.waitpid(-1, os.WNOHANG))[0]:
            code = os.waitstatus_to_exitcode(dead[1])
            if code not in {0, -signal.SIGKILL}:
                os.write(2, f"process {dead[0]} ended with {code}\n".encode())


def main() -> None:
    """Fork whenever told to, until nobody is there to tell."""
    read_program()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever gives the orders ends in its own time
    signal.signal(signal.SIGCHLD, bury)
    orders = os.fdopen(os.dup(0), "rb", buffering=0)
    while order := orders.readline():
        sys.stdout.write(f"{forked(order)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
