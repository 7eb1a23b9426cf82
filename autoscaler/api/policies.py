"""``/v1/policies``: declared policies, and executing one by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header

from autoscaler.api.asked import NO_QUERY, ExecuteBody
from autoscaler.api.callers import CHANGES, READS, Caller, new_request_id
from autoscaler.api.identity import Asker
from autoscaler.api.wire import DecisionAnswer, PolicyAnswer, decision_answer, policy_answer
from autoscaler.engine.service import NotFoundError

if TYPE_CHECKING:
    from autoscaler.engine.service import Service


def router(service: Service) -> APIRouter:
    """The paths."""
    paths = APIRouter(prefix="/v1/policies", tags=["policies"])

    @paths.get("", dependencies=[NO_QUERY, READS])
    async def policies(asker: Asker) -> list[PolicyAnswer]:
        """All policies, by name; whoever is no admin is shown those of their own project."""
        return [policy_answer(policy) for policy in service.policies() if asker.owns(policy.project_id)]

    @paths.post("/{name}/execute", status_code=202, dependencies=[NO_QUERY, CHANGES])
    async def execute(
        name: str,
        caller: Caller,
        asker: Asker,
        asked: ExecuteBody | None = None,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    ) -> DecisionAnswer:
        """Apply a policy now; the same ``Idempotency-Key`` is decided once."""
        if not any(policy.name == name and asker.owns(policy.project_id) for policy in service.policies()):
            raise NotFoundError(f"no policy named {name}")
        # a request id does not do: one of OpenStack's may run through several calls
        request_id = f"execute:{name}:{idempotency_key or new_request_id()}"
        force = asked is not None and asked.force
        return decision_answer(await service.execute(name, actor=caller, request_id=request_id, force=force))

    return paths
