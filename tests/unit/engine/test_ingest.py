from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from autoscaler.adapters.memory import MemoryStore
from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.rules import Rule
from autoscaler.engine import ingest as ingest_module
from autoscaler.engine.ingest import Ingest, Written
from autoscaler.engine.listen import Silence
from autoscaler.engine.route import Router
from autoscaler.errors import Rejection, TemporaryError
from autoscaler.measures.derived import Derivation, Rate
from autoscaler.measures.match import EVERYTHING, Equals, Match
from autoscaler.measures.measure import Measure
from autoscaler.measures.window import ANY_PROJECT, WindowSpec
from autoscaler.ports import WindowReply, WindowWrite
from tests.building import a_rule, an_alarm

WEB, DB = Equals("server_group", "web"), Equals("server_group", "db")
CPU_UTIL = Derivation(base="cpu", rate=Rate.PER_SECOND, divisor="vcpus", divisor_metadata=("vcpus",))


def alarm(alarm_id: str, match: Match = EVERYTHING, *, project_id: str = "", **fields: Any) -> Alarm:
    return an_alarm(a_rule(match=match, single=False, **fields), alarm_id=alarm_id, project_id=project_id)


def measure(at: float, *, of: str = "r", metric: str = "cpu_util", value: float = 1.0, **metadata: str) -> Measure:
    return Measure(metric, of, at, value, metadata=metadata)


class Heard(Silence):
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def unrouted(self, count: int) -> None:
        self.counts["unrouted"] = count

    def too_old(self, count: int) -> None:
        self.counts["too old"] = count

    def rejected(self, rejection: Rejection, count: int) -> None:
        self.counts[rejection] = count


class Interrupted(MemoryStore):
    """A store that fails when told, having written or not, and lets something happen while it writes."""

    fails = False
    writes_first = False
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    async def write(self, writes: Sequence[WindowWrite]) -> list[WindowReply]:
        written = await super().write(writes) if self.writes_first or not self.fails else []
        self.meanwhile()
        if self.fails:
            raise TemporaryError("gone")
        return written


class Engine:
    """Replicas that ingest into one store, on a clock that is told."""

    def __init__(self, *alarms: Alarm) -> None:
        self.now = 100.0
        self.store = Interrupted(lambda: self.now)
        self.router = Router(alarms)
        self.heard = Heard()
        self.ingest = self.another()

    def another(self) -> Ingest:
        """A replica that holds nothing yet."""
        return Ingest(self.store, self.heard)

    async def take(self, *measures: Measure, by: Ingest | None = None, due: Sequence[str] = ()) -> Written:
        return await (by or self.ingest).write(self.router, measures, due)

    async def stored(self) -> dict[str, list[str]]:
        """Names of the series that the store holds, by the first id among the alarms that look."""
        found = {}
        for window_id, spec in self.router.windows.items():
            (reply,) = await self.store.write([WindowWrite(spec)])
            found[min(self.router.watchers[window_id])] = sorted(reply.series)
        return found


async def test_measures_are_in_every_window_that_wants_them() -> None:
    engine = Engine(alarm("all"), alarm("web", WEB))
    written = await engine.take(measure(90, server_group="web"), measure(91, of="s", server_group="db"))

    assert await engine.stored() == {"all": ["r", "s"], "web": ["r"]}
    assert set(written.views) == set(engine.router.windows)
    assert written.lag == 9.0


async def test_what_nobody_wants_is_counted_and_heard() -> None:
    engine = Engine(alarm("web", WEB))
    await engine.take(measure(90, server_group="web"), measure(90, of="s"), measure(90, metric="mem"))

    assert engine.heard.counts == {"unrouted": 2}
    assert {name for names in engine.ingest.heard.values() for name in names} == {"cpu_util", "mem"}


async def test_the_metrics_that_were_not_heard_for_longest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "HEARD_METRICS", 2)
    engine = Engine()
    for metric in ("a", "b", "a", "c"):
        await engine.take(measure(90, metric=metric))

    assert [name for names in engine.ingest.heard.values() for name in names] == ["a", "c"]


async def test_a_window_that_is_due_is_looked_at_though_nothing_came() -> None:
    engine = Engine(alarm("a"))
    (window_id,) = engine.router.windows

    assert set((await engine.take(due=[window_id, "unknown"])).views) == {window_id}


# --- what leaves -----------------------------------------------------------------------------------------------------


