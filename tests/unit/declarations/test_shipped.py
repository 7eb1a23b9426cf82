from pathlib import Path

import pytest

from autoscaler.adapters.files import texts
from autoscaler.declarations import Declarations, load, warnings

ROOT = Path(__file__).parents[3]
SHIPPED = sorted({file.stem for folder in ("rules", "policies") for file in (ROOT / folder).glob("*.yaml")})


def shipped(name: str) -> Declarations:
    return load(texts(path for folder in ("rules", "policies") if (path := ROOT / folder / f"{name}.yaml").exists()))


def test_there_are_shipped_files() -> None:
    assert {"aodh", "demo", "patience", "web"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_is_in_order(name: str) -> None:
    declared = shipped(name)

    assert declared.alarms
    assert [problem for problem in warnings(declared) if not problem.expected.startswith("ignored:")] == []


def test_the_demo_scales_workers_of_its_own() -> None:
    group = shipped("demo").groups["web"]

    assert (group.target_type, group.min_size, group.cooldown) == ("process", 1, 5.0)
