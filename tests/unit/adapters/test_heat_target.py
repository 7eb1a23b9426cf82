"""What only happens when something goes wrong: against a server that answers as Heat, Nova and Neutron do.

That groups grow and shrink is seen with the real Heat, in tests/heat.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from autoscaler.adapters import http
from autoscaler.adapters.heat import Resource
from autoscaler.adapters.openstack import Service
from autoscaler.adapters.targets.heat import HeatTarget
from autoscaler.adapters.targets.heat_group import MARK, victims
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.scaling.group import Bound, Group
from autoscaler.scaling.policy import Order
from tests.cloud import Cloud
from tests.receiver import Answer, Receiver, answering, answering_json, hanging, receiver

pytestmark = pytest.mark.slow

NOW = 1_795_892_000.0
STACK, NESTED = "/v1/p/stacks/web/web-id", "/v1/p/stacks/web-group/nested-id"
SHORT = 0.7
"""Seconds for one answer, where one does not come."""
SERVERS, LIMITS = "GET /servers/detail?", "GET /limits"
PORTS = "GET /v2.0/quotas/p/details.json"


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def policy(adjustment: int) -> dict[str, Any]:
    properties = {
        "auto_scaling_group_id": {"get_resource": "group"},
        "adjustment_type": "change_in_capacity",
        "scaling_adjustment": adjustment,
    }
    return {"type": "OS::Heat::ScalingPolicy", "properties": properties}


def member(name: str, status: str = "CREATE_COMPLETE", *, age: float = 100.0, reason: str = "") -> dict[str, Any]:
    return {
        "resource_name": name,
        "resource_type": "OS::Nova::Server",
        "physical_resource_id": "" if status.startswith("INIT") else f"vm-{name}",
        "resource_status": status,
        "resource_status_reason": reason,
        "creation_time": at(-age),
        "updated_time": at(-age),
    }


@dataclass
class Heat:
    """A stack ``web`` with a group ``group``; whatever is assigned here is answered from then on."""

    there: Receiver
    target: HeatTarget
    now: float = NOW
    stack: str = "UPDATE_COMPLETE"
    group: str = "UPDATE_COMPLETE"
    group_reason: str = ""
    nested: str = "UPDATE_COMPLETE"
    properties: dict[str, Any] = field(default_factory=lambda: {"desired_capacity": {"get_param": "desired"}})
    resources: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=lambda: {"desired": "3", "OS::project_id": "p"})
    members: list[dict[str, Any]] = field(default_factory=lambda: [member(f"m{n}", age=100 - n) for n in range(3)])
    metadata: dict[str, Any] = field(default_factory=dict)

    def tell(self) -> None:
        """Answer by what is assigned."""
        stack = {"stack_name": "web", "id": "web-id", "stack_status": self.stack, "parameters": self.parameters}
        nested = {
            "stack_name": "web-group", "id": "nested-id", "stack_status": self.nested,
            "stack_status_reason": "no valid host", "updated_time": at(-100),
        }  # fmt: skip
        links = [{"rel": "nested", "href": f"http://heat.internal{NESTED}"}]
        group = {
            **member("group", self.group, reason=self.group_reason),
            "resource_type": "OS::Heat::AutoScalingGroup",
            "links": links,
        }
        properties = {"min_size": 0, "max_size": 9, **self.properties}
        template = {
            "parameters": {"desired": {}},
            "resources": {"group": {"type": "OS::Heat::AutoScalingGroup", "properties": properties}, **self.resources},
        }
        answers = {
            f"{STACK}?resolve_outputs=False": {"stack": stack},
            f"{STACK}/template": template,
            f"{STACK}/resources/group": {"resource": group},
            f"{STACK}/resources/group/metadata": {"metadata": self.metadata},
            f"{NESTED}?resolve_outputs=False": {"stack": nested},
            f"{NESTED}/resources": {"resources": self.members},
        }
        for path, answer in answers.items():
            self.there.on(f"GET {path}", answering_json(answer))

    def on(self, request: str, *answers: Answer) -> None:
        self.there.on(request, *answers)

    @property
    def changes(self) -> list[tuple[str, Any]]:
        """What was asked for that changes anything: paths below the stacks, and bodies."""
        return [
            (got.request_line.split()[1].removeprefix("/v1/p/stacks/"), json.loads(got.body))
            for got in self.there.received
            if not got.request_line.startswith("GET")
        ]


@asynccontextmanager
async def heat(*, repair: bool = False, timeout: float = 10.0, **options: Any) -> AsyncIterator[tuple[Heat, Group]]:
    async with receiver() as there, http.client() as client:
        urls = {"orchestration": f"{there.base}/v1/p", "compute": there.base, "network": there.base}

        async def service(_: str, kind: str) -> Service:
            return Service(kind, Cloud(url=urls[kind]), client, timeout=timeout)

        it = Heat(there, HeatTarget(service, lambda: it.now, repair=repair))
        it.tell()
        it.on(f"PATCH {STACK}", answering(202))
        asked = {"stack": "web/web-id", "group": "group", **options}
        yield it, Group(name="web", min_size=0, max_size=10, target_type="heat", target=asked)


# --- looks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "busy"),
    [
        pytest.param({}, "", id="at-rest"),
        pytest.param({"stack": "UPDATE_FAILED", "nested": "UPDATE_FAILED"}, "", id="failed"),
        pytest.param({"stack": "UPDATE_IN_PROGRESS"}, "stack web is UPDATE_IN_PROGRESS", id="an-update"),
        pytest.param({"stack": "SUSPEND_COMPLETE"}, "stack web is suspended", id="suspended"),
        pytest.param({"group": "UPDATE_IN_PROGRESS"}, "group group is UPDATE_IN_PROGRESS", id="the-group"),
        pytest.param({"nested": "UPDATE_IN_PROGRESS"}, "group group is UPDATE_IN_PROGRESS within", id="within"),
        pytest.param(
            {"metadata": {"scaling_in_progress": True}}, "Heat is scaling group group itself", id="by-its-own-policy"
        ),
    ],
)
async def test_what_is_under_way_is_said_and_nothing_is_asked_for(changes: dict[str, Any], busy: str) -> None:
    async with heat() as (it, web):
        for name, value in changes.items():
            setattr(it, name, value)
        it.tell()

        assert (await it.target.status(web)).busy == busy
        if busy:
            with pytest.raises(TemporaryError, match=busy) as caught:
                await it.target.resize(web, 5, fence=1, deadline=5)
            assert (caught.value.tried, it.changes) == (False, [])


async def test_a_failed_member_is_a_member_and_does_not_serve() -> None:
    async with heat() as (it, web):
        it.members = [
            member("a"),
            member("b", "CREATE_FAILED"),
            member("c", "INIT_COMPLETE"),
            member("d", "CHECK_COMPLETE"),
        ]
        it.members.append(member("gone", "DELETE_COMPLETE"))
        it.nested = "UPDATE_FAILED"
        it.tell()
        status = await it.target.status(web)

    assert (status.size, list(status.ready), list(status.failed)) == (4, ["vm-a", "vm-d"], ["b", "c"])
    assert status.trouble == "UPDATE_FAILED: no valid host"


@pytest.mark.parametrize(
    ("properties", "parameters", "wanted"),
    [
        pytest.param({"desired_capacity": {"get_param": "desired"}}, {"desired": "4"}, 4, id="a-parameter"),
        pytest.param({"desired_capacity": {"get_param": "desired"}}, {"desired": "99"}, 9, id="within-heats-bounds"),
        pytest.param({"desired_capacity": {"get_param": "desired"}}, {"desired": "0"}, None, id="0-is-unset"),
        pytest.param({"desired_capacity": {"get_param": "desired"}}, {"desired": "******"}, None, id="hidden"),
        pytest.param({"desired_capacity": 4}, {"desired": "4"}, None, id="a-number-that-is-not-ours-to-write"),
        pytest.param({}, {"desired": "4"}, None, id="nothing"),
    ],
)
async def test_what_the_next_update_would_make_of_it(
    properties: dict[str, Any], parameters: dict[str, str], wanted: int | None
) -> None:
    async with heat() as (it, web):
        it.properties, it.parameters = properties, parameters
        it.tell()

        assert (await it.target.status(web)).wanted == wanted


PAIR = {"up": policy(1), "down": policy(-1)}


@pytest.mark.parametrize(
    ("properties", "resources", "options", "group", "warning"),
    [
        pytest.param({"desired_capacity": {"get_param": "desired"}}, {}, {}, "", "", id="a-parameter"),
        pytest.param({}, PAIR, {}, "", "", id="a-pair"),
        pytest.param(
            {}, {**PAIR, "more": policy(1)}, {}, "",
            "group group cannot be resized: no parameter of the stack is its desired_capacity, "
            "and 2 policies add one member, 1 take one away", id="nothing",
        ),
        pytest.param(
            {"desired_capacity": 2}, PAIR, {}, "",
            "desired_capacity of group group is set by the number 2: each update of the stack resets the size to that",
            id="a-number",
        ),
        pytest.param(
            {"desired_capacity": {"get_param": "desired"}}, PAIR, {"policies": {"out": "up", "in": "down"}}, "",
            "desired_capacity of group group is set by parameter desired: each update of the stack resets the size to "
            "that", id="another-parameter",
        ),
        pytest.param({"desired_capacity": {"if": ["a", 1, 2]}}, {}, {"parameter": "desired"}, "", "", id="computed"),
        pytest.param(
            {}, {}, {"parameter": "desired"}, "",
            "parameter desired changes nothing: desired_capacity of group group is not set by it", id="unused",
        ),
        pytest.param(
            {"desired_capacity": {"get_param": "desired"}}, {}, {}, "CHECK_FAILED",
            "group group is marked unhealthy: the next update of the stack would replace all of its members",
            id="marked",
        ),
    ],
)  # fmt: skip
async def test_what_somebody_should_change(
    properties: dict[str, Any], resources: dict[str, Any], options: dict[str, Any], group: str, warning: str
) -> None:
    async with heat(**options) as (it, web):
        it.properties, it.resources, it.group = properties, resources, group or it.group
        it.tell()
        status = await it.target.status(web)

        assert status.facts.get("warning", "") == warning
        if "cannot be resized" in warning or "unhealthy" in warning:
            with pytest.raises(PermanentError, match=warning):
                await it.target.resize(web, 5, fence=1, deadline=5)
            assert it.changes == []


@pytest.mark.parametrize(
    ("request_", "answer", "words"),
    [
        pytest.param(f"{STACK}?resolve_outputs=False", answering(404, "no stack"), "no stack", id="no-stack"),
        pytest.param(f"{STACK}/resources/group", answering(404, "no resource"), "no resource", id="no-group"),
        pytest.param(f"{STACK}/resources/group", answering(503, "later"), "later", id="heat-fails"),
        pytest.param(f"{NESTED}/resources", answering(200, "<html>"), "cannot be read", id="somebody-else"),
        pytest.param(f"{NESTED}/resources", answering(403, "not yours"), "not yours", id="no-right"),
        pytest.param(f"{STACK}/resources/group/metadata", hanging, "no answer within 0.7 s", id="it-hangs"),
    ],
)
async def test_what_cannot_be_read_is_no_size(request_: str, answer: Answer, words: str) -> None:
    async with heat(timeout=SHORT if answer is hanging else 10.0) as (it, web):
        it.on(f"GET {request_}", answer)
        with pytest.raises(TemporaryError, match=words):
            await it.target.status(web)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"group": "grp"}, "stack web has no AutoScalingGroup grp", id="no-group"),
        pytest.param({"parameter": "desire"}, 'no parameter "desire"; did you mean "desired"', id="no-parameter"),
    ],
)
async def test_what_the_stack_does_not_have_is_named(options: dict[str, str], words: str) -> None:
    async with heat(**options) as (it, web):
        with pytest.raises(TemporaryError, match=words):
            await it.target.status(web)


async def test_a_stack_that_is_deleted_is_no_group_of_nobody_and_is_found_again_under_its_name() -> None:
    async with heat(stack="web") as (it, web):
        there = f"http://heat.internal{STACK}"
        it.on("GET /v1/p/stacks/web", answering(302, location=there))
        await it.target.status(web)
        it.stack = "DELETE_COMPLETE"
        it.tell()
        with pytest.raises(TemporaryError, match="stack web is DELETE_COMPLETE"):
            await it.target.status(web)
        it.stack = "CREATE_COMPLETE"
        it.tell()
        assert (await it.target.status(web)).size == 3

    assert it.there.requests.count("GET /v1/p/stacks/web") == 2


async def test_a_resize_that_stands_still_is_told_and_a_parameter_sets_it_free() -> None:
    """An engine that has died leaves the flag behind; an update of the stack takes it away."""
    async with heat() as (it, web):
        it.metadata, it.nested = {"scaling_in_progress": True}, "UPDATE_IN_PROGRESS"
        it.tell()
        it.now = NOW + 400
        assert "wedged" not in (await it.target.status(web)).facts
        it.now = NOW + 700
        status = await it.target.status(web)
        await it.target.resize(web, 4, fence=1, deadline=5)

        assert status.facts["wedged"].startswith(f"nothing has moved since {at(-98)} though Heat calls a resize")
        assert (status.busy, it.changes) == ("", [("web/web-id", {"parameters": {"desired": 4}})])


@pytest.mark.parametrize(
    ("changes", "repair", "busy"),
    [
        pytest.param({"group": "UPDATE_IN_PROGRESS"}, True, "", id="made-again-where-that-is-allowed"),
        pytest.param({"group": "UPDATE_IN_PROGRESS"}, False, "stack web is UPDATE_IN_PROGRESS", id="left-to-a-person"),
        pytest.param({"nested": "UPDATE_COMPLETE"}, True, "stack web is UPDATE_IN_PROGRESS", id="it-waits-for-others"),
    ],
)
async def test_an_update_that_stands_still_in_the_group_is_made_a_second_time(
    changes: dict[str, str], busy: str, *, repair: bool
) -> None:
    """Heat's engines forget the updates of one that has died."""
    async with heat(repair=repair) as (it, web):
        it.stack, it.nested, it.now = "UPDATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", NOW + 700
        for name, value in changes.items():
            setattr(it, name, value)
        it.tell()
        status = await it.target.status(web)
        if not busy:
            await it.target.resize(web, 2, fence=1, deadline=5, order=Order.NEWEST)

        assert (status.busy, "wedged" in status.facts) == (busy, True)
        assert status.trouble == ("" if busy else status.facts["wedged"])
        assert it.changes == ([] if busy else [("web/web-id", {"parameters": {"desired": 2}})])


