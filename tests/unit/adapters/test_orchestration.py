"""Which group of Heat's an action leads to."""

from typing import Any

import pytest

from autoscaler.adapters import http
from autoscaler.adapters.heat import Heat
from autoscaler.adapters.openstack import Service
from autoscaler.adapters.orchestration import HeatOrchestration, place_of
from autoscaler.errors import PermanentError
from autoscaler.ports import Place, Rights
from autoscaler.scaling.signals import HeatGroup
from tests.cloud import Cloud
from tests.receiver import Receiver, answering, answering_json, receiver

PLACE = Place("p1", "web", "id1", "up", signed=True)
ARN = "arn%3Aopenstack%3Aheat%3A%3Ap1%3Astacks/web/id1/resources/up"
QUERY = "SignatureMethod=HmacSHA256&SignatureVersion=2&AWSAccessKeyId=k&Signature=s%2F%3D"
BASE = "/v1/p1/stacks/web/id1"
NESTED = "/v1/p1/stacks/web-group-x/n1"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        pytest.param(f"http://h:8000/v1/signal/{ARN}?{QUERY}", PLACE, id="alarm-url"),
        pytest.param(f"https://h/cfn/v1/signal/{ARN.replace('%3A', ':')}?{QUERY}", PLACE, id="behind-a-proxy"),
        pytest.param(
            "trust+https://t1:delete@h:8004/v1/p1/stacks/web/id1/resources/up/signal",
            Place("p1", "web", "id1", "up", "t1"),
            id="signal-url",
        ),
        pytest.param(
            "trust+http://h/heat/v1/p1/stacks/web/id1/resources/scale%20up/signal",
            Place("p1", "web", "id1", "scale up"),
            id="without-a-trust",
        ),
        pytest.param("http://h/v1/p1/stacks/web/id1/resources/up/signal", None, id="nothing-to-be-let-in-by"),
        pytest.param(f"http://h:8000/v1/signal/{ARN}", None, id="not-signed"),
        pytest.param(f"http://h:8000/v1/waitcondition/{ARN}?{QUERY}", None, id="wait-condition"),
        pytest.param("https://hooks.example.org/signal?Signature=x", None, id="somebody-elses"),
        pytest.param("trust+zaqar://t1@?queue_name=q", None, id="zaqar"),
        pytest.param("http://[::1", None, id="no-url"),
    ],
)
def test_what_an_action_signals(url: str, place: Place | None) -> None:
    assert place_of(url) == place


def resource(name: str, status: str = "CREATE_COMPLETE", **more: Any) -> dict[str, Any]:
    return {"resource_name": name, "resource_status": status, "resource_type": "T", **more}


def stack(name: str, stack_id: str, **more: Any) -> dict[str, Any]:
    return {"stack": {"stack_name": name, "id": stack_id, "stack_status": "UPDATE_COMPLETE", **more}}


def template(**group: Any) -> dict[str, Any]:
    return {
        "resources": {
            "group": {"type": "OS::Heat::AutoScalingGroup", "properties": group},
            "up": {
                "type": "OS::Heat::ScalingPolicy",
                "properties": {
                    "auto_scaling_group_id": {"get_resource": "group"},
                    "adjustment_type": "change_in_capacity",
                    "scaling_adjustment": 1,
                },
            },
        }
    }


def prepared(there: Receiver, document: dict[str, Any]) -> None:
    there.on(
        f"GET {BASE}?resolve_outputs=False",
        answering_json(stack("web", "id1", parameters={"most": "7", "OS::stack_id": "id1"})),
    )
    there.on(f"GET {BASE}/template", answering_json(document))
    links = [{"rel": "nested", "href": f"http://heat.internal{NESTED}"}]
    there.on(f"GET {BASE}/resources/group", answering_json({"resource": resource("group", links=links)}))
    noted = {"scaling_in_progress": False, "cooldown_end": {"2026-11-28T00:00:00": "change_in_capacity : 1"}}
    there.on(f"GET {BASE}/resources/group/metadata", answering_json({"metadata": noted}))
    members = [resource("a"), resource("b", "CREATE_FAILED"), resource("c", "INIT_COMPLETE")]
    there.on(f"GET {NESTED}/resources", answering_json({"resources": members}))
    there.on(
        f"GET {NESTED}?resolve_outputs=False",
        answering_json(stack("web-group-x", "n1", updated_time="2026-11-28T00:00:00Z")),
    )


