"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
