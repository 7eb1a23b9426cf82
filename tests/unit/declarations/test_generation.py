import json

import pytest

from autoscaler.declarations import Declarations, dump, load, parse
from autoscaler.errors import DeclarationError
from tests.unit.declarations.examples import GROUP, OUT, aggregation, threshold

FILES = {
    "rules.yaml": json.dumps(
        {"alarms": [threshold(), aggregation(name="b", alarm_actions=["policy://out"])]}, indent=1
    ),
    "policies.yaml": json.dumps({"groups": [GROUP], "policies": [OUT]}, indent=1),
}


def test_things_know_where_they_are_declared() -> None:
    declared = load(FILES)
    (alarm,) = [alarm for alarm in declared.alarms.values() if alarm.name == "b"]

    assert str(declared.origin("alarm", alarm.alarm_id)) == "rules.yaml:14"
    assert str(declared.origin("group", "web")) == "policies.yaml:3"
    assert str(declared.origin("policy", "out")) == "policies.yaml:13"


def test_what_is_published_is_read_as_it_was() -> None:
    declared = load(FILES)

    assert parse(dump(declared)) == declared


def test_what_this_version_cannot_read_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"rules\.yaml:1:1: composites: unknown key"):
        parse(json.dumps({"rules.yaml": "composites: []"}).encode())


def test_nothing_is_a_generation_too() -> None:
    assert load({}).generation == load({"f.yaml": "alarms: []"}).generation != ""


def test_a_generation_is_what_is_meant_and_not_how_it_is_written() -> None:
    moved = {f"other/{name}": f"# a comment\n{text}\n" for name, text in reversed(FILES.items())}

    assert load(moved).generation == load(FILES).generation


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param("rules.yaml", "70", "71", id="threshold"),
        pytest.param("rules.yaml", '"resource_id": "r"', '"resource_id": "s"', id="match"),
        pytest.param("rules.yaml", "policy://out", "log://", id="action"),
        pytest.param("policies.yaml", '"max_size": 10', '"max_size": 11', id="bound"),
        pytest.param("policies.yaml", '"scaling_adjustment": 2', '"scaling_adjustment": 3', id="adjustment"),
        pytest.param("policies.yaml", '"type": "dry_run"', '"type": "dry_run", "size": 1', id="target"),
    ],
)
def test_a_generation_changes_with_what_is_meant(file: str, old: str, new: str) -> None:
    assert old in FILES[file]
    changed: Declarations = load(FILES | {file: FILES[file].replace(old, new)})

    assert changed.generation != load(FILES).generation


def test_and_is_not_or() -> None:
    generations = {
        load(
            {
                "f.yaml": json.dumps(
                    {
                        "alarms": [
                            {
                                "name": "a",
                                "type": "gnocchi_aggregation_by_resources_threshold",
                                "rule": {
                                    "metric": "m",
                                    "aggregation_method": "mean",
                                    "threshold": 1,
                                    "query": {operator: [{"=": {"a": "b"}}, {"=": {"c": "d"}}]},
                                },
                            }
                        ]
                    }
                )
            }
        ).generation
        for operator in ("and", "or")
    }

    assert len(generations) == 2
