"""What a call of a function in Redis costs that does nothing: the wall that whatever does something stands before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec
import redis.asyncio

LIBRARY: Final = """#!lua name=bench
redis.register_function('nothing', function(keys, args) return '' end)
"""
IN_FLIGHT: Final = 4
"""Calls that travel together, so that neither side waits for the other."""


async def called(url: str, batches: Sequence[tuple[Sequence[str], Sequence[bytes]]], *, seconds: float) -> float:
    """Series a second that can be told to such a function, in these batches over and over, for some seconds.

    Args:
        batches: names, and for each the bytes that are told of it; put together anew for each call, as whoever has
            something to tell must.
    """
    encode = msgspec.msgpack.Encoder().encode
    client = redis.asyncio.Redis.from_url(url)
    try:
        await client.function_load(LIBRARY, replace=True)
        told, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            for start in range(0, len(batches), IN_FLIGHT):
                pipeline = client.pipeline(transaction=False)
                for names, points in batches[start : start + IN_FLIGHT]:
                    asked = encode([names, [len(each) for each in points]])
                    pipeline.execute_command("FCALL", "nothing", 1, "bench", asked, b"".join(points))
                    told += len(names)
                await pipeline.execute()
        return told / took
    finally:
        await client.aclose()
