"""A short run of faults of many kinds: nothing is lost, nothing doubled. ``make chaos`` is the long one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.chaos.faults import SHORT
from tests.chaos.report import table
from tests.chaos.rig import Plan
from tests.chaos.run import run

FAULTS = int(os.environ.get("AUTOSCALER_TEST_FAULTS", "10"))
SEED = int(os.environ.get("AUTOSCALER_TEST_SEED", "1"))


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(300 + 10 * FAULTS)
def test_faults_of_many_kinds_lose_and_double_nothing(tmp_path: Path) -> None:
    plan = Plan(tmp_path, SEED, replicas=2, lateness=15.0)

    result = asyncio.run(run(plan, FAULTS, SHORT))

    print(table(result))
    assert len(result.happened) == FAULTS
    assert not result.outcome.violations