async def test_what_a_dead_engine_leaves_behind_within_a_group_holds_nobody_for_ever() -> None:
    async with heat() as (it, web):
        it.nested = "UPDATE_IN_PROGRESS"
        it.tell()
        during = await it.target.status(web)
        it.now = NOW + 700
        after = await it.target.status(web)

    assert (during.busy, after.busy) == ("group group is UPDATE_IN_PROGRESS within", "")
    assert "wedged" not in after.facts


# --- by a parameter --------------------------------------------------------------------------------------------------


async def test_a_stack_that_somebody_else_has_in_hand_is_waited_for() -> None:
    async with heat() as (it, web):
        it.on(f"PATCH {STACK}", answering(409, "ActionInProgress"))
        with pytest.raises(TemporaryError, match=r"somebody else has it in hand: .*ActionInProgress") as caught:
            await it.target.resize(web, 5, fence=1, deadline=5)

    assert (caught.value.tried, caught.value.delay) == (False, 5.0)


async def test_what_heat_refuses_is_told_in_its_words() -> None:
    async with heat() as (it, web):
        it.on(f"PATCH {STACK}", answering(400, "desired: 5 is out of range"))
        with pytest.raises(PermanentError, match="desired: 5 is out of range"):
            await it.target.resize(web, 5, fence=1, deadline=5)


