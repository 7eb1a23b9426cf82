"""The tree of a composite rule, apart from its leaves.

Source: aodh/api/controllers/v2/alarm_rules/composite.py, 23.0.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoscaler.alarms.rules import Junction
from autoscaler.declarations.wording import one_of, shown

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Final, Literal

    from autoscaler.declarations.documents import Path

MAX_LEVELS: Final = 32
"""Deepest nesting of ``and`` and ``or``."""
MAX_LEAVES: Final = 100
"""Rules that one alarm joins."""


@dataclass(slots=True)
class Tree:
    """A composite rule as it was written.

    Attributes:
        tree: how the leaves are joined; None where that cannot be told.
        leaves: in depth-first order, each with its place and its type.
        faults: what is wrong, each with its place.
    """

    tree: Junction | int | None = None
    leaves: list[tuple[Path, str, dict[str, Any]]] = field(default_factory=list)
    faults: list[tuple[Path, str]] = field(default_factory=list)

    def refuse(self, path: Path, expected: str) -> None:
        """Note a fault; there is no tree then."""
        self.faults.append((path, expected))


def read_tree(rule: Any, types: Collection[str]) -> Tree:
    """The tree of a rule whose leaves are of some of ``types``. Total."""
    read = Tree()
    read.tree = _node(rule, (), types, read)
    if len(read.leaves) > MAX_LEAVES:
        read.faults.append(((), f"expected at most {MAX_LEAVES} rules, got {len(read.leaves)}"))
    return read


def _node(rule: Any, path: Path, types: Collection[str], read: Tree) -> Junction | int | None:
    if not isinstance(rule, dict):
        read.refuse(path, f"expected a mapping, got {shown(rule)}")
        return None
    if len(path) > 2 * MAX_LEVELS:
        read.refuse(path, f"expected at most {MAX_LEVELS} levels of and and or")
        return None
    if "type" in rule:
        return _leaf(rule, path, types, read)
    match list(rule):
        case [("and" | "or") as operator]:
            return _junction(operator, rule[operator], (*path, operator), types, read)
        case _:
            read.refuse(path, "expected either and or or, with a list of rules, or one rule with its type")
            return None


def _junction(
    operator: Literal["and", "or"], parts: Any, path: Path, types: Collection[str], read: Tree
) -> Junction | None:
    if not isinstance(parts, list) or not parts:
        read.refuse(path, f"expected a list of at least one rule, got {shown(parts) if parts else 'none'}")
        return None
    joined = [_node(part, (*path, index), types, read) for index, part in enumerate(parts)]
    known = tuple(part for part in joined if part is not None)
    return Junction(operator, known) if len(known) == len(joined) else None


def _leaf(rule: dict[str, Any], path: Path, types: Collection[str], read: Tree) -> int | None:
    kind = rule["type"]
    if not isinstance(kind, str) or kind not in types:
        read.refuse((*path, "type"), one_of(types, kind))
        return None
    read.leaves.append((path, kind, {key: value for key, value in rule.items() if key != "type"}))
    return len(read.leaves) - 1
