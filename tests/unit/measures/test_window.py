from __future__ import annotations

import pytest

from autoscaler.measures.match import EVERYTHING, Equals
from autoscaler.measures.window import WindowSpec
from tests.building import a_view

SPEC = WindowSpec("p", ("cpu",), Equals("az", "1"), 60.0, 5, 100)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(WindowSpec("p", ("cpu",), Equals("az", "1"), 999.0, 1, 1), True, id="however-long-and-large"),
        pytest.param(WindowSpec("", ("cpu",), Equals("az", "1"), 60.0), False, id="another-scope"),
        pytest.param(WindowSpec("p", ("mem",), Equals("az", "1"), 60.0), False, id="another-metric"),
        pytest.param(WindowSpec("p", ("cpu", "mem"), Equals("az", "1"), 60.0), False, id="one-metric-more"),
        pytest.param(WindowSpec("p", ("cpu",), EVERYTHING, 60.0), False, id="other-series"),
    ],
)
def test_a_window_is_named_by_what_it_holds(other: WindowSpec, *, same: bool) -> None:
    assert (other.window_id == SPEC.window_id) is same


def test_a_windows_name_never_changes() -> None:
    # it is a key of what is stored
    assert SPEC.window_id == "e14f9121984396aa821d7b77"


def test_a_shared_window_is_as_long_and_large_as_any_of_its_alarms_needs() -> None:
    wide = SPEC.widened(WindowSpec("p", ("cpu",), Equals("az", "1"), 30.0, 50, 10))

    assert wide == WindowSpec("p", ("cpu",), Equals("az", "1"), 60.0, 50, 100)


def test_the_part_that_members_reported_keeps_the_windows_time() -> None:
    view = a_view({"a": [(1.0, 2.0)], "b": [(9.0, 2.0)]}, now=10.0, version=4, late=1.0)
    part = view.only(["a", "zoe"])

    assert set(part.series) == {"a"}
    assert (part.version, part.asof, part.newest, part.late) == (4, 10.0, 9.0, 1.0)


def test_the_part_of_a_member_is_every_metric_of_it() -> None:
    view = a_view({name: [(1.0, 2.0)] for name in ("a", "a\x1fcpu", "b\x1fcpu", "ab")}, now=10.0)

    assert set(view.only(["a"]).series) == {"a", "a\x1fcpu"}
