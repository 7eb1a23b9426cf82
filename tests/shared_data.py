"""Finds the data sets that lie beside the repository and are read in place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

BESIDE = Path(__file__).parents[2] / "shared" / "data"
# read on import: within a test no AUTOSCALER_ variable is left
FOLDER = Path(os.environ.get("AUTOSCALER_SHARED_DATA", BESIDE))


def shared_data(*parts: str) -> Path:
    """A file or folder of the shared data; the test (or the module asking at import) is skipped where it is missing."""
    path = FOLDER.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is missing; AUTOSCALER_SHARED_DATA names the folder", allow_module_level=True)
    return path


def shared_reference(name: str) -> Path:
    """A file of the facts beside the shared data; the test (or the module asking at import) is skipped without it."""
    path = FOLDER.parent / "reference" / name
    if not path.exists():
        pytest.skip(f"{path} is missing; AUTOSCALER_SHARED_DATA names the folder beside it", allow_module_level=True)
    return path


def shared_json(*parts: str) -> Any:
    """A JSON file of the shared data, read."""
    return json.loads(shared_data(*parts).read_text())
