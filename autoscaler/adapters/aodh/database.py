"""The database of an Aodh on MySQL, MariaDB, PostgreSQL or, in tests, SQLite."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, create_engine, delete, event, func, insert, select, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool

from autoscaler.adapters.aodh.tables import ALARM, CHANGE, QUOTA
from autoscaler.alarms.alarm import AlarmState
from autoscaler.alarms.definition import EPOCH, MICROSECOND, microseconds
from autoscaler.errors import PermanentError, TemporaryError
from autoscaler.ports import AodhAlarm, AodhAlarms, AodhDatabase, HistoryEntry

if TYPE_CHECKING:
    from typing import Final

    from sqlalchemy import Row

CONNECT_SECONDS: Final = 10
ALARMS: Final = "alarms"
"""The only resource that Aodh has quotas for."""
_DRIVERS: Final[Mapping[str, str]] = {
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "sqlite": "sqlite",
}
"""By the first part of a URL's scheme: whatever driver Aodh was told to use, ours is as good."""
_LISTS: Final = ("ok_actions", "alarm_actions", "insufficient_data_actions", "time_constraints")
_TIMEOUTS: Final[Mapping[str, str]] = {"mysql": "connect_timeout", "postgresql": "connect_timeout", "sqlite": "timeout"}

_T = TypeVar("_T")


class Database:
    """See :class:`autoscaler.ports.AodhDatabase`.

    Each call is one transaction on a connection of its own thread, so that Redis is not kept waiting by it.

    Args:
        url: as Aodh's ``[database] connection`` has it.

    Raises:
        PermanentError: the URL names no database that Aodh can have.
    """

    def __init__(self, url: str) -> None:
        address = _address(url)
        self._place = address.render_as_string(hide_password=True)
        kind = address.get_backend_name()
        # a connection is kept by one pool entry, and calls follow one another
        options: dict[str, Any] = {"poolclass": NullPool} if kind == "sqlite" else {"pool_size": 1, "max_overflow": 0}
        self._engine = create_engine(address, connect_args={_TIMEOUTS[kind]: CONNECT_SECONDS}, **options)
        if kind == "sqlite":
            event.listen(self._engine, "connect", _with_foreign_keys)

    async def close(self) -> None:
        """Let go of the connection."""
        await asyncio.to_thread(self._engine.dispose)

    async def alarms(self) -> AodhAlarms:
        """See :class:`autoscaler.ports.AodhDatabase`."""
        return await self._within(_alarms)

    async def histories(
        self, alarm_ids: Sequence[str], *, after: float, limit: int
    ) -> Mapping[str, list[HistoryEntry]]:
        """See :class:`autoscaler.ports.AodhDatabase`."""
        return await self._within(lambda connection: _histories(connection, alarm_ids, _time(after), limit))

    async def event_ids(self, alarm_ids: Sequence[str], *, after: float) -> Mapping[str, set[str]]:
        """See :class:`autoscaler.ports.AodhDatabase`."""
        return await self._within(lambda connection: _event_ids(connection, alarm_ids, _time(after)))

    async def lines_until(self, time: float) -> int:
        """See :class:`autoscaler.ports.AodhDatabase`."""
        wanted = select(func.count()).select_from(CHANGE).where(CHANGE.c.timestamp <= _time(time))
        return await self._within(lambda connection: int(connection.execute(wanted).scalar_one()))

    async def quotas(self) -> Mapping[str, int]:
        """See :class:`autoscaler.ports.AodhDatabase`."""
        return await self._within(_quotas)

    async def put(self, alarm: AodhAlarm | None, history: Sequence[HistoryEntry]) -> None:
        """See :class:`autoscaler.ports.AodhDatabase`."""
        await self._within(lambda connection: _put(connection, alarm, history))

    async def remove(self, alarm_id: str) -> None:
        """See :class:`autoscaler.ports.AodhDatabase`; what else refers to it goes by the database's own rules."""
        await self._within(lambda connection: connection.execute(delete(ALARM).where(ALARM.c.alarm_id == alarm_id)))

    async def put_quota(self, project_id: str, limit: int | None) -> None:
        """See :class:`autoscaler.ports.AodhDatabase`."""
        await self._within(lambda connection: _put_quota(connection, project_id, limit))

    async def _within(self, work: Callable[[Connection], _T]) -> _T:
        return await asyncio.to_thread(self._transaction, work)

    def _transaction(self, work: Callable[[Connection], _T]) -> _T:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except (OperationalError, InterfaceError) as error:
            if _is_missing_table(error):
                raise self._foreign(error) from error
            raise TemporaryError(f"{self._place}: {_said(error)}") from error
        except ProgrammingError as error:
            raise self._foreign(error) from error
        except SQLAlchemyError as error:
            raise PermanentError(f"{self._place}: {_said(error)}") from error

    def _foreign(self, error: DBAPIError) -> PermanentError:
        return PermanentError(f"{self._place}: not a database of Aodh as aodh-dbsync leaves it: {_said(error)}")