async def test_a_series_leaves_where_its_new_metadata_does_not_match() -> None:
    engine = Engine(alarm("db", DB), alarm("web", WEB))
    await engine.take(measure(90, server_group="web"))
    await engine.take(measure(91, server_group="db"))

    assert await engine.stored() == {"db": ["r"], "web": []}


async def test_a_series_leaves_within_a_batch() -> None:
    engine = Engine(alarm("db", DB), alarm("web", WEB))
    await engine.take(*[measure(90 + n, server_group=group) for n, group in enumerate(["web", "db", "web", "db"])])

    assert await engine.stored() == {"db": ["r"], "web": []}


async def test_a_late_measure_takes_no_series_out() -> None:
    engine = Engine(alarm("db", DB), alarm("web", WEB))
    await engine.take(measure(95, server_group="web"))
    await engine.take(measure(90, server_group="db"))

    assert await engine.stored() == {"db": ["r"], "web": ["r"]}


async def test_a_replica_that_began_later_takes_a_series_out_of_every_window_that_it_has_looked_at() -> None:
    engine = Engine(alarm("db", DB), alarm("web", WEB))
    await engine.take(measure(90, server_group="web"))
    second, (in_web,) = engine.another(), (name for name, spec in engine.router.windows.items() if spec.match == WEB)
    engine.router = Router(engine.router.by_id.values())
    await engine.take(by=second, due=[in_web])
    await engine.take(measure(91, server_group="db"), by=second)

    assert await engine.stored() == {"db": ["r"], "web": []}


async def test_replicas_that_take_turns_agree_on_where_a_series_is() -> None:
    engine = Engine(alarm("db", DB), alarm("web", WEB))
    one, two = engine.ingest, engine.another()
    await engine.take(measure(90, server_group="web"), by=one)
    await engine.take(measure(91, of="s", server_group="web"), by=two)
    await engine.take(measure(92, server_group="db"), by=two)
    await engine.take(measure(93, server_group="web"), by=two)
    await engine.take(measure(94, server_group="db"), by=one)

    assert await engine.stored() == {"db": ["r"], "web": ["s"]}


async def test_a_series_is_told_to_leave_until_it_has() -> None:
    engine = Engine(alarm("db", DB), alarm("web", WEB))
    await engine.take(measure(90, server_group="web"))
    engine.store.fails = True
    with pytest.raises(TemporaryError):
        await engine.take(measure(91, server_group="db"))
    engine.store.fails = False
    await engine.take(measure(91, server_group="db"))

    assert await engine.stored() == {"db": ["r"], "web": []}


async def test_what_a_failed_write_has_written_is_seen_by_the_next() -> None:
    engine = Engine(alarm("a"))
    await engine.take(measure(90))
    engine.store.fails = engine.store.writes_first = True
    with pytest.raises(TemporaryError):
        await engine.take(measure(91))
    engine.store.fails = False
    (view,) = (await engine.take(measure(92))).views.values()

    assert list(view.series["r"].times) == [90.0, 91.0, 92.0]


async def test_windows_in_which_nothing_left_are_not_evaluated() -> None:
    engine = Engine(alarm("db", DB), alarm("web", WEB))
    in_web = window(engine, WEB)
    await engine.take(measure(95, server_group="web"))

    assert in_web not in (await engine.take(measure(90, server_group="db"))).views
    assert in_web in (await engine.take(measure(96, server_group="db"))).views


async def test_no_project_takes_a_series_out_of_anothers_window() -> None:
    mine = alarm("a", WEB, project_id="p")
    engine = Engine(mine)
    await engine.take(Measure("cpu_util", "r", 90.0, 1.0, "p", metadata={"server_group": "web"}))
    await engine.take(Measure("cpu_util", "r", 91.0, 1.0, "q", metadata={}))

    assert await engine.stored() == {"a": ["r"]}


def window(engine: Engine, match: Match) -> str:
    (found,) = [window_id for window_id, spec in engine.router.windows.items() if spec.match == match]
    return found


# --- several metrics, and such as are made of others -----------------------------------------------------------------


async def test_several_metrics_of_a_resource_are_series_beside_each_other() -> None:
    engine = Engine(alarm("a", metric="user", further_metrics=("system",)))
    await engine.take(measure(90, metric="user"), measure(90, metric="system", value=2.0))

    assert await engine.stored() == {"a": ["r", "r\x1fsystem"]}


