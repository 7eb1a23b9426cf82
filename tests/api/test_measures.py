from __future__ import annotations

import json

import pytest

from autoscaler.api.intake import MAX_BYTES, MAX_PENDING
from autoscaler.ports import DeadLetter
from tests.api.running import DECLARED, Api, running


async def _letters(api: Api) -> list[DeadLetter]:
    return await api.store.dead_letters("measure", limit=100)


async def test_one_measure_is_accepted_and_evaluated(api: Api) -> None:
    answer = await api.client.post("/v1/measures", json=api.measure(value=90))

    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    assert (await api.client.get("/v1/alarms/busy")).json()["state"] == "alarm"


async def test_a_list_is_accepted_but_for_its_faulty_measures(api: Api) -> None:
    answer = await api.client.post("/v1/measures", json=[{"metric": "cpu"}, api.measure(), api.measure(value="high")])

    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 1,
        "rejected": [
            {"index": 0, "reason": "missing key", "detail": "resource_id"},
            {"index": 2, "reason": "wrong type", "detail": "value: expected a number, found the text 'high'"},
        ],
    }
    assert sorted(letter.reason for letter in await _letters(api)) == ["missing key", "wrong type"]


async def test_json_lines_are_accepted(api: Api) -> None:
    lines = "\n".join(json.dumps(api.measure(value=value)) for value in (1, 2, 3))

    answer = await api.client.post("/v1/measures", content=lines.encode())

    assert (answer.status_code, answer.json()["accepted"]) == (202, 3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "undecodable: an empty message", id="empty"),
        pytest.param(b"{", "undecodable: not JSON: Expecting property name", id="broken"),
        pytest.param(b"\xff\xfe", "undecodable: not UTF-8", id="not-utf-8"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_and_kept(api: Api, body: bytes, message: str) -> None:
    answer = await api.client.post("/v1/measures", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(message)
    assert len(await _letters(api)) == 1


async def test_a_body_too_long_is_refused_and_its_beginning_kept(api: Api) -> None:
    answer = await api.client.post("/v1/measures", content=b" " * (MAX_BYTES + 1))

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too long")
    (letter,) = await _letters(api)
    assert (letter.reason, len(letter.payload)) == ("too long", 65_536)


async def test_a_compressed_body_is_refused(api: Api) -> None:
    answer = await api.client.post("/v1/measures", content=b"x", headers={"content-encoding": "gzip"})

    assert answer.status_code == 415


EVERYWHERE = """
alarms:
  - name: shop/slow
    type: aggregation
    rule: {metric: latency, match: {}, aggregation_method: mean, granularity: 60, threshold: 1,
           comparison_operator: gt, for: 30}
groups:
  - {name: web, min_size: 1, max_size: 5, desired_capacity: 2, target: {type: dry_run}}
"""


@pytest.mark.parametrize(
    ("declared", "metadata"), [(DECLARED, {"service": "shop"}), (EVERYWHERE, {})], ids=["with-metadata", "without"]
)
async def test_a_series_without_room_is_rejected_by_its_index(declared: str, metadata: dict[str, str]) -> None:
    async with running(declared=declared) as api:
        found = (await api.client.get("/v1/alarms/shop%2Fslow")).json()
        room = api.controller.router.windows[api.controller.router.window_of(found["alarm_id"])].max_series
        measures = [
            api.measure(metric="latency", resource_id=f"r{number}", metadata=metadata) for number in range(room + 1)
        ]
        half = len(measures) // 2
        before = await api.client.post("/v1/measures", json=measures[:half])
        answer = await api.client.post("/v1/measures", json=measures[half:])
        letters = await _letters(api)

    assert before.json()["accepted"] == half
    assert answer.json()["accepted"] == room - half
    assert [(found["index"], found["reason"]) for found in answer.json()["rejected"]] == [
        (room - half, "too many series")
    ]
    assert [json.loads(letter.payload)["resource_id"] for letter in letters] == [f"r{room}"]


async def test_senders_are_asked_to_come_back_while_the_store_is_away(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoscaler.api.intake.PATIENCE", 0.05)
    api.store.away = True

    first = await api.client.post("/v1/measures", json=api.measure())
    second = await api.client.post("/v1/measures", json=api.measure())
    api.store.away = False

    assert (first.status_code, second.status_code) == (503, 503)
    assert first.headers["retry-after"] == "2"
    assert "nothing of this was stored" in second.json()["error"]["message"]


async def test_senders_are_asked_to_come_back_while_too_much_waits(api: Api) -> None:
    api.runner.lag.pending = MAX_PENDING + 1

    answer = await api.client.post("/v1/measures", json=api.measure())
    api.runner.lag.pending = 0

    assert answer.status_code == 503


async def test_a_project_is_not_believed_where_the_source_is_not_trusted(api: Api) -> None:
    await api.client.post("/v1/measures", json=api.measure(project_id="somebody"))

    assert (await api.client.get("/v1/alarms/busy")).json()["state"] == "alarm"
