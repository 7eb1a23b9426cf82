"""Alarms whose trust is worth nothing any more."""

from autoscaler.alarms.alarm import TRUST_GONE
from autoscaler.engine.trusts import TRUST_RECHECK
from autoscaler.errors import TemporaryError, TrustGoneError
from autoscaler.measures.measure import Measure
from tests.engine.bench import Bench

URL = "trust+https://abc@hooks.example.org/x"
ALARMS = f"""
alarms:
  - name: high
    type: threshold
    rule: {{metric: load, resource_id: vm, aggregation_method: mean, granularity: 60, evaluation_periods: 1,
           comparison_operator: gt, threshold: 50, window: aligned}}
    alarm_actions: ["{URL}"]
    repeat_actions: true
"""


async def bench() -> Bench:
    there = Bench(ALARMS)
    await there.begin()
    return there


async def load(there: Bench) -> None:
    there.now += 60
    await there.take([Measure("load", "vm", there.now - 60, 90)])


async def reason(there: Bench) -> str:
    (record,) = await there.store.alarms(list(there.declared.alarms))
    assert record is not None
    return record.state_reason


async def test_a_trust_that_is_gone_is_told_once_and_not_asked_for_again() -> None:
    there = await bench()
    there.action.failures.append(TrustGoneError("no token for trust abc: the trust is gone"))
    for _ in range(4):
        await load(there)

    assert there.action.delivered == []
    assert not there.action.failures
    (letter,) = await there.store.dead_letters("action", limit=10)
    assert (letter.reason, letter.detail) == ("trust gone", "no token for trust abc: the trust is gone")
    assert TRUST_GONE in await reason(there)


async def test_it_is_tried_again_after_a_while_and_found_good() -> None:
    there = await bench()
    there.action.failures.append(TrustGoneError("the user is disabled"))
    await load(there)
    there.now += TRUST_RECHECK
    await load(there)
    await load(there)

    assert len(there.action.delivered) >= 1
    assert TRUST_GONE not in await reason(there)


async def test_a_keystone_that_is_away_says_nothing_of_a_trust() -> None:
    there = await bench()
    there.action.failures.append(TemporaryError("Keystone is away"))
    await load(there)
    await there.until(there.now + 5)

    assert len(there.action.delivered) == 1
    assert TRUST_GONE not in await reason(there)


async def test_what_is_told_by_one_trust_is_told_in_order_whichever_action_owns_it() -> None:
    """A trust of the API's is written with a note into the first action that needs it."""
    there = Bench(f"{ALARMS.replace('abc@', 'abc:delete@')}    ok_actions: [{URL}]\n")
    await there.begin()
    there.action.failures.append(TemporaryError("Keystone is away"))
    await load(there)
    there.now += 60
    await there.take([Measure("load", "vm", there.now - 60, 10)])
    await there.until(there.now + 5)

    assert [row.body["current"] for row in there.action.delivered] == ["alarm", "ok"]
