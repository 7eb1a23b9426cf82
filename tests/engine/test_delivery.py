"""What becomes of actions that cannot be delivered."""

from autoscaler.engine.listen import Silence
from autoscaler.errors import AddressRefusedError
from autoscaler.measures.measure import Measure
from autoscaler.ports import OutboxRow
from tests.engine.bench import Bench

ALARMS = """
alarms:
  - name: high
    type: threshold
    rule: {metric: load, resource_id: vm, aggregation_method: mean, granularity: 60, evaluation_periods: 1,
           comparison_operator: gt, threshold: 50, window: aligned}
    alarm_actions: ["https://hooks.example.org/x"]
"""


class Heard(Silence):
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def acted(self, row: OutboxRow, outcome: str, seconds: float) -> None:
        self.outcomes.append(outcome)


async def test_an_action_that_may_not_go_where_it_leads_is_buried_and_counted_as_such() -> None:
    heard = Heard()
    there = Bench(ALARMS, listener=heard)
    await there.begin()
    there.action.failures.append(AddressRefusedError("POST https://hooks.example.org/x: address refused"))
    there.now += 60
    await there.take([Measure("load", "vm", there.now - 60, 90)])

    (letter,) = await there.store.dead_letters("action", limit=10)
    assert (letter.reason, letter.detail) == ("address refused", "POST https://hooks.example.org/x: address refused")
    assert there.action.delivered == []
    assert heard.outcomes == ["address refused"]


async def test_an_action_says_whether_its_alarm_is_declared() -> None:
    there = Bench(ALARMS.replace("type: threshold", "type: threshold\n    project_id: shop"))
    await there.begin()
    there.now += 60
    await there.take([Measure("load", "vm", there.now - 60, 90, project_id="shop")])

    (row,) = there.action.delivered
    assert (row.declared, row.project_id) == (True, "shop")
