"""Decisions and refusals, and the record kept of each."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from autoscaler.scaling.group import Actor


class Reason(StrEnum):
    """Why a group was moved or left alone; metric label, log key and API text alike."""

    # moved
    POLICY = "policy"
    SCHEDULE = "schedule"
    EXECUTED = "executed"
    BOUNDS = "bounds"
    OUT_OF_BAND = "out of band"
    CAPACITY_UNAVAILABLE = "capacity unavailable"
    RESTORED = "restored"
    # held
    UNCHANGED = "unchanged"
    AT_BOUND = "at bound"
    NO_ROOM = "no room"
    FROZEN = "frozen"
    PAUSED = "paused"
    SOURCE_OUTAGE = "source outage"
    MEMBERS_SILENT = "members silent"
    RESTS_ON_MISSING_DATA = "rests on missing data"
    STALE_DATA = "stale data"
    IN_FLIGHT = "in flight"
    MAINTENANCE = "members in maintenance"
    COOLDOWN = "cooldown"
    SCALE_OUT_ACTIVE = "scale-out active"
    ALARM_LEFT_STATE = "alarm left state"
    SIZE_UNKNOWN = "size unknown"
    MISSED = "missed"
    # signals to groups that Heat owns
    SIGNALLED = "signalled"
    UNCONFIRMED = "unconfirmed"
    EFFECT_UNKNOWN = "effect unknown"
    RESIZE_FAILED = "resize failed"
    DROPPED = "dropped by Heat"
    SUPERSEDED = "superseded"
    REFUSED = "refused"
    GROUP_FAILED = "group failed"
    WEDGED = "wedged"
    REPAIRED = "repaired"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision or refusal, with all that it rests on.

    Attributes:
        id: of what was decided upon; the same id is decided once.
        time: Unix seconds.
        decision: ``scale`` or ``hold``.
        before: members wanted when it was decided; None where the size was never known. ``from`` on the wire.
        to: members wanted afterwards.
        until: Unix seconds at which a hold is worth another look; None means with the next granule.
        cooldown: seconds that are recorded when the resize ends.
        inputs: what was looked at, by name.
        generation: content hash of the declarations in force.
        times: how many equal holds in a row this stands for; ``first`` is the time of the first.
    """

    id: str
    time: float
    group: str
    decision: str
    reason: Reason
    text: str
    before: int | None = msgspec.field(default=None, name="from")
    to: int | None = None
    policy: str = ""
    alarm: str = ""
    until: float | None = None
    cooldown: float = 0.0
    actor: Actor | None = None
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    generation: str = ""
    times: int = 1
    first: float | None = None
