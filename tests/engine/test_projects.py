"""Whose alarms move whose groups."""

from __future__ import annotations

from tests.engine.bench import Bench
from tests.engine.test_overload_and_guards import cpu, document


async def test_an_alarm_of_the_operator_moves_the_group_of_a_project() -> None:
    bench = Bench(document(project_id="tenant"), size=1)
    await bench.begin()
    while bench.now < 1060:
        await bench.take([cpu("web-1", bench.now, 95.0)])
        await bench.until(bench.now + 5)

    assert (await bench.moves())[0] == (1, 3)
