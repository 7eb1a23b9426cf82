"""Curves as SVG, by hand: a few hundred points each, stretches shaded, nothing that a browser must load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.soak.verdict import Sample, column

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 900, 150, 64, 190, 30, 34
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")
POINTS = 720


@dataclass(frozen=True)
class Panel:
    """One pair of axes; curves by name of their column."""

    title: str
    curves: Sequence[str]


@dataclass(frozen=True)
class Stretch:
    """Seconds of the run with something in common; ``kind`` is "phase" or the name of a disturbance."""

    kind: str
    name: str
    begin: float
    end: float


def svg(samples: Sequence[Sample], panels: Sequence[Panel], stretches: Sequence[Stretch]) -> str:
    """One picture, panels below one another over the same seconds."""
    end = max((sample["seconds"] for sample in samples), default=1.0) or 1.0
    height = TOP + len(panels) * (PANEL + GAP) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(samples, panel, stretches, TOP + number * (PANEL + GAP), end)
    legend = "minutes; shaded: disturbances; dashed: steps of the clock"
    parts.append(f'<text x="{LEFT}" y="{height - 6}" fill="#444">{legend}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(samples: Sequence[Sample], panel: Panel, stretches: Sequence[Stretch], top: float, end: float) -> list[str]:
    curves = {name: _thinned(column(samples, name)) for name in panel.curves}
    highest = max((value for points in curves.values() for _, value in points), default=1.0)
    highest = _round_up(highest or 1.0)
    width = WIDTH - LEFT - RIGHT

    def x(seconds: float) -> float:
        return LEFT + width * seconds / end

    def y(value: float) -> float:
        return top + PANEL - PANEL * max(0.0, value) / highest

    parts = [f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{escape(panel.title)}</text>']
    for stretch in stretches:
        if stretch.kind == "phase":
            if stretch.begin:
                at = f"{x(stretch.begin):.1f}"
                parts.append(f'<path d="M{at} {top}V{top + PANEL}" stroke="#999" stroke-dasharray="3 3" fill="none"/>')
        else:
            wide = max(1.0, x(stretch.end) - x(stretch.begin))
            parts.append(
                f'<rect x="{x(stretch.begin):.1f}" y="{top}" width="{wide:.1f}" height="{PANEL}" fill="#fde9c9">'
                f"<title>{escape(stretch.name)}</title></rect>"
            )
    for share in (0.0, 0.5, 1.0):
        value = highest * share
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{LEFT + width}" stroke="#ddd" fill="none"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#444">{value:g}</text>')
    for step in range(7):
        seconds = end * step / 6
        place = f'x="{x(seconds):.1f}" y="{top + PANEL + 13}" text-anchor="middle"'
        parts.append(f'<text {place} fill="#444">{seconds / 60:.3g}</text>')
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x(seconds):.1f},{y(value):.1f}" for seconds, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
        parts.append(f'<text x="{LEFT + width + 8}" y="{top + 12 + number * 15}" fill="{colour}">{escape(name)}</text>')
    return parts


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most so many; of each bunch its highest, so that no peak is lost."""
    bunch = -(-len(points) // POINTS) or 1
    return [max(points[start : start + bunch], key=lambda point: point[1]) for start in range(0, len(points), bunch)]


def _round_up(value: float) -> float:
    step = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 0.1
    return -(-value // (step / 2)) * (step / 2)
