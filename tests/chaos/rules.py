"""The alarms, the group and the policies that run while faults happen."""

from __future__ import annotations

from autoscaler.declarations import Declarations, load
from tests.chaos.publisher import METRIC

GROUP = "web"
MIN_SIZE, MAX_SIZE = 1, 8
COOLDOWN = 2.0
PROBES = 8
EXACT = ("exact-mean", "exact-noise", "exact-calm")
"""Alarms that must come to what an undisturbed run comes to."""
QUICK = ("busy", "idle")
"""Alarms that move the group: evaluated at once, on what has come by then."""

_EXACT = """
  - name: exact-mean
    type: aggregation
    rule: {{metric: {metric}, match: {{server_group: web}}, aggregation_method: mean, granularity: 1,
           evaluation_periods: 2, comparison_operator: gt, threshold: 70,
           window: aligned, evaluate: boundary, lateness: {lateness}}}
    {hooks_exact_mean}
  - name: exact-noise
    description: Changes with nearly every measure
    type: aggregation
    rule: {{metric: {metric}, match: {{server_group: web}}, aggregation_method: mean, granularity: 1,
           evaluation_periods: 1, comparison_operator: gt, threshold: 95,
           window: aligned, evaluate: boundary, lateness: {lateness}}}
    {hooks_exact_noise}
  - name: exact-calm
    type: aggregation
    rule: {{metric: {metric}, match: {{server_group: web}}, aggregation_method: max, granularity: 2,
           evaluation_periods: 2, comparison_operator: lt, threshold: 30,
           window: aligned, evaluate: boundary, lateness: {lateness}}}
    {hooks_exact_calm}
"""
_REST = """
  - name: busy
    type: aggregation
    rule: {{metric: {metric}, match: {{server_group: web}}, aggregation_method: mean, granularity: 1,
           evaluation_periods: 1, comparison_operator: gt, threshold: 70, window: aligned, evaluate: boundary}}
    alarm_actions: ["{hooks}/hook/busy", "policy://out"]
    ok_actions: ["{hooks}/hook/busy"]
    insufficient_data_actions: ["{hooks}/hook/busy"]
  - name: idle
    type: aggregation
    rule: {{metric: {metric}, match: {{server_group: web}}, aggregation_method: mean, granularity: 1,
           evaluation_periods: 1, comparison_operator: lt, threshold: 30, window: aligned, evaluate: boundary}}
    alarm_actions: ["{hooks}/hook/idle", "policy://in"]
    ok_actions: ["{hooks}/hook/idle"]
    insufficient_data_actions: ["{hooks}/hook/idle"]
  - name: everything
    description: Keeps every measure of the run in its window
    type: aggregation
    rule: {{metric: {metric}, match: {{rig: chaos}}, aggregation_method: mean, granularity: 1800,
           evaluation_periods: 2, comparison_operator: gt, threshold: 1000, window: aligned, evaluate: boundary}}
"""
_PROBE = """
  - name: probe-{number}
    type: threshold
    rule: {{metric: probe, resource_id: probe-{number}, aggregation_method: last, granularity: 60,
           evaluation_periods: 1, comparison_operator: gt, threshold: 0.5, window: aligned, evaluate: measure}}
    {hooks}
"""
_BEHIND = """
  - name: behind-{number}
    description: Its measures of an hour lie in the queue before anybody looks at it
    type: aggregation
    rule: {{metric: behind-{number}, match: {{rig: chaos}}, aggregation_method: mean, granularity: 60,
           evaluation_periods: 2, comparison_operator: gt, threshold: 50, window: aligned, evaluate: boundary}}
    {hooks}
  - name: behind-{number}-everything
    description: Keeps the hour in the window that both look at
    type: aggregation
    rule: {{metric: behind-{number}, match: {{rig: chaos}}, aggregation_method: mean, granularity: 1800,
           evaluation_periods: 2, comparison_operator: gt, threshold: 1000, window: aligned, evaluate: boundary}}
"""
_GROUP = """
groups:
  - {{name: {group}, min_size: {least}, max_size: {most}, min_reporting: 0,
      target: {{type: http, url: "{hooks}/group", poll_interval: 1, timeout: 3}}}}
policies:
  - {{name: out, group: {group}, adjustment_type: change_in_capacity, scaling_adjustment: 1, cooldown: {cooldown}}}
  - {{name: in, group: {group}, adjustment_type: change_in_capacity, scaling_adjustment: -1, cooldown: {cooldown}}}
"""


def _calls(hooks: str, alarm: str) -> str:
    url = f'["{hooks}/hook/{alarm}"]'
    return f"alarm_actions: {url}\n    ok_actions: {url}\n    insufficient_data_actions: {url}"


def exact(lateness: float, *, hooks: str = "http://127.0.0.1:1", behind: int = 0) -> str:
    """The alarms that an undisturbed run is compared with."""
    called = {f"hooks_{name.replace('-', '_')}": _calls(hooks, name) for name in EXACT}
    text = "alarms:" + _EXACT.format(metric=METRIC, lateness=lateness, **called)
    for number in range(behind):
        text += _BEHIND.format(number=number, hooks=_calls(hooks, f"behind-{number}"))
    return text


def document(lateness: float, *, hooks: str, behind: int = 0) -> str:
    """All that is declared.

    Args:
        lateness: seconds for which exact alarms wait for late measures; longer than any fault.
        hooks: where the receiver is.
        behind: how many times a consumer has fallen behind so far.
    """
    text = exact(lateness, hooks=hooks, behind=behind) + _REST.format(metric=METRIC, hooks=hooks)
    for number in range(PROBES):
        text += _PROBE.format(number=number, hooks=_calls(hooks, f"probe-{number}"))
    return text + _GROUP.format(group=GROUP, least=MIN_SIZE, most=MAX_SIZE, cooldown=COOLDOWN, hooks=hooks)


def declared(text: str) -> Declarations:
    """What a document declares."""
    return load({"rules.yaml": text})
