"""The alarms of the benchmarks, as the API stores them, and the one by which is seen how far a controller has come."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

from autoscaler.adapters.redis import RedisStore
from autoscaler.alarms.alarm import AlarmRecord, declared_id
from autoscaler.alarms.definition import NOT_EVALUATED, Definition
from autoscaler.declarations.definitions import alarm_of
from autoscaler.measures.window import ANY_PROJECT
from autoscaler.ports import Acceptance

AT_ONCE: Final = 5000
MARKER: Final = "marker"
MARKER_ID: Final = declared_id("", MARKER)


def of_resource(number: int, resource_id: str, *, metric: str = "cpu", periods: int = 1) -> Definition:
    """A threshold on one series, which it never passes."""
    rule = {
        "metric": metric, "resource_id": resource_id, "resource_type": "instance", "aggregation_method": "mean",
        "comparison_operator": "gt", "threshold": 1e9, "granularity": 60, "evaluation_periods": periods,
    }  # fmt: skip
    return _definition(number, "gnocchi_resources_threshold", rule)


def of_group(number: int, group: str) -> Definition:
    """A threshold on the mean of a group's members, which it never passes."""
    rule = {
        "metric": "cpu", "query": json.dumps({"=": {"server_group": group}}), "resource_type": "instance",
        "aggregation_method": "mean", "comparison_operator": "gt", "threshold": 1e9, "granularity": 60,
        "evaluation_periods": 1,
    }  # fmt: skip
    return _definition(number, "gnocchi_aggregation_by_resources_threshold", rule)


def _definition(number: int, kind: str, rule: dict[str, Any]) -> Definition:
    now = time.time()
    return Definition(
        alarm_id=str(uuid.UUID(int=number + 1)),
        type=kind,
        name=f"alarm {number}",
        description="",
        enabled=True,
        severity="low",
        ok_actions=(),
        alarm_actions=("log://",),
        insufficient_data_actions=(),
        repeat_actions=False,
        time_constraints=(),
        rule=rule,
        user_id="bench",
        project_id="bench",
        timestamp=now,
        scope=ANY_PROJECT,
        revision=int(now * 1e6),
        created=now,
    )


async def define(redis_url: str, definitions: Iterable[Definition]) -> None:
    """Store alarms as if they had been made through the API."""
    store = RedisStore(redis_url)
    waiting: list[Acceptance] = []

    async def flush() -> None:
        await store.accept(waiting, lease=1.0)
        waiting.clear()

    try:
        for definition in definitions:
            record = AlarmRecord(
                version=definition.revision,
                definition=alarm_of(definition, derived={}, mixed_as_aodh=False).definition,
                revision=definition.revision,
                state_timestamp=definition.timestamp,
                reason=NOT_EVALUATED,
            )
            waiting.append(Acceptance(definition.alarm_id, "", 0, 0, record, definition=definition))
            if len(waiting) >= AT_ONCE:
                await flush()
        await flush()
    finally:
        await store.close()


def switch(name: str, metric: str, resource_id: str, hooks: Sequence[str]) -> dict[str, Any]:
    """One that is in alarm exactly while the newest measure of a series is above 50; declared in a file."""
    return {
        "name": name,
        "type": "threshold",
        "rule": {
            "metric": metric, "resource_id": resource_id, "aggregation_method": "last", "granularity": 3600,
            "evaluation_periods": 1, "comparison_operator": "gt", "threshold": 50,
            "window": "aligned", "evaluate": "measure",
        },
        "alarm_actions": list(hooks),
        "ok_actions": list(hooks),
    }  # fmt: skip


def rules(alarms: Iterable[dict[str, Any]]) -> str:
    """A file of rules; JSON, which is YAML."""
    return json.dumps({"alarms": list(alarms)})


def marker() -> dict[str, Any]:
    """The alarm whose state turns when the last measure of a round was evaluated."""
    return switch(MARKER, MARKER, MARKER, ())
