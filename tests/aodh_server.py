"""A private Aodh without evaluators, and the Gnocchi that it asks; as :mod:`tests.servers` has others."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.mariadb_server import MariaServer
from tests.servers import Server

HERE = Path(__file__).parent
IN_REPOSITORY = HERE.parent / ".venv-aodh" / "bin" / "python"
# read on import: within a test no AUTOSCALER_ variable is left
PYTHON = Path(os.environ.get("AUTOSCALER_TEST_AODH_PYTHON", IN_REPOSITORY)).absolute()
SERVE = HERE / "integration" / "aodh" / "serve.py"
OPERATOR = "admin"
"""Gnocchi's user who sees everything, where no Keystone says who asks."""


@dataclass(frozen=True)
class ServiceUser:
    """Who a service is at Keystone, in the default domain.

    Attributes:
        keystone: its URL, with the version.
        region: where it looks for others.
    """

    keystone: str
    name: str
    password: str
    project: str
    region: str

    @property
    def options(self) -> str:
        """As a section of a configuration has it."""
        return f"""auth_type = password
auth_url = {self.keystone}
username = {self.name}
password = {self.password}
user_domain_id = default
project_name = {self.project}
project_domain_id = default
"""

    @property
    def checking_tokens(self) -> str:
        """The section of a service that lets in whom Keystone knows."""
        return f"""[keystone_authtoken]
www_authenticate_uri = {self.keystone}
service_token_roles_required = true
{self.options}"""


class _OpenStackServer(Server):
    """A service on MariaDB, configured by a file of its own name.

    Args:
        user: who it is; without one no Keystone is asked who anybody is.
    """

    name = ""

    def __init__(self, maria: MariaServer, user: ServiceUser | None = None) -> None:
        super().__init__()
        if not PYTHON.exists():
            pytest.skip(f"{PYTHON} is missing; `make aodh` makes it, or set AUTOSCALER_TEST_AODH_PYTHON")
        self._maria = maria
        self._user = user

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> str:
        return self._maria.database(self.name)

    @property
    def _config(self) -> Path:
        return self.folder / f"{self.name}.conf"

    @property
    def _further(self) -> str:
        """Sections of the configuration behind the others; what is set there, too, counts."""
        return ""

    def _run(self, program: str, *words: str) -> None:
        command = [str(PYTHON), str(PYTHON.parent / program), "--config-file", str(self._config), *words]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=self.folder)
        assert ran.returncode == 0, f"{program} failed:\n{ran.stdout[-2000:]}{ran.stderr[-3000:]}"

    def _launch(self) -> None:
        # whoever checks tokens looks for the configuration by its name, at home, and not where it was told to be
        home = {"HOME": str(self.folder)}
        self._start_child([str(PYTHON), str(SERVE), self.name, str(self._config), str(self.port)], home)


class GnocchiServer(_OpenStackServer):
    """Gnocchi on files, without workers: measures are there once they are asked for with ``refresh=true``.

    ``admin`` may do everything.
    """

    name = "gnocchi"

    def _prepare(self) -> None:
        self._config.write_text(
            f"""[DEFAULT]
coordination_url = file://{self.folder}/coordination
[api]
auth_mode = {"keystone" if self._user else "basic"}
[indexer]
url = {self.database}
[storage]
driver = file
file_basepath = {self.folder}/measures
{self._user.checking_tokens if self._user else ""}{self._further}"""
        )
        (self.folder / "measures").mkdir()
        self._run("gnocchi-upgrade")

    def _answers(self) -> bool:
        return self._first_answer(b"GET / HTTP/1.0\r\n\r\n", 12).endswith(b"200")

    def call(self, method: str, path: str, **options: Any) -> Any:
        """What it answers to its operator; with a Keystone to whose token the headers hold."""
        answer = httpx.request(method, f"{self.url}{path}", auth=(OPERATOR, ""), timeout=30, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None


class AodhServer(_OpenStackServer):
    """Aodh's API, which believes the headers that say who asks, or Keystone.

    Args:
        gnocchi: what it asks; where it has a user, it looks for ``metric`` in the catalog.
    """

    name = "aodh"

    def __init__(self, maria: MariaServer, gnocchi: GnocchiServer, user: ServiceUser | None = None) -> None:
        super().__init__(maria, user)
        self._gnocchi = gnocchi

    def _prepare(self) -> None:
        paste = Path(sysconfig.get_path("purelib", vars={"base": str(PYTHON.parent.parent)})) / "aodh/api/api-paste.ini"
        self._config.write_text(
            f"""[DEFAULT]
transport_url = fake://
[api]
auth_mode = {"keystone" if self._user else "noauth"}
paste_config = {paste}
[database]
connection = {self.database}
[oslo_messaging_notifications]
driver = noop
{self._user.checking_tokens if self._user else ""}[service_credentials]
{self._credentials}{self._further}"""
        )
        self._run("aodh-dbsync")

    @property
    def _credentials(self) -> str:
        if self._user:
            return f"{self._user.options}region_name = {self._user.region}\n"
        return f"auth_type = gnocchi-basic\nuser = {OPERATOR}\nendpoint = {self._gnocchi.url}\n"

    def _answers(self) -> bool:
        return self._first_answer(b"GET / HTTP/1.0\r\n\r\n", 12).endswith(b"200")
