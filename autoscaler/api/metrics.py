"""What Prometheus is told: counted as it happens, gauges as they are when it asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from autoscaler import __version__
from autoscaler.engine.listen import Listener
from autoscaler.engine.signal import HEAT

if TYPE_CHECKING:
    from typing import Final

    from autoscaler.alarms.agreement import Sums
    from autoscaler.alarms.alarm import Alarm
    from autoscaler.alarms.evaluation import Transition
    from autoscaler.api.refusals import Refusal
    from autoscaler.engine.run import Runner
    from autoscaler.engine.service import GroupView
    from autoscaler.errors import Rejection
    from autoscaler.ports import OutboxRow
    from autoscaler.scaling.decision import Decision

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
LAGS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends of the buckets, in seconds: from an idle machine to one that catches up."""


class Metrics:
    """See :class:`autoscaler.engine.listen.Listener`. Each has a registry of its own, so that tests do not meet."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each, which nobody asks for
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._count()
        self._gauge()

    def _count(self) -> None:
        registry = self.registry
        self._received = Counter(
            "autoscaler_measures_received", "Measures decoded, by source.", ["source"], registry=registry
        )
        self._unrouted = Counter("autoscaler_measures_unrouted", "Measures that no alarm asks for.", registry=registry)
        self._too_old = Counter(
            "autoscaler_measures_too_old", "Measures behind the horizon of their window.", registry=registry
        )
        self._rejected = Counter(
            "autoscaler_measures_rejected", "Measures not taken, by reason.", ["reason"], registry=registry
        )
        self._refused = Counter(
            "autoscaler_api_refused", "Requests turned away before any path saw them.", ["reason"], registry=registry
        )
        self._evaluations = Counter("autoscaler_evaluations", "Evaluations of alarms.", registry=registry)
        self._transitions = Counter(
            "autoscaler_transitions", "Changes of alarm states.", ["previous", "current"], registry=registry
        )
        self._actions = Counter(
            "autoscaler_actions", "Tries to carry out an action.", ["scheme", "outcome"], registry=registry
        )
        self._decisions = Counter(
            "autoscaler_decisions", "Decisions and refusals.", ["group", "decision", "reason"], registry=registry
        )
        self._circuits_open = Gauge(
            "autoscaler_circuits_open",
            "Endpoints of actions that are left alone, since they do not answer; each for each project.",
            registry=registry,
        )
        self._circuits = Counter(
            "autoscaler_circuits", "Changes of such endpoints, to open or closed.", ["to"], registry=registry
        )
        self._action_seconds = Histogram(
            "autoscaler_action_seconds",
            "Seconds from a transition to its delivered action.",
            ["scheme"],
            buckets=LAGS,
            registry=registry,
        )
        self._batch_lag = Histogram(
            "autoscaler_batch_lag_seconds",
            "Age of a batch's newest measure when it was evaluated.",
            buckets=LAGS,
            registry=registry,
        )

        self._agreements = Counter(
            "autoscaler_shadow_agreements", "Decisions that Aodh has taken, too.", registry=registry
        )
        self._disagreements = Counter(
            "autoscaler_shadow_disagreements", "Decisions of one side only, by why.", ["reason"], registry=registry
        )

    def _gauge(self) -> None:
        registry = self.registry
        self._groups = {
            "desired": Gauge("autoscaler_group_desired", "Members wanted.", ["group"], registry=registry),
            "size": Gauge("autoscaler_group_size", "Members last seen.", ["group"], registry=registry),
            "ready": Gauge("autoscaler_group_ready", "Members that serve.", ["group"], registry=registry),
            "failed": Gauge("autoscaler_group_failed", "Members that have failed.", ["group"], registry=registry),
            "paused": Gauge("autoscaler_group_paused", "1 while paused or frozen.", ["group"], registry=registry),
        }
        self._lag = Gauge("autoscaler_lag_seconds", "Age of the last batch's newest measure.", registry=registry)
        self._behind = Gauge(
            "autoscaler_source_behind_seconds",
            "Age of the newest measure taken while others wait, by source; 0 when nothing waits.",
            ["source"],
            registry=registry,
        )
        self._pending = Gauge("autoscaler_measures_pending", "Measures not written yet.", registry=registry)
        self._skew = Gauge("autoscaler_clock_skew_seconds", "This clock minus the store's.", registry=registry)
        self._replicas = Gauge("autoscaler_replicas", "Controllers that live.", registry=registry)
        build = Gauge("autoscaler_build_info", "1, with the version.", ["version"], registry=registry)
        build.labels(__version__).set(1)

    def received(self, source: str, count: int) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        self._received.labels(source).inc(count)

    def unrouted(self, count: int) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        self._unrouted.inc(count)

    def too_old(self, count: int) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        self._too_old.inc(count)

    def rejected(self, rejection: Rejection, count: int) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        self._rejected.labels(rejection).inc(count)

    def refused(self, refusal: Refusal) -> None:
        """A request was turned away."""
        self._refused.labels(refusal).inc()

    def evaluated(self, count: int, lag: float | None) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        self._evaluations.inc(count)
        if lag is not None:
            self._batch_lag.observe(max(0.0, lag))

    def transitioned(self, alarm: Alarm, transition: Transition) -> None:  # noqa: ARG002 - one series per alarm is many
        """See :class:`autoscaler.engine.listen.Listener`."""
        self._transitions.labels(transition.previous, transition.current).inc()

    def acted(self, row: OutboxRow, outcome: str, seconds: float) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        scheme = urlsplit(row.url).scheme
        self._actions.labels(scheme, outcome).inc()
        if outcome == "delivered":
            self._action_seconds.labels(scheme).observe(max(0.0, seconds))

    def circuit(self, endpoint: str, is_open: bool) -> None:  # noqa: ARG002, FBT001 - a label would hold any host
        """See :class:`autoscaler.engine.listen.Listener`."""
        self._circuits.labels("open" if is_open else "closed").inc()
        self._circuits_open.inc(1 if is_open else -1)

    def decided(self, decision: Decision) -> None:
        """See :class:`autoscaler.engine.listen.Listener`."""
        # stacks come and go: one label for all the groups that Heat owns
        group = "heat" if decision.group.startswith(HEAT) else decision.group
        self._decisions.labels(group, decision.decision, decision.reason).inc()

    def compared(self, before: Sums, after: Sums) -> None:
        """What comparing with Aodh came to was ``before`` and is ``after``."""
        self._agreements.inc(max(0, after.agreed - before.agreed))
        for difference, count in after.differences.items():
            more = count - before.differences.get(difference, 0)
            if more > 0:
                self._disagreements.labels(difference).inc(more)

    def text(self, runner: Runner, groups: Sequence[GroupView]) -> bytes:
        """Everything, in Prometheus' text format.

        Args:
            runner: asked for its lag, skew and replicas.
            groups: as they are at this moment; none while the store is away, since an old size is not the size.
        """
        self._lag.set(runner.lag.newest)
        self._pending.set(runner.lag.pending)
        self._behind.clear()
        for source, seconds in runner.behind().items():
            self._behind.labels(source).set(seconds)
        self._skew.set(runner.skew)
        self._replicas.set(len(runner.replicas))
        for gauge in self._groups.values():
            gauge.clear()
        for view in groups:
            self._see(view)
        return generate_latest(self.registry)

    def _see(self, view: GroupView) -> None:
        record, name = view.state.record, view.group.name
        pause = record.paused
        paused = pause is not None and (pause.until is None or view.state.now < pause.until)
        known = {"desired": record.desired_capacity, "size": record.size}
        for key, members in known.items():
            if members is not None:
                self._groups[key].labels(name).set(members)
        if record.size is not None:
            self._groups["ready"].labels(name).set(record.ready)
            self._groups["failed"].labels(name).set(len(record.failed))
        self._groups["paused"].labels(name).set(paused or view.state.freeze is not None)


_fits: type[Listener] = Metrics
