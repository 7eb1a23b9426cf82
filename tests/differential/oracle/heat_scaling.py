"""Heat's own new capacity, and its own groups driven through signals with a set clock."""

import json
import sys
from datetime import UTC, datetime, timedelta

from heat.common import grouputils
from heat.engine import resource
from heat.engine.notification import autoscaling as notification
from heat.engine.resources.openstack.heat import autoscaling_group
from heat.scaling import scalingutil
from oslo_utils import timeutils

START = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)

grouputils.get_size = lambda group: group.members
notification.send = lambda **_: None


def capacity(kind, current, adjustment, min_step, least, most):
    return scalingutil.calculate_new_capacity(current, adjustment, kind, min_step, least, most)


class FailedError(Exception):
    """The resize went wrong."""


class Group(autoscaling_group.AutoScalingResourceGroup):
    """Heat's group, with the members and the database row of a test."""

    status = "COMPLETE"
    stack = None

    def __new__(cls, trace):
        # Heat's looks for the class in an environment
        return object.__new__(cls)

    def __init__(self, trace):
        self.name = "group"
        self.properties = {
            self.MIN_SIZE: trace["min"],
            self.MAX_SIZE: trace["max"],
            self.COOLDOWN: trace["group_cooldown"],
        }
        self.members = trace["initial"]
        self.row = {}

    def metadata_get(self):
        return json.loads(json.dumps(self.row))

    def metadata_set(self, metadata):
        self.row = metadata

    def FnGetRefId(self):  # noqa: N802 - Heat's name
        return "group"

    def resize(self, size):
        self.resizing(size)

    def signal(self, signal):
        """What came of a signal, in words."""
        try:
            self.adjust(signal["adjustment"], signal["type"], signal["min_step"], signal["cooldown"])
        except FailedError:
            return "failed"
        except resource.NoActionRequired as refusal:
            why = str(refusal)
            reasons = {"scaling activity": "ignored:in-progress", "cooldown": "ignored:cooldown"}
            return next((name for words, name in reasons.items() if words in why), "ignored:no-change")
        return "accepted"


def at(seconds):
    timeutils.set_time_override(START + timedelta(seconds=seconds))


def end_of(row):
    return next(((datetime.fromisoformat(end) - START).total_seconds() for end in row.get("cooldown_end", {})), None)


def played(trace):
    group = Group(trace)
    at(trace["created_at"])
    group._finished_scaling(trace["group_cooldown"], "created")
    results = []
    for step in trace["steps"]:
        done = step["t"]
        inner = {}

        def resizing(size, step=step, inner=inner):
            if "inner" in step:
                at(step["t"] + step["inner"]["after"])
                inner["inner"] = step["inner"] | {"result": group.signal(step["inner"])}
            at(step["t"] + step["resize_secs"])
            if step["resize_fails"]:
                raise FailedError
            group.members = size

        group.resizing = resizing
        at(step["t"])
        result = group.signal(step)
        if not result.startswith("ignored"):
            done = step["t"] + step["resize_secs"]
        answer = {"result": result, "size": group.members, "t_done": done, "cooldown_end": end_of(group.row)}
        results.append(step | inner | answer)
    return results


asked = json.load(sys.stdin)
answers = {
    "capacity": [capacity(*case) for case in asked["capacity"]],
    "traces": [played(trace) for trace in asked["traces"]],
}
json.dump(answers, sys.stdout)
