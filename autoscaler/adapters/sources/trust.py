"""Whose word on a measure's project counts: what ``AUTOSCALER_TRUSTED_SOURCES`` says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from autoscaler.errors import SettingsError
from autoscaler.settings import PREFIX, SourceKind

_VARIABLE: Final = f"{PREFIX}TRUSTED_SOURCES"
_KNOWN: Final = f"{', '.join(SourceKind)}, mqtt:TOPIC_FILTER, amqp:EXCHANGE or amqp-user:NAME"
_BROKERS: Final = frozenset((SourceKind.AMQP, SourceKind.OPENSTACK))


@dataclass(frozen=True, slots=True)
class Trust:
    """Who is believed.

    Attributes:
        kinds: sources whose every word is.
        topics: MQTT topic filters.
        exchanges: of AMQP that a message was published to.
        users: of AMQP; the broker has checked the name that a message bears.
    """

    kinds: frozenset[str] = frozenset()
    topics: tuple[str, ...] = ()
    exchanges: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, words: Iterable[str]) -> Trust:
        """From the words of the setting.

        Raises:
            SettingsError: with one line for each word that means nothing.
        """
        found: dict[str, list[str]] = {"kind": [], "mqtt": [], "amqp": [], "amqp-user": []}
        problems = []
        for word in sorted(words):
            head, colon, rest = word.partition(":")
            if not colon and word in set(SourceKind):
                found["kind"].append(word)
            elif rest and head in found and head != "kind" and (head != "mqtt" or _is_filter(rest)):
                found[head].append(rest)
            else:
                problems.append(f"{_VARIABLE}: expected {_KNOWN}, got {word!r}")
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(
            frozenset(found["kind"]), tuple(found["mqtt"]), frozenset(found["amqp"]), frozenset(found["amqp-user"])
        )

    def trusts(self, kind: str, *, topic: str = "", user: str = "") -> bool:
        """Whether a measure may name its project.

        Args:
            kind: of :class:`autoscaler.settings.SourceKind`.
            topic: that its message came on; of AMQP the exchange that it was published to.
            user: whose message it is, as the broker has checked; "" where it has not.
        """
        if kind in self.kinds:
            return True
        if kind == SourceKind.MQTT:
            return any(_matches(pattern, topic) for pattern in self.topics)
        return (kind in _BROKERS and user in self.users) or (kind == SourceKind.AMQP and topic in self.exchanges)


NOBODY: Final = Trust()


def _is_filter(pattern: str) -> bool:
    levels = pattern.split("/")
    return all("+" not in level or level == "+" for level in levels) and all(
        "#" not in level or (level == "#" and number == len(levels)) for number, level in enumerate(levels, 1)
    )


def _matches(pattern: str, topic: str) -> bool:
    """MQTT 5.0, 4.7: ``+`` is one level, ``#`` at the end any number; neither begins a topic of the broker's own."""
    if topic.startswith("$") and pattern[:1] in {"+", "#"}:
        return False
    wanted, levels = pattern.split("/"), topic.split("/")
    for number, level in enumerate(wanted):
        if level == "#":
            return True
        if number >= len(levels) or level not in {"+", levels[number]}:
            return False
    return len(wanted) == len(levels)
