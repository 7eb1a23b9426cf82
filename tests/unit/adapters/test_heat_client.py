"""What Heat answers, as values; against a server that answers as Heat does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from autoscaler.adapters import http
from autoscaler.adapters.heat import GroupMetadata, Heat, Resource, Stack, StackRef, group_metadata
from autoscaler.adapters.openstack import Service
from autoscaler.errors import PermanentError, TemporaryError
from tests.cloud import Cloud
from tests.receiver import Receiver, answering, answering_json, receiver

REF = StackRef("web", "web-id")
AT = datetime(2026, 11, 28, 18, 46, 52, tzinfo=UTC).timestamp()
GROUP = {
    "resource_name": "group",
    "resource_type": "OS::Heat::AutoScalingGroup",
    "physical_resource_id": "nested-id",
    "resource_status": "CREATE_COMPLETE",
    "resource_status_reason": "state changed",
    "creation_time": "2026-11-28T18:46:52Z",
    "updated_time": "2026-11-28T18:46:52Z",
    "required_by": ["up", "down"],
    "attributes": {"current_size": None},
    "links": [
        {"href": "http://heat.internal/v1/p/stacks/web/web-id", "rel": "stack"},
        {"href": "http://heat.internal/v1/p/stacks/web-group-x/nested-id", "rel": "nested"},
    ],
}


@asynccontextmanager
async def heat(there: Receiver, *, templated: bool = True) -> AsyncIterator[Heat]:
    url = f"{there.base}/v1/%(project_id)s"
    cloud = Cloud(url="" if templated else f"{there.base}/v1/project-of-ours")
    async with http.client() as client:
        yield Heat(Service("orchestration", cloud, client, url=url if templated else ""))


async def test_a_group_is_read_with_the_stack_that_it_consists_of() -> None:
    async with receiver() as there, heat(there) as client:
        there.on("GET /v1/project-of-abc/stacks/web/web-id/resources/group", answering_json({"resource": GROUP}))
        found = await client.by(trust_id="abc").resource(REF, "group")

    assert found == Resource(
        name="group",
        type="OS::Heat::AutoScalingGroup",
        physical_id="nested-id",
        status="CREATE_COMPLETE",
        reason="state changed",
        created=AT,
        updated=AT,
        required_by=("up", "down"),
        nested=StackRef("web-group-x", "nested-id"),
    )


async def test_a_stack_is_read_without_its_outputs() -> None:
    stack = {
        "stack_name": "web", "id": "web-id", "stack_status": "UPDATE_IN_PROGRESS", "stack_status_reason": None,
        "parameters": {"desired": 3}, "updated_time": None,
    }  # fmt: skip
    async with receiver() as there, heat(there) as client:
        asked = "GET /v1/project-of-ours/stacks/web/web-id?resolve_outputs=False"
        there.on(asked, answering_json({"stack": stack}))
        found = await client.stack(REF)

    assert found == Stack(REF, "UPDATE_IN_PROGRESS", "", {"desired": "3"})
    assert found.is_changing


@pytest.mark.parametrize("templated", [True, False], ids=["url-of-the-settings", "url-of-the-catalog"])
async def test_another_project_is_named_in_the_path_and_asked_with_our_own_token(*, templated: bool) -> None:
    async with receiver() as there, heat(there, templated=templated) as client:
        path = "GET /v1/project-two/stacks/web/web-id/resources/group/metadata"
        there.on(path, answering_json({"metadata": {"scaling_in_progress": True}}))
        found = await client.by(project_id="project-two").metadata(REF, "group")

    assert found == GroupMetadata(in_progress=True)
    assert there.received[0].headers["x-auth-token"] == "token--1"


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        pytest.param({}, GroupMetadata(), id="never-scaled"),
        pytest.param(
            {"scaling_in_progress": False, "cooldown_end": {"2026-11-28T18:46:52": "ChangeInCapacity : 1"}},
            GroupMetadata(False, AT, "ChangeInCapacity : 1"),
            id="cooling",
        ),
        pytest.param({"cooldown_end": {"no time": "x"}}, GroupMetadata(cooldown_by="x"), id="no-time"),
        pytest.param({"cooldown_end": "2015", "scaling_in_progress": "yes"}, GroupMetadata(), id="of-an-older-heat"),
    ],
)
def test_what_heat_notes_of_scaling(metadata: dict[str, Any], found: GroupMetadata) -> None:
    assert group_metadata(metadata) == found


@pytest.mark.parametrize(
    ("status", "failed", "complete"),
    [
        ("CREATE_COMPLETE", False, True),
        ("UPDATE_COMPLETE", False, True),
        ("INIT_COMPLETE", False, False),
        ("DELETE_COMPLETE", False, False),
        ("CREATE_IN_PROGRESS", False, False),
        ("CHECK_FAILED", True, False),
    ],
)
def test_conditions_of_a_member(*, status: str, failed: bool, complete: bool) -> None:
    member = Resource("a", "OS::Nova::Server", "x", status)

    assert (member.has_failed, member.is_complete) == (failed, complete)


async def test_a_stack_that_is_named_by_one_part_is_looked_up() -> None:
    async with receiver() as there, heat(there) as client:
        there.on(
            "GET /v1/project-of-ours/stacks/web",
            answering(302, location="http://heat.internal/v1/x/stacks/we%62/web-id"),
        )
        assert await client.ref("web") == REF
        assert await client.ref("web/web-id") == REF
        with pytest.raises(PermanentError, match="does not know"):
            await client.ref("web/")


async def test_an_answer_of_another_form_is_no_answer() -> None:
    async with receiver() as there, heat(there) as client:
        for answer in ('{"resource": []}', b'{"\xff', "[" * 9999):
            there.on("GET /v1/project-of-ours/stacks/web/web-id/resources/group", answering(200, answer))
            with pytest.raises(TemporaryError, match="Heat's answer cannot be read"):
                await client.resource(REF, "group")
