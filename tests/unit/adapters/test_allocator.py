"""Memory that is free is given back."""

import gc
import platform

import psutil
import pytest

from autoscaler.adapters.allocator import give_back

pytestmark = pytest.mark.slow

PIECE, PIECES = 2_000, 60_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to")
def test_what_lies_between_what_stays_is_given_back() -> None:
    resident = psutil.Process().memory_info
    pieces = [bytes(PIECE) for _ in range(PIECES)]
    stay = pieces[::500]
    del pieces
    gc.collect()
    before = resident().rss
    give_back()

    assert before - resident().rss > PIECE * PIECES / 2
    assert len(stay) == PIECES / 500
