"""Alarms out of Aodh's database, taken as if somebody had sent them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from autoscaler.alarms.definition import ACTIONS, Definition, scrubbed
from autoscaler.api.identity import ADMIN, Identity, with_implied
from autoscaler.api.v2.actions import normal
from autoscaler.api.v2.body import Draft, body, owner, parse_alarm
from autoscaler.api.v2.errors import FaultError, invalid
from autoscaler.api.v2.fields import texts
from autoscaler.api.v2.rules import AlarmType, key_of, shown_rule
from autoscaler.api.v2.scope import Scope
from autoscaler.declarations.rule import scoped_to, search

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.ports import AodhAlarm

OPERATOR: Final = Identity("", "", with_implied(frozenset((ADMIN,))))
"""Who imports: whoever reaches the database may name every action."""
UNKNOWN_PLACES: Final = frozenset("|\x00")
"""Characters that no id of an alarm has."""


@dataclass(frozen=True, slots=True)
class Taking:
    """How rows become definitions.

    Attributes:
        unconfined: projects whose alarms see every project's measures where Aodh has not written down what they see:
            those of the admins.
    """

    unconfined: Collection[str] = ()

    def definition(self, row: AodhAlarm) -> Definition:
        """What is stored of an alarm, with the trusts in its actions; revision and creation are given where it is.

        Raises:
            ValueError: the API would refuse it; says why.
        """
        try:
            return self._definition(row)
        except FaultError as error:
            raise ValueError(str(error)) from error

    def _definition(self, row: AodhAlarm) -> Definition:
        if not row.alarm_id or UNKNOWN_PLACES.intersection(row.alarm_id):
            raise invalid("alarm_id", row.alarm_id, "Value should be an id")
        sent = body(document_of(row))
        # a row without an owner has none that could be asked for it
        user_id, project_id = owner(sent, "user_id", ""), owner(sent, "project_id", "")
        if not project_id:
            raise invalid("project_id", project_id, "Value should be the id of a project")
        scope = Scope(self._sees(row))
        draft = parse_alarm(sent, OPERATOR, scope, -1)
        definition = draft.definition(
            user_id=user_id, project_id=project_id, sees=scope.sees, actions=_with_their_trusts(draft, row)
        )
        return msgspec.structs.replace(definition, alarm_id=row.alarm_id, timestamp=row.timestamp)

    def _sees(self, row: AodhAlarm) -> str | None:
        """The project whose measures an alarm sees, None for every project.

        Of searches and of PromQL Aodh has written down what they are confined to: those that are not were made by an
        admin for their own project.
        """
        match row.type:
            case AlarmType.BY_RESOURCES:
                try:
                    return scoped_to(search(row.rule.get("query")))
                except ValueError:
                    return row.project_id  # it is refused in a moment, with the reason
            case AlarmType.PROMETHEUS:
                return row.rule.get("scope_to_project") or None
            case _:
                return None if row.project_id in self.unconfined else row.project_id


def document_of(row: AodhAlarm) -> dict[str, Any]:
    """A row as a client would send it: without the state, and without what only Aodh may say."""
    document: dict[str, Any] = {
        key: getattr(row, key)
        for key in ("name", "description", "enabled", "type", "severity", "repeat_actions", "time_constraints")
    }
    document |= {key: [_without_trust(url) for url in getattr(row, key)] for key in ACTIONS}
    document |= {"user_id": row.user_id, "project_id": row.project_id}
    if row.type in set(AlarmType):
        document[key_of(AlarmType(row.type))] = shown_rule(row.rule)
    return document


def _without_trust(url: Any) -> Any:
    return scrubbed(normal(url)) if isinstance(url, str) else url


def _with_their_trusts(draft: Draft, row: AodhAlarm) -> dict[str, tuple[str, ...]]:
    """The draft's actions as they stand in the row, in its order; of several that differ in their trust the first."""
    found: dict[str, tuple[str, ...]] = {}
    for key in ACTIONS:
        written: dict[str, str] = {}
        for url in texts(key, getattr(row, key)):
            written.setdefault(_without_trust(url), normal(url))
        found[key] = tuple(written[url] for url in draft.actions[key])
    return found
