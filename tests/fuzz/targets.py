"""All that is fuzzed, one line each.

A target takes any bytes and returns when what it hands them to keeps its promise: a value or one of our own errors,
nothing that could not be stored or told, and neighbours that are taken whatever stands beside them. Whatever it raises
is a finding. Time and memory are the fuzzer's to watch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.fuzz import answers, documents, messages, seeds
from tests.fuzz.requests import Asking

Run = Callable[[bytes], None]
Seeds = Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Target:
    """Something that strangers can send to.

    Attributes:
        run: raises where its contract is broken.
        seeds: right inputs, and nearly right ones.
        words: that inputs are likely to hold, beside those of the seeds.
    """

    run: Run
    seeds: Seeds
    words: tuple[str, ...] = ()


def _each(*runs: Run) -> Run:
    """What takes the same form is fuzzed together."""

    def run(data: bytes) -> None:
        for each in runs:
            each(data)

    return run


def _all(*several: Seeds) -> Seeds:
    return lambda: (seed for seeds in several for seed in seeds())


_JSON: Final = (
    "null",
    "true",
    "NaN",
    "-Infinity",
    "1e999",
    r"\ud800",
    r"\u0000",
    '":',
    "[[",
    "{}",
    "1e15",
    "2027-01-15",
)
_TIMES: Final = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "20270115T08", "-10 seconds", "1_0")
_SAMPLE: Final = (
    *("oslo.version", "oslo.message", "2.0", "1.0", "payload", "samples", "counter_name", "counter_volume", "volume"),
    *("resource_metadata", "user_metadata", "message_signature", "event_type", "message_id", "traits", "tenant_id"),
)
_YAML: Final = (
    *("&a", "*a", "<<:", "!!python/object:os.system", "!!binary", "---", "...", "? ", "|-", ">", "%YAML 1.1", "\ufeff"),
    *("alarms:", "groups:", "policies:", "schedules:", "derived_metrics:", ".inf", "0x", "0o7", "~", "policy://"),
)
_CRON: Final = ("mon-fri", "*/5", "L", "l5", "5#2", "w", "jan", "@yearly", "?", "R(0-59)", "h", "2099", "29 2", "31 2")
_PROMQL: Final = (
    *("offset", "@", "start()", "bool", "on(", "ignoring(", "group_left", "by (", "without", "and", "unless", "atan2"),
    *("rate(", "sum(", "[5m]", "[5m:1m]", "=~", "!~", "# ", "`", "inf", "project=", '\\"', "info("),
)
_QUERY: Final = (
    *("and", "or", "not", "=~", "in", "like", "!=", "<=", "=<", "project_id", "on_behalf_of", "timestamp", "severity"),
    *("q.field=", "&q.op=", "&q.value=", "&q.type=", "sort=", "limit=", "marker=", "(?i)", "{1000}", "%", "≠", "∈"),
)
_ALARM: Final = (
    *("time_constraints", "start", "duration", "timezone", "composite_rule", "event_rule", "query", "trust+http://"),
    *("zaqar://?topic=", "policy://out", "log://", "rate:", "99pct", "traits.", "metadata.", "scope_to_project"),
)
_REQUEST: Final = (
    *("GET /", "POST /", "PUT /", "PATCH /", "DELETE /", "/v1/", "/v2/", "/gnocchi", "%00", "%ff", "%2F", "%1f", "//"),
    *("content-type:", "content-encoding:", "x-roles:", "x-project-id:", "origin:", "host:", "instance_id", "metrics"),
)

ASKING: Final = Asking()

TARGETS: Final[Mapping[str, Target]] = {
    "measures": Target(
        _each(messages.native, messages.recordings, messages.posted),
        _all(seeds.native, seeds.recordings, seeds.posted),
        (*_JSON, *_TIMES, "timestamp,value", "measures", "unit", "weeks", "hr"),
    ),
    "telemetry": Target(
        _each(messages.samples, messages.datagrams, messages.notices),
        _all(seeds.samples, seeds.datagrams, seeds.notices),
        (*_JSON, *_TIMES, *_SAMPLE, "alarm.", "detail", "orchestration.autoscaling.", "capacity"),
    ),
    "remote-write": Target(messages.write_requests, seeds.write_requests, ("__name__", "instance_id", "project_id")),
    "answers": Target(answers.answers, seeds.answers, (*_JSON, "members_links", "next", "histogram")),
    "promql": Target(answers.promql, seeds.promql, _PROMQL),
    "declarations": Target(documents.declarations, seeds.declarations, _YAML),
    "crontabs": Target(documents.crontabs, seeds.crontabs, _CRON),
    "alarms": Target(documents.alarms, seeds.alarms, (*_JSON, *_CRON, *_ALARM, *_QUERY)),
    "queries": Target(documents.queries, seeds.queries, (*_JSON, *_QUERY)),
    "requests": Target(ASKING, seeds.requests, (*_JSON, *_REQUEST, *_ALARM)),
}
