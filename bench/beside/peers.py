"""Aodh and Gnocchi with all their processes, each started by its own command."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.aodh_server import PYTHON, AodhServer, GnocchiServer
from tests.mariadb_server import MariaServer
from tests.servers import RabbitServer, RedisServer

STAYING: Final = "import os, runpy, sys; del os.setsid, sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
"""Runs a program in the session of whoever starts it, so that it ends with it; by itself it would leave for its own."""

START_SECONDS: Final = 300.0
"""Five processes that import as much as Gnocchi does take their time on a busy machine."""


def command(program: str, config: Path) -> list[str]:
    """One of OpenStack's programs."""
    return [str(PYTHON), "-c", STAYING, str(PYTHON.parent / program), "--config-file", str(config)]


class WholeGnocchi(GnocchiServer):
    """Gnocchi's API in uWSGI, with as many processes and threads as it takes by itself, and metricd.

    Args:
        redis: where measures are kept and where workers hear of new ones, looking each second besides; without it all
            is as it is by default: files, looked at once a minute.
    """

    start_seconds = START_SECONDS

    def __init__(self, maria: MariaServer, redis: RedisServer | None) -> None:
        super().__init__(maria)
        self._redis = redis

    @property
    def _further(self) -> str:
        found = f"[api]\nhost = 127.0.0.1\nport = {self.port}\nuwsgi_path = {PYTHON.parent}/uwsgi\n"
        if self._redis is not None:
            found += f"[DEFAULT]\ncoordination_url = {self._redis.url}\n"
            found += f"[storage]\ndriver = redis\nredis_url = {self._redis.url}\n"
            found += "[metricd]\nmetric_processing_delay = 1\n"
        return found

    def _launch(self) -> None:
        self._start_child(command("gnocchi-api", self._config), {"VIRTUAL_ENV": str(PYTHON.parent.parent)})
        self._start_child(command("gnocchi-metricd", self._config))


class WholeAodh(AodhServer):
    """Aodh's API, evaluators and notifier; no listener, which only alarms on events need.

    Args:
        evaluator: its section of the configuration.
    """

    start_seconds = START_SECONDS

    def __init__(self, maria: MariaServer, gnocchi: GnocchiServer, rabbit: RabbitServer, evaluator: str) -> None:
        super().__init__(maria, gnocchi)
        self._rabbit = rabbit
        self._evaluator = evaluator

    @property
    def _further(self) -> str:
        broker = f"rabbit://guest:guest@127.0.0.1:{self._rabbit.port}/"
        return f"[DEFAULT]\ntransport_url = {broker}\n[evaluator]\n{self._evaluator}"

    def _launch(self) -> None:
        super()._launch()
        for program in ("aodh-evaluator", "aodh-notifier"):
            self._start_child(command(program, self._config))
