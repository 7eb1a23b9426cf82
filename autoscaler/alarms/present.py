"""The point of a window that counts at this moment, and when another one will."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from autoscaler.alarms.granules import (
    aggregates,
    aligned_window,
    comes_into_reach,
    granule_at,
    newest_counting,
    slides,
    slides_on,
    sliding_end,
    sliding_window,
)
from autoscaler.alarms.rules import WindowKind
from autoscaler.alarms.verdict import assess, explained, next_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from autoscaler.alarms.alarm import AlarmState
    from autoscaler.alarms.granules import Span
    from autoscaler.alarms.rules import Rule
    from autoscaler.measures.window import WindowView


class Seen(msgspec.Struct, frozen=True):
    """What was looked at of a window.

    Attributes:
        spans: the granules, oldest first.
    """

    rule: Rule
    view: WindowView
    spans: Sequence[Span]


def present_spans(rule: Rule, view: WindowView, now: float) -> Sequence[Span]:
    """The granules that a rule looks at now, oldest first."""
    if slides(rule, view):
        return sliding_window(rule, sliding_end(rule, view, now))
    return aligned_window(rule, newest_counting(rule, view, now))


def present_reason(rule: Rule, view: WindowView, state: AlarmState) -> str:
    """What an alarm that is in ``state`` would say of the window as of ``view.asof``, in Aodh's words."""
    assessment = assess(rule, aggregates(rule, view, present_spans(rule, view, view.asof)), state)
    return explained(rule.evaluation_periods, state, next_state(state, assessment.verdict), assessment).reason


def is_taken_as_aligned(rule: Rule, view: WindowView) -> bool:
    """Whether a window should slide and cannot, its granule being too short for how often series report."""
    return rule.window is WindowKind.SLIDING and not slides(rule, view)


def next_points(rule: Rule, view: WindowView, spans: Sequence[Span], now: float) -> Iterable[float | None]:
    """When other granules than ``spans`` will count though nothing arrives; nothing where all of them are empty."""
    if not spans or all(series.times[-1] < spans[0].begins for series in view.series.values()):
        return
    yield slides_on(rule, view, now) if slides(rule, view) else next_boundary(rule, now)
    yield comes_into_reach(rule, view, now)


def next_boundary(rule: Rule, now: float) -> float:
    """When the aligned granule that lasts now is over."""
    return (granule_at(now - rule.lateness, rule.granularity) + 1) * rule.granularity + rule.lateness
