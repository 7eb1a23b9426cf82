"""``python -m autoscaler`` and the command ``autoscaler``."""

from __future__ import annotations

from autoscaler.cli.main import app


def main() -> None:
    """Run the command line."""
    app(prog_name="autoscaler")


if __name__ == "__main__":
    main()
