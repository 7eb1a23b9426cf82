"""The soak of ``make soak`` in short: the beginning of a leap day, and a flood."""

from pathlib import Path

import pytest

from bench.soak.__main__ import write
from bench.soak.run import Findings, Plan, soak
from bench.soak.verdict import line

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(300)]


async def test_a_short_soak_loses_nothing(tmp_path: Path) -> None:
    plan = Plan(seconds=7, rate=60, share=0.05, interval=0.5, phases=(2,), disturbances=("flood",))
    findings = Findings()
    await soak(plan, tmp_path, findings)
    write(findings, plan, tmp_path / "out")

    assert findings.broken == []
    assert findings.figures["schedules due"] == 3, "hourly, daily, and that of the leap day"
    assert findings.figures["measures looked for"] >= 30
    assert findings.figures["flood: measures"] > 60
    assert findings.figures["changes of state told"] > 2
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"samples.csv", "soak.json", "memory.svg"}


@pytest.mark.parametrize(("grown", "flat"), [(0.0, True), (20.0, False)])
def test_a_curve_that_grows_is_told_from_one_that_is_noisy(grown: float, *, flat: bool) -> None:
    samples = [
        {
            "seconds": float(n),
            "steady": float(n % 10 > 0),
            "x rss MiB": 100.0 + n * grown / 600 + n % 7 + (n % 10 == 0) * 500,
        }
        for n in range(600)
    ]

    found = line(samples, "x rss MiB", 600.0)

    assert found.is_flat is flat
    assert found.highest > 590
