"""Dead letters by a person's word."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from autoscaler.ports import DeadLetter, Form, OutboxRow
from tests.api.running import Api, running

ROW = OutboxRow(id="a:1:0", alarm_id="a", url="https://h/x?Signature=abc", body={"current": "alarm"}, created=1.0)


def an_action(**changes: object) -> DeadLetter:
    row = msgspec.structs.replace(ROW, **changes)
    payload = msgspec.json.encode(row).decode()
    return DeadLetter(kind="action", time=2.0, reason="given up", detail="no", source="a", payload=payload)


async def ids(api: Api, **asked: object) -> list[str]:
    return [letter["id"] for letter in (await api.client.get("/v1/dead-letters", params=asked)).json()]


async def handled(api: Api, what: str, *letter_ids: str) -> list[tuple[str, str]]:
    answer = await api.client.post(f"/v1/dead-letters/{what}", json={"ids": letter_ids})
    assert answer.status_code == 200, answer.text
    return [(each["fate"], each["detail"]) for each in answer.json()]


async def until_delivered(api: Api, count: int) -> list[OutboxRow]:
    action = api.action
    async with asyncio.timeout(10):
        while len(action.delivered) < count:
            await asyncio.sleep(0.001)
    return action.delivered


async def test_one_is_shown_by_its_id(api: Api) -> None:
    await api.store.bury([an_action()])
    (letter_id,) = await ids(api)
    shown = (await api.client.get(f"/v1/dead-letters/{letter_id}")).json()
    missing = await api.client.get("/v1/dead-letters/action-9-9")

    assert (shown["id"], shown["kind"], shown["reason"]) == (letter_id, "action", "given up")
    assert "Signature=***" in shown["payload"]
    assert (missing.status_code, missing.json()["error"]["message"]) == (404, "no dead letter action-9-9")


async def test_they_are_found_by_reason_and_in_pages(api: Api) -> None:
    letters = [
        msgspec.structs.replace(an_action(), time=float(number), reason="refused" if number % 3 else "given up")
        for number in range(250)
    ]
    await api.store.bury(letters)
    every = await ids(api, kind="action", limit=1000)
    refused = await ids(api, kind="action", limit=1000, reason="refused")
    first = await ids(api, kind="action", limit=100)
    rest = await ids(api, kind="action", limit=1000, before=first[-1])
    kindless = await api.client.get("/v1/dead-letters?before=action-1-1")

    assert (len(every), len(refused)) == (250, 166)
    assert first + rest == every
    assert (kindless.status_code, await ids(api, reason="other")) == (400, [])


async def test_a_replayed_action_is_delivered_once_under_its_own_id_whoever_replays(api: Api) -> None:
    await api.store.bury([an_action()])
    (letter_id,) = await ids(api)
    async with asyncio.TaskGroup() as group:
        tries = [group.create_task(handled(api, "replay", letter_id)) for _ in range(5)]
    delivered = await until_delivered(api, 1)
    again = await handled(api, "replay", letter_id)
    await asyncio.sleep(0.05)

    assert sorted(fate for task in tries for fate, _ in task.result()) == [*["gone"] * 4, "replayed"]
    assert again == [("gone", "")]
    assert [(row.id, row.url, row.body) for row in delivered] == [(ROW.id, ROW.url, ROW.body)]
    assert await ids(api) == []


async def test_a_letter_that_is_left_after_its_action_went_out_is_not_sent_twice(api: Api) -> None:
    """Whoever replayed it died between the two."""
    await api.store.bury([an_action()])
    (letter_id,) = await ids(api)
    await api.store.revive(ROW, letter_id, lease=0)
    outcome = await handled(api, "replay", letter_id)
    await until_delivered(api, 1)
    await asyncio.sleep(0.05)

    assert outcome == [("gone", "it was replayed before")]
    assert len(api.action.delivered) == 1
    assert await ids(api) == []


async def test_a_measure_is_read_again_and_written(api: Api) -> None:
    await api.client.post("/v1/measures", json=api.measure(timestamp=api.now[0] + 600))
    (letter_id,) = await ids(api, kind="measure")
    early = await handled(api, "replay", letter_id)
    kept = await ids(api)
    api.later(600)
    outcome = await handled(api, "replay", letter_id)

    assert [fate for fate, _ in early] == ["refused"]
    assert early[0][1].startswith("too far ahead: ")
    assert kept == [letter_id]
    assert outcome == [("replayed", "")]
    assert await ids(api) == []
    assert (await api.client.get("/v1/alarms/busy")).json()["state"] == "alarm"


async def test_what_names_its_project_counts_as_it_did_when_it_came() -> None:
    for trusted, project_id in ((False, ""), (True, "shop")):
        async with running(trusted=trusted) as api:
            measure = api.measure(timestamp=api.now[0] + 600, project_id="shop")
            await api.client.post("/v1/measures", json=measure)
            (letter,) = await api.store.dead_letters("measure", limit=1)
            api.later(600)
            batch = api.service.letters._read_again(letter)

            assert letter.form == Form("native", trusted)
            assert batch is not None
            assert [measure.project_id for measure in batch.measures] == [project_id]


async def test_what_was_sent_with_a_token_counts_for_its_project(api: Api) -> None:
    payload = '{"counter_name": "cpu", "counter_volume": 1, "resource_id": "r", "timestamp": 1, "project_id": "other"}'
    letter = DeadLetter(
        kind="measure", time=1.0, reason="r", detail="", source="http", payload=payload,
        form=Form("samples", trusted=True, project_id="shop"),
    )  # fmt: skip
    api.now[0] = 2.0
    batch = api.service.letters._read_again(letter)

    assert batch is not None
    assert [(measure.metric, measure.project_id) for measure in batch.measures] == [("cpu", "shop")]


async def test_an_event_is_heard_again(api: Api) -> None:
    await api.client.post("/v1/events", json={"event_type": "x", "traits": [["a", 2, "no number"]]})
    (letter_id,) = await ids(api, kind="event")
    assert [fate for fate, _ in await handled(api, "replay", letter_id)] == ["refused"]
    (letter,) = await api.store.dead_letters("event", limit=1)
    await api.store.drop_letters([letter.id])
    await api.store.bury([msgspec.structs.replace(letter, payload='{"event_type": "x", "message_id": "m"}')])

    assert await handled(api, "replay", *await ids(api, kind="event")) == [("replayed", "")]


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        pytest.param({"kind": "measure"}, "too little of it was kept to read it again", id="nothing-kept"),
        pytest.param({"kind": "event", "form": Form("new")}, "too little of it was kept to read it again", id="new"),
        pytest.param({"kind": "measure", "form": Form("native")}, "missing key: metric", id="still-wrong"),
        pytest.param({"kind": "notice"}, "what Aodh tells is not told again", id="notice"),
        pytest.param({"kind": "action", "payload": "{"}, "its row cannot be read", id="row"),
    ],
)  # fmt: skip
async def test_what_cannot_be_replayed_stays_and_says_why(api: Api, letter: dict[str, object], why: str) -> None:
    plain = {"time": 1.0, "reason": "r", "detail": "d", "source": "s", "payload": "{}"}
    await api.store.bury([DeadLetter(**plain | letter)])
    (letter_id,) = await ids(api)

    assert await handled(api, "replay", letter_id) == [("refused", why)]
    assert await ids(api) == [letter_id]


async def test_letters_are_dropped_once(api: Api) -> None:
    await api.store.bury([an_action(), an_action()])
    newest, oldest = await ids(api)

    assert await handled(api, "drop", oldest, oldest, "nonsense") == [("dropped", ""), ("gone", "")]
    assert await handled(api, "drop", oldest) == [("gone", "")]
    assert await ids(api) == [newest]


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": [1]}, {"ids": ["x" * 65]}, {"ids": ["a"], "all": True}])
async def test_what_is_meant_must_be_said(api: Api, body: dict[str, object]) -> None:
    for what in ("replay", "drop"):
        assert (await api.client.post(f"/v1/dead-letters/{what}", json=body)).status_code == 400