async def test_a_group_is_not_taken_to_0_by_a_number_that_heat_takes_for_unset() -> None:
    async with heat() as (it, web):
        assert (await it.target.status(web)).least == Bound(
            1, "Heat takes desired 0 for unset, and keeps what there is"
        )
        with pytest.raises(PermanentError, match="Heat takes desired 0 for unset"):
            await it.target.resize(web, 0, fence=1, deadline=5)
        assert it.changes == []


def marked(name: str) -> tuple[str, Any]:
    why = f"{MARK}to be removed"
    return f"web-group/nested-id/resources/{name}", {"mark_unhealthy": True, "resource_status_reason": why}


def unmarked(name: str) -> tuple[str, Any]:
    return f"web-group/nested-id/resources/{name}", {"mark_unhealthy": False, "resource_status_reason": f"{MARK}stays"}


async def test_nobody_stays_marked_for_a_resize_that_heat_refuses() -> None:
    async with heat() as (it, web):
        it.on(f"PATCH {NESTED}/resources/m2", answering(200))
        it.on(f"PATCH {STACK}", answering(400, "no"))
        with pytest.raises(PermanentError, match="no"):
            await it.target.resize(web, 2, fence=1, deadline=5, order=Order.NEWEST)

        assert it.changes == [marked("m2"), ("web/web-id", {"parameters": {"desired": 2}}), unmarked("m2")]