async def test_a_divisor_is_kept_at_the_time_of_the_sample_that_states_it() -> None:
    engine = Engine(alarm("a", derivation=CPU_UTIL))
    written = await engine.take(measure(90, metric="cpu", vcpus="2"), measure(91, metric="cpu"))
    (view,) = written.views.values()

    assert list(view.series["r\x1fcpu"].times) == [90.0, 91.0]
    assert list(view.series["r\x1fvcpus"].points()) == [(90.0, 2.0)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["stated-first", "measured-first"])
async def test_a_stated_divisor_counts_before_a_measured_one_of_the_same_time(order: tuple[int, int]) -> None:
    engine = Engine(alarm("a", derivation=CPU_UTIL))
    told = [measure(90, metric="cpu", vcpus="2"), measure(90, metric="vcpus", value=8.0)]
    (view,) = (await engine.take(*[told[index] for index in order])).views.values()

    assert list(view.series["r\x1fvcpus"].points()) == [(90.0, 2.0)]


async def test_a_divisor_leaves_with_what_it_divides_and_not_by_itself() -> None:
    engine = Engine(alarm("a", WEB, derivation=CPU_UTIL))
    await engine.take(measure(90, metric="cpu", vcpus="2", server_group="web"))
    await engine.take(measure(91, metric="vcpus"))
    assert await engine.stored() == {"a": ["r\x1fcpu", "r\x1fvcpus"]}

    await engine.take(measure(92, metric="cpu", vcpus="2", server_group="db"))
    assert await engine.stored() == {"a": []}


async def test_a_sample_that_states_its_divisor_is_too_old_once() -> None:
    engine = Engine(alarm("a", derivation=CPU_UTIL))
    await engine.take(measure(100, metric="cpu", vcpus="2"))
    await engine.take(measure(1, metric="cpu", vcpus="2"))

    assert engine.heard.counts == {"too old": 1}


# --- limits, and alarms that change meanwhile ------------------------------------------------------------------------


class Narrow(Router):
    """Windows that hold two series."""

    def _watch_window(self, alarm: Alarm, spec: WindowSpec) -> bool:
        return super()._watch_window(alarm, WindowSpec(spec.project_id, spec.metrics, spec.match, spec.horizon, 2))


async def test_measures_of_series_without_room_are_told() -> None:
    engine = Engine()
    engine.router = Narrow([alarm("a")])
    told = [measure(90, of=name) for name in ("r", "s", "t")]
    written = await engine.take(*told)

    assert len(written.refused) == 1
    assert written.refused[0] in told
    assert engine.heard.counts == {Rejection.TOO_MANY_SERIES: 1}


async def test_a_sample_whose_divisor_has_no_room_is_told() -> None:
    engine = Engine()
    engine.router = Narrow([alarm("a", derivation=CPU_UTIL)])
    await engine.take(measure(90, of="r", metric="cpu"), measure(90, of="s", metric="cpu"))
    sample = measure(91, of="s", metric="cpu", vcpus="2")

    assert (await engine.take(sample)).refused == [sample]


async def test_a_window_that_vanishes_while_it_is_written_is_not_evaluated() -> None:
    engine = Engine(alarm("a"), alarm("web", WEB))
    engine.store.meanwhile = lambda: engine.router.remove("a")
    written = await engine.take(measure(90, server_group="web"))

    assert set(written.views) == set(engine.router.windows) == {window(engine, WEB)}
    assert written.refused == []


async def test_a_forgotten_window_is_read_whole_when_it_is_there_again() -> None:
    engine = Engine(alarm("a"))
    await engine.take(measure(90))
    engine.ingest.forget(engine.router.remove("a").vanished)
    await engine.take(measure(91))
    engine.router.put(alarm("a"))
    (view,) = (await engine.take(measure(92))).views.values()

    assert list(view.series["r"].times) == [90.0, 92.0]


async def test_what_is_read_of_a_sensor_of_any_project_leaves_by_the_word_of_any() -> None:
    engine = Engine(alarm("a", WEB, project_id=ANY_PROJECT))
    await engine.take(Measure("cpu_util", "r", 90.0, 1.0, "p", metadata={"server_group": "web"}))
    await engine.take(Measure("cpu_util", "r", 91.0, 1.0, "p", metadata={"server_group": "db"}))

    assert await engine.stored() == {"a": []}


def test_a_rule_with_a_derivation_keeps_what_it_is_made_of() -> None:
    rule = a_rule(derivation=CPU_UTIL)

    assert isinstance(rule, Rule)
    assert rule.metrics == ("cpu_util", "cpu", "vcpus")
