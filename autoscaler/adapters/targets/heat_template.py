"""What a stack's template says of a group: its bounds, and by what its size can be set. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from autoscaler.adapters.heat import GROUP_TYPES, POLICY_TYPES

_GROUP: Final = {"least": "min_size", "most": "max_size", "desired": "desired_capacity"}
_POLICY: Final = {
    "group": "auto_scaling_group_id",
    "type": "adjustment_type",
    "adjustment": "scaling_adjustment",
}
_AWS_GROUP: Final = {"least": "MinSize", "most": "MaxSize", "desired": "DesiredCapacity"}
_AWS_POLICY: Final = {"group": "AutoScalingGroupName", "type": "AdjustmentType", "adjustment": "ScalingAdjustment"}
_RELATIVE: Final = frozenset({"change_in_capacity", "ChangeInCapacity"})


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A group as its template describes it, with the stack's parameters put in.

    Attributes:
        least: Heat's own bound; None where it cannot be read.
        most: Heat's own bound.
        parameter: that the size is taken from; "" where it is taken from none.
        literal: size that the template sets by itself with each update; None where it sets none.
        computed: it is set by something that cannot be read here.
        outs: names of the group's policies that add one member.
        ins: names of those that take one away.
    """

    least: int | None = None
    most: int | None = None
    parameter: str = ""
    literal: int | None = None
    computed: bool = False
    outs: tuple[str, ...] = ()
    ins: tuple[str, ...] = ()


def anatomy(template: Mapping[str, Any], group: str, parameters: Mapping[str, str]) -> Anatomy | None:
    """A group in a template, written for Heat or for CloudFormation; None where it is no group there. Total.

    Args:
        parameters: the stack's, as texts.
    """
    found = _resources(template).get(group)
    if not isinstance(found, Mapping) or _of(found, "type") not in GROUP_TYPES:
        return None
    properties = _mapping(_of(found, "properties"))
    names = _GROUP if _GROUP.values() & properties.keys() else _AWS_GROUP
    desired = properties.get(names["desired"])
    parameter, size = _parameter(desired), _number(desired, parameters)
    return Anatomy(
        least=_number(properties.get(names["least"]), parameters),
        most=_number(properties.get(names["most"]), parameters),
        parameter=parameter,
        # Heat takes 0 for unset, and then keeps what there is
        literal=size if not parameter and size else None,
        computed=desired is not None and not parameter and size is None,
        outs=tuple(_steps(template, group, parameters, 1)),
        ins=tuple(_steps(template, group, parameters, -1)),
    )


def parameters_of(template: Mapping[str, Any]) -> list[str]:
    """Names of the parameters that a template takes."""
    return sorted(_mapping(_of(template, "parameters")))


def _steps(template: Mapping[str, Any], group: str, parameters: Mapping[str, str], adjustment: int) -> Iterator[str]:
    for name, found in sorted(_resources(template).items()):
        if not isinstance(found, Mapping) or _of(found, "type") not in POLICY_TYPES:
            continue
        properties = _mapping(_of(found, "properties"))
        names = _POLICY if _POLICY["group"] in properties else _AWS_POLICY
        if (
            _resource(properties.get(names["group"])) == group
            and properties.get(names["type"]) in _RELATIVE
            and _number(properties.get(names["adjustment"]), parameters) == adjustment
        ):
            yield name


def _resources(template: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_of(template, "resources"))


def _of(found: Mapping[str, Any], key: str) -> Any:
    """A section, which CloudFormation spells with a capital."""
    return found.get(key, found.get(key.capitalize()))


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _parameter(value: Any) -> str:
    return _called(value, "get_param", "Ref")


def _resource(value: Any) -> str:
    return _called(value, "get_resource", "Ref")


def _called(value: Any, *functions: str) -> str:
    if not isinstance(value, Mapping) or len(value) != 1:
        return ""
    ((function, argument),) = value.items()
    return argument if function in functions and isinstance(argument, str) else ""


def _number(value: Any, parameters: Mapping[str, str]) -> int | None:
    """A whole number that stands there, or that a parameter has."""
    parameter = _parameter(value)
    said = parameters.get(parameter) if parameter else value
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    try:
        number = float(said)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
