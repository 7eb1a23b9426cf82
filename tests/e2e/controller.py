"""The installed command as a subprocess, to be killed and started again."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

START_SECONDS = float(os.environ.get("AUTOSCALER_TEST_START_SECONDS", "60"))


class ControllerProcess:
    """``python -m autoscaler run``, with everything it says in a file.

    Args:
        folder: where its log goes.
        port: of its API.
        settings: as ``AUTOSCALER_…``, without the prefix.
        options: of the command.
        environment: further variables, e.g. those of a :class:`tests.shifted_clock.ShiftedClock`.

    Attributes:
        build: folder that holds another version of the package, for the next start; None is this one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        settings: dict[str, str],
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self.settings = settings
        self.build: Path | None = None
        self._options = tuple(options)
        self._log = folder / "controller.log"
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("AUTOSCALER_")
        } | {f"AUTOSCALER_{name}": value for name, value in settings.items()}
        self._environment |= {"AUTOSCALER_API": f"127.0.0.1:{port}", "AUTOSCALER_STATE_DIR": str(folder / "state")}
        self._environment |= environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        """Start; returns at once."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "autoscaler", "run", *self._options],
                env=self._of_build,
                cwd=self.build,
                stdout=log,
                stderr=log,
                start_new_session=True,  # as the servers: a share of the machine of its own, where sessions have one
            )

    @property
    def _of_build(self) -> dict[str, str]:
        return self._environment | ({} if self.build is None else {"PYTHONPATH": str(self.build)})

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def has_ended(self) -> bool:
        """Whether there is none, or it is dead."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End it as a power cut would; one that is dead already is done with."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)
        self._process = None

    def end(self) -> int:
        """Ask it to end; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(40)
        self._process = None
        return code

    def wait(self) -> int:
        """Wait until it has ended by itself; its exit status."""
        assert self._process is not None
        code = self._process.wait(60)
        self._process = None
        return code

    def until_ready(self, tls: ssl.SSLContext | None = None) -> None:
        """Wait until it does its work; ``tls`` where it speaks TLS."""
        scheme = "http" if tls is None else "https"
        end = time.monotonic() + START_SECONDS
        said = ""
        while time.monotonic() < end:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"the controller ended by itself:\n{self.log()}")
            try:
                with urllib.request.urlopen(f"{scheme}://127.0.0.1:{self.port}/readyz", timeout=5, context=tls):
                    return
            except urllib.error.HTTPError as error:
                said = error.read().decode()
            except OSError as error:
                said = str(error)
            time.sleep(0.05)
        raise TimeoutError(f"not ready after {START_SECONDS:g} s: {said}\n{self.log()}")

    def command(self, *words: str, status: int = 0) -> str:
        """What another command says that is run with the same settings, whether this one runs or not.

        Args:
            status: with which it must end.
        """
        command = [sys.executable, "-m", "autoscaler", *words]
        ran = subprocess.run(
            command, env=self._of_build, cwd=self.build, capture_output=True, text=True, timeout=120, check=False
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
        return ran.stdout if status == 0 else ran.stderr

    def log(self) -> str:
        """What it said last."""
        return self.whole_log()[-5000:]

    def whole_log(self) -> str:
        """All that it has said, since the first start."""
        return self._log.read_text(errors="replace")
