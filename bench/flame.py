"""A flame graph of a process, without a word of where it ran."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

RATE: Final = 200
"""Looks at the stack a second."""
PATHS: Final = re.compile(r"(?<=\()/[^():]*?/(?=(?:[\w.-]+/)?[\w.-]+\.py)")
"""What stands before the last folder and the name of a file."""
TITLE: Final = re.compile(r">[^<]*py-spy record[^<]*<")
"""The command, which stands above the graph."""


@contextmanager
def graph(path: Path | None, pid: int) -> Iterator[None]:
    """Have py-spy look at a process meanwhile; does nothing where there is no path."""
    if path is None:
        yield
        return
    recorder = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--rate", str(RATE),
            "--output", str(path), "--format", "flamegraph", "--nonblocking",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield
    finally:
        recorder.send_signal(signal.SIGINT)  # then it draws
        _, said = recorder.communicate(timeout=120)
    if recorder.returncode:
        raise RuntimeError(f"py-spy: {said.decode()}")
    path.write_text(TITLE.sub(">the controller in the row `batches`<", PATHS.sub("", path.read_text())))
