import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.declarations import load, warnings
from autoscaler.errors import DeclarationError
from tests.unit.declarations.examples import WHOLE, places, put

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["policy://out", "http://[", "mean", "rate:", "*/5 * * * *", "any", "\x00", "9" * 300, 10**300]),
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.sampled_from(["=", "like", "and", "type", "name", "metric"]), st.text(max_size=3), max_size=2),
)


@given(st.lists(st.tuples(st.sampled_from(places(WHOLE)[1:]), ODD), min_size=1, max_size=3))
def test_whatever_stands_anywhere_is_taken_or_refused_with_its_place(changes: list[tuple[Any, Any]]) -> None:
    document = copy.deepcopy(WHOLE)
    for path, value in changes:
        put(document, path, value)
    text = json.dumps(document, indent=1)

    try:
        warnings(load({"f.yaml": text}))
    except DeclarationError as error:
        lines = text.splitlines()
        for problem in error.problems:
            assert problem.expected
            assert problem.column <= len(lines[problem.line - 1])


def test_the_whole_of_it_is_valid() -> None:
    assert warnings(load({"f.yaml": json.dumps(WHOLE)}))
