"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from autoscaler.settings import Settings


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"


DEFAULT_API = "http://127.0.0.1:8042"

Api = Annotated[
    str, typer.Option("--api", envvar="AUTOSCALER_API", metavar="URL", help="Where the controller answers.")
]
AsFormat = Annotated[Format, typer.Option("--format", help="For people or for programs.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]
Rules = Annotated[Path, typer.Option("--rules", envvar="AUTOSCALER_RULES", help="File or folder of alarms.")]
Policies = Annotated[
    Path | None,
    typer.Option("--policies", envvar="AUTOSCALER_POLICIES", help="File or folder of groups, policies and schedules."),
]
Redis = Annotated[
    str | None,
    typer.Option("--redis", envvar="AUTOSCALER_REDIS_URL", metavar="URL", help="Redis or Valkey of the controllers."),
]
StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", envvar="AUTOSCALER_STATE_DIR", help="Folder of a controller that has its own Redis."),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", envvar="AUTOSCALER_NAMESPACE", help="What every key in Redis begins with."),
]


def settings_of(redis: str | None, state_dir: Path | None, namespace: str | None) -> Settings:
    """The settings of a command that works on the state itself, with or without a controller."""
    from autoscaler import settings  # noqa: PLC0415 - half a second

    return settings.load(redis_url=redis, state_dir=state_dir, namespace=namespace)
