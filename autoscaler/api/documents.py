"""JSON that people send, of few enough levels that whatever is made of it can be written and shown again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from typing import Final

MAX_LEVELS: Final = 100
"""Objects and lists within each other; Python's own bound lies wherever its stack happens to be."""


def document_of(body: bytes) -> Any:
    """The document of a body.

    Raises:
        ValueError: it is no JSON, or of more than :data:`MAX_LEVELS` levels; says which.
    """
    try:
        document = msgspec.json.decode(body)
    except RecursionError as error:
        raise ValueError("too many levels") from error
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    _check_levels(document)
    return document


def _check_levels(document: Any) -> None:
    level = [document]
    for _ in range(MAX_LEVELS):
        level = [part for each in level for part in _parts(each) if isinstance(part, dict | list)]
        if not level:
            return
    raise ValueError(f"too many levels; at most {MAX_LEVELS} are taken")


def _parts(document: Any) -> Any:
    return document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
