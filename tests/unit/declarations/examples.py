"""Texts that the tests of this folder share."""

import json
from typing import Any

from autoscaler.alarms.alarm import Alarm
from autoscaler.declarations import Declarations, load

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
