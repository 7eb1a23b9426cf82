"""Whose measures an alarm looks at, and what Aodh writes into a rule so that it looks at no others.

An alarm that an admin makes for their own project looks at every project, any other at its own.

Source:
    aodh/api/controllers/v2/utils.py, ``get_auth_project``, and alarm_rules/gnocchi.py, 23.0.0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autoscaler.declarations.rule import scoped_to
from autoscaler.measures.match import from_search
from autoscaler.measures.window import ANY_PROJECT

if TYPE_CHECKING:
    from autoscaler.api.identity import Identity


@dataclass(frozen=True, slots=True)
class Scope:
    """What an alarm's rule is confined to.

    Attributes:
        project_id: None for every project.
        service_project: the id of the project whose services create resources for others; None where it is not known.
        wraps: whether searches are written anew; they are not within composite rules.
    """

    project_id: str | None
    service_project: str | None = None
    wraps: bool = True

    @property
    def sees(self) -> str:
        """The project, or the word for all."""
        return ANY_PROJECT if self.project_id is None else self.project_id

    @property
    def without_wrapping(self) -> Scope:
        """The same for the parts of a composite rule."""
        return replace(self, wraps=False)

    def wrapped(self, written: str, search: Any) -> str:
        """A search with Aodh's words for the project around it, once."""
        if self.project_id is None or not self.wraps:
            return written
        # what a client has read from here, or from Aodh before, and sends back has them already
        if scoped_to(from_search(search)) == self.project_id:
            return written
        return json.dumps({"and": [self._permission(), search]})

    def _permission(self) -> dict[str, Any]:
        created = {"=": {"created_by_project_id": self.project_id}}
        if self.service_project is None:
            # in the same shape, so that one look tells whose words these are
            return {"or": [created]}
        by_service = {"=": {"created_by_project_id": self.service_project}}
        return {"or": [created, {"and": [by_service, {"=": {"project_id": self.project_id}}]}]}


def scope_of(identity: Identity, project_id: str, service_project: str | None) -> Scope:
    """The scope of an alarm that ``identity`` makes for ``project_id``."""
    unconfined = identity.is_admin and project_id == identity.project_id
    return Scope(None if unconfined else project_id, service_project)
