"""Runs targets one after another, each for a while, and tells what came of it: ``python -m tests.fuzz --help``."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.targets import TARGETS, Target

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / ".fuzz"
"""What was found, and inputs that are worth beginning with the next time."""
MEGABYTES: Final = 1024
"""Of memory that a target may have."""
SLOWEST: Final = 10
"""Seconds that one input may take."""
LONGEST: Final = 65_536
"""Bytes of an input; what is longer in the corpus is cut there."""
NICENESS: Final = 15
_WORD: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]{3,30}")
_COVERAGE: Final = re.compile(r"cov: (\d+)")
_FOUND: Final = re.compile(
    r"^(?:==\d+== )?ERROR: libFuzzer: (.*)|^ === Uncaught Python exception: ===\n(.*)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one target.

    Attributes:
        runs: inputs that it was given.
        rate: of them in a second.
        coverage: edges that were reached.
        slowest: whole seconds of the slowest input.
        megabytes: of memory, at most.
        found: the first line of what was found; "" for nothing.
    """

    name: str
    runs: int
    rate: int
    coverage: int
    slowest: int
    megabytes: int
    found: str

    def __str__(self) -> str:
        numbers = f"{self.runs:>10} {self.rate:>7} {self.coverage:>6} {self.slowest:>5} s {self.megabytes:>5} MB"
        return f"{self.name:<13}{numbers}  {self.found or 'nothing'}"


HEAD: Final = f"{'target':<13}{'runs':>10} {'runs/s':>7} {'edges':>6} {'worst':>7} {'memory':>8}  found"


def main(arguments: Sequence[str]) -> int:
    """How many targets something was found in."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", default=["all"], help=f"all, or some of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    asked = parser.parse_args(arguments)
    names = list(TARGETS) if asked.targets == ["all"] else asked.targets
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are all, {', '.join(TARGETS)}")
    print(HEAD, flush=True)
    found = 0
    for name in names:
        result = fuzzed(name, TARGETS[name], asked.seconds)
        print(result, flush=True)
        found += bool(result.found)
    return found


def fuzzed(name: str, target: Target, seconds: int) -> Result:
    """Run one target; the inputs that break it stay in ``.fuzz/found``, what it printed in ``.fuzz/NAME.log``."""
    corpus, artifacts = KEPT / "corpus" / name, KEPT / "found"
    for folder in (corpus, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    words = write_seeds(target, corpus)
    dictionary = KEPT / f"{name}.dict"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words))
    log = KEPT / f"{name}.log"
    options = {
        "max_total_time": seconds,
        "rss_limit_mb": MEGABYTES,
        "timeout": SLOWEST,
        "max_len": LONGEST,
        "dict": dictionary,
        "artifact_prefix": f"{artifacts}/{name}-",
        "print_final_stats": 1,
    }
    command = [sys.executable, "-m", "tests.fuzz.fuzzed", name, str(corpus), *(f"-{k}={v}" for k, v in options.items())]
    with log.open("wb") as file:
        subprocess.run(["nice", "-n", str(NICENESS), *command], cwd=ROOT, stdout=file, stderr=file, check=False)
    return told(name, log.read_text(errors="replace"))


def write_seeds(target: Target, folder: Path) -> Sequence[bytes]:
    """Write what a target begins with, and return the words that its inputs are put together from."""
    words: dict[bytes, None] = dict.fromkeys(word.encode() for word in target.words)
    for seed in target.seeds():
        (folder / hashlib.sha256(seed).hexdigest()[:32]).write_bytes(seed)
        if len(seed) < 4096:  # of shipped and written ones, not of every recording
            words |= dict.fromkeys(_WORD.findall(seed))
    return list(words)[:1000]


def _escaped(word: bytes) -> str:
    """As libFuzzer reads dictionaries."""
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word)


def told(name: str, log: str) -> Result:
    """What a run's output says of it."""
    numbers = dict(re.findall(r"^stat::(\w+):\s+(\d+)", log, re.MULTILINE))
    coverage = _COVERAGE.findall(log)
    found = _FOUND.search(log)
    whole = "number_of_executed_units" in numbers
    return Result(
        name=name,
        runs=int(numbers.get("number_of_executed_units", 0)),
        rate=int(numbers.get("average_exec_per_sec", 0)),
        coverage=int(coverage[-1]) if coverage else 0,
        slowest=int(numbers.get("slowest_unit_time_sec", 0)),
        megabytes=int(numbers.get("peak_rss_mb", 0)),
        found=next(filter(None, found.groups())) if found else "" if whole else f"it did not run, see .fuzz/{name}.log",
    )


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(min(main(sys.argv[1:]), 100))
