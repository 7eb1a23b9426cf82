"""What is declared, all of it at one moment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from autoscaler.alarms.rules import EventRule, plain

if TYPE_CHECKING:
    from autoscaler.alarms.alarm import Alarm
    from autoscaler.declarations.documents import Origin
    from autoscaler.errors import Problem
    from autoscaler.measures.derived import Derivation
    from autoscaler.scaling.group import Group
    from autoscaler.scaling.policy import ScalingPolicy, Schedule


@dataclass(frozen=True, slots=True)
class Declarations:
    """Everything that is declared; valid in itself and as a whole.

    Attributes:
        alarms: by alarm id.
        groups: by name, as are ``policies`` and ``schedules``.
        derived: how derived metrics are made, by name; those that come with the program too.
        generation: hash of what is declared; comments, order and the names of files play no part.
        origins: places by ``alarm ID``, ``group NAME``, ``policy NAME``, ``schedule NAME`` and
            ``derived metric NAME``.
        texts: the files that it was read from.
        ignored: keys that were taken and have no effect.
    """

    alarms: Mapping[str, Alarm] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    policies: Mapping[str, ScalingPolicy] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    derived: Mapping[str, Derivation] = field(default_factory=dict)
    generation: str = ""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[Problem, ...] = ()

    def origin(self, kind: str, name: str) -> Origin:
        """Where a thing is declared.

        Args:
            kind: ``alarm``, ``group``, ``policy``, ``schedule`` or ``derived metric``.
            name: of it; for an alarm its id.
        """
        return self.origins[f"{kind} {name}"]


def digest(declared: Declarations) -> str:
    """A hash of the values; 24 hexadecimal digits."""
    values = [
        [_alarm(alarm) for _, alarm in sorted(declared.alarms.items())],
        *([value for _, value in sorted(kind.items())] for kind in _by_name(declared)),
        sorted(declared.derived.items()),
    ]
    return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()[:24]


def _by_name(declared: Declarations) -> tuple[Mapping[str, Any], ...]:
    return (declared.groups, declared.policies, declared.schedules)


def _alarm(alarm: Alarm) -> list[Any]:
    # kinds of match have equal fields, so the rule is spelled out
    return [plain(alarm.rule), msgspec.structs.replace(alarm, rule=EventRule())]
