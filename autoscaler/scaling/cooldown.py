"""When a group may move again.

One end of cooldown per group, whoever recorded it: a policy waits for what the resize before it recorded, its own
cooldown counts for those after it.

Source:
    heat/scaling/cooldown.py, ``CooldownMixin``, and ``AutoScalingGroup.adjust``, 27.0.1.
"""

from __future__ import annotations


def effective(policy_cooldown: float | None, group_cooldown: float | None) -> float:
    """Seconds of cooldown that a policy's resize is followed by, >= 0.

    Args:
        policy_cooldown: the policy's own, 0 included; None leaves it to the group.
        group_cooldown: the group's; None means 0.
    """
    chosen = group_cooldown if policy_cooldown is None else policy_cooldown
    return max(0.0, chosen or 0.0)


def cooling(cooldown_end: float | None, now: float) -> float | None:
    """Unix seconds at which the cooldown that runs at ``now`` ends; None when none runs: the end itself is free."""
    return cooldown_end if cooldown_end is not None and now < cooldown_end else None


def recorded(cooldown_end: float | None, now: float, cooldown: float | None) -> float:
    """The end of cooldown after a resize that took effect at ``now``; a longer one that runs already stays.

    A resize that failed records nothing: do not call this for it.

    Args:
        cooldown_end: the one recorded before, None when there was none.
        now: Unix seconds.
        cooldown: seconds; None or negative means 0.
    """
    end = now + max(0.0, cooldown or 0.0)
    return end if cooldown_end is None else max(cooldown_end, end)