async def test_who_repeats_a_resize_that_was_broken_off_finds_who_was_marked() -> None:
    async with heat() as (it, web):
        it.members[1] |= {"resource_status": "CHECK_FAILED", "resource_status_reason": f"{MARK}to be removed"}
        it.tell()
        await it.target.resize(web, 2, fence=1, deadline=5, order=Order.NEWEST)

        assert it.changes == [("web/web-id", {"parameters": {"desired": 2}})]


async def test_who_was_marked_for_a_resize_that_is_no_longer_wanted_stays() -> None:
    async with heat() as (it, web):
        it.members[1] |= {"resource_status": "CHECK_FAILED", "resource_status_reason": f"{MARK}to be removed"}
        it.on(f"PATCH {NESTED}/resources/m1", answering(200))
        it.tell()
        await it.target.resize(web, 5, fence=1, deadline=5)

        assert it.changes == [unmarked("m1"), ("web/web-id", {"parameters": {"desired": 5}})]


def one(name: str, created: float, status: str = "CREATE_COMPLETE", reason: str = "") -> Resource:
    return Resource(name, "OS::Nova::Server", name, status, reason, created)


OURS = {"status": "CHECK_FAILED", "reason": f"{MARK}to be removed"}
A, B, C, D = (one(name, created) for created, name in enumerate("abcd"))


