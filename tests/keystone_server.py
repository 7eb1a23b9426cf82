"""A private Keystone with its data in a folder of its own, as :mod:`tests.servers` has others."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import Server

HERE = Path(__file__).parent
IN_REPOSITORY = HERE.parent / ".venv-keystone" / "bin" / "python"
# read on import: within a test no AUTOSCALER_ variable is left
PYTHON = Path(os.environ.get("AUTOSCALER_TEST_KEYSTONE_PYTHON", IN_REPOSITORY)).absolute()
PASSWORD = "geheim"
REGION = "north"


class KeystoneServer(Server):
    """Keystone with a region, an administrator, and what tests add.

    Args:
        expiration: seconds that tokens are valid for; :attr:`expiration` may be changed for the next start.
        python: an interpreter that has keystone.
        database: as SQLAlchemy takes it; a file of SQLite's where it is "".
        remembers: whether answers are kept in memory: many times as fast, but what was revoked may pass for a while.
    """

    def __init__(
        self, expiration: int = 3600, *, python: Path = PYTHON, database: str = "", remembers: bool = False
    ) -> None:
        super().__init__()
        if not python.exists():
            pytest.skip(f"{python} is missing; `make keystone` makes it, or set AUTOSCALER_TEST_KEYSTONE_PYTHON")
        self.expiration = expiration
        self._python = python
        self._database = database
        self._remembers = remembers

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v3"

    def _prepare(self) -> None:
        self._configure()
        for folder in ("fernet", "credential"):
            # as keystone-manage makes them, which takes seconds: the key to be used next, and the one in use
            (self.folder / folder).mkdir(mode=0o700)
            for number in ("0", "1"):
                (self.folder / folder / number).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
        self._manage("db_sync")
        # fmt: off
        self._manage(
            "bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-username", "admin",
            "--bootstrap-project-name", "admin", "--bootstrap-region-id", REGION,
            "--bootstrap-service-name", "keystone", "--bootstrap-public-url", self.url,
            "--bootstrap-internal-url", self.url, "--bootstrap-admin-url", self.url,
        )
        # fmt: on

    def _configure(self) -> None:
        (self.folder / "keystone.conf").write_text(
            f"""[DEFAULT]
log_file = {self.folder}/keystone.log
[database]
connection = {self._database or f"sqlite:///{self.folder}/keystone.sqlite"}
[token]
provider = fernet
expiration = {self.expiration}
[fernet_tokens]
key_repository = {self.folder}/fernet
[fernet_receipts]
key_repository = {self.folder}/fernet
[credential]
key_repository = {self.folder}/credential
[identity]
password_hash_rounds = 4
[cache]
enabled = {str(self._remembers).lower()}
backend = oslo_cache.dict
"""
        )

    def _manage(self, *words: str) -> None:
        program = self._python.parent / "keystone-manage"
        command = [str(self._python), str(program), "--config-file", str(self.folder / "keystone.conf"), *words]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=self.folder)
        assert ran.returncode == 0, f"keystone-manage {words[0]} failed:\n{ran.stderr[-3000:]}{self.log()}"

    def _launch(self) -> None:
        self._configure()
        serve = HERE / "integration" / "keystone" / "serve.py"
        self._start_child([str(self._python), str(serve), str(self.folder / "keystone.conf"), str(self.port)])

    def _answers(self) -> bool:
        return self._first_answer(b"GET /v3 HTTP/1.0\r\n\r\n", 12).endswith(b"200")


class Cloud:
    """An administrator's hands on a Keystone."""

    def __init__(self, server: KeystoneServer) -> None:
        self.server = server
        self._client = httpx.Client(base_url=server.url, timeout=30)
        self._token = ""
        self._token = self.token("admin", PASSWORD, "admin")

    def close(self) -> None:
        self._client.close()

    def token(self, user: str, password: str, project: str | None) -> str:
        """A token as a user would get it; an unscoped one where there is no project."""
        domain = {"id": "default"}
        identity = {"user": {"name": user, "domain": domain, "password": password}}
        scope = "unscoped" if project is None else {"project": {"name": project, "domain": domain}}
        auth = {"identity": {"methods": ["password"], "password": identity}, "scope": scope}
        answer = self._client.post("/auth/tokens", json={"auth": auth})
        assert answer.status_code == 201, answer.text
        return answer.headers["x-subject-token"]

    def make(self, kind: str, path: str, **fields: Any) -> dict[str, Any]:
        """A new thing."""
        return self.call("POST", path, json={kind: fields}).json()[kind]

    def project(self, name: str) -> str:
        """A new project; the id."""
        return self.make("project", "/projects", name=name, domain_id="default")["id"]

    def user(self, name: str, project_id: str, *roles: str) -> str:
        """A new user with roles in a project; the id."""
        user_id = self.make("user", "/users", name=name, domain_id="default", password=PASSWORD)["id"]
        for role in roles:
            self.call("PUT", f"/projects/{project_id}/users/{user_id}/roles/{self.role(role)}")
        return user_id

    def service(self, kind: str, url: str) -> None:
        """A new entry of the catalog, the same by every interface."""
        service_id = self.make("service", "/services", type=kind, name=kind)["id"]
        for interface in ("public", "internal", "admin"):
            self.make("endpoint", "/endpoints", service_id=service_id, interface=interface, url=url, region_id=REGION)

    def point(self, kind: str, url: str) -> None:
        """Let the endpoints of a service lead elsewhere; who has looked at a token before remembers where it led."""
        (service,) = self.call("GET", f"/services?type={kind}").json()["services"]
        for each in self.call("GET", f"/endpoints?service_id={service['id']}").json()["endpoints"]:
            self.call("PATCH", f"/endpoints/{each['id']}", json={"endpoint": {"url": url}})

    def role(self, name: str) -> str:
        """The id of a role, made where it is missing."""
        found = self.call("GET", f"/roles?name={name}").json()["roles"]
        return found[0]["id"] if found else self.make("role", "/roles", name=name)["id"]

    def call(self, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        """Anything, with the administrator's token or another."""
        headers = {"X-Auth-Token": token or self._token} | options.pop("headers", {})
        answer = self._client.request(method, path, headers=headers, **options)
        assert answer.is_success, answer.text
        return answer

    def revoke(self, token: str) -> None:
        """End a token before its time."""
        headers = {"X-Auth-Token": self._token, "X-Subject-Token": token}
        assert self._client.delete("/auth/tokens", headers=headers).status_code == 204
