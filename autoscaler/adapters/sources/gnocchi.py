"""Measures as Gnocchi's clients post them: by resource and metric name, or by metric id. Decoding only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from autoscaler.adapters.sources.decode import (
    LIVE,
    SHOWN_LENGTH,
    Limits,
    check_number,
    finite,
    finite_or_text,
    from_iso8601,
    in_time,
    kind_of,
    name_of,
    parsed,
    shown,
    text_of,
)
from autoscaler.errors import InvalidMeasureError, Rejection
from autoscaler.ports import Undecoded

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_TIMESPAN: Final = 100
"""Characters; what is longer is none, and to find that out would take the square of its length."""
_TIMESPAN: Final = re.compile(
    r"([+-]?\s*[0-9]+(?:\.[0-9]+)?)\s*(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?|w(?:eeks?)?)"
)


_Parts = Callable[[object], Iterator[tuple[str, str, str, object]]]
"""Cuts a document into (owner, metric, unit, measures)."""


@dataclass(frozen=True, slots=True)
class Points:
    """Values of one series.

    Attributes:
        owner: resource id, or metric id.
        metric: name; "" where the metric is known by its id.
        points: Unix seconds and value, in the order of the message.
    """

    owner: str
    metric: str
    unit: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Posted:
    """A message taken apart.

    Attributes:
        series: in the order of the message; also those all of whose points were rejected.
        rejected: points, each with its number in the message, or one without when it is about the whole message.
    """

    series: Sequence[Points]
    rejected: Sequence[Undecoded] = ()


class GnocchiDecoder:
    """Takes bodies apart; every method is total.

    Args:
        limits: of time.
    """

    def __init__(self, limits: Limits = LIVE) -> None:
        self._limits = limits

    def by_resource(self, body: bytes, now: float) -> Posted:
        """``{RESOURCE: {METRIC: [MEASURE, …] or {"measures": […], "unit": …}}}``."""
        return self._posted(body, _by_resource, now)

    def by_metric(self, body: bytes, now: float) -> Posted:
        """``{METRIC ID: [MEASURE, …]}``."""
        return self._posted(body, _by_metric, now)

    def of_one(self, body: bytes, now: float) -> Posted:
        """``[MEASURE, …]``, of a series that the path names; the result has exactly one series or none."""
        return self._posted(body, lambda document: iter([("", "", "", document)]), now)

    def _posted(self, body: bytes, parts: _Parts, now: float) -> Posted:
        series: list[Points] = []
        rejected: list[Undecoded] = []
        number = 0
        try:
            for count, (owner, metric, unit, measures) in enumerate(parts(parsed(body)), 1):
                check_number(count, self._limits)  # they may be empty
                points = []
                for measure in _list(measures):
                    try:
                        points.append(_point(measure, now, self._limits))
                    except InvalidMeasureError as error:
                        payload = shown([owner, metric, measure])
                        rejected.append(Undecoded(error.rejection, error.detail, payload, number))
                    number += 1
                    check_number(number, self._limits)
                series.append(Points(owner, metric, unit, points))
        except InvalidMeasureError as error:
            payload = body[:SHOWN_LENGTH].decode(errors="replace")
            return Posted((), (Undecoded(error.rejection, error.detail, payload),))
        return Posted(series, rejected)


def _by_resource(document: object) -> Iterator[tuple[str, str, str, object]]:
    for resource_id, metrics in _object("resources", document).items():
        for metric, posted in _object(f"resource {resource_id[:60]!a}", metrics).items():
            measures, unit = posted, ""
            if isinstance(posted, dict):
                if "measures" not in posted:
                    raise InvalidMeasureError(Rejection.MISSING_KEY, "measures")
                measures = posted["measures"]
                unit = "" if posted.get("unit") is None else text_of("unit", posted["unit"], 255)
            yield name_of("resource_id", resource_id), name_of("metric", metric), unit, measures


def _by_metric(document: object) -> Iterator[tuple[str, str, str, object]]:
    for metric_id, measures in _object("metrics", document).items():
        yield name_of("metric id", metric_id), "", "", measures


def _object(what: str, document: object) -> Mapping[str, object]:
    if not isinstance(document, dict):
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"{what}: expected an object, found {kind_of(document)}")
    return document


def _list(measures: object) -> Sequence[object]:
    if not isinstance(measures, list):
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"measures: expected a list, found {kind_of(measures)}")
    return measures


def _point(measure: object, now: float, limits: Limits) -> tuple[float, float]:
    if not isinstance(measure, dict):
        raise InvalidMeasureError(Rejection.WRONG_TYPE, f"measure: expected an object, found {kind_of(measure)}")
    for key in ("timestamp", "value"):
        if key not in measure:
            raise InvalidMeasureError(Rejection.MISSING_KEY, key)
    return in_time(_timestamp(measure["timestamp"], now), now, limits), finite_or_text("value", measure["value"])


def _timestamp(value: object, now: float) -> float:
    """A time in ISO 8601, Unix seconds (a number or a text of one), or how long from now, such as ``-10 seconds``."""
    if not isinstance(value, str):
        return finite("timestamp", value)
    try:
        return finite("timestamp", float(value))
    except ValueError:
        pass
    span = _timespan(value) if len(value) <= _LONGEST_TIMESPAN else None
    return from_iso8601(value) if span is None else now + span


def _timespan(text: str) -> float | None:
    """Seconds of ``-1 hour 30 minutes``; None for anything else. A sign counts for what follows it too."""
    total, end, sign = 0.0, 0, 1.0
    for found in _TIMESPAN.finditer(text):
        if text[end : found.start()].strip(" ,"):
            return None
        number = found[1].replace(" ", "")
        sign = {"-": -1.0, "+": 1.0}.get(number[0], sign)
        total += sign * float(number.lstrip("+-")) * _SECONDS[found[2][0]]
        end = found.end()
    return total if end and not text[end:].strip() else None