@pytest.mark.parametrize(
    ("members", "capacity", "order", "marking", "unmarking"),
    [
        pytest.param([A, B, C, D], 2, Order.NEWEST, "dc", "", id="the-newest"),
        pytest.param([A, B, C, D], 2, Order.OLDEST, "", "", id="the-oldest-go-by-themselves"),
        pytest.param([A, B, C, D], 2, Order.ANY, "", "", id="anybody"),
        pytest.param([A, B, C, D], 4, Order.NEWEST, "", "", id="nobody"),
        pytest.param([A, B, C, D], 6, Order.NEWEST, "", "", id="more"),
        pytest.param([one("a", 5), one("b", 5), one("c", 5)], 2, Order.NEWEST, "c", "", id="of-the-same-second"),
        pytest.param([one("a", 0, "CREATE_FAILED"), B, C, D], 2, Order.NEWEST, "d", "", id="a-failed-one-goes-anyway"),
        pytest.param(
            [one("a", 0, "CREATE_FAILED"), one("b", 1, "CREATE_FAILED"), C, D], 3, Order.NEWEST, "", "",
            id="more-failed-ones-than-are-to-go",
        ),
        pytest.param([A, one("b", 1, **OURS), C, D], 3, Order.NEWEST, "", "", id="marked-before"),
        pytest.param([A, one("b", 1, **OURS), C, D], 2, Order.NEWEST, "d", "", id="marked-before-and-one-more"),
        pytest.param([A, one("b", 1, **OURS), one("c", 2, **OURS)], 2, Order.NEWEST, "", "c", id="one-too-many-marked"),
        pytest.param([A, one("b", 1, **OURS), C], 2, Order.OLDEST, "", "b", id="marked-for-another-order"),
        pytest.param([A, one("b", 1, "INIT_COMPLETE"), C, D], 3, Order.ANY, "b", "", id="never-made"),
        pytest.param([A, one("b", 1, "INIT_COMPLETE"), C, D], 4, Order.ANY, "", "", id="never-made-is-made-now"),
    ],
)  # fmt: skip
def test_who_has_to_go(members: Sequence[Resource], capacity: int, order: Order, marking: str, unmarking: str) -> None:
    found = victims(members, capacity, order)

    assert ["".join(each.name for each in some) for some in found] == [marking, unmarking]


