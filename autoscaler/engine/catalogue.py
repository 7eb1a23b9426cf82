"""Every alarm that this replica knows, as people define and list them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.definition import Definition, decode


@dataclass(frozen=True, slots=True)
class Dialect:
    """How definitions are understood, and alarms declared in files told.

    Attributes:
        alarm_of: raises ValueError, naming the key, where a definition cannot be read.
        definition_of: of a declared alarm; its timestamp is 0.
        key: equal dialects understand alike.
    """

    alarm_of: Callable[[Definition], Alarm]
    definition_of: Callable[[Alarm], Definition]
    key: str


@dataclass(frozen=True, slots=True)
class Listing:
    """An alarm with what people want to know of it beside what is evaluated.

    Attributes:
        user_id: who made it; "" of a declared one.
        timestamp: Unix seconds of the last change of its definition; of a declared one, when it was adopted here.
        origin: file and line of a declared one; "" of one that was made through the API.
        document: its encoded definition.
    """

    alarm: Alarm
    user_id: str
    timestamp: float
    origin: str
    document: bytes

    @property
    def definition(self) -> Definition:
        """Decoded each time: of 100 000 few are looked at."""
        return decode(self.document)


class Catalogue:
    """Listings by what they are looked up by."""

    def __init__(self) -> None:
        self._by_id: dict[str, Listing] = {}
        self._of_project: defaultdict[str, dict[str, Listing]] = defaultdict(dict)
        self._of_user: Counter[str] = Counter()
        self._made_in: Counter[str] = Counter()

    def get(self, alarm_id: str) -> Listing | None:
        """One of them."""
        return self._by_id.get(alarm_id)

    def of(self, project_id: str | None) -> Collection[Listing]:
        """A project's, or (None) all."""
        if project_id is None:
            return self._by_id.values()
        return self._of_project[project_id].values() if project_id in self._of_project else ()

    def count_made_in(self, project_id: str) -> int:
        """How many of a project's were made through the API."""
        return self._made_in[project_id]

    def count_of_user(self, user_id: str) -> int:
        """How many a user has made."""
        return self._of_user[user_id]

    def put(self, listing: Listing) -> None:
        """Add it, or let it take the place of the one with its id."""
        self.remove(listing.alarm.alarm_id)
        self._by_id[listing.alarm.alarm_id] = listing
        self._of_project[listing.alarm.project_id][listing.alarm.alarm_id] = listing
        self._of_user[listing.user_id] += 1
        if not listing.origin:
            self._made_in[listing.alarm.project_id] += 1

    def remove(self, alarm_id: str) -> None:
        """Take it out, if it is there."""
        listing = self._by_id.pop(alarm_id, None)
        if listing is None:
            return
        project = self._of_project[listing.alarm.project_id]
        del project[alarm_id]
        if not project:
            del self._of_project[listing.alarm.project_id]
        self._of_user[listing.user_id] -= 1
        if not self._of_user[listing.user_id]:
            del self._of_user[listing.user_id]
        if not listing.origin:
            self._made_in[listing.alarm.project_id] -= 1
            if not self._made_in[listing.alarm.project_id]:
                del self._made_in[listing.alarm.project_id]
