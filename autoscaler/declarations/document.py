"""What all declared things have in common: strict values, no unknown keys, null for "the default"."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints, model_validator

Text = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=1024)]
Name = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_.-]+$")]
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
