"""What the tests of the protocol have in common: one alarm that calls a webhook and a policy, and one group."""

from __future__ import annotations

from autoscaler.declarations import Declarations, load
from autoscaler.measures.measure import Measure

ALARM = "busy"
GROUP = "web"
GRANULARITY = 100.0

DOCUMENT = """
alarms:
  - name: busy
    type: aggregation
    rule: {metric: cpu_util, match: {server_group: web}, aggregation_method: mean, granularity: 100,
           evaluation_periods: 1, comparison_operator: gt, threshold: 70, window: aligned, evaluate: boundary}
    alarm_actions: ["https://hooks.example.org/alarms", "policy://out"]
    ok_actions: ["https://hooks.example.org/alarms"]
    insufficient_data_actions: ["https://hooks.example.org/alarms"]
groups:
  - {name: web, min_size: 1, max_size: 6, desired_capacity: 2, cooldown: 15, target: {type: dry_run}}
policies:
  - {name: out, group: web, adjustment_type: change_in_capacity, scaling_adjustment: 2}
"""


def declared(document: str = DOCUMENT) -> Declarations:
    return load({"scene.yaml": document})


def alarm_id(declarations: Declarations) -> str:
    (only,) = declarations.alarms
    return only


def load_of(member: str, time: float, value: float) -> Measure:
    return Measure("cpu_util", member, time, value, metadata={"server_group": "web"})
