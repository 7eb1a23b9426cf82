"""Writes the reference pages that are made from the code."""

from __future__ import annotations

from pathlib import Path

from autoscaler.settings import reference

HERE = Path(__file__).parent

HERE.joinpath("settings.md").write_text(
    "# Settings\n\nMade by `make docs` from `autoscaler/settings.py`. Command-line options win over variables.\n\n"
    + reference()
)
