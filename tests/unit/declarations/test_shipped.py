from pathlib import Path

import pytest

from autoscaler.adapters.files import texts
from autoscaler.declarations import Declarations, load, warnings
from autoscaler.declarations.reading import TYPES
from autoscaler.measures.derived import derive
from tests.building import a_series

ROOT = Path(__file__).parents[3]
SHIPPED = sorted({file.stem for folder in ("rules", "policies") for file in (ROOT / folder).glob("*.yaml")})


def shipped(name: str) -> Declarations:
    return load(texts(path for folder in ("rules", "policies") if (path := ROOT / folder / f"{name}.yaml").exists()))


def test_there_are_shipped_files() -> None:
    assert {"aodh", "demo", "heat", "openstack", "patience", "web"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_file_is_in_order(name: str) -> None:
    declared = shipped(name)

    assert declared.alarms
    said = [problem.expected for problem in warnings(declared)]
    assert [words for words in said if not words.startswith("ignored:") and " jumps: rate:mean " not in words] == []


def test_the_alarm_pasted_from_heat_is_warned_of_its_rate() -> None:
    assert len([problem for problem in warnings(shipped("aodh")) if " jumps: rate:mean " in problem.expected]) == 1


def test_the_demo_scales_workers_of_its_own() -> None:
    group = shipped("demo").groups["web"]

    assert (group.target_type, group.min_size, group.cooldown) == ("process", 1, 5.0)


def test_every_type_of_alarm_is_shown() -> None:
    found = {alarm.type for name in SHIPPED for alarm in shipped(name).alarms.values()}

    assert found | {"gnocchi_aggregation_by_metrics_threshold"} == set(TYPES)  # that one stands in the composite


def test_the_shipped_share_of_a_servers_processors_is_exact() -> None:
    cpu_util = load({}).derived["cpu_util"]
    points = {"r\x1fcpu": [(0.0, 0.0), (60.0, 84e9)], "r\x1fvcpus": [(0.0, 2.0)]}
    series = {name: a_series(each) for name, each in points.items()}

    assert list(derive(series, cpu_util, "cpu_util").series["r"].values) == [70.0]
