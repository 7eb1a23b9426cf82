"""Aodh's own answer to "within a time constraint?", with its clock set."""

import json
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

from aodh.evaluator import Evaluator
from oslo_utils import timeutils


def answer(case):
    timeutils.set_time_override(datetime.fromtimestamp(case["now"], UTC))
    try:
        return Evaluator.within_time_constraint(SimpleNamespace(time_constraints=case["constraints"]))
    except Exception as error:  # noqa: BLE001 - Aodh logs whatever is raised and leaves the alarm alone
        return f"{type(error).__name__}: {error}"


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