def _address(url: str) -> URL:
    """The URL with a driver that is installed; its text is not repeated, since it may hold a password."""
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise PermanentError("the database's URL cannot be read; expected mysql://… or postgresql://…") from error
    driver = _DRIVERS.get(address.drivername.partition("+")[0])
    if driver is None:
        named = address.drivername
        raise PermanentError(f"{named}:// is no database that Aodh has; expected mysql:// or postgresql://")
    address = address.set(drivername=driver)
    try:
        address.get_dialect().import_dbapi()
    except (NoSuchModuleError, ImportError) as error:
        raise PermanentError(f"{driver}: {error}; install 'autoscaler[aodh]'") from error
    return address


def _with_foreign_keys(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")


def _is_missing_table(error: DBAPIError) -> bool:
    return "no such table" in str(error.orig) or "no such column" in str(error.orig)


def _said(error: SQLAlchemyError) -> str:
    """What the database said, without the statement."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split())


# --- reading ---------------------------------------------------------------------------------------------------------


def _alarms(connection: Connection) -> AodhAlarms:
    found: list[AodhAlarm] = []
    unreadable: dict[str, str] = {}
    for row in connection.execute(select(ALARM).order_by(ALARM.c.alarm_id)):
        try:
            found.append(_alarm(row))
        except ValueError as error:
            unreadable[row.alarm_id] = str(error)
    return AodhAlarms(found, unreadable)


def _alarm(row: Row[Any]) -> AodhAlarm:
    """Raises ValueError, naming the column."""
    values = row._mapping  # noqa: SLF001 - public, whatever its name
    return AodhAlarm(
        alarm_id=row.alarm_id,
        type=row.type or "",
        name=row.name or "",
        description=row.description or "",
        enabled=bool(row.enabled),
        severity=row.severity or "low",
        repeat_actions=bool(row.repeat_actions),
        rule=_decoded(values, "rule", dict),
        user_id=row.user_id or "",
        project_id=row.project_id or "",
        timestamp=_seconds(row.timestamp),
        state=row.state or AlarmState.INSUFFICIENT_DATA,
        state_timestamp=_seconds(row.state_timestamp),
        state_reason=row.state_reason or "",
        **{column: _decoded(values, column, list) for column in _LISTS},
    )


def _decoded(values: Mapping[Any, Any], column: str, kind: type[_T]) -> _T:
    text = values[column]
    if text is None:
        return kind()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{column}: not JSON: {error}") from error
    if value is None:
        return kind()
    if not isinstance(value, kind):
        expected = "a list" if kind is list else "an object"
        raise ValueError(f"{column}: expected {expected}, got {text[:100]}")  # noqa: TRY004 - the row is wrong
    return value


def _seconds(time: datetime | None) -> float:
    return 0.0 if time is None else ((time.replace(tzinfo=EPOCH.tzinfo) - EPOCH) // MICROSECOND) / 1e6


def _time(seconds: float) -> datetime:
    return (EPOCH + microseconds(seconds) * MICROSECOND).replace(tzinfo=None)


def _histories(
    connection: Connection, alarm_ids: Sequence[str], after: datetime, limit: int
) -> dict[str, list[HistoryEntry]]:
    newest_first = select(CHANGE).where(_young(alarm_ids, after)).order_by(CHANGE.c.timestamp.desc())
    found: defaultdict[str, list[HistoryEntry]] = defaultdict(list)
    with connection.execution_options(stream_results=True).execute(newest_first) as rows:
        for row in rows:
            lines = found[row.alarm_id]
            if len(lines) < limit:
                lines.append(_entry(row))
    return {alarm_id: lines[::-1] for alarm_id, lines in found.items()}


def _entry(row: Row[Any]) -> HistoryEntry:
    return HistoryEntry(
        event_id=row.event_id,
        alarm_id=row.alarm_id,
        type=row.type or "",
        detail=_detail(row.detail or ""),
        timestamp=_seconds(row.timestamp),
        user_id=row.user_id or "",
        project_id=row.project_id or "",
        on_behalf_of=row.on_behalf_of or "",
        severity=row.severity or "",
    )


def _detail(text: str) -> dict[str, Any]:
    """A line's detail; what is no object, which Aodh never writes, is kept as it stands."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"detail": text}


def _young(alarm_ids: Sequence[str], after: datetime) -> ColumnElement[bool]:
    return CHANGE.c.alarm_id.in_(alarm_ids) & (CHANGE.c.timestamp > after)


def _event_ids(connection: Connection, alarm_ids: Sequence[str], after: datetime) -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    wanted = select(CHANGE.c.alarm_id, CHANGE.c.event_id).where(_young(alarm_ids, after))
    for alarm_id, event_id in connection.execute(wanted):
        found[alarm_id].add(event_id)
    return found


def _quotas(connection: Connection) -> dict[str, int]:
    wanted = select(QUOTA.c.project_id, QUOTA.c.limit).where(QUOTA.c.resource == ALARMS)
    return {row.project_id: row.limit for row in connection.execute(wanted)}


# --- writing ---------------------------------------------------------------------------------------------------------


def _put(connection: Connection, alarm: AodhAlarm | None, history: Iterable[HistoryEntry]) -> None:
    if alarm is not None:
        values = _values(alarm)
        changed = update(ALARM).where(ALARM.c.alarm_id == alarm.alarm_id).values(values)
        # of a row that is written as it was MySQL says that none was changed
        known = select(ALARM.c.alarm_id).where(ALARM.c.alarm_id == alarm.alarm_id).with_for_update()
        if connection.execute(known).first() is not None:
            connection.execute(changed)
        else:
            # Aodh's evaluators look at what was evaluated longest ago
            connection.execute(insert(ALARM).values(values | {"evaluate_timestamp": values["timestamp"]}))
    lines = list(_lines(history))
    if lines:
        connection.execute(insert(CHANGE), lines)


def _values(alarm: AodhAlarm) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(alarm)
    values |= {column: json.dumps(values[column]) for column in ("rule", *_LISTS)}
    return values | {column: _time(values[column]) for column in ("timestamp", "state_timestamp")}


def _lines(history: Iterable[HistoryEntry]) -> Iterator[dict[str, Any]]:
    for entry in history:
        values: dict[str, Any] = msgspec.to_builtins(entry)
        yield values | {"detail": json.dumps(entry.detail), "timestamp": _time(entry.timestamp)}


def _put_quota(connection: Connection, project_id: str, limit: int | None) -> None:
    theirs = (QUOTA.c.project_id == project_id) & (QUOTA.c.resource == ALARMS)
    if limit is None:
        connection.execute(delete(QUOTA).where(theirs))
    elif connection.execute(select(QUOTA.c.id).where(theirs).with_for_update()).first() is not None:
        connection.execute(update(QUOTA).where(theirs).values(limit=limit))
    else:
        row = {"id": str(uuid.uuid4()), "project_id": project_id, "resource": ALARMS, "limit": limit}
        connection.execute(insert(QUOTA).values(row))


_fits: type[AodhDatabase] = Database
