"""What is declared in a soak: alarms of every kind over the series of :mod:`bench.soak.traffic`, groups, schedules."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

PROJECT: Final = "soak"
PINNED: Final = 200
"""Servers that live as long as the soak."""
REPLACED: Final = 100
"""Places of servers that are replaced every minute, each time by one with another id."""
FLEETS: Final = 20
LEDGERS: Final = 10
"""Series whose every measure is looked for in the store."""
GROUPS: Final = ("web", "batch", "night", "leap")
HIGH, LOW, LIMIT = 90.0, 10.0, 50.0

CONSTRAINTS: Final = (
    {"name": "midnight", "start": "0 0 * * *", "duration": 3600},
    {"name": "leap day", "start": "0 0 29 2 *", "duration": 86_400},
    {"name": "new year", "start": "0 0 1 1 *", "duration": 3600},
    {"name": "left out or twice", "start": "30 2 * * *", "duration": 1800, "timezone": "Europe/Berlin"},
)

SCHEDULES: Final = (
    {"name": "hourly", "group": "web", "cron": "0 * * * *", "desired_capacity": 4},
    {"name": "daily", "group": "batch", "cron": "0 0 * * *", "desired_capacity": 5},
    {"name": "nightly", "group": "night", "cron": "30 2 * * *", "timezone": "Europe/Berlin", "min_size": 2},
    {"name": "leap-day", "group": "leap", "cron": "0 0 29 2 *", "desired_capacity": 7},
    {"name": "day-after", "group": "leap", "cron": "0 0 1 3 *", "desired_capacity": 2},
)


def utc(text: str) -> float:
    """Unix seconds of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


BOUNDARIES: Final = (
    ("an hour", utc("2028-02-27 14:00")),
    ("midnight", utc("2028-02-28 00:00")),
    ("28 to 29 February", utc("2028-02-29 00:00")),
    ("29 February to 1 March", utc("2028-03-01 00:00")),
    ("summer time in Berlin", utc("2028-03-26 01:00")),
    ("winter time in Berlin", utc("2028-10-29 01:00")),
    ("new year", utc("2029-01-01 00:00")),
)
"""Passed one after another; between two of them the clock is set forward by hours to months."""


