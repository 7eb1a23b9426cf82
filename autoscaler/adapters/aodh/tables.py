"""Aodh's tables, as far as they are read and written.

Source:
    aodh/storage/sqlalchemy/models.py, 23.0.0: JSON is text, times are UTC without a zone, to the microsecond.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects.mysql import DATETIME

if TYPE_CHECKING:
    from typing import Final

METADATA: Final = MetaData()
_TIME: Final = DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")

ALARM: Final = Table(
    "alarm",
    METADATA,
    Column("alarm_id", String(128), primary_key=True),
    Column("enabled", Boolean),
    Column("name", Text),
    Column("type", String(50)),
    Column("severity", String(50)),
    Column("description", Text),
    Column("timestamp", _TIME),
    Column("user_id", String(128)),
    Column("project_id", String(128)),
    Column("state", String(255)),
    Column("state_reason", Text),
    Column("state_timestamp", _TIME),
    Column("ok_actions", Text),
    Column("alarm_actions", Text),
    Column("insufficient_data_actions", Text),
    Column("repeat_actions", Boolean),
    Column("rule", Text),
    Column("time_constraints", Text),
    Column("evaluate_timestamp", DateTime),
)
CHANGE: Final = Table(
    "alarm_history",
    METADATA,
    Column("event_id", String(128), primary_key=True),
    Column("alarm_id", String(128), ForeignKey("alarm.alarm_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("on_behalf_of", String(128)),
    Column("project_id", String(128)),
    Column("user_id", String(128)),
    Column("type", String(20)),
    Column("detail", Text),
    Column("timestamp", _TIME),
    Column("severity", String(50)),
)
QUOTA: Final = Table(
    "quota",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(128), nullable=False),
    Column("resource", String(50), nullable=False),
    Column("limit", Integer, nullable=False),
)
