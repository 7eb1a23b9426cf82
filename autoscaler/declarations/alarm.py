"""Alarms (``rules/*.yaml``) but for their rules; keys, ranges and defaults are Aodh's.

Source: aodh/api/controllers/v2/alarms.py, 23.0.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs, urlsplit

from croniter import CroniterError, croniter
from pydantic import Field, Strict, StringConstraints, ValidationInfo, field_validator

from autoscaler.alarms.alarm import REPEAT_INTERVAL, Alarm, Severity, declared_id
from autoscaler.alarms.definition import ACTIONS, SCHEMES
from autoscaler.alarms.evaluation import POLICY_SCHEME
from autoscaler.alarms.rules import EventRule
from autoscaler.alarms.time_constraints import TimeConstraint
from autoscaler.declarations.fields import YEAR, Declared, Flag, Number, Short, Text, Whole
from autoscaler.declarations.policy import timezone
from autoscaler.declarations.wording import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from autoscaler.alarms.rules import Condition

READ_ONLY: Final = frozenset(
    ("alarm_id", "user_id", "timestamp", "state", "state_timestamp", "state_reason", "evaluate_timestamp", "links")
)
"""Keys that Aodh's GET answers with and that a pasted body may keep."""


class TimeConstraintDocument(Declared):
    """A recurring span in which the alarm is evaluated."""

    name: Short
    """A name, unique in its alarm."""

    start: Text
    """Cron, 5 to 7 columns, as croniter reads it."""

    duration: Annotated[Whole, Field(ge=0)]
    """A whole number of seconds."""

    timezone: Annotated[str, Strict()] = ""
    """IANA name; "" is UTC."""

    description: Annotated[str, StringConstraints(strict=True, max_length=1024)] = ""
    """For people."""

    @field_validator("start")
    @classmethod
    def _is_cron(cls, start: str) -> str:
        if not 5 <= len(start.split()) <= 7:
            raise ValueError(f"expected cron with 5 to 7 columns, got {start!r}")
        try:
            croniter(start)
        except (CroniterError, ValueError, KeyError) as error:
            raise ValueError(f"expected cron, got {start!r}: {str(error).rstrip('.')}") from error
        return start

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, name: str) -> str:
        return timezone(name) if name else name

    def to_domain(self) -> TimeConstraint:
        """The constraint, described as Aodh does where nobody has."""
        described = self.description or f"Time constraint at {self.start} lasting for {self.duration} seconds"
        return TimeConstraint(**self.model_dump(exclude={"description"}), description=described)


class AlarmDocument(Declared):
    """One entry of ``alarms``; its rule is validated by its type."""

    name: Short
    """The alarm's name, unique in its project."""

    type: Short
    """One of the types of alarm."""

    project_id: Annotated[str, StringConstraints(strict=True, max_length=255)] = ""
    """Scope of its measures and events, "any" for all projects, and owner of what it may move; "" is the operator's."""

    description: Annotated[str, StringConstraints(strict=True, max_length=4096)] = ""
    """For people."""

    enabled: Flag = True
    """Whether it is evaluated."""

    severity: Severity = Severity.LOW
    """How grave it is, for those who are told."""

    ok_actions: tuple[Text, ...] = ()
    """URLs called when it becomes ok."""

    alarm_actions: tuple[Text, ...] = ()
    """URLs called when it becomes alarm."""

    insufficient_data_actions: tuple[Text, ...] = ()
    """URLs called when it becomes insufficient data."""

    repeat_actions: Flag = False
    """Whether actions are repeated while the state lasts."""

    repeat_interval: Annotated[Number, Field(ge=1, le=YEAR)] = REPEAT_INTERVAL
    """Seconds between repetitions."""

    time_constraints: Annotated[tuple[TimeConstraintDocument, ...], Field(max_length=100)] = ()
    """At most 100 spans in which it is evaluated; always where there is none."""

    rule: Any
    """The condition, a mapping; under Aodh's types also spelled TYPE_rule."""

    @field_validator("time_constraints")
    @classmethod
    def _of_different_names(cls, constraints: tuple[TimeConstraintDocument, ...]) -> tuple[TimeConstraintDocument, ...]:
        names = [constraint.name for constraint in constraints]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"expected different names, got {', '.join(map(repr, twice))} more than once")
        return constraints

    @field_validator("repeat_interval")
    @classmethod
    def _only_when_repeated(cls, interval: float, info: ValidationInfo) -> float:
        if not info.data.get("repeat_actions", True):
            raise ValueError("expected only with repeat_actions: true")
        return interval

    def to_domain(self, rule: Condition) -> Alarm:
        """The alarm, each action once and in declared order."""
        described = f"{self.type} alarm rule"
        if isinstance(rule, EventRule):
            described = f"Alarm when {rule.event_type} event occurred."
        return Alarm(
            **self.model_dump(exclude={"description", "time_constraints", "rule"}) | self._actions(),
            alarm_id=declared_id(self.project_id, self.name),
            rule=rule,
            description=self.description or described,
            time_constraints=tuple(constraint.to_domain() for constraint in self.time_constraints),
        )

    def _actions(self) -> dict[str, tuple[str, ...]]:
        return {key: tuple(dict.fromkeys(map(_restored, getattr(self, key)))) for key in ACTIONS}


def action_fault(url: str) -> str:
    """What is wrong with an action's URL; "" when nothing is. Whether a policy exists is not looked at."""
    if any(character.isspace() or not character.isprintable() for character in url):
        return f"expected a URL without blanks and control characters, got {shown(url)}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"expected a URL: {error}"
    match parts.scheme:
        case "http" | "https" | "trust+http" | "trust+https":
            return "" if parts.hostname and port != 0 else f"expected a URL such as {parts.scheme}://host/path"
        case "policy":
            return "" if policy_name(url) else "expected policy://NAME"
        case "zaqar" | "trust+zaqar":
            return _queue_fault(parts.scheme, parse_qs(parts.query))
        case "log" | "test" | "trust+heat":
            return ""
        case _:
            close = nearest(parts.scheme, SCHEMES) if parts.scheme else ""
            return f"expected a URL with one of the schemes {', '.join(SCHEMES)}, got {url!r}{close}"


def _queue_fault(scheme: str, query: Mapping[str, Any]) -> str:
    if scheme == "trust+zaqar" and "queue_name" not in query:
        return "expected a URL such as trust+zaqar://?queue_name=NAME"
    if not {"topic", "queue_name"} & query.keys():
        return "expected a URL such as zaqar://?topic=TOPIC&subscriber=URL"
    return ""


def policy_name(url: str) -> str:
    """The policy that an action calls; "" where it calls none."""
    return url.removeprefix(POLICY_SCHEME) if url.startswith(POLICY_SCHEME) else ""


def _restored(url: str) -> str:
    scheme, _, rest = url.partition(":")
    return f"{scheme.lower()}:{rest if rest.startswith('//') else f'//{rest}'}"  # Aodh's GET shows log:// as log:
