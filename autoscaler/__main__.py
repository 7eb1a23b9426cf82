"""``python -m autoscaler`` and the command ``autoscaler``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from autoscaler.cli.main import app  # noqa: PLC0415 - Ctrl-C may come while this is read

        app(prog_name="autoscaler")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
