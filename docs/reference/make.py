"""Writes the reference pages that are made from the code, and what is made from the chart's values."""

from __future__ import annotations

from pathlib import Path

import chart

from autoscaler.settings import reference

HERE = Path(__file__).parent

HERE.joinpath("settings.md").write_text(
    "# Settings\n\nMade by `make docs` from `autoscaler/settings.py`. Command-line options win over variables.\n"
    "Passwords, secrets and URLs may stand in a file instead: `AUTOSCALER_REDIS_URL_FILE=/run/secrets/redis`\n"
    "and so on.\n\n" + reference()
)
chart.CHART.joinpath("README.md").write_text(chart.readme())
chart.CHART.joinpath("values.schema.json").write_text(chart.schema())
