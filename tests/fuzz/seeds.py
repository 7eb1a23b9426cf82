"""What the fuzzer begins with: one right input of each kind, what is shipped, and recorded notifications."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from autoscaler.api.v2.rules import AlarmType
from tests.api.v2.running import an_alarm, by_resources, of
from tests.fuzz import messages
from tests.fuzz.contract import NOW
from tests.fuzz.requests import WHO
from tests.protobuf import series
from tests.shared_data import FOLDER
from tests.unit.declarations.examples import WHOLE

ROOT: Final = Path(__file__).parents[2]

_METADATA: Final = {"server_group": "web", "vcpus": 2, "flavor": {"name": "m1"}, "user_metadata": {"a": "b"}}
_EVENT: Final = {
    "event_type": "compute.instance.update",
    "message_id": "m1",
    "generated": "2027-01-15T08:00:00",
    "traits": [["tenant_id", 1, "p"], ["size", 2, 5], ["load", 3, 0.5], ["at", 4, "2027-01-15T08:00:00"]],
}


def _json(*documents: Any) -> Iterator[bytes]:
    for document in documents:
        yield json.dumps(document).encode()


def enveloped(document: Any) -> Iterator[bytes]:
    """A message bare, and in both versions of oslo's envelope."""
    yield from _json(document, {"oslo.version": "1.0", "oslo.message": document})
    yield from _json({"oslo.version": "2.0", "oslo.message": json.dumps(document)})


def notifications() -> Iterator[bytes]:
    """Every file of the recorded notifications, bare and in both envelopes; none where the folder is missing."""
    for file in sorted((FOLDER / "notifications").rglob("*")):
        if not file.is_file():
            continue
        yield file.read_bytes()
        if file.suffix == ".json":
            yield from enveloped(json.loads(file.read_bytes()))


def native() -> Iterator[bytes]:
    full = {**messages.MEASURE, "unit": "%", "project_id": "p", "metadata": {"server_group": "web", "a": {"b": 1}}}
    yield from _json(messages.MEASURE, full, [messages.MEASURE, {**full, "timestamp": "2027-01-15T08:00:00Z"}])
    yield b"\n".join(_json(messages.MEASURE, full))
    yield b'{"metric": "n", "resource_id": "n", "timestamp": 1e9, "value": NaN}'


def recordings() -> Iterator[bytes]:
    yield b"timestamp,value\n2014-04-10 00:04:00,91.958\n1397088240,2\n"
    yield b'"timestamp" , "value"\r\n"0","1_0"\r\n'
    yield from native()


def samples() -> Iterator[bytes]:
    sample = {**messages.SAMPLE, "resource_metadata": _METADATA, "project_id": "p", "counter_unit": "ns"}
    bare = {"name": "cpu", "volume": "5", "unit": "ns", "resource_id": "n", "timestamp": "2027-01-15T08:00:00"}
    signed = {**sample, "message_signature": messages.ceilometer.signature(sample, "s")}
    for document in (sample, [bare], {"payload": [sample, signed]}, {"payload": {"samples": [sample]}}, _EVENT):
        yield from enveloped(document)
    yield from _json({"payload": [{**_EVENT, "traits": {"project_id": "p"}, "raw": {"a": [1, 1e300]}}]})
    yield from notifications()


def datagrams() -> Iterator[bytes]:
    for document in ({**messages.SAMPLE, "resource_metadata": _METADATA}, _EVENT):
        yield msgspec.msgpack.encode(document)
    yield msgspec.msgpack.encode({**messages.SAMPLE, 1: b"\x00", "t": msgspec.msgpack.Ext(5, b"a")})
    yield msgspec.msgpack.encode({**_EVENT, "raw": {"b": b"\xff", "i": 2**63}})


def write_requests() -> Iterator[bytes]:
    labels = {**messages.LABELS, "cpu": "0", "project": "p", "unit": "s"}
    yield series(messages.LABELS, [(NOW, 7)])
    yield series(labels, [(NOW, 1.5), (NOW - 15, float("nan"))]) + series({"a": "b"}, [(0, 0)])


