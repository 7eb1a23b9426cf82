"""What is declared about groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaler.alarms.alarm import Alarm
from autoscaler.alarms.evaluation import POLICY_SCHEME
from autoscaler.engine.route import Router
from autoscaler.scaling.group import Group
from autoscaler.scaling.policy import ScalingPolicy, Schedule


@dataclass(frozen=True, slots=True)
class Plan:
    """What is declared about groups, and the alarms that may call their policies.

    Attributes:
        router: of all alarms, those of this moment.
    """

    groups: Mapping[str, Group]
    policies: Mapping[str, ScalingPolicy]
    schedules: Mapping[str, Schedule]
    router: Router
    generation: str

    def alarm(self, alarm_id: str) -> Alarm | None:
        """One of them."""
        return self.router.by_id.get(alarm_id)

    def alarms_of(self, group: str) -> list[Alarm]:
        """Alarms that name a policy of ``group`` for some state and may, in order of id."""
        found = {
            alarm.alarm_id: alarm
            for name, policy in self.policies.items()
            if policy.group == group
            for alarm in self.router.naming(f"{POLICY_SCHEME}{name}")
            if alarm.may_move(policy.project_id)
        }
        return [alarm for _, alarm in sorted(found.items())]

    def moved_by(self, alarm: Alarm) -> frozenset[str]:
        """Names of the groups whose policies an alarm calls for some state, and may."""
        urls = (*alarm.ok_actions, *alarm.alarm_actions, *alarm.insufficient_data_actions)
        policies = [policy for url in urls if (policy := self.policy(url)) is not None]
        return frozenset(policy.group for policy in policies if alarm.may_move(policy.project_id))

    def policy(self, url: str) -> ScalingPolicy | None:
        """The policy that an action names; None for other actions and unknown policies."""
        return self.policies.get(url.removeprefix(POLICY_SCHEME)) if url.startswith(POLICY_SCHEME) else None
