"""Runs a script in the interpreter that has aodh, gnocchi and openstack-heat: cases in, answers out, both JSON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent / "oracle"
IN_REPOSITORY = Path(__file__).parents[2] / ".venv-oracle" / "bin" / "python"
# read on import: within a test no AUTOSCALER_ variable is left
PYTHON = Path(os.environ.get("AUTOSCALER_ORACLE_PYTHON", IN_REPOSITORY))


def ask(script: str, cases: Any, *, timeout_seconds: float = 300) -> Any:
    """What ``oracle/SCRIPT`` answers to ``cases``; the test is skipped where there is no oracle."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing; `make oracle` makes it, or set AUTOSCALER_ORACLE_PYTHON")
    ran = subprocess.run(
        [str(PYTHON), str(SCRIPTS / script)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    assert ran.returncode == 0, f"{script} failed:\n{ran.stderr[-4000:]}"
    return json.loads(ran.stdout)
