"""Endpoints that do not answer are left alone for a while, so that nobody else waits behind them.

One circuit for each endpoint (host and port) and project: closed while calls are answered, whatever the answer; open
after some calls in a row without one; then, after a rest, one call at a time tries whether there is an answer again.
What a project's own URLs do at a host that others call too does not hold up the others.

Each replica has circuits of its own: they are a matter of its sockets, and a wrong one costs a few calls.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final, Generic, TypeVar, assert_never

_K = TypeVar("_K", bound=Hashable)

OPENS_AFTER: Final = 5
"""Calls in a row without an answer."""
FIRST_REST: Final = 5.0
LONGEST_REST: Final = 60.0
"""Seconds for which an endpoint is left alone; twice as long each time."""
PROBED: Final = 5.0
"""Seconds until somebody looks again who finds another trying."""
REMEMBERED: Final = 10_000
"""Circuits; the one that was used longest ago makes room."""


class Outcome(Enum):
    """What a call says of its endpoint."""

    ANSWERED = auto()
    SILENT = auto()
    UNKNOWN = auto()
    """It did not come to that: it was refused, put off or broken off on our side."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """An endpoint as its last calls found it.

    Attributes:
        failures: calls in a row without an answer, while it was closed.
        rests: how often in a row it was left alone.
        until: seconds, by whatever clock the caller has; None while it is closed.
        probing: one call is under way to see whether there is an answer again.
    """

    failures: int = 0
    rests: int = 0
    until: float | None = None
    probing: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is left alone."""
        return self.until is not None

    def wait(self, now: float) -> float:
        """Seconds until a call may be tried; 0 where it may be now."""
        if self.until is None:
            return 0.0
        return PROBED if self.probing else max(0.0, self.until - now)

    def begun(self) -> Circuit:
        """With a call under way that might be."""
        return replace(self, probing=True) if self.is_open else self

    def after(self, outcome: Outcome, now: float, *, probe: bool) -> Circuit:
        """Once a call has ended.

        Args:
            probe: the circuit was open when it began; others that began before say nothing while it is.
        """
        match outcome:
            case Outcome.ANSWERED:
                return CLOSED
            case Outcome.UNKNOWN:
                return replace(self, probing=False) if probe else self
            case Outcome.SILENT if self.until is None:
                failures = self.failures + 1
                return replace(self, failures=failures) if failures < OPENS_AFTER else self._resting(now)
            case Outcome.SILENT:
                return self._resting(now) if probe else self
            case _:
                assert_never(outcome)

    def _resting(self, now: float) -> Circuit:
        rest = min(LONGEST_REST, FIRST_REST * 2.0 ** min(self.rests, 10))
        return Circuit(rests=self.rests + 1, until=now + rest)


CLOSED: Final = Circuit()


class Circuits(Generic[_K]):
    """Those of one replica.

    Args:
        changed: told of a key whether its endpoint is left alone from now on.
    """

    def __init__(self, changed: Callable[[_K, bool], None]) -> None:
        self._changed = changed
        self._circuits: OrderedDict[_K, Circuit] = OrderedDict()

    def begin(self, key: _K, now: float) -> tuple[float, bool]:
        """Before a call: seconds for which it must wait, or 0 and whether it is one that tries for all."""
        circuit = self._circuits.get(key, CLOSED)
        wait = circuit.wait(now)
        if wait == 0 and circuit.is_open:
            self._put(key, circuit.begun())
        return wait, circuit.is_open

    def end(self, key: _K, outcome: Outcome, now: float, *, probe: bool) -> None:
        """After a call that began."""
        circuit = self._circuits.get(key, CLOSED)
        found = circuit.after(outcome, now, probe=probe)
        if found == circuit:
            return
        self._put(key, found)
        if found.is_open != circuit.is_open:
            self._changed(key, found.is_open)

    def _put(self, key: _K, circuit: Circuit) -> None:
        if circuit == CLOSED:
            self._circuits.pop(key, None)
            return
        self._circuits[key] = circuit
        self._circuits.move_to_end(key)
        if len(self._circuits) > REMEMBERED:
            forgotten, state = self._circuits.popitem(last=False)
            if state.is_open:
                self._changed(forgotten, False)
