"""Changes as CADF events, compared with what pycadf makes of them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from autoscaler.engine.audit import Change
from autoscaler.engine.cadf import event
from autoscaler.ports import AuditEntry
from autoscaler.scaling.group import Actor
from tests.differential.asking import ask

pytestmark = pytest.mark.oracle

ACTORS = (
    Actor(kind="user", name="mona", project_id="shop", address="192.0.2.7", request_id="req-1"),
    Actor(kind="user", name="token:ci"),
    Actor(kind="controller", name="replica-1"),
)
KINDS = ("alarm", "group", "groups", "policy", "quota", "dead letters", "declarations", "database", "something new")


def events() -> list[dict[str, Any]]:
    return [
        event(
            AuditEntry(
                event_id=str(uuid.uuid4()),
                actor=actor,
                change=change,
                kind=kind,
                target="x",
                before={"a": 1},
                after="b",
            ),
            1_800_000_000.25,
        )
        for actor in ACTORS
        for change in Change
        for kind in KINDS
    ]


def test_pycadf_takes_every_event_for_valid_and_makes_the_same_of_it() -> None:
    told = events()

    for ours, theirs in zip(told, ask("cadf.py", told), strict=True):
        assert theirs["valid"], ours
        # ours tell a project and a request id beside what is CADF's, as keystonemiddleware's do
        for key in ("initiator", "target"):
            ours[key] = {name: value for name, value in ours[key].items() if name not in {"project_id", "request_id"}}
        assert theirs["event"] == ours
