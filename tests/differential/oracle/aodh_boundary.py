"""Aodh's evaluators called at each boundary of a granule, with Gnocchi behind them.

The evaluators are the installed ones; replaced are their clock, the HTTP hop to Gnocchi (answered by gnocchi_peer) and
what they would write to a database and a message bus.
"""

import json
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

from aodh.evaluator import gnocchi as evaluators
from gnocchi_peer import Metric, aggregated, instant
from oslo_utils import timeutils


class Gnocchi:
    """Stands for gnocchiclient; each of its two calls is one request."""

    def __init__(self, metrics):
        self.metrics = metrics
        self.metric = self
        self.aggregates = self

    def get_measures(self, metric, granularity, start, stop, resource_id, aggregation):
        return self.metrics[resource_id].measures(aggregation, instant(start), instant(stop))

    def fetch(self, operations, granularity, search, resource_type, start, stop, needed_overlap):
        assert needed_overlap == 0
        name, method, (_, _, stored) = operations
        assert name == "aggregate"
        rows = aggregated(self.metrics.values(), method, stored, instant(start), instant(stop))
        return {"measures": {"aggregated": rows}}


class Book:
    """Takes down what an evaluator tells the database and the notifier."""

    def __init__(self):
        self.transitions = []
        self.now = None

    def update_alarm(self, alarm):
        pass

    def notify(self, alarm, previous, reason, reason_data):
        self.transitions.append([self.now, previous, alarm.state, reason, reason_data])


def evaluator_of(kind, gnocchi, book):
    evaluator = object.__new__(kind)
    evaluator.conf = SimpleNamespace(
        additional_ingestion_lag=0, record_history=False, enable_evaluation_results_metrics=False
    )
    evaluator._gnocchi_client = gnocchi
    evaluator.storage_conn = book
    evaluator.notifier = book
    return evaluator


def played(case):
    rule, granularity = case["rule"], case["rule"]["granularity"]
    stored = rule["aggregation_method"] if case["single"] else rule["aggregation_method"].removeprefix("rate:")
    metrics = {name: Metric(granularity, [stored]) for name in sorted(case["series"])}
    alarm = SimpleNamespace(
        alarm_id="a",
        project_id="p",
        rule=rule,
        state="insufficient data",
        repeat_actions=False,
        time_constraints=[],
    )
    book = Book()
    kind = (
        evaluators.GnocchiResourceThresholdEvaluator
        if case["single"]
        else evaluators.GnocchiAggregationResourcesThresholdEvaluator
    )
    evaluator = evaluator_of(kind, Gnocchi(metrics), book)
    for index in range(case["first"], case["last"] + 1):
        for name, points in case["series"].items():
            # the measures of a granule are all processed when it ends
            metrics[name].process([point for point in points if int(point[0] // granularity) == index])
        book.now = float((index + 1) * granularity)
        timeutils.set_time_override(datetime.fromtimestamp(book.now, UTC).replace(tzinfo=None))
        evaluator.evaluate(alarm)
    return book.transitions


json.dump([played(case) for case in json.load(sys.stdin)], sys.stdout)
