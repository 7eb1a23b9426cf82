"""``/v1/policies``: declared policies, and executing one by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header

from autoscaler.api.asked import NO_QUERY, ExecuteBody
from autoscaler.api.callers import Caller, new_request_id
from autoscaler.api.wire import DecisionAnswer, PolicyAnswer, decision_answer, policy_answer

if TYPE_CHECKING:
    from autoscaler.engine.service import Service


def router(service: Service) -> APIRouter:
    """The paths."""
    paths = APIRouter(prefix="/v1/policies", tags=["policies"])

    @paths.get("", dependencies=[NO_QUERY])
    async def policies() -> list[PolicyAnswer]:
        """All policies that are declared, by name."""
        return [policy_answer(policy) for policy in service.policies()]

    @paths.post("/{name}/execute", status_code=202, dependencies=[NO_QUERY])
    async def execute(
        name: str,
        caller: Caller,
        asked: ExecuteBody | None = None,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    ) -> DecisionAnswer:
        """Apply a policy now; the same ``Idempotency-Key`` is decided once."""
        # a request id does not do: one of OpenStack's may run through several calls
        request_id = f"execute:{name}:{idempotency_key or new_request_id()}"
        force = asked is not None and asked.force
        return decision_answer(await service.execute(name, actor=caller, request_id=request_id, force=force))

    return paths
