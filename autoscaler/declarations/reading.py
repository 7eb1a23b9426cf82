"""What stands at one place of a document, validated: things as their models, conditions as the domain's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel, ValidationError

from autoscaler.alarms.rules import CompositeRule, Condition, Leaf, PoolHealthRule
from autoscaler.declarations.composite import read_tree
from autoscaler.declarations.conditions import CONDITIONS, PrometheusDocument
from autoscaler.declarations.definitions import ONLY_ALONE
from autoscaler.declarations.rule import RULES, GnocchiAggregationRule, RuleDocument
from autoscaler.declarations.telling import leaf_document
from autoscaler.declarations.wording import explained
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final, TypeVar

    from autoscaler.declarations.documents import Document, Path
    from autoscaler.errors import Problem

    DocumentT = TypeVar("DocumentT", bound=BaseModel)

LEAF_TYPES: Final = (*RULES, "prometheus")
"""Types of what a composite alarm joins."""
TYPES: Final = (*RULES, "composite", *CONDITIONS)
"""Types of alarms."""
ONLY_WHOLE: Final = "expected only in alarms of its own, a part of a composite alarm waits for nothing"


@dataclass(frozen=True, slots=True)
class Read:
    """An alarm's condition as it was read.

    Attributes:
        leaves: the place of each of its leaves under the rule's key.
    """

    condition: Condition
    leaves: tuple[Path, ...]


class Reader:
    """Reads what stands somewhere, and collects what is wrong with it.

    Args:
        mixed_as_aodh: see :func:`autoscaler.declarations.load`.
    """

    def __init__(self, *, mixed_as_aodh: bool) -> None:
        self._mixed_as_aodh = mixed_as_aodh
        self.problems: list[Problem] = []

    def validated(
        self,
        model: type[DocumentT],
        document: Document,
        path: Path,
        raw: Any,
        *,
        renamed: Mapping[str, str] | None = None,
    ) -> DocumentT | None:
        """``raw`` as a ``model``; None, with every problem noted at its place, where it is not."""
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                loc = tuple(step for step in detail["loc"] if step != "[key]")
                first = [(renamed or {}).get(str(step), step) for step in loc[:1]]
                of_key = detail["type"] == "extra_forbidden" or loc != detail["loc"]
                place = document.origin((*path, *first, *loc[1:]), of_key=of_key)
                self.problems.append(place.problem(explained(detail, model)))
            return None

    def condition(self, kind: str, document: Document, path: Path, rule: Any, project_id: str) -> Read | None:
        """The condition that stands at ``path``; None, with every problem noted, where it is not right."""
        if kind == "composite":
            return self._composite(document, path, rule, project_id)
        if kind in LEAF_TYPES:
            leaf = self._leaf(kind, document, path, rule, project_id)
            return None if leaf is None else Read(leaf, ((),))
        found = self.validated(CONDITIONS[kind], document, path, rule)
        if found is None:
            return None
        condition: Condition = found.to_domain()
        if isinstance(condition, PoolHealthRule):
            condition = msgspec.structs.replace(condition, scope_to_project=_scope(project_id))
        return Read(condition, ())

    def _composite(self, document: Document, path: Path, rule: Any, project_id: str) -> Read | None:
        tree = read_tree(rule, LEAF_TYPES)
        self.problems += [document.problem((*path, *inner), expected) for inner, expected in tree.faults]
        found = [self._part(kind, document, (*path, *inner), leaf, project_id) for inner, kind, leaf in tree.leaves]
        leaves = [leaf for leaf in found if leaf is not None]
        if tree.faults or tree.tree is None or len(leaves) < len(found):
            return None
        told = tuple(leaf_document(kind, leaf) for leaf, (_, kind, _) in zip(leaves, tree.leaves, strict=True))
        condition = CompositeRule(
            leaves=tuple(leaves), tree=tree.tree, documents=told, mixed_as_aodh=self._mixed_as_aodh
        )
        return Read(condition, tuple(inner for inner, _, _ in tree.leaves))

    def _part(self, kind: str, document: Document, path: Path, rule: dict[str, Any], project_id: str) -> Leaf | None:
        """A leaf of a composite alarm, which has no time of its own and no state for each series."""
        alone = {"for": ONLY_WHOLE, "keep_firing_for": ONLY_WHOLE, "per_series": ONLY_ALONE}
        refused = [
            document.problem((*path, key), expected, of_key=True)
            for key, expected in alone.items()
            if rule.get(key) and (kind == "prometheus") == (key == "per_series")
        ]
        self.problems += refused
        leaf = self._leaf(kind, document, path, rule, project_id)
        return None if refused else leaf

    def _leaf(self, kind: str, document: Document, path: Path, rule: Any, project_id: str) -> Leaf | None:
        """A rule over measures or an answer of Prometheus; it sees no more than its alarm's project."""
        model: type[RuleDocument | PrometheusDocument] = RULES.get(kind, PrometheusDocument)
        found = self.validated(model, document, path, rule)
        if found is None:
            return None
        if isinstance(found, PrometheusDocument):
            return msgspec.structs.replace(found.to_domain(), scope_to_project=_scope(project_id))
        if isinstance(found, GnocchiAggregationRule) and found.scoped_to not in {None, project_id}:
            expected = (
                f'Aodh has scoped this query to project "{found.scoped_to}"; expected the alarm to have that project_id'
            )
            self.problems.append(document.problem((*path, "query"), expected))
            return None
        return found.to_domain()


def _scope(project_id: str) -> str | None:
    """The project beyond which a service tells an alarm nothing; None where it tells everything."""
    return None if project_id in {"", ANY_PROJECT} else project_id