def fired(begin: float, end: float) -> list[str]:
    """Ids of the decisions that schedules owe for due times between two times of one stretch."""
    due = []
    for minute in range(int(begin // 60) + 1, int(end // 60) + 1):
        at = datetime.fromtimestamp(minute * 60, UTC)
        names = ["hourly"] if at.minute == 0 else []
        if (at.hour, at.minute) == (0, 0):
            names += ["daily"]
            names += ["leap-day"] if (at.month, at.day) == (2, 29) else []
            names += ["day-after"] if (at.month, at.day) == (3, 1) else []
        due += [f"schedule:{name}:{minute * 60}" for name in names]
    return due


def rule(metric: str, **further: Any) -> dict[str, Any]:
    """A threshold of twenty-second granules."""
    return {
        "metric": metric, "aggregation_method": "mean", "granularity": 20, "evaluation_periods": 1,
        "comparison_operator": "gt", "threshold": LIMIT, **further,
    }  # fmt: skip


def declarations(hooks: str, targets: str, share: float) -> str:
    """The alarms, groups, policies and schedules; JSON, which is YAML.

    Args:
        hooks: where every alarm tells every change.
        targets: base URL of the groups' services.
        share: of the alarms that there are in a whole soak.
    """
    alarms = _alarms(hooks, share)
    groups = [
        {
            "name": name, "project_id": PROJECT, "min_size": 1, "max_size": 10, "desired_capacity": 1, "cooldown": 20,
            "target": {"type": "http", "url": f"{targets}/{name}", "poll_interval": 10},
        }
        for name in GROUPS
    ]  # fmt: skip
    policies = [
        {"name": "web-out", "group": "web", "adjustment_type": "change_in_capacity", "scaling_adjustment": 1},
        {"name": "web-in", "group": "web", "adjustment_type": "change_in_capacity", "scaling_adjustment": -1},
        {"name": "batch-out", "group": "batch", "adjustment_type": "percent", "scaling_adjustment": 50},
        {"name": "batch-in", "group": "batch", "adjustment_type": "percent", "scaling_adjustment": -30},
    ]
    return json.dumps({"alarms": alarms, "groups": groups, "policies": policies, "schedules": SCHEDULES}, indent=1)


def _alarms(hooks: str, share: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def some(count: int) -> range:
        return range(max(1, round(count * share)))

    def add(name: str, kind: str, rule_: dict[str, Any], **further: Any) -> None:
        states = ("alarm",) if kind == "event" else ("ok", "alarm", "insufficient_data")
        actions = {f"{state}_actions": [hooks, *further.pop(f"{state}_actions", ())] for state in states}
        found.append({"name": name, "type": kind, "rule": rule_, "project_id": PROJECT, **actions, **further})

    for n in some(200):
        add(f"slides-{n}", "threshold", rule("cpu", resource_id=f"vm-{n % PINNED}", evaluation_periods=2))
    for n in some(100):
        kind = "gnocchi_resources_threshold"
        named = {"resource_id": f"vm-{n % PINNED}", "resource_type": "instance"}
        add(f"aligned-{n}", kind, rule("cpu", **named), repeat_actions=n % 2 == 0)
    for n in some(60):
        of = {"resource_id": f"vm-{(n * 3) % PINNED}", "window": "aligned", "evaluate": "boundary", "lateness": 3}
        add(f"boundary-{n}", "threshold", rule("cpu", **of))
    for n in some(60):
        at = {"resource_id": f"vm-{(n * 2) % PINNED}"}
        add(f"constrained-{n}", "threshold", rule("cpu", **at), time_constraints=[CONSTRAINTS[n % len(CONSTRAINTS)]])
    for n in some(FLEETS):
        match = {"server_group": f"fleet-{n}"}
        for method in ("mean", "95pct", "count"):
            limit = 600.0 if method == "count" else LIMIT
            add(
                f"fleet-{method}-{n}",
                "aggregation",
                rule("cpu", match=match, aggregation_method=method, threshold=limit),
            )
        add(f"replaced-{n}", "aggregation", rule("memory", match=match))
        add(f"pooled-{n}", "aggregation", rule("memory", match=match, reaggregation_method="pooled", window="aligned"))
    for n in some(40):
        kind = "gnocchi_resources_threshold"
        parts = [
            {"type": kind, **rule("cpu", resource_id=f"vm-{(n + shift) % PINNED}", resource_type="instance")}
            for shift in (0, 1, 2)
        ]
        add(f"composite-{n}", "composite", {"or" if n % 2 else "and": parts})
    for n in some(20):
        query = [{"field": "traits.place", "op": "eq", "value": str(n)}]
        add(f"event-{n}", "event", {"event_type": "compute.instance.*", "query": query}, repeat_actions=True)
    for n in range(LEDGERS):
        add(
            f"ledger-{n}", "threshold", rule("ledger", resource_id=f"ledger-{n}", granularity=600, evaluation_periods=5)
        )
    for group, fleet in (("web", 0), ("batch", 1)):
        of = rule("cpu", match={"server_group": f"fleet-{fleet}"})
        policies = {"alarm_actions": [f"policy://{group}-out"], "ok_actions": [f"policy://{group}-in"]}
        add(f"scales-{group}", "aggregation", of, **policies)
    return found


def made(number: int, hooks: str) -> dict[str, Any]:
    """An alarm as it is made through the API."""
    kind = "gnocchi_resources_threshold"
    threshold = rule(
        "cpu", resource_id=f"vm-{number % PINNED}", resource_type="instance", threshold=LIMIT + number % 30
    )
    actions = {key: [hooks] for key in ("ok_actions", "alarm_actions", "insufficient_data_actions")}
    return {"name": f"made-{number}", "type": kind, f"{kind}_rule": threshold, **actions}
