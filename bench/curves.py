"""A few curves over a logarithmic axis, as SVG that a browser need load nothing for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BELOW = 640, 240, 56, 130, 34, 34
COLOURS: Final = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
SHARES: Final = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Curve:
    """One of them.

    Attributes:
        points: of what is on the axis, above 0, and what was found there; in order.
    """

    name: str
    points: Sequence[tuple[float, float]]


def picture(title: str, unit: str, curves: Sequence[Curve]) -> str:
    """All of them over one another."""
    places = sorted({place for curve in curves for place, _ in curve.points})
    highest = _round_up(max(value for curve in curves for _, value in curve.points))
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BELOW
    first, last = math.log(places[0]), math.log(places[-1])

    def x(place: float) -> float:
        return LEFT + width * (math.log(place) - first) / ((last - first) or 1.0)

    def y(value: float) -> float:
        return TOP + height - height * value / highest

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-weight="bold">{escape(title)}</text>',
    ]
    for share in SHARES:
        value = highest * share
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{LEFT + width}" stroke="#ddd" fill="none"/>')
        label = f"{value:g} {escape(unit)}"
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#444">{label}</text>')
    for place in places:
        label = f"{place:,.0f}".replace(",", " ")
        where = f'x="{x(place):.1f}" y="{TOP + height + 16}" text-anchor="middle"'
        parts.append(f'<text {where} fill="#444">{label}</text>')
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in curve.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [
            f'<circle cx="{x(place):.1f}" cy="{y(value):.1f}" r="2.5" fill="{colour}"/>'
            for place, value in curve.points
        ]
        legend = f'x="{LEFT + width + 10}" y="{TOP + 10 + number * 16}"'
        parts.append(f'<text {legend} fill="{colour}">{escape(curve.name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _round_up(value: float) -> float:
    step = 10.0 ** math.floor(math.log10(value)) / 2
    return math.ceil(value / step) * step
