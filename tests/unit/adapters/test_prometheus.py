"""The probe against a server that answers as Prometheus does; tests/integration/test_prometheus.py has the real one."""

import json
import math
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from autoscaler.adapters.http import MAX_BODY_BYTES
from autoscaler.adapters.probes.prometheus import PrometheusProbe
from autoscaler.alarms.observation import Observation, Sample, Samples
from autoscaler.alarms.rules import PoolHealthRule, PrometheusRule
from autoscaler.errors import PermanentError, TemporaryError
from tests.receiver import Answer, Receiver, answering, answering_json, hanging, receiver


def result(kind: str, value: Any) -> Answer:
    return answering_json({"status": "success", "data": {"resultType": kind, "result": value}})


async def look(there: Receiver, query: str = "up", project: str | None = None, **options: Any) -> Observation:
    rule = PrometheusRule(query=query, threshold=1, scope_to_project=project)
    async with PrometheusProbe(options.pop("url", there.base), **options) as probe:
        return await probe.look(rule)


async def test_a_vector_is_one_sample_for_each_series() -> None:
    vector = [
        {"metric": {"__name__": "up", "job": "a"}, "value": [1795200000.123, "1"]},
        {"metric": {}, "value": [1795200000, "-2.5e-3"]},
        {"metric": {"x": "é"}, "value": [1795200000, "NaN"]},
        {"metric": {}, "value": [1795200000, "+Inf"]},
    ]
    async with receiver() as there:
        there.answer = result("vector", vector)
        seen = await look(there)
    assert isinstance(seen, Samples)
    first, second, third, fourth = seen.samples
    assert first == Sample({"__name__": "up", "job": "a"}, 1.0)
    assert second == Sample({}, -0.0025)
    assert third.labels == {"x": "é"}
    assert math.isnan(third.value)
    assert fourth.value == math.inf


async def test_a_scalar_is_one_sample_without_labels() -> None:
    async with receiver() as there:
        there.answer = result("scalar", [1795200000.1, "42"])
        assert await look(there) == Samples((Sample({}, 42.0),))


async def test_nothing_is_no_samples() -> None:
    async with receiver() as there:
        there.answer = result("vector", [])
        assert await look(there) == Samples(())


async def test_the_query_is_asked_as_it_is_written_or_bound_to_the_project() -> None:
    async with receiver() as there:
        there.answer = result("vector", [])
        await look(there, "a+b&c=d # x")
        await look(there, "a", "p1", project_label="tenant")
    assert asked(there, 0)["query"] == ["a+b&c=d # x"]
    assert asked(there, 1)["query"] == ['a {tenant="p1"}']


def asked(there: Receiver, number: int) -> dict[str, list[str]]:
    return parse_qs(urlsplit(there.requests[number].split()[1]).query)


async def test_what_cannot_be_bound_is_not_asked() -> None:
    async with receiver() as there:
        with pytest.raises(PermanentError, match="cannot be bound to a project"):
            await look(there, "info(up)", "p1")
    assert there.received == []


async def test_the_url_may_hold_a_password_and_a_prefix() -> None:
    async with receiver() as there:
        there.answer = result("vector", [])
        await look(there, url=f"http://me:secret@127.0.0.1:{there.port}/prom/")
    assert there.requests[0].startswith("GET /prom/api/v1/query?query=up")
    assert there.received[0].headers["authorization"] == "Basic bWU6c2VjcmV0"


def refusal(status: int) -> Answer:
    return answering_json({"status": "error", "errorType": "bad_data", "error": "1:3: parse error"}, status)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        pytest.param(refusal(400), PermanentError, r"^Prometheus: bad_data: 1:3: parse error$", id="bad-query"),
        pytest.param(refusal(422), PermanentError, r"^Prometheus: bad_data: 1:3: parse error$", id="not-computable"),
        pytest.param(refusal(503), TemporaryError, "answered 503", id="overloaded"),
        pytest.param(answering(401), PermanentError, "answered 401", id="not-for-us"),
        pytest.param(answering(404, "<html>"), PermanentError, "answered 404", id="not-prometheus"),
        pytest.param(answering(400, "{}"), PermanentError, "answered 400", id="no-words"),
        pytest.param(answering(200, "<html>"), TemporaryError, "cannot be read", id="nonsense"),
        pytest.param(answering_json({"status": "error", "error": "e"}), PermanentError, "e", id="error-with-200"),
        pytest.param(answering(200, "x" * MAX_BODY_BYTES), PermanentError, "longer than 4 MiB", id="too-long"),
        pytest.param(result("matrix", []), PermanentError, "not a matrix", id="range-vector"),
        pytest.param(result("string", [1, "a"]), PermanentError, "not a string", id="string"),
        pytest.param(result("vector", [{"metric": {}, "histogram": [1, {}]}]), PermanentError, "histogram", id="hist"),
        pytest.param(result("vector", [{"metric": {}, "value": [1, "x"]}]), TemporaryError, "read", id="no-number"),
        pytest.param(result("vector", {}), TemporaryError, "cannot be read", id="no-list"),
    ],
)
async def test_what_is_no_answer_is_no_samples(answer: Answer, kind: type[Exception], said: str) -> None:
    async with receiver() as there:
        there.answer = answer
        with pytest.raises(kind, match=said):
            await look(there)


async def test_no_error_shows_the_password() -> None:
    async with receiver() as there:
        there.answer = hanging
        with pytest.raises(TemporaryError, match="no answer within") as caught:
            await look(there, url=f"http://me:hunter2@127.0.0.1:{there.port}", timeout=0.2)
    assert "hunter2" not in str(caught.value)


async def test_a_query_that_cannot_be_sent_is_final() -> None:
    async with receiver() as there:
        with pytest.raises(PermanentError, match="cannot be sent"):
            await look(there, json.loads('"\\ud800"'))


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        pytest.param("prometheus:9090", {}, "expected http", id="no-scheme"),
        pytest.param("http://", {}, "not a URL", id="no-host"),
        pytest.param("http://h", {"project_label": "a-b"}, "'a-b' is not the name of a label", id="label"),
        pytest.param("http://h", {"ca": "/nowhere.pem"}, "certificates of Prometheus: /nowhere.pem", id="ca"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(url: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(PermanentError, match=said):
        PrometheusProbe(url, **options)


async def test_prometheus_is_asked_queries_only() -> None:
    async with PrometheusProbe("http://127.0.0.1:9") as probe:
        with pytest.raises(PermanentError):
            await probe.look(PoolHealthRule(pool_id="p", stack_id="s", autoscaling_group_id="g"))
