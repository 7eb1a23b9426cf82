"""Every target keeps its promise on what the fuzzer begins with, and on what comes of that by damage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import ASKING, TARGETS

pytestmark = pytest.mark.slow

AT_MOST = 100
"""Seeds of one target, from all of them evenly."""


@pytest.fixture(autouse=True, scope="module")
def _ended() -> Iterator[None]:
    yield
    ASKING.close()


@cache
def seeds(name: str) -> Sequence[bytes]:
    found = list(dict.fromkeys(TARGETS[name].seeds()))
    return found[:: -(-len(found) // AT_MOST)]


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_keep_the_promise(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_damaged_seeds_keep_the_promise(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(seeds(name)))
    at = data.draw(st.integers(0, len(seed)))
    word = data.draw(st.sampled_from(TARGETS[name].words).map(str.encode) | st.binary(max_size=4))

    TARGETS[name].run(seed[:at] + word + seed[at + data.draw(st.integers(0, 4)) :])
