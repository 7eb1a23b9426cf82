"""Lengths of time as people write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Final

_UNITS: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?", re.ASCII)
LONGEST: Final = 10 * 366 * 86_400.0
"""Ten years; whoever means longer means for ever."""


def seconds(text: str) -> float:
    """The seconds of a text such as ``90s``, ``2h``, ``1h30m`` or ``90``.

    Raises:
        ValueError: it is none, nothing, or more than :data:`LONGEST`.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    parts = {} if found is None else {unit: float(part) for unit, part in found.groupdict().items() if part}
    total = sum(_UNITS[unit] * part for unit, part in parts.items())
    if not 0 < total <= LONGEST:
        raise ValueError(f"expected a duration such as 90s, 30m or 2h, got {text!r}")
    return total
