"""Alarms out of Aodh's database, taken as they are told, with the trusts that stand in them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from autoscaler.alarms.definition import ACTIONS, Definition, scrubbed
from autoscaler.api.v2.actions import normal
from autoscaler.api.v2.stored import definition_of_stored
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.ports import AodhAlarm

NOT_IN_IDS: Final = frozenset("|\x00")


@dataclass(frozen=True, slots=True)
class Taking:
    """How rows become definitions.

    Attributes:
        unconfined: projects whose alarms see every project's measures where Aodh has not written down what they see:
            those of the admins.
    """

    unconfined: Collection[str] = ()

    def definition(self, row: AodhAlarm) -> Definition:
        """What is stored of an alarm; revision and creation are given where it is.

        Raises:
            ValueError: the API would refuse it; says why.
        """
        if not row.alarm_id or NOT_IN_IDS.intersection(row.alarm_id):
            raise ValueError(f"alarm_id: expected an id, got {row.alarm_id!r}")
        sees = ANY_PROJECT if row.project_id in self.unconfined else ""
        document = msgspec.to_builtins(row) | {key: [_normal(url) for url in getattr(row, key)] for key in ACTIONS}
        definition, _ = definition_of_stored(document, sees)
        actions = {key: _with_their_trusts(getattr(definition, key), getattr(row, key)) for key in ACTIONS}
        return msgspec.structs.replace(definition, timestamp=row.timestamp, **actions)


def _normal(url: Any) -> Any:
    return normal(url) if isinstance(url, str) else url


def _with_their_trusts(urls: Collection[str], stored: Collection[str]) -> tuple[str, ...]:
    """The actions as they are stored, in their order; of several that differ in their trust the first."""
    written: dict[str, str] = {}
    for url in map(normal, stored):
        written.setdefault(scrubbed(url), url)
    return tuple(written[url] for url in urls)
