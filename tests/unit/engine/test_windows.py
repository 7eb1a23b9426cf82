from __future__ import annotations

from typing import Any

import pytest

from autoscaler.engine import windows as windows_module
from autoscaler.engine.windows import WindowCopies
from autoscaler.measures.match import EVERYTHING
from autoscaler.measures.series import pack
from autoscaler.measures.window import WindowSpec
from autoscaler.ports import WindowReply, WindowWrite
from tests.building import a_series


def spec(*metrics: str, name: str = "w") -> WindowSpec:
    """A window of a minute; those of other names are others."""
    return WindowSpec(name, metrics or ("cpu",), EVERYTHING, 60.0)


W = spec()
POINT = pack([(90.0, 1.0)])


def reply(version: int, *, whole: bool = False, **fields: Any) -> WindowReply:
    plain: dict[str, Any] = {"asof": 100.0, "newest": 100.0, "series": {}}
    return WindowReply(version=version, whole=whole, **(plain | fields))


def test_nothing_is_held_at_first() -> None:
    assert WindowCopies().version("w") == 0


def test_a_whole_window_replaces_what_was_held() -> None:
    copies = WindowCopies()
    copies.apply(WindowWrite(W), reply(1, whole=True, series={"a": pack([(90.0, 1.0)])}))
    view = copies.apply(WindowWrite(W), reply(5, whole=True, series={"b": pack([(95.0, 2.0)])}))

    assert view.series == {"b": a_series([(95.0, 2.0)])}
    assert (copies.version(W.window_id), view.asof, view.newest) == (5, 100.0, 100.0)


def test_what_was_lacking_is_put_beside_what_was_held_and_what_is_gone_goes() -> None:
    copies = WindowCopies()
    series = {name: pack([(90.0, 1.0)]) for name in "abc"}
    copies.apply(WindowWrite(W), reply(1, whole=True, series=series))
    changed = {"b": pack([(90.0, 1.0), (101.0, 2.0)])}
    view = copies.apply(WindowWrite(W), reply(2, asof=102.0, newest=101.0, series=changed, gone=["c", "never-there"]))

    assert view.series == {"a": a_series([(90.0, 1.0)]), "b": a_series([(90.0, 1.0), (101.0, 2.0)])}
    assert (view.version, view.asof, view.newest) == (2, 102.0, 101.0)


def test_of_a_reply_that_is_not_whole_there_is_no_copy_where_none_is_held() -> None:
    copies = WindowCopies()

    assert copies.apply(WindowWrite(W), reply(1, series={"a": pack([(90.0, 1.0)])})) is None
    assert copies.version(W.window_id) == 0


def test_what_was_written_is_put_behind_what_was_held() -> None:
    copies = WindowCopies()
    copies.apply(WindowWrite(W), reply(1, whole=True, series={"a": pack([(90.0, 1.0), (91.0, 2.0)]), "b": POINT}))
    more = {"a": pack([(92.0, 3.0), (93.0, 4.0)]), "b": pack([(91.0, 5.0)])}
    view = copies.apply(WindowWrite(W, 1, more), reply(2, grown={"a": 3, "b": 0}))

    assert view is not None
    assert view.series == {"a": a_series([(93.0, 4.0)]), "b": a_series([(90.0, 1.0), (91.0, 5.0)])}


def test_what_was_computed_of_a_series_is_forgotten_when_it_grows() -> None:
    copies = WindowCopies()
    view = copies.apply(WindowWrite(W), reply(1, whole=True, series={"a": POINT}))
    assert view is not None
    view.series["a"].memo["mean"] = 1.0
    copies.apply(WindowWrite(W, 1, {"a": pack([(91.0, 5.0)])}), reply(2, grown={"a": 0}))

    assert view.series["a"].memo == {}


def test_a_series_that_grew_leaves_with_its_last_point() -> None:
    copies = WindowCopies()
    copies.apply(WindowWrite(W), reply(1, whole=True, series={"a": pack([(60.0, 1.0)]), "b": pack([(61.0, 1.0)])}))
    copies.apply(WindowWrite(W, 1, {"a": pack([(105.0, 1.0)])}), reply(2, asof=105.0, newest=105.0, grown={"a": 0}))
    view = copies.apply(WindowWrite(W), reply(3, asof=122.0, newest=122.0))

    assert view is not None
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
    view = WindowCopies().apply(WindowWrite(W), reply(1, whole=True, asof=asof, newest=newest, series=series))

    assert set(view.series) == left


def test_an_empty_series_is_none() -> None:
    view = WindowCopies().apply(WindowWrite(W), reply(1, whole=True, series={"a": b""}))

    assert view.series == {}


def test_a_forgotten_window_is_asked_for_whole() -> None:
    copies = WindowCopies()
    copies.apply(WindowWrite(W), reply(3, whole=True))
    copies.forget(W.window_id)
    copies.forget("never-there")

    assert copies.version(W.window_id) == 0


