"""What all declared things have in common: strict values, no unknown keys, null for "the default"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, StringConstraints, model_validator

from autoscaler.declarations.wording import shown

if TYPE_CHECKING:
    from typing import Final

YEAR: Final = 31_536_000
"""Seconds; the longest that anything may be said to last."""


def matching(pattern: str, words: str) -> AfterValidator:
    """A check of text against a pattern, with words for people."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {words}, got {shown(value)}")
        return value

    return AfterValidator(check)


Text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=1024)]
Short = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=255)]
Name = Annotated[str, Strict(), matching(r"[A-Za-z0-9_.-]{1,255}", "1 to 255 letters, digits and _.-")]
"""Of a group, policy or schedule; it becomes part of URLs."""

Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Flag = Annotated[bool, Strict()]


class Declared(BaseModel):
    """One declared thing, its keys spelled as Aodh and Heat spell them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_the_default(cls, value: Any) -> Any:
        """Heat sends every property, unset ones as null."""
        return {key: inner for key, inner in value.items() if inner is not None} if isinstance(value, dict) else value
