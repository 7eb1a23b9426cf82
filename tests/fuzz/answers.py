"""Targets: what is asked for and answered, and the queries that are asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from autoscaler.adapters.http import RefusedError
from autoscaler.adapters.openstack import Service
from autoscaler.adapters.probes import prometheus
from autoscaler.adapters.probes.octavia import OctaviaProbe
from autoscaler.adapters.probes.promql import MAX_LENGTH, scoped
from autoscaler.alarms.alarm import Alarm, AlarmRecord
from autoscaler.alarms.observation import Observation, Unknown
from autoscaler.alarms.observed import observe
from autoscaler.alarms.outcome import Sources
from autoscaler.alarms.rules import ComparisonOperator, PoolHealthRule, PrometheusRule
from autoscaler.errors import PermanentError, TemporaryError
from tests.fuzz.contract import NOW, check_record

QUERY: Final = PrometheusRule(query="up", threshold=1.0, comparison_operator=ComparisonOperator.GT)
EACH: Final = PrometheusRule(query="up", threshold=1.0, comparison_operator=ComparisonOperator.GT, per_series=True)
POOL: Final = PoolHealthRule(pool_id="p", stack_id="s", autoscaling_group_id="g", scope_to_project=None)


def answers(data: bytes) -> None:
    """Prometheus' and Octavia's answers, up to what alarms make of them."""
    _check_record(QUERY, seen := _of_prometheus(data))
    _check_record(EACH, seen)
    prometheus._refused(RefusedError("no", 400, data))
    _check_record(POOL, _LOOP.run_until_complete(_of_octavia(data)))


def _of_prometheus(data: bytes) -> Observation:
    try:
        return prometheus._samples(prometheus._answer(data))
    except (PermanentError, TemporaryError) as error:
        return Unknown(str(error))


async def _of_octavia(data: bytes) -> Observation:
    try:
        return await OctaviaProbe(_Answering(data), lambda: NOW).look(POOL)
    except (PermanentError, TemporaryError) as error:
        return Unknown(str(error))


def _check_record(rule: PrometheusRule | PoolHealthRule, seen: Observation) -> None:
    alarm = Alarm(alarm_id="a", name="a", type="a", rule=rule, repeat_actions=True)
    record = AlarmRecord()
    for later in range(2):
        record = observe(alarm, record, {0: seen}, NOW + later, Sources()).record
        check_record(record)


@dataclass
class _Answering(Service):
    """A service that always answers the same."""

    answer: bytes

    async def call(self, method: str, path: str, **_: object) -> bytes:
        return self.answer


def promql(data: bytes) -> None:
    """A query is refused, or reads the same once it is bound: the same selectors, no more and no fewer."""
    query = data.decode(errors="replace")
    try:
        once = scoped(query, "project", "p")
    except PermanentError:
        return
    assert once.count('project="p"') >= query.count('project="p"')
    if len(once) <= MAX_LENGTH:
        twice = scoped(once, "q", "z")
        assert twice.count('q="z"') - once.count('q="z"') == once.count('project="p"') - query.count('project="p"')


_LOOP: Final = asyncio.new_event_loop()
