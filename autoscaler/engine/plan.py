"""What is declared about groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.evaluation import POLICY_SCHEME
from autoscaler.scaling.group import Group
from autoscaler.scaling.policy import ScalingPolicy, Schedule


@dataclass(frozen=True, slots=True)
class Plan:
    """What is declared about groups, and what alarms name their policies."""

    groups: Mapping[str, Group]
    policies: Mapping[str, ScalingPolicy]
    schedules: Mapping[str, Schedule]
    alarms: Mapping[str, Alarm]
    window_of: Mapping[str, str]
    generation: str

    def alarms_of(self, group: str) -> list[Alarm]:
        """Alarms that name a policy of ``group`` for some state, in order of id."""
        return [alarm for _, alarm in sorted(self.alarms.items()) if group in self._groups_of(alarm)]

    def _groups_of(self, alarm: Alarm) -> set[str]:
        urls = (*alarm.ok_actions, *alarm.alarm_actions, *alarm.insufficient_data_actions)
        return {policy.group for url in urls if (policy := self.policy(url)) is not None}

    def policy(self, url: str) -> ScalingPolicy | None:
        """The policy that an action names; None for other actions and unknown policies."""
        return self.policies.get(url.removeprefix(POLICY_SCHEME)) if url.startswith(POLICY_SCHEME) else None
