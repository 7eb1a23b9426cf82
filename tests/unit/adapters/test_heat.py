"""Unhealthy members replaced by Heat, against a server that answers as Heat does."""

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from autoscaler.adapters import http
from autoscaler.adapters.actions.heat import HeatAction
from autoscaler.adapters.heat import Heat
from autoscaler.adapters.openstack import Service
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import OutboxRow
from tests.cloud import Cloud
from tests.receiver import Receiver, answering, answering_json, receiver

DATA = {
    "type": "loadbalancer_member_health",
    "count": 2,
    "stack_id": "root-id",
    "asg_id": "root-asg-x",
    "unhealthy_members": [{"id": "m1", "name": "one"}, {"id": "m2", "name": "two"}],
}
BASE = "/v1/project-of-abc"
MARKED = {"mark_unhealthy": True, "resource_status_reason": "unhealthy load balancer member"}


def resources(*parents: str) -> Any:
    return answering_json({"resources": [{"resource_name": "member", "parent_resource": name} for name in parents]})


def prepared(there: Receiver) -> None:
    # Heat's redirect names the host that it believes to be
    there.on(f"GET {BASE}/stacks/root-id", answering(302, location=f"http://heat.internal{BASE}/stacks/root/root-id"))
    there.on(
        f"GET {BASE}/stacks/root-asg-x", answering(302, location=f"http://heat.internal{BASE}/stacks/root-asg-x/id2")
    )
    listed = f"GET {BASE}/stacks/root/root-id/resources?physical_resource_id="
    there.on(f"{listed}m1&nested_depth=3", resources("aaa"))
    there.on(f"{listed}m2&nested_depth=3", resources("b/b"))
    for name in ("aaa", "b%2Fb"):
        there.on(f"PATCH {BASE}/stacks/root-asg-x/id2/resources/{name}", answering(200))
    there.on(f"PATCH {BASE}/stacks/root/root-id", answering(202))


async def deliver(there: Receiver, data: dict[str, Any] | None = None, user: str = "abc:delete@") -> None:
    body = {"alarm_id": "77b9", "reason_data": DATA if data is None else data}
    row = OutboxRow(id="77b9:3:0", alarm_id="77b9", url=f"trust+heat://{user}", body=body, created=0.0)
    async with http.client() as client:
        heat = Service("orchestration", Cloud(), client, url=f"{there.base}/v1/%(project_id)s")
        await HeatAction(Heat(heat)).deliver(row)


async def test_each_member_is_marked_and_then_the_stack_is_updated() -> None:
    async with receiver() as there:
        prepared(there)
        await deliver(there)
    changes = [got for got in there.received if got.request_line.startswith("PATCH")]
    assert [got.request_line.split()[1] for got in changes] == [
        f"{BASE}/stacks/root-asg-x/id2/resources/aaa",
        f"{BASE}/stacks/root-asg-x/id2/resources/b%2Fb",
        f"{BASE}/stacks/root/root-id",
    ]
    assert [got.json for got in changes] == [MARKED, MARKED, {}]
    assert {got.headers["x-auth-token"] for got in there.received} == {"token-abc-1"}


@pytest.mark.parametrize(
    "stack", ["root/root-id", "arn:openstack:heat::p:stacks/root/root-id"], ids=["name-and-id", "arn"]
)
async def test_a_stack_that_is_named_in_full_is_not_looked_up(stack: str) -> None:
    async with receiver() as there:
        prepared(there)
        await deliver(there, {**DATA, "stack_id": stack})
    assert f"GET {BASE}/stacks/root-id" not in there.requests
    assert there.requests[-1] == f"PATCH {BASE}/stacks/root/root-id"


async def test_members_that_the_stack_no_longer_has_change_nothing() -> None:
    structlog.reset_defaults()
    async with receiver() as there:
        prepared(there)
        for member in ("m1", "m2"):
            listed = f"GET {BASE}/stacks/root/root-id/resources?physical_resource_id={member}&nested_depth=3"
            there.on(listed, resources())
        with capture_logs() as lines:
            await deliver(there)
    assert not [request for request in there.requests if request.startswith("PATCH")]
    assert [line["event"] for line in lines] == ["no unhealthy member found in the stack"]


async def test_an_alarm_that_is_over_changes_nothing() -> None:
    async with receiver() as there:
        await deliver(there, {**DATA, "unhealthy_members": []})
    assert there.received == []


async def test_a_stack_that_is_being_changed_is_tried_again_later() -> None:
    async with receiver() as there:
        prepared(there)
        there.on(f"PATCH {BASE}/stacks/root/root-id", answering(409, "already has an action (UPDATE) in progress"))
        with pytest.raises(TemporaryError, match="in progress") as caught:
            await deliver(there)
    assert caught.value.delay == 30


@pytest.mark.parametrize(
    ("data", "user", "said"),
    [
        pytest.param({"type": "threshold"}, "abc@", "only alarms of type loadbalancer_member_health", id="other-alarm"),
        pytest.param(DATA, "", "there is no trust", id="no-trust"),
        pytest.param({**DATA, "stack_id": "gone"}, "abc@", "answered 404", id="no-such-stack"),
    ],
)
async def test_what_cannot_be_done_is_final(data: dict[str, Any], user: str, said: str) -> None:
    async with receiver() as there:
        prepared(there)
        with pytest.raises(PermanentError, match=said):
            await deliver(there, data, user)
    assert not [request for request in there.requests if request.startswith("PATCH")]


async def test_an_answer_that_is_no_list_is_temporary() -> None:
    async with receiver() as there:
        prepared(there)
        listed = f"GET {BASE}/stacks/root/root-id/resources?physical_resource_id=m1&nested_depth=3"
        there.on(listed, answering(200, "<html>"))
        with pytest.raises(TemporaryError, match="cannot be read"):
            await deliver(there)
