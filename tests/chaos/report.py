"""A run as a table and as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from tests.chaos.checker import INVARIANTS
from tests.chaos.controller import STEPS
from tests.chaos.run import Result
from tests.chaos.take_over import TakeOver


def rows(result: Result) -> list[dict[str, Any]]:
    """One for each kind of fault."""
    by_kind = defaultdict(list)
    for each in result.happened:
        by_kind[each.fault.kind].append(each)
    found = []
    for kind, times in sorted(by_kind.items()):
        alone = [each.recovery for each in times if each.alone and each.recovered]
        ready = [each.ready - each.ended for each in times if each.ready]
        all_of_them = [each.recovery for each in times if each.recovered]
        found.append(
            {
                "kind": kind,
                "times": len(times),
                "alone": len(alone),
                "median": round(median(alone or all_of_them), 2) if all_of_them else None,
                "worst_alone": round(max(alone), 2) if alone else None,
                "worst": round(max(all_of_them), 2) if all_of_them else None,
                "ready": round(median(ready), 2) if ready else None,
            }
        )
    return found


def table(result: Result) -> str:
    """For people, in Markdown."""
    lines = [
        f"{len(result.happened)} faults in {result.seconds:.0f} s, seed {result.plan.seed}, "
        f"{result.plan.replicas} replicas, {result.plan.store}"
        + (f", broken: {result.plan.broken}" if result.plan.broken else ""),
        "",
        "| kind of fault | times | by itself | recovery: median (s) | worst by itself (s) | worst (s) | ready (s) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows(result):
        columns = ("times", "alone", "median", "worst_alone", "worst", "ready")
        cells = [row["kind"], *(_cell(row[key]) for key in columns)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += _take_overs(result)
    lines += ["", "| invariant | violations |", "| --- | ---: |"]
    lines += [f"| {INVARIANTS[name]} | {count} |" for name, count in result.outcome.by_invariant().items()]
    lines += ["", ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in result.outcome.counts.items())]
    if result.outcome.violations:
        lines += ["", "Violations:", ""]
        lines += [f"* {found.invariant}: {found.text}" for found in result.outcome.violations[:50]]
    return "\n".join(lines)


def _take_overs(result: Result) -> list[str]:
    by_step: dict[str, list[TakeOver]] = defaultdict(list)
    for each in result.take_overs:
        by_step[each.step].append(each)
    if not by_step:
        return []
    lines = ["", "| died when | times | work in hand finished: median (s) | worst (s) | never |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for step in STEPS:
        known = [each.seconds for each in by_step[step] if each.seconds is not None]
        never = len(by_step[step]) - len(known)
        if known:
            lines.append(f"| {step} | {len(by_step[step])} | {median(known):.2f} | {max(known):.2f} | {never} |")
        elif never:
            lines.append(f"| {step} | {never} | | | {never} |")
    return lines


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def write(result: Result, path: Path) -> None:
    """For programs."""
    document = {
        "seed": result.plan.seed,
        "replicas": result.plan.replicas,
        "store": result.plan.store,
        "broken": result.plan.broken,
        "seconds": round(result.seconds, 1),
        "faults": rows(result),
        "take_overs": [
            {"step": each.step, "replica": each.replica, "seconds": each.seconds, "by": each.by}
            for each in result.take_overs
        ],
        "violations": result.outcome.by_invariant(),
        "texts": [f"{found.invariant}: {found.text}" for found in result.outcome.violations],
        "counts": result.outcome.counts,
        "plan": [{"kind": each.fault.kind, "draw": each.fault.draw} for each in result.happened],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
