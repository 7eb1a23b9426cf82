"""Aodh's evaluators of composite, Prometheus, load-balancer and event alarms, asked round by round.

The evaluators are the installed ones; replaced are their clock, the services they ask (which answer what the case says)
and what they would write to a database and a message bus.
"""

import json
import logging
import sys
from types import SimpleNamespace

from aodh.evaluator import composite, event, gnocchi, loadbalancer, prometheus
from oslo_utils import timeutils

logging.disable(logging.CRITICAL)  # what an evaluator fails on, it logs


class Book:
    """Takes down what an evaluator tells the database, the history and the notifier."""

    def __init__(self):
        self.told = []

    def update_alarm(self, alarm):
        pass

    def notify(self, alarm, previous, reason, reason_data):
        self.told.append([previous, alarm.state, reason, reason_data])


class Services:
    """Answers as Gnocchi's, Prometheus' and Octavia's clients do, with what the round has."""

    def __init__(self):
        self.answers = {}
        self.metric = self

    def get_measures(self, metric, granularity, start, stop, resource_id, aggregation):
        values = self.answers[resource_id]
        return [["", granularity, value] for value in values if value is not None]

    def query(self, query):
        return [SimpleNamespace(value=str(value)) for value in self.answers[query]]

    def member_list(self, pool_id):
        if self.answers[pool_id] is None:
            raise ConnectionError("away")
        return {"members": self.answers[pool_id]}


def made(kind, services, book):
    evaluator = object.__new__(kind)
    evaluator.conf = SimpleNamespace(
        additional_ingestion_lag=0,
        record_history=False,
        enable_evaluation_results_metrics=False,
        event_alarm_cache_ttl=0,
        member_creation_time=120,
    )
    evaluator.storage_conn = evaluator.notifier = book
    evaluator._gnocchi_client = services
    evaluator._prom = SimpleNamespace(query=services)
    evaluator._lb_client = services
    return evaluator


def alarm_of(case):
    return SimpleNamespace(
        alarm_id="a",
        project_id="p",
        rule=case["rule"],
        state=case["state"],
        repeat_actions=case["repeat_actions"],
        time_constraints=[],
    )


def evaluator_of(case, services, book):
    asking = made(prometheus.PrometheusEvaluator, services, book)
    if case["type"] == "prometheus":
        return asking
    if case["type"] == "loadbalancer_member_health":
        return made(loadbalancer.LoadBalancerMemberHealthEvaluator, services, book)
    evaluator = made(composite.CompositeEvaluator, services, book)
    reading = made(gnocchi.GnocchiResourceThresholdEvaluator, services, book)
    evaluator._threshold_evaluators = {
        "gnocchi_resources_threshold": SimpleNamespace(obj=reading),
        "prometheus": SimpleNamespace(obj=asking),
    }
    evaluator.rule_name_prefix = "rule"
    return evaluator


def evaluated(case):
    alarm, book, services = alarm_of(case), Book(), Services()
    evaluator = evaluator_of(case, services, book)
    rounds = []
    for answers in case["rounds"]:
        book.told = []
        services.answers = answers
        evaluator.evaluate(alarm)
        rounds.append([alarm.state, book.told])
    return rounds


def heard(case):
    alarm, book = alarm_of(case), Book()
    evaluator = made(event.EventAlarmEvaluator, Services(), book)
    book.get_alarms = lambda **_: [alarm]
    rounds = []
    for each in case["rounds"]:
        book.told = []
        try:
            evaluator.evaluate_events(each)
        except Exception as error:  # noqa: BLE001 - the listener would log it and go on
            rounds.append([type(error).__name__, []])
        else:
            rounds.append([alarm.state, book.told])
    return rounds


timeutils.set_time_override(timeutils.parse_isotime("2026-11-20T12:00:00").replace(tzinfo=None))
json.dump([(heard if case["type"] == "event" else evaluated)(case) for case in json.load(sys.stdin)], sys.stdout)
