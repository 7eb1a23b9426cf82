from __future__ import annotations

from typing import Any

import pytest

from autoscaler.engine import windows as windows_module
from autoscaler.engine.windows import WindowCopies
from autoscaler.measures.series import pack
from autoscaler.ports import WindowReply
from tests.building import a_series

HORIZON = 60.0


def reply(version: int, *, whole: bool = False, **fields: Any) -> WindowReply:
    plain: dict[str, Any] = {"asof": 100.0, "newest": 100.0, "series": {}}
    return WindowReply(version=version, whole=whole, **(plain | fields))


def test_nothing_is_held_at_first() -> None:
    assert WindowCopies().version("w") == 0


def test_a_whole_window_replaces_what_was_held() -> None:
    copies = WindowCopies()
    copies.apply("w", reply(1, whole=True, series={"a": pack([(90.0, 1.0)])}), HORIZON)
    view = copies.apply("w", reply(5, whole=True, series={"b": pack([(95.0, 2.0)])}), HORIZON)

    assert view.series == {"b": a_series([(95.0, 2.0)])}
    assert (copies.version("w"), view.asof, view.newest) == (5, 100.0, 100.0)


def test_what_was_lacking_is_put_beside_what_was_held_and_what_is_gone_goes() -> None:
    copies = WindowCopies()
    series = {name: pack([(90.0, 1.0)]) for name in "abc"}
    copies.apply("w", reply(1, whole=True, series=series), HORIZON)
    changed = {"b": pack([(90.0, 1.0), (101.0, 2.0)])}
    view = copies.apply("w", reply(2, asof=102.0, newest=101.0, series=changed, gone=["c", "never-there"]), HORIZON)

    assert view.series == {"a": a_series([(90.0, 1.0)]), "b": a_series([(90.0, 1.0), (101.0, 2.0)])}
    assert (view.version, view.asof, view.newest) == (2, 102.0, 101.0)


def test_a_reply_that_is_not_whole_begins_a_copy_where_none_is_held() -> None:
    view = WindowCopies().apply("w", reply(1, series={"a": pack([(90.0, 1.0)])}), HORIZON)

    assert set(view.series) == {"a"}


@pytest.mark.parametrize(
    ("asof", "newest", "left"),
    [
        pytest.param(100.0, 100.0, {"a", "b"}, id="within-the-horizon"),
        pytest.param(110.0, 110.0, {"b"}, id="at-the-cutoff-it-is-out"),
        pytest.param(500.0, 100.0, {"a", "b"}, id="silence-of-all-drops-nobody"),
        pytest.param(100.0, 160.0, {"a", "b"}, id="nor-does-a-fast-clock"),
        pytest.param(100.0, None, {"a", "b"}, id="nothing-newest-drops-nothing"),
    ],
)
def test_a_series_leaves_with_its_last_point(asof: float, newest: float | None, left: set[str]) -> None:
    series = {"a": pack([(50.0, 1.0)]), "b": pack([(99.0, 1.0)])}
    view = WindowCopies().apply("w", reply(1, whole=True, asof=asof, newest=newest, series=series), HORIZON)

    assert set(view.series) == left


def test_an_empty_series_is_none() -> None:
    view = WindowCopies().apply("w", reply(1, whole=True, series={"a": b""}), HORIZON)

    assert view.series == {}


def test_a_forgotten_window_is_asked_for_whole() -> None:
    copies = WindowCopies()
    copies.apply("w", reply(3, whole=True), HORIZON)
    copies.forget("w")
    copies.forget("never-there")

    assert copies.version("w") == 0


def test_the_window_that_was_not_written_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_module, "HELD_WINDOWS", 2)
    copies = WindowCopies()
    for window_id in ("u", "v", "u", "w"):
        copies.apply(window_id, reply(1, whole=True), HORIZON)

    assert [copies.version(window_id) for window_id in "uvw"] == [1, 0, 1]


def test_how_far_back_was_written_outlives_a_new_copy_until_it_is_evaluated() -> None:
    copies = WindowCopies()
    copies.apply("w", reply(1, whole=True), HORIZON).late = 42.0

    assert copies.apply("w", reply(7, whole=True), HORIZON).late == 42.0
