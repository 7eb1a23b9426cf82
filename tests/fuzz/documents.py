"""Targets: what people write: declarations, alarms, queries, crontab lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from pydantic import ValidationError
from starlette.requests import Request

from autoscaler.adapters.schedule import CronCalendar
from autoscaler.alarms.definition import decode, encode
from autoscaler.alarms.time_constraints import next_edge, within
from autoscaler.api.identity import Identity
from autoscaler.api.v2 import simple
from autoscaler.api.v2.body import body, parse_alarm
from autoscaler.api.v2.errors import FaultError
from autoscaler.api.v2.query import (
    RANKS,
    Kind,
    QueryError,
    fields_of,
    holds,
    leaves_of,
    only,
    parse_filter,
    parse_order,
)
from autoscaler.api.v2.scope import Scope
from autoscaler.api.v2.shown import ALARM_FIELDS, ENTRY_FIELDS
from autoscaler.declarations import alarm_of, crontab, definition_of, dump, load, parse, warnings
from autoscaler.declarations.alarm import TimeConstraintDocument
from autoscaler.errors import DeclarationError
from autoscaler.measures import match
from autoscaler.measures.match import MatchError
from autoscaler.measures.measure import Measure
from autoscaler.ports import HistoryEntry
from tests.fuzz.contract import NOW

_ENTRY: Final = HistoryEntry(event_id="e", alarm_id="a", type="creation", detail={}, timestamp=NOW)
FIRINGS: Final = 3
"""Of a crontab line that are looked at."""


def declarations(data: bytes) -> None:
    """Files of declarations: everything wrong has its place, and what is taken is the same when it is read again."""
    text = data.decode(errors="surrogateescape")
    try:
        found = load({"f.yaml": text})
    except DeclarationError as error:
        lines = max(1, len(text.splitlines()))
        for problem in error.problems:
            assert problem.expected
            assert 1 <= problem.line <= lines + 1
            str(problem).encode(errors="surrogateescape")
        return
    warnings(found)
    assert parse(dump(found)).generation == found.generation
    for alarm in found.alarms.values():
        _check_constraints(alarm.time_constraints)
        definition = definition_of(alarm, timestamp=NOW)
        assert decode(encode(definition)) == definition
    for schedule in found.schedules.values():
        _check_firings(schedule.cron, schedule.timezone)


def crontabs(data: bytes) -> None:
    """Crontab lines of schedules and time constraints, with the zone in a second line and a time in a third."""
    line, _, rest = data.decode(errors="replace").partition("\n")
    zone, _, at = rest.partition("\n")
    now = NOW + int(at[:9]) if at[:9].isdecimal() else NOW
    try:
        crontab.check(line)
    except ValueError:
        pass
    else:
        crontab.narrows_both_days(line)
        _check_firings(line, "UTC" if zone not in _ZONES else zone)
    try:
        document = TimeConstraintDocument(name="a", start=line, duration=60, timezone=zone if zone in _ZONES else "")
    except ValidationError:
        pass
    else:
        _check_constraints([document.to_domain()], now)


_ZONES: Final = frozenset(("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"))


def _check_firings(cron: str, zone: str) -> None:
    at: float | None = NOW
    for _ in range(FIRINGS):
        following = CronCalendar().following(cron, zone, at)
        assert following is None or following > at
        if following is None:
            return
        at = following


def _check_constraints(constraints: Any, now: float = NOW) -> None:
    within(constraints, now)
    edge = next_edge(constraints, now)
    assert edge is None or edge > now


def alarms(data: bytes) -> None:
    """Bodies that make alarms through Aodh's API: refused in its words, or an alarm that can be stored."""
    try:
        sent = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    for identity, scope in ((ADMIN, Scope(None)), (MEMBER, Scope("p", "s"))):
        try:
            draft = parse_alarm(body(sent), identity, scope, 10)
        except FaultError as error:
            msgspec.json.encode(error.text)
            continue
        definition = draft.definition(user_id="u", project_id="p", sees=scope.sees)
        try:
            alarm = alarm_of(definition, derived={}, mixed_as_aodh=False)
        except ValueError as error:
            msgspec.json.encode(str(error))
            continue
        assert decode(encode(definition)) == definition
        _check_constraints(alarm.time_constraints)


ADMIN: Final = Identity("u", "p", frozenset(("admin", "member", "reader")))
MEMBER: Final = Identity("u", "p", frozenset(("member", "reader")))


def queries(data: bytes) -> None:
    """The query languages of Aodh and Gnocchi."""
    text = data.decode(errors="replace")
    for fields in (ALARM_FIELDS, ENTRY_FIELDS):
        _check_filter(text, fields)
        try:
            parse_order(text, fields)
        except QueryError as error:
            msgspec.json.encode(str(error))
    _check_search(data)
    _check_simple(data)


def _check_filter(text: str, fields: Mapping[str, Kind]) -> None:
    try:
        query = parse_filter(text, fields)
    except QueryError as error:
        msgspec.json.encode(str(error))
        return
    assert fields_of(query) <= fields.keys()
    leaves_of(query)
    for values in (_VALUES, {}):
        truth = holds(query, lambda field, values=values: values.get(fields[field]))
        assert truth in {True, False, None}
    for field in fields:
        only(query, field)


_VALUES: Final = {Kind.TEXT: "web", Kind.FLAG: True, Kind.TIME: int(NOW * 1e6), Kind.SEVERITY: RANKS["low"]}
_MEASURE: Final = Measure("cpu", "vm-1", NOW, 1.0, "p", "", {"server_group": "web", "size": "10", "name": "a%b_c\\"})


def _check_search(data: bytes) -> None:
    try:
        search = msgspec.json.decode(data)
        found = match.from_search(search)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, MatchError):
        return
    assert match.from_search(match.to_search(found)) == found
    truth = match.holds(found, _MEASURE)
    one_of = match.required_any(found)
    assert not truth or one_of is None or any(match.holds(each, _MEASURE) for each in one_of)


def _check_simple(data: bytes) -> None:
    request = Request({"type": "http", "method": "GET", "headers": [], "query_string": data})
    try:
        asked = simple.parse_query(request)
        simple.check_arguments(request, (*simple.QUERY, *simple.PAGING))
        simple.parse_page(request, simple.ALARM_SORT_KEYS)
        test = simple.parse_history(asked)
    except FaultError as error:
        msgspec.json.encode(error.text)
    else:
        assert test(_ENTRY) in {True, False}
    try:
        asked = simple.parse_query(request)
        simple.check_alarm_query(asked)
        for each in asked:
            simple.alarm_value(each)
    except FaultError as error:
        msgspec.json.encode(error.text)