def posted() -> Iterator[bytes]:
    points = [{"timestamp": NOW, "value": 1}, {"timestamp": "-10 seconds", "value": "2.5"}]
    yield from _json(points, {"vm": {"cpu": points, "mem": {"measures": points, "unit": "B"}}}, {"id-1": points})


def notices() -> Iterator[bytes]:
    moved = {"state": "alarm", "transition_reason": "because"}
    told = {**messages.NOTICE, "event_type": "alarm.state_transition"}
    payload = {**messages.NOTICE["payload"], "detail": json.dumps(moved), "user_id": "u", "project_id": "p"}  # type: ignore[dict-item]
    resized = {"groupname": "n", "capacity": 2, "adjustment": 1, "adjustment_type": "a", "message": "End resizing"}
    for document in (messages.NOTICE, {**told, "payload": payload}, {**messages.RESIZED, "payload": resized}):
        yield from enveloped(document)
    yield from notifications()


def answers() -> Iterator[bytes]:
    vector = [{"metric": {"__name__": "up", "host": "a"}, "value": [NOW, "1"]}, {"metric": {}, "value": [NOW, "NaN"]}]
    for kind, result in (("vector", vector), ("scalar", [NOW, "+Inf"]), ("matrix", []), ("vector", [{"metric": {}}])):
        yield from _json({"status": "success", "data": {"resultType": kind, "result": result}})
    yield from _json({"status": "error", "errorType": "bad_data", "error": "parse error"})
    member = {"id": "m", "admin_state_up": True, "operating_status": "ERROR", "created_at": "2026-11-20T18:00:00"}
    yield from _json({"members": [member], "members_links": [{"rel": "self", "href": "http://o/?marker=a"}]})
    yield from _json({"members": [], "members_links": [{"rel": "next", "href": "http://o/v2?marker=a"}]})


def promql() -> Iterator[bytes]:
    yield from (
        b"up",
        b'sum by (job) (rate(http_requests_total{code=~"5..", job!="a"}[5m] offset -1h)) / on(job) group_left(x) b > 1',
        b'histogram_quantile(0.9, {"a.b", le="1"}) and topk(5, x @ end()) unless -1e3 ^ 0x1F == bool vector(Inf)',
        b"a[1h30m:5m] # c\n + `raw` or 'text' atan2 nan",
        b"label_replace(up, 'a', '$1', 'b', \"(.*)\") @ 1609746000.5",
    )


def declarations() -> Iterator[bytes]:
    yield from _json(WHOLE)
    files = [*(ROOT / "tests" / "data").glob("*.yaml")]
    for folder in ("rules", "policies"):
        files += (ROOT / folder).rglob("*.yaml")
    yield from (file.read_bytes() for file in sorted(files))


def crontabs() -> Iterator[bytes]:
    for line in ("0 8 * * mon-fri", "*/5 0-3,5 1 jan *", "30 2 * * *", "0 0 29 2 *", "0 0 * * 5#2 0", "0 0 l * *"):
        yield f"{line}\nEurope/Berlin\n86400".encode()
    yield from (b"@daily\nUTC\n", b"* * * * * * 2030\nPacific/Apia\n5", b"0 0 31 2 *\n\n", b"0 0 1 1 * 0 2099\n\n")


def alarms() -> Iterator[bytes]:
    constraint = {"name": "c", "start": "0 8 * * *", "duration": 60, "timezone": "Europe/Berlin", "description": "d"}
    action = ["https://h/p", "trust+http://h/p", "policy://out", "log://"]
    yield from _json(an_alarm(time_constraints=[constraint], alarm_actions=action, severity="low", state="ok"))
    yield from _json(*_EVERY_TYPE)


_QUERY: Final = '{"and": [{"=": {"server_group": "web"}}, {"not": {"like": {"name": "a%_b"}}}]}'
_TRAIT: Final = {"field": "traits.state", "op": "ge", "value": "5", "type": "integer"}
_SAMPLES: Final = {"meter_name": "cpu", "threshold": 1, "statistic": "max", "period": 60}
_EVERY_TYPE: Final = (
    by_resources(_QUERY),
    of(AlarmType.BY_METRICS, metrics=["a", "b"], threshold="1.5", aggregation_method="rate:mean", granularity=300),
    of(AlarmType.EVENT, event_type="compute.*", query=[_TRAIT]),
    of(AlarmType.PROMETHEUS, query="up", threshold=1, comparison_operator="gt", per_series=True),
    of(AlarmType.POOL_HEALTH, pool_id="p", stack_id="s", autoscaling_group_id="g"),
    of(AlarmType.SAMPLES, **_SAMPLES, query=[{"field": "metadata.a", "op": "eq", "value": "b", "type": ""}]),
    an_alarm(type="composite", gnocchi_resources_threshold_rule=...)
    | {
        "composite_rule": {
            "or": [{"type": "prometheus", "query": "up", "threshold": 1}, {"type": "threshold"} | _SAMPLES]
        }
    },
)


