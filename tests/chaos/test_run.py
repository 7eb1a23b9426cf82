"""A short run of faults of many kinds: nothing is lost, nothing doubled. ``make chaos`` is the long one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from autoscaler.adapters.redis import calls
from tests.chaos.controller import without_version_check
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


def test_the_build_without_version_check_is_whole_but_for_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "library", calls.library)
    whole = calls.library()

    without_version_check()

    broken = calls.library()
    assert broken.text.count(broken.name) == whole.text.count(whole.name)
    assert len(broken.reads) == len(whole.reads)
    assert all(each.startswith(f"{broken.name}_") for each in broken.reads)
