"""What the C library holds of memory that nobody uses any more."""

from __future__ import annotations

import ctypes


def give_back() -> bool:
    """Have it given back to the system; False where the C library, being not glibc, cannot.

    glibc gives back by itself only what lies at the end of its heap. After a flood nearly all of the heap is free, in
    pieces between what stays.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