def queries() -> Iterator[bytes]:
    yield from _json(
        {"and": [{"=": {"name": "web"}}, {"not": {"=~": {"state": "ok|al.*"}}}, {"in": {"severity": ["low", "high"]}}]},
        {"or": [{">=": {"timestamp": "2027-01-15T08:00:00"}}, {"!=": {"enabled": "true"}}, {"<": {"severity": "low"}}]},
        [{"timestamp": "desc"}, {"severity": "asc"}],
        {
            "∧": [
                {"≠": {"server_group": None}},
                {"∈": {"size": [1, "10"]}},
                {"<=": {"size": 10}},
                {"like": {"name": "a\\%%"}},
            ]
        },
    )
    yield _QUERY.encode()
    yield b"q.field=timestamp&q.op=gt&q.value=2027-01-15T08:00:00&q.field=search_offset&q.value=5&q.type=integer"
    yield b"q.field=enabled&q.value=yes&sort=name:desc&limit=5&marker=a"


def requests() -> Iterator[bytes]:
    yield from (
        _request("GET", "/v2/alarms?q.field=state&q.value=ok&sort=name&limit=1"),
        _request("GET", "/v2/alarms/a/history?q.field=type&q.value=creation"),
        _request("PUT", "/v2/alarms/a/state", b'"ok"'),
        _request("POST", "/v2/query/alarms", b'{"filter": "{\\"=\\": {\\"name\\": \\"busy\\"}}", "limit": 5}'),
        _request("POST", "/v2/query/alarms/history", b'{"orderby": "[{\\"timestamp\\": \\"asc\\"}]"}'),
        _request("POST", "/v2/quotas", b'{"project_id": "p", "quotas": [{"resource": "alarms", "limit": 9}]}'),
        _request("POST", "/v1/resource/instance", b'{"id": "vm", "name": "a", "metrics": {"cpu": {"unit": "B"}}}'),
        _request("POST", "/v1/search/resource/generic", b'{"=": {"instance_id": "vm"}}'),
        _request("POST", "/v1/metric", b'{"name": "cpu", "resource_id": "vm"}'),
        _request("PATCH", "/v1/resource_type/t", b'[{"op": "add", "path": "/attributes/a", "value": {}}]'),
        _request("POST", "/v1/archive_policy", b'{"name": "low"}'),
        _request("POST", "/v1/policies/out/execute"),
        _request("POST", "/v1/groups/web/pause", b'{"seconds": 60, "reason": "r", "direction": "in"}'),
        _request("POST", "/v1/freeze", b'{"reason": "r"}'),
        _request("GET", "/v1/dead-letters?kind=measure&limit=5"),
    )  # fmt: skip
    yield from _bodies("/v2/alarms", alarms())
    yield from _bodies("/v1/measures", native())
    yield from _bodies("/v1/samples", samples())
    yield from _bodies("/v1/events", _json(_EVENT))
    yield from _bodies("/v1/batch/resources/metrics/measures", posted())
    for body in write_requests():
        yield _request("POST", "/api/v1/write", messages._packed(body), b"application/x-protobuf", b"snappy")


def _bodies(path: str, bodies: Iterable[bytes]) -> Iterator[bytes]:
    yield from (_request("POST", path, body) for body in bodies)


def _request(
    method: str, target: str, body: bytes = b"", kind: bytes = b"application/json", packed: bytes = b""
) -> bytes:
    head = f"{method} {target}\n".encode() + WHO + b"content-type: " + kind + b"\n"
    return head + (b"content-encoding: " + packed + b"\n" if packed else b"") + b"\n" + body