# --- by a pair of policies -------------------------------------------------------------------------------------------


@asynccontextmanager
async def by_pair(**options: Any) -> AsyncIterator[tuple[Heat, Group]]:
    async with heat(**options) as (it, web):
        it.properties, it.resources = {}, PAIR
        it.on(f"POST {STACK}/resources/up/signal", answering(200, "null"))
        it.on(f"POST {STACK}/resources/down/signal", answering(200, "null"))
        it.tell()
        yield it, web


def signals(it: Heat) -> list[str]:
    return [path.split("/")[3] for path, _ in it.changes]


async def test_a_signal_says_why_and_is_followed_by_the_next_step() -> None:
    async with by_pair() as (it, web):
        again = await it.target.resize(web, 5, fence=1, deadline=5)

        said = {"previous": "ok", "current": "alarm", "reason": "autoscaler: group web from 3 to 5"}
        assert (again, it.changes) == (1.0, [("web/web-id/resources/up/signal", said)])


@pytest.mark.parametrize(
    ("failed", "capacity", "expected"),
    [
        pytest.param(0, 4, ["up"], id="more"),
        pytest.param(0, 2, ["down"], id="fewer"),
        pytest.param(0, 3, [], id="as-many"),
        pytest.param(1, 4, ["up"], id="more-and-the-failed-one-anew"),
        pytest.param(1, 3, ["up"], id="as-many-and-the-failed-one-anew"),
        pytest.param(1, 2, ["up"], id="never-fewer-than-wanted-on-the-way"),
        pytest.param(1, 1, ["down"], id="the-failed-one-goes-with-the-other"),
    ],
)
async def test_heat_counts_from_those_that_have_not_failed(failed: int, capacity: int, expected: list[str]) -> None:
    async with by_pair() as (it, web):
        for number in range(failed):
            it.members[number]["resource_status"] = "CREATE_FAILED"
        it.tell()
        await it.target.resize(web, capacity, fence=1, deadline=5)

        assert signals(it) == expected


