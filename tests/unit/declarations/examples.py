"""Texts that the tests of this folder share."""

import json
from typing import Any

from autoscaler.alarms.alarm import Alarm
from autoscaler.declarations import Declarations, load
from autoscaler.errors import DeclarationError

RULE = {"metric": "cpu_util", "aggregation_method": "mean", "threshold": 70, "comparison_operator": "gt"}
GROUP = {"name": "web", "min_size": 1, "max_size": 10, "target": {"type": "dry_run"}}
OUT = {"name": "out", "group": "web", "adjustment_type": "change_in_capacity", "scaling_adjustment": 2}
IN = {"name": "in", "group": "web", "adjustment_type": "change_in_capacity", "scaling_adjustment": -1}


def declared(**sections: Any) -> Declarations:
    """What a file with these sections declares."""
    return load({"f.yaml": json.dumps(sections, indent=1)})


def threshold(**keys: Any) -> dict[str, Any]:
    """An alarm on one resource; ``keys`` go to the alarm."""
    return {"name": "a", "type": "threshold", "rule": {"resource_id": "r", **RULE}, **keys}


def aggregation(rule: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """An alarm on the members of the group ``web``; ``rule`` goes to its rule and ``keys`` to the alarm."""
    return {"name": "a", "type": "aggregation", "rule": {"group": "web", **RULE, **(rule or {})}, **keys}


def only(declarations: Declarations) -> Alarm:
    """The one alarm that is declared."""
    (alarm,) = declarations.alarms.values()
    return alarm


def refused(**sections: Any) -> list[str]:
    """The keys at which the sections are refused; none where they are taken."""
    try:
        declared(**sections)
    except DeclarationError as error:
        return [problem.key for problem in error.problems]
    return []


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a document, outer ones first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, part in inner for place in places(part, (*path, step)))]


def put(container: Any, path: tuple[Any, ...], value: Any) -> None:
    """Replace what stands at ``path``, where an earlier change has left such a place."""
    *outer, last = path
    for step in outer:
        container = container[step] if isinstance(container, dict | list) and has(container, step) else None
    if isinstance(container, dict | list) and has(container, last):
        container[last] = value


def has(container: Any, step: Any) -> bool:
    return step in container if isinstance(container, dict) else isinstance(step, int) and step < len(container)