def held(copies: WindowCopies, names: str) -> str:
    return "".join(name for name in names if copies.version(spec(name=name).window_id))


def test_a_window_that_was_not_written_for_long_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_module, "HELD_WINDOWS", 2)
    copies = WindowCopies()
    for name, asof in (("u", 100.0), ("v", 100.0), ("u", 300.0), ("w", 701.0)):
        copies.apply(WindowWrite(spec(name=name)), reply(1, whole=True, asof=asof, series={"a": POINT}))

    assert held(copies, "uvw") == "uw"
    assert set(copies.holding("cpu", "a", ())) == {spec(name="u").window_id, spec(name="w").window_id}


def test_of_too_many_windows_that_are_written_in_turn_some_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_module, "HELD_WINDOWS", 2)
    copies = WindowCopies()
    for turn in range(3):
        for name in "uvw":
            view = copies.apply(
                WindowWrite(spec(name=name)), reply(1, whole=True, asof=100.0 + 60.0 * turn, series={"a": POINT})
            )
            assert view is not None
            assert view.series == {"a": a_series([(90.0, 1.0)])}

    assert held(copies, "uvw") == "uv"


def test_how_far_back_was_written_outlives_a_new_copy_until_it_is_evaluated() -> None:
    copies = WindowCopies()
    copies.apply(WindowWrite(W), reply(1, whole=True)).late = 42.0

    assert copies.apply(WindowWrite(W), reply(7, whole=True)).late == 42.0


def test_a_window_in_doubt_is_asked_for_whole_and_still_known_to_hold_what_it_held() -> None:
    copies = WindowCopies()
    copies.apply(WindowWrite(W), reply(3, whole=True, series={"a": POINT}))
    copies.doubt(W.window_id)
    copies.doubt("never-there")

    assert copies.version(W.window_id) == 0
    assert copies.holding("cpu", "a", ()) == (W.window_id,)
    copies.apply(WindowWrite(W), reply(9, whole=True, series={"b": POINT}))
    assert copies.version(W.window_id) == 9


def test_who_looks_at_a_copy_is_not_disturbed_by_a_whole_one() -> None:
    copies = WindowCopies()
    before = copies.apply(WindowWrite(W), reply(1, whole=True, series={"a": POINT}))
    copies.apply(WindowWrite(W), reply(5, whole=True, series={"b": POINT}))

    assert (before.version, set(before.series)) == (1, {"a"})


def test_which_windows_hold_a_series_is_known() -> None:
    copies, other = WindowCopies(), spec("cpu_util", "cpu", name="v")
    copies.apply(WindowWrite(W), reply(1, whole=True, series={"a": POINT}))
    copies.apply(WindowWrite(other), reply(1, whole=True, series={"a": POINT, "a\x1fcpu": POINT}))

    assert set(copies.holding("cpu", "a", ())) == {W.window_id, other.window_id}
    assert list(copies.holding("cpu", "a", {W.window_id})) == [other.window_id]
    assert copies.holding("cpu_util", "a", ()) == (other.window_id,)
    assert (copies.holding("cpu", "b", ()), copies.holding("mem", "a", ())) == ((), ())


@pytest.mark.parametrize(
    "next_reply",
    [
        pytest.param(reply(2, gone=["a"]), id="told-to-be-gone"),
        pytest.param(reply(7, whole=True, series={"b": POINT}), id="not-in-the-whole"),
        pytest.param(reply(2, asof=200.0, newest=200.0), id="silent"),
    ],
)
def test_a_window_holds_a_series_no_longer_than_its_copy_does(next_reply: WindowReply) -> None:
    copies = WindowCopies()
    copies.apply(WindowWrite(W), reply(1, whole=True, series={"a": POINT}))
    copies.apply(WindowWrite(W), next_reply)

    assert copies.holding("cpu", "a", ()) == ()


@pytest.mark.parametrize("first", ["cpu_util", "cpu"], ids=["several-metrics", "a-resource-id-like-a-series-name"])
def test_nothing_is_left_of_a_forgotten_window(first: str) -> None:
    copies, window = WindowCopies(), spec(first, "cpu")
    copies.apply(WindowWrite(window), reply(1, series={"a": POINT, "a\x1fcpu": POINT}))
    copies.forget(window.window_id)

    assert (copies._copies, copies._holders) == ({}, {})


def test_who_evaluates_a_window_that_is_forgotten_keeps_it_as_it_was() -> None:
    copies = WindowCopies()
    view = copies.apply(WindowWrite(W), reply(1, whole=True, series={"a": POINT}))
    copies.forget(W.window_id)

    assert list(view.series) == ["a"]
    assert not copies.holding("cpu", "a", ())