async def look(there: Receiver, rights: Rights | None = None) -> HeatGroup:
    async with http.client() as client:
        heat = Heat(Service("orchestration", Cloud(), client, url=f"{there.base}/v1/%(project_id)s"))
        return await HeatOrchestration(heat).look(PLACE, rights or Rights())


async def test_a_group_is_read_with_its_members_its_bounds_and_what_heat_notes_of_it() -> None:
    async with receiver() as there:
        prepared(there, template(min_size=1, max_size={"get_param": "most"}))
        found = await look(there)

    assert found == HeatGroup(
        name="heat:id1:group",
        project_id="p1",
        stack="web",
        group="group",
        stack_status="UPDATE_COMPLETE",
        status="CREATE_COMPLETE",
        nested_status="UPDATE_COMPLETE",
        in_progress=False,
        cooldown_end=1795824000.0,
        cooldown_by="change_in_capacity : 1",
        size=2,
        failed=1,
        updated=1795824000.0,
        nested_id="n1",
        adjustment_type="change_in_capacity",
        limits=(1, 7),
    )
    assert {got.headers["x-auth-token"] for got in there.received} == {"token--1"}


@pytest.mark.parametrize(
    ("document", "limits"),
    [
        pytest.param(template(max_size={"get_attr": ["x", "y"]}), (None, None), id="made-otherwise"),
        pytest.param(template(min_size="0", max_size={"get_param": "nobody"}), (0, None), id="unknown-parameter"),
        pytest.param(
            {
                "Resources": {
                    "group": {"Type": "AWS::AutoScaling::AutoScalingGroup", "Properties": {"MaxSize": {"Ref": "most"}}},
                    "up": {"Properties": {"AutoScalingGroupName": {"Ref": "group"}}},
                }
            },
            (None, 7),
            id="cloudformation",
        ),
    ],
)
async def test_bounds_that_cannot_be_read_are_not_made_up(
    document: dict[str, Any], limits: tuple[int | None, int | None]
) -> None:
    async with receiver() as there:
        prepared(there, document)
        found = await look(there)

    assert found.limits == limits


async def test_a_resource_that_moves_no_group_is_none_of_ours() -> None:
    async with receiver() as there:
        prepared(there, {"resources": {"up": {"type": "OS::Heat::SoftwareDeployment", "properties": {"server": "x"}}}})
        with pytest.raises(PermanentError, match="up of stack web is no scaling policy"):
            await look(there)


async def test_a_group_that_may_not_be_read_is_refused_as_heat_refuses_it() -> None:
    async with receiver() as there:
        there.on(f"GET {BASE}?resolve_outputs=False", answering(403, "Access was denied"))
        with pytest.raises(PermanentError, match="Access was denied"):
            await look(there)


async def test_a_group_is_marked_and_the_mark_taken_back() -> None:
    async with receiver() as there, http.client() as client:
        prepared(there, template())
        there.on(f"PATCH {BASE}/resources/group", answering(200))
        heat = Heat(Service("orchestration", Cloud(), client, url=f"{there.base}/v1/%(project_id)s"))
        for unhealthy in (True, False):
            await HeatOrchestration(heat).mark(PLACE, Rights(), unhealthy=unhealthy)

    changes = [got.json["mark_unhealthy"] for got in there.received if got.request_line.startswith("PATCH")]
    assert changes == [True, False]
