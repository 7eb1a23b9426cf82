"""Derived metrics (``derived_metrics`` in ``rules/*.yaml``), and those that are always there."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from autoscaler.declarations.fields import Declared, Number, Short
from autoscaler.measures.derived import Derivation, Rate

if TYPE_CHECKING:
    from typing import Final

SHIPPED: Final = "shipped/derived.yaml"


class DivisorDocument(Declared):
    """What a derived metric is divided by."""

    metric: Short
    """The name of a metric that holds it."""

    metadata: Annotated[tuple[Short, ...], Field(max_length=16)] = ()
    """Keys of the base's metadata that hold it too; the first that is there counts."""


class DerivedDocument(Declared):
    """One entry of ``derived_metrics``: scale x from / divide_by."""

    name: Short
    """The derived metric's name."""

    base: Annotated[Short, Field(alias="from")]
    """The name of the metric that it is made of."""

    rate: Literal["per_second", "none"] = "none"
    """What is taken of it: its change per second, or its value."""

    scale: Number = 1.0
    """A factor."""

    divide_by: DivisorDocument | None = None
    """What it is divided by."""

    @field_validator("base")
    @classmethod
    def _is_another(cls, base: str, info: ValidationInfo) -> str:
        if base == info.data.get("name"):
            raise ValueError("expected another metric than itself")
        return base

    @field_validator("scale")
    @classmethod
    def _is_reasonable(cls, scale: float) -> float:
        if not 1e-30 <= abs(scale) <= 1e30:
            raise ValueError(f"expected a factor from 1e-30 to 1e30, got {scale:g}")
        return scale

    @field_validator("divide_by")
    @classmethod
    def _divides(cls, divisor: DivisorDocument, info: ValidationInfo) -> DivisorDocument:
        if divisor.metric in {info.data.get("name"), info.data.get("base")}:
            raise ValueError(f"expected a third metric to divide by, got {divisor.metric!r}")
        return divisor

    def to_domain(self) -> Derivation:
        """How it is made."""
        divisor: dict[str, Any] = {}
        if self.divide_by is not None:
            divisor = {"divisor": self.divide_by.metric, "divisor_metadata": self.divide_by.metadata}
        rate = Rate.PER_SECOND if self.rate == "per_second" else Rate.NONE
        return Derivation(base=self.base, rate=rate, scale=self.scale, **divisor)


@cache
def shipped() -> str:
    """The derived metrics that come with the program, as YAML."""
    return files("autoscaler.declarations").joinpath(SHIPPED).read_text(encoding="utf-8")
