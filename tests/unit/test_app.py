from __future__ import annotations

import socket
from contextlib import closing

from autoscaler.app import _bound
from autoscaler.settings import Settings


def test_answers_do_not_wait_for_one_another() -> None:
    with closing(_bound(Settings(api="127.0.0.1:0"))) as bound:
        # asyncio sets TCP_NODELAY on what is accepted of a socket that says so only
        assert bound.proto == socket.IPPROTO_TCP