async def test_heats_own_cooldown_is_read_told_and_waited_for() -> None:
    async with by_pair() as (it, web):
        it.metadata = {"cooldown_end": {at(20).removesuffix("Z"): "change_in_capacity : 1"}}
        it.tell()
        facts = (await it.target.status(web)).facts
        with pytest.raises(TemporaryError, match=f"Heat itself cools down until {at(20)}") as caught:
            await it.target.resize(web, 5, fence=1, deadline=5)

        assert facts["heat cools down until"] == at(20)
        assert (caught.value.delay, caught.value.tried, signals(it)) == (21.0, False, [])


async def test_a_signal_whose_answer_is_lost_is_not_repeated_before_it_can_have_no_effect_any_more() -> None:
    async with by_pair(timeout=SHORT) as (it, web):
        it.on(f"POST {STACK}/resources/up/signal", hanging, answering(200))
        with pytest.raises(TemporaryError, match=r"no answer within 0\.7 s"):
            await it.target.resize(web, 5, fence=1, deadline=5)
        it.now += 74
        with pytest.raises(TemporaryError, match="the last signal was not answered") as caught:
            await it.target.resize(web, 5, fence=1, deadline=5)
        assert (caught.value.tried, signals(it)) == (False, ["up"])
        it.now += 2
        await it.target.resize(web, 5, fence=1, deadline=5)
        assert signals(it) == ["up", "up"]


async def test_a_signal_that_never_reached_heat_is_sent_again() -> None:
    async with by_pair() as (it, web):
        it.on(f"POST {STACK}/resources/up/signal", answering(503), answering(200))
        with pytest.raises(TemporaryError, match="answered 503"):
            await it.target.resize(web, 5, fence=1, deadline=5)
        await it.target.resize(web, 5, fence=1, deadline=5)

        assert signals(it) == ["up", "up"]


async def test_a_signal_whose_answer_is_lost_and_whose_effect_is_seen_is_followed_by_the_next() -> None:
    async with by_pair(timeout=SHORT) as (it, web):
        it.on(f"POST {STACK}/resources/up/signal", hanging, answering(200))
        with pytest.raises(TemporaryError):
            await it.target.resize(web, 5, fence=1, deadline=5)
        it.members.append(member("m3"))
        it.tell()
        await it.target.resize(web, 5, fence=1, deadline=5)
        it.members.append(member("m4"))
        it.tell()
        await it.target.resize(web, 5, fence=1, deadline=5)

        assert signals(it) == ["up", "up"]


async def test_a_signal_that_heat_drops_is_repeated_once_it_is_known_to_be_dropped() -> None:
    async with by_pair() as (it, web):
        await it.target.resize(web, 4, fence=1, deadline=5)
        it.now += 9
        with pytest.raises(TemporaryError, match="was answered, and nothing came of it so far"):
            await it.target.resize(web, 4, fence=1, deadline=5)
        it.now += 2
        await it.target.resize(web, 4, fence=1, deadline=5)

        assert signals(it) == ["up", "up"]


WEDGED = {"metadata": {"scaling_in_progress": True}, "nested": "UPDATE_IN_PROGRESS", "now": NOW + 700}


def wedge(it: Heat) -> None:
    for name, value in WEDGED.items():
        setattr(it, name, value)
    it.on(f"PATCH {STACK}/resources/group", answering(200))
    it.tell()


def mark_of_group(*, unhealthy: bool) -> tuple[str, Any]:
    why = f"{MARK}to be freed" if unhealthy else f"{MARK}freed"
    return "web/web-id/resources/group", {"mark_unhealthy": unhealthy, "resource_status_reason": why}


async def test_a_group_that_stands_still_waits_for_a_person_where_no_repair_is_allowed() -> None:
    async with by_pair() as (it, web):
        wedge(it)
        status = await it.target.status(web)
        with pytest.raises(TemporaryError, match="Heat is scaling group group itself"):
            await it.target.resize(web, 5, fence=1, deadline=5)

        assert (status.busy, "wedged" in status.facts, it.changes) == ("Heat is scaling group group itself", True, [])


