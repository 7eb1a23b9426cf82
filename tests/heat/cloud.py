"""A cloud to grow and shrink groups in: Keystone, Heat, RabbitMQ and MariaDB, and room for a controller beside them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.e2e.controller import ControllerProcess
from tests.heat.servers import DOMAIN, DOMAIN_ADMIN, PYTHON, USER, HeatApi, HeatEngine, Surroundings
from tests.keystone_server import PASSWORD, REGION, Cloud, KeystoneServer
from tests.mariadb_server import MariaServer
from tests.servers import RabbitServer, free_port

TIMEOUT = 30.0
"""Seconds for one answer."""


@dataclass(frozen=True)
class Person:
    """A user in a project."""

    admin: Cloud
    name: str
    project: str
    user_id: str
    project_id: str

    def token(self) -> str:
        """A new token, scoped to the project."""
        return self.admin.token(self.name, PASSWORD, self.project)

    @property
    def headers(self) -> dict[str, str]:
        """With a new token."""
        return {"X-Auth-Token": self.token()}


@dataclass(frozen=True)
class HeatCloud:
    """What was started, and who is there.

    Attributes:
        admin: the administrator's hands on Keystone.
        ada, eve: members of two projects.
        operator: who the controller is: an admin and service, in project ``service``.
        controller_port: where the catalog says that ``alarming`` is, unless it was told otherwise; nothing listens
            there but what tests start.
        metric_port, octavia_port: the same of ``metric`` and ``load-balancer``.
    """

    rabbit: RabbitServer
    maria: MariaServer
    keystone: KeystoneServer
    api: HeatApi
    engine: HeatEngine
    admin: Cloud
    ada: Person
    eve: Person
    operator: Person
    controller_port: int
    metric_port: int
    octavia_port: int

    @property
    def settings(self) -> dict[str, str]:
        """Of a controller that is this cloud's alarming service, without the prefix."""
        return {
            "AUTH": "keystone",
            "KEYSTONE_URL": self.keystone.url,
            "KEYSTONE_USERNAME": self.operator.name,
            "KEYSTONE_PASSWORD": PASSWORD,
            "KEYSTONE_REGION": REGION,
        }

    @property
    def open_to_receivers(self) -> dict[str, str]:
        """Settings of a controller whose alarms call receivers of the tests, and not Heat's own address alone."""
        return {"WEBHOOK_ALLOW": "127.0.0.0/8"}

    def controller(self, folder: Path, **settings: str) -> ControllerProcess:
        """A controller where the catalog says that it is, not started yet.

        Args:
            folder: of its log and its state.
            settings: beside :attr:`settings`, or instead.
        """
        return ControllerProcess(folder, port=self.controller_port, settings=self.settings | settings)

    def person(self, name: str, project: str) -> Person:
        """Somebody new, a member of a new project."""
        return _person(self.admin, name, project, "member")

    def trusts(self, person: Person) -> list[str]:
        """Ids of the trusts that the controller has from somebody."""
        found = self.admin.call("GET", f"/OS-TRUST/trusts?trustor_user_id={person.user_id}").json()["trusts"]
        return [each["id"] for each in found if each["trustee_user_id"] == self.operator.user_id]  # Heat has some, too

    def orchestration(self, person: Person) -> httpx.AsyncClient:
        """Heat, as somebody sees it who has just got a token; to be closed."""
        url = f"{self.api.url}/v1/{person.project_id}"
        return httpx.AsyncClient(base_url=url, headers=person.headers, timeout=TIMEOUT)

    def alarming(self, person: Person) -> httpx.AsyncClient:
        """What the catalog calls alarming, as somebody sees it who has just got a token; to be closed."""
        headers = person.headers
        catalog = self.admin.call("GET", "/auth/catalog", headers["X-Auth-Token"]).json()["catalog"]
        (url,) = {each["url"] for entry in catalog if entry["type"] == "alarming" for each in entry["endpoints"]}
        return httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT)


@contextmanager
def heat_cloud() -> Iterator[HeatCloud]:
    """All of it, started side by side and ended with the context."""
    if not PYTHON.exists():
        pytest.skip(f"{PYTHON} is missing; `make test-heat` makes it, or set AUTOSCALER_TEST_HEAT_PYTHON")
    rabbit, maria = RabbitServer(), MariaServer("keystone", "heat", "aodh", "gnocchi")
    rabbit.port, maria.port = free_port(), free_port()  # the others are told before these are there
    keystone = KeystoneServer(python=PYTHON, database=maria.database("keystone"), remembers=True)
    keystone.port = free_port()
    oslo_url = f"rabbit://guest:guest@127.0.0.1:{rabbit.port}/"
    surroundings = Surroundings(keystone.url, maria.database("heat"), oslo_url, cfn_port=free_port())
    api, engine = HeatApi(surroundings), HeatEngine(surroundings, rabbit.url)
    api.port = free_port()
    with ExitStack() as ending, ThreadPoolExecutor() as threads:
        started = [threads.submit(ending.enter_context, server) for server in (rabbit, api)]
        ending.enter_context(maria)
        started.append(threads.submit(ending.enter_context, engine))
        ending.enter_context(keystone)
        admin = Cloud(keystone)
        ending.callback(admin.close)
        controller_port, metric_port, octavia_port = free_port(), free_port(), free_port()
        admin.service("orchestration", f"{api.url}/v1/$(project_id)s")
        admin.service("cloudformation", f"{surroundings.cfn_url}/v1")
        admin.service("alarming", f"http://127.0.0.1:{controller_port}")
        admin.service("metric", f"http://127.0.0.1:{metric_port}")
        admin.service("load-balancer", f"http://127.0.0.1:{octavia_port}")
        operator = _heats_own(admin)
        ada, eve = (_person(admin, name, project, "member") for name, project in (("ada", "shop"), ("eve", "other")))
        for each in started:
            each.result()
        yield HeatCloud(
            rabbit, maria, keystone, api, engine, admin, ada, eve, operator,
            controller_port, metric_port, octavia_port,
        )  # fmt: skip


def _heats_own(admin: Cloud) -> Person:
    """What Heat needs in Keystone, and beside its user the controller's, who is returned."""
    operator = _person(admin, "autoscaler", "service", "admin", "service")
    admin.user(USER, operator.project_id, "admin", "service")
    for role in ("heat_stack_owner", "heat_stack_user"):
        admin.role(role)
    domain_id = admin.make("domain", "/domains", name=DOMAIN)["id"]
    fields = {"name": DOMAIN_ADMIN, "domain_id": domain_id, "password": PASSWORD}
    user_id = admin.make("user", "/users", **fields)["id"]
    admin.call("PUT", f"/domains/{domain_id}/users/{user_id}/roles/{admin.role('admin')}")
    return operator


def _person(admin: Cloud, name: str, project: str, *roles: str) -> Person:
    project_id = admin.project(project)
    return Person(admin, name, project, admin.user(name, project_id, *roles), project_id)
