"""What people do to alarms while a controller waits for its store, or for somebody else's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import pytest
from msgspec.structs import replace

from autoscaler.adapters.memory import MemoryStore
from autoscaler.adapters.redis import RedisStore
from autoscaler.alarms.alarm import AlarmRecord, AlarmState
from autoscaler.alarms.definition import Definition
from autoscaler.alarms.events import KEPT_EVENTS
from autoscaler.alarms.observation import Observation, Sample, Samples
from autoscaler.alarms.rules import PoolHealthRule, PrometheusRule
from autoscaler.engine.controller import PROBES_AT_ONCE, UNKNOWN_KEPT, UNKNOWN_REMEMBERED
from autoscaler.engine.evaluate import Evaluator
from autoscaler.engine.listen import Silence
from autoscaler.engine.orders import Orders
from autoscaler.engine.run import Runner, Wake
from autoscaler.errors import TemporaryError
from autoscaler.ports import Acceptance, Accepted, DefinitionChanges, Definitions, Retry, Stale, WorkItem
from tests.engine.bench import Bench
from tests.engine.test_definitions import SOMEBODY, a_definition
from tests.engine.test_events_and_probes import an_event

Meanwhile = Callable[[], Awaitable[object]]


class SlowStore(MemoryStore):
    """Answers, and before the answer arrives something else happens, once."""

    after_alarms: Meanwhile | None = None
    after_changes: Meanwhile | None = None
    after_definitions: Meanwhile | None = None

    async def alarms(self, alarm_ids: Sequence[str]) -> list[AlarmRecord | None]:
        answer = await super().alarms(alarm_ids)
        meanwhile, self.after_alarms = self.after_alarms, None
        if meanwhile is not None:
            await meanwhile()
        return answer

    async def changes(self, position: str, *, patience: float) -> DefinitionChanges:
        answer = await super().changes(position, patience=patience)
        meanwhile, self.after_changes = self.after_changes, None
        if meanwhile is not None:
            await meanwhile()
        return answer

    async def definitions(self) -> Definitions:
        answer = await super().definitions()
        meanwhile, self.after_definitions = self.after_definitions, None
        if meanwhile is not None:
            await meanwhile()
        return answer


async def a_slow_bench(replicas: int = 1) -> tuple[Bench, SlowStore, list[Orders]]:
    bench = Bench("alarms: []", replicas=replicas)
    bench.store = store = SlowStore(lambda: bench.now)
    bench.controllers = [bench._controller(f"replica-{number}") for number in range(replicas)]
    await bench.begin()
    return bench, store, [Orders(controller, lambda _: None) for controller in bench.controllers]


async def test_an_alarm_that_is_changed_while_it_is_evaluated() -> None:
    bench, store, (orders,) = await a_slow_bench()
    changing = (await orders.create(a_definition(name="changing"), None, SOMEBODY))[0].alarm.alarm_id
    await bench.follow()
    await bench.measure("cpu", "r1", 10.0)
    await orders.create(a_definition(name="new, whose record must be fetched"), None, SOMEBODY)
    composite = {"or": [{"type": "gnocchi_resources_threshold", **a_definition(name="x").rule, "metric": "memory"}] * 2}
    store.after_alarms = lambda: orders.replace(
        changing, a_definition(type="composite", rule=composite), None, SOMEBODY
    )

    await bench.measure("cpu", "r1", 90.0)
    await bench.follow()

    assert await bench.state(changing) is not AlarmState.ALARM


async def test_an_alarm_that_is_removed_while_it_is_evaluated() -> None:
    bench, store, (orders,) = await a_slow_bench()
    going = (await orders.create(a_definition(name="going"), None, SOMEBODY))[0].alarm.alarm_id
    await bench.follow()
    await bench.measure("cpu", "r1", 10.0)
    staying = (await orders.create(a_definition(name="staying"), None, SOMEBODY))[0].alarm.alarm_id
    store.after_alarms = lambda: orders.delete(going, SOMEBODY)

    await bench.measure("cpu", "r1", 90.0)
    await bench.follow()

    assert await bench.store.alarms([going]) == [None]
    assert going not in bench.controller._evaluator._ledger._records
    assert await bench.state(staying) is AlarmState.ALARM


async def test_who_catches_up_brings_back_nothing_that_was_removed_meanwhile() -> None:
    bench, store, (first, _) = await a_slow_bench(replicas=2)
    alarm_id = (await first.create(a_definition(), None, SOMEBODY))[0].alarm.alarm_id

    async def removed() -> None:
        await first.delete(alarm_id, SOMEBODY)
        await bench.controllers[1].follow()

    store.after_changes = removed
    await bench.controllers[1].catch_up()
    await bench.follow()

    assert not bench.controllers[1].router.by_id
    assert bench.controllers[1].catalogue.get(alarm_id) is None


async def test_an_alarm_that_is_made_while_all_are_read_anew_stays() -> None:
    bench, store, (orders,) = await a_slow_bench()
    store.after_definitions = lambda: orders.create(a_definition(), None, SOMEBODY)

    await bench.controller.restore()

    assert len(bench.controller.catalogue.of(None)) == 1


@pytest.mark.parametrize("anew", [False, True])
async def test_an_alarm_that_is_gone_and_made_anew_while_all_are_understood_stays(
    *, anew: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, store, (orders,) = await a_slow_bench()
    listing = (await orders.create(a_definition(), None, SOMEBODY))[0]
    alarm_id, definition = listing.alarm.alarm_id, listing.definition

    class Understood(list[Definition]):
        def __iter__(self) -> Iterator[Definition]:
            if anew:
                bench.controller._learn(alarm_id, replace(definition, revision=definition.revision + 1))
            return iter(())

    async def definitions() -> Definitions:
        return Definitions(Understood(), [], "0")

    monkeypatch.setattr(store, "definitions", definitions)
    await bench.controller.restore()

    assert [each.alarm.alarm_id for each in bench.controller.catalogue.of(None)] == [alarm_id] * anew


@pytest.mark.service
async def test_who_catches_up_knows_all_changes_however_many(redis_url: str) -> None:
    stores = [RedisStore(redis_url, namespace="meanwhile", shards=1) for _ in range(2)]
    bench = Bench("alarms: []", replicas=2)
    for controller, store in zip(bench.controllers, stores, strict=True):
        controller.store = controller.scaler._store = store
        await bench._adopt(controller)
    first, second = (Orders(controller, lambda _: None) for controller in bench.controllers)
    made = [
        (await first.create(a_definition(name=str(number)), None, SOMEBODY))[0].alarm.alarm_id for number in range(1200)
    ]

    assert (await second.listing(made[-1])).alarm.name == "1199"
    for store in stores:
        await store.close()


async def test_work_that_another_has_dropped_is_not_remembered_for_ever() -> None:
    bench, store, _ = await a_slow_bench(replicas=2)
    await store.mark([WorkItem("window", "nobody's", bench.now)])
    for replica in (0, 1, 1):
        await bench.controllers[replica].claim()
        bench.now += UNKNOWN_KEPT + 1
    assert bench.controller._unknown_since

    bench.now += UNKNOWN_REMEMBERED
    claimed = await bench.controller.claim()

    assert not bench.controller._unknown_since
    assert claimed.next_due is None


class LossyStore(MemoryStore):
    """Loses one answer to ``accept``."""

    accepted = 0

    async def accept(self, acceptances: Sequence[Acceptance], *, lease: float) -> list[Accepted | Stale | Retry]:
        answers = await super().accept(acceptances, lease=lease)
        self.accepted += 1
        if self.accepted == 3 * KEPT_EVENTS:
            raise TemporaryError("the answer is lost")
        return answers


async def test_many_events_fire_once_each_though_the_store_was_away_meanwhile() -> None:
    wake, store = Wake(), LossyStore(lambda: 1000.0)
    bench = Bench("alarms: []")
    bench.store = store
    bench.controllers = [bench._controller("replica")]
    await bench.begin()
    rule = {"event_type": "*", "query": []}
    made = a_definition(type="event", rule=rule, repeat_actions=True, alarm_actions=())
    listing, _ = await Orders(bench.controller, lambda _: None).create(made, None, SOMEBODY)

    async def unchanged(_: str) -> None:
        """Nothing is published."""

    runner = Runner(
        bench.controller,
        (),
        wake=wake,
        clock=lambda: 1000.0,
        replica="r",
        version="0",
        max_hold=600.0,
        generation_changed=unchanged,
    )
    events = [an_event(f"m{number}") for number in range(5 * KEPT_EVENTS)]
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(runner.run())
        await runner.submit((), events)
        runner.stop()
        await running

    entries = await store.history(listing.alarm.alarm_id, limit=1000)
    assert [entry.type for entry in entries].count("state transition") == len(events)


async def test_what_could_not_be_tallied_is_tallied_next_time() -> None:
    stored: dict[str, Mapping[str, int]] = {}

    class Away(MemoryStore):
        away = True

        async def tally(self, counts: Mapping[str, Mapping[str, int]]) -> None:
            if self.away:
                raise TemporaryError("away")
            stored.update(counts)

    store = Away(lambda: 1000.0)
    evaluator = Evaluator(store, Silence(), count=True)
    assert evaluator._counts is not None
    evaluator._counts["a"]["ok"] = 2

    with pytest.raises(TemporaryError):
        await evaluator.tally()
    store.away = False
    evaluator._counts["a"]["ok"] += 1
    await evaluator.tally()

    assert stored == {"a": {"ok": 3}}


class Crowd:
    """A service that answers once ``wanted`` have asked at a time, or after a moment."""

    def __init__(self, wanted: int) -> None:
        self.asking = self.most = 0
        self._enough = asyncio.Event()
        self._wanted = wanted

    async def look(self, rule: PrometheusRule | PoolHealthRule) -> Observation:
        self.asking += 1
        self.most = max(self.most, self.asking)
        if self.asking == self._wanted:
            self._enough.set()
        try:
            async with asyncio.timeout(0.5):
                await self._enough.wait()
        except TimeoutError:
            pass
        self.asking -= 1
        return Samples((Sample({}, 0.0),))


PART = {"type": "prometheus", "query": "up", "threshold": 1.0, "comparison_operator": "lt"}


async def test_all_parts_of_an_alarm_are_asked_for_at_a_time() -> None:
    crowd = Crowd(20)
    bench = Bench("alarms: []", probes={PrometheusRule: crowd})
    await bench.begin()
    rule = {"and": [{**PART, "query": f"up{number}"} for number in range(20)]}
    orders = Orders(bench.controller, lambda _: None)
    listing, _ = await orders.create(a_definition(type="composite", rule=rule), None, SOMEBODY)
    await bench.follow()

    assert crowd.most == 20
    assert await bench.state(listing.alarm.alarm_id) is AlarmState.ALARM


async def test_a_service_is_asked_no_more_than_so_many_questions_at_a_time() -> None:
    crowd = Crowd(PROBES_AT_ONCE + 1)
    bench = Bench("alarms: []", probes={PrometheusRule: crowd})
    await bench.begin()
    orders = Orders(bench.controller, lambda _: None)
    rule = {key: value for key, value in PART.items() if key != "type"}
    for number in range(PROBES_AT_ONCE + 50):
        await orders.create(a_definition(type="prometheus", name=f"{number}", rule=rule), None, SOMEBODY)
    await bench.controller.follow()
    claimed = await bench.controller.claim()
    async with asyncio.TaskGroup() as group:
        for item in claimed.items:
            group.create_task(bench.controller.do(item))

    assert len(claimed.items) == PROBES_AT_ONCE + 50
    assert crowd.most == PROBES_AT_ONCE