async def test_a_group_that_stands_still_is_freed_where_that_is_allowed() -> None:
    async with by_pair(repair=True) as (it, web):
        wedge(it)
        status = await it.target.status(web)
        with pytest.raises(TemporaryError, match="group group was wedged and has been freed") as caught:
            await it.target.resize(web, 5, fence=1, deadline=5)

        assert (status.busy, "wedged" in status.facts, caught.value.tried) == ("", True, False)
        assert it.changes == [mark_of_group(unhealthy=True), mark_of_group(unhealthy=False)]


async def test_a_repair_that_was_broken_off_is_ended_before_anything_else() -> None:
    async with by_pair() as (it, web):
        wedge(it)
        it.group, it.group_reason, it.metadata = "CHECK_FAILED", f"{MARK}to be freed", {}
        it.nested = "UPDATE_FAILED"
        it.tell()
        with pytest.raises(TemporaryError, match="has been freed"):
            await it.target.resize(web, 5, fence=1, deadline=5)

        assert it.changes == [mark_of_group(unhealthy=False)]


async def test_a_pair_takes_nobody_by_age_from_the_young_end() -> None:
    async with by_pair() as (it, web):
        with pytest.raises(PermanentError, match="order newest needs a parameter for the size"):
            await it.target.resize(web, 2, fence=1, deadline=5, order=Order.NEWEST)
        await it.target.resize(web, 4, fence=1, deadline=5, order=Order.NEWEST)

        assert signals(it) == ["up"]


async def test_a_pair_knows_no_0_of_its_own_and_heats_bounds() -> None:
    async with by_pair() as (it, web):
        it.properties = {"min_size": 2}
        it.tell()
        status = await it.target.status(web)

    assert status.least == Bound(2, "the template's min_size is 2")
    assert status.most == Bound(9, "the template's max_size is 9")


# --- servers ---------------------------------------------------------------------------------------------------------


def a_server(name: str, **changes: Any) -> dict[str, Any]:
    return {"id": name, "status": "ACTIVE", "flavor": {"vcpus": 4, "ram": 512}, **changes}


async def test_quotas_bound_a_group_of_servers_and_moving_ones_are_named() -> None:
    async with heat() as (it, web):
        moving = a_server("vm-m1", status="MIGRATING")
        it.on(SERVERS, answering_json({"servers": [a_server("vm-m0"), moving, a_server("vm-m2")]}))
        absolute = {"maxTotalInstances": 10, "totalInstancesUsed": 4, "maxTotalCores": 20, "totalCoresUsed": 14}
        it.on(LIMITS, answering_json({"limits": {"rate": [], "absolute": absolute}}))
        it.on(PORTS, answering_json({"quota": {"port": {"limit": 50, "used": 3, "reserved": 0}}}))
        status = await it.target.status(web)

    assert status.most == Bound(4, "quota: 14 of 20 cores are used")
    assert (list(status.maintenance), [name for name in status.facts if "quota" in name]) == (["vm-m1"], [])


async def test_quotas_that_cannot_be_read_bound_nothing_and_are_not_asked_for_again_and_again() -> None:
    async with heat() as (it, web):
        it.on(LIMITS, answering(403, "admins only"))
        status = await it.target.status(web)
        it.now += 9
        assert await it.target.status(web) == status
        it.now += 2
        await it.target.status(web)

    assert status.most == Bound(9, "the template's max_size is 9")
    assert "admins only" in status.facts["quotas"]
    assert it.there.requests.count(LIMITS) == 2


async def test_members_that_are_no_servers_are_asked_of_nobody() -> None:
    async with heat() as (it, web):
        it.members = [each | {"resource_type": "OS::Heat::RandomString"} for each in it.members]
        it.tell()
        await it.target.status(web)

    assert not [request for request in it.there.requests if "/v1/" not in request]
