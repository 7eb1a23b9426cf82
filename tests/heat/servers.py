"""Heat's processes, each to be ended and started again by itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aio_pika

from tests.keystone_server import PASSWORD, REGION
from tests.servers import Server

HERE = Path(__file__).parent
IN_REPOSITORY = HERE.parents[1] / ".venv-heat" / "bin" / "python"
# read on import: within a test no AUTOSCALER_ variable is left
PYTHON = Path(os.environ.get("AUTOSCALER_TEST_HEAT_PYTHON", IN_REPOSITORY)).absolute()
USER = "heat"
DOMAIN = "heat"
DOMAIN_ADMIN = "heat_domain_admin"
QUEUES = ("engine", "engine_worker")
"""On which an engine takes orders from the API, and from itself."""
ENGINE = "import os; del os.setsid; from heat.cmd.engine import main; main()"
"""The engine in the session of whoever starts it, so that it ends with it; by itself it would leave for its own."""


@dataclass(frozen=True)
class Surroundings:
    """What all of Heat's processes are told.

    Attributes:
        keystone: its URL, with the version.
        database: as SQLAlchemy takes it.
        broker: as oslo.messaging takes it, ``rabbit://``.
        cfn_port: of the API that takes signed signals.
    """

    keystone: str
    database: str
    broker: str
    cfn_port: int

    @property
    def cfn_url(self) -> str:
        return f"http://127.0.0.1:{self.cfn_port}"

    def configuration(self) -> str:
        """``heat.conf``."""
        as_heat = f"""auth_type = password
auth_url = {self.keystone}
username = {USER}
password = {PASSWORD}
user_domain_id = default"""
        in_service = f"{as_heat}\nproject_name = service\nproject_domain_id = default"
        shipped = PYTHON.parents[1] / "etc" / "heat"
        return f"""[DEFAULT]
host = heat
transport_url = {self.broker}
num_engine_workers = 1
environment_dir = {shipped}/environment.d
template_dir = {shipped}/templates
region_name_for_services = {REGION}
heat_metadata_server_url = {self.cfn_url}
heat_waitcondition_server_url = {self.cfn_url}/v1/waitcondition
stack_user_domain_name = {DOMAIN}
stack_domain_admin = {DOMAIN_ADMIN}
stack_domain_admin_password = {PASSWORD}
auth_encryption_key = {"0123456789abcdef" * 2}
[paste_deploy]
api_paste_config = {shipped}/api-paste.ini
[database]
connection = {self.database}
[keystone_authtoken]
www_authenticate_uri = {self.keystone}
service_token_roles_required = true
{in_service}
[trustee]
{as_heat}
[ec2authtoken]
endpoint_override = {self.keystone.removesuffix("/v3")}
{in_service}
[clients_keystone]
auth_uri = {self.keystone}
[oslo_messaging_notifications]
driver = messagingv2
topics = notifications
"""


class HeatServer(Server):
    """One of Heat's processes."""

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__()
        self._surroundings = surroundings

    @property
    def _configuration(self) -> Path:
        return self.folder / "heat.conf"

    def _prepare(self) -> None:
        self._configuration.write_text(self._surroundings.configuration())

    @property
    def _arguments(self) -> list[str]:
        return ["--config-file", str(self._configuration)]


class HeatApi(HeatServer):
    """Heat's own API, and the one that takes signed signals, in one process."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _launch(self) -> None:
        ports = [str(self.port), str(self._surroundings.cfn_port)]
        self._start_child([str(PYTHON), str(HERE / "serve.py"), str(self._configuration), *ports])

    def _answers(self) -> bool:
        return self._first_answer(b"GET /healthcheck HTTP/1.0\r\n\r\n", 12).endswith(b"200")


class HeatEngine(HeatServer):
    """The engine, which makes Heat's tables when it is started for the first time.

    Args:
        broker: the same as in the surroundings, ``amqp://``.
    """

    poll_seconds = 0.1

    def __init__(self, surroundings: Surroundings, broker: str) -> None:
        super().__init__(surroundings)
        self._broker = broker

    @property
    def url(self) -> str:
        return self._broker

    def _prepare(self) -> None:
        super()._prepare()
        command = [str(PYTHON), str(PYTHON.parent / "heat-manage"), *self._arguments, "db_sync"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=self.folder)
        assert ran.returncode == 0, f"heat-manage db_sync failed:\n{ran.stderr[-3000:]}"

    def _launch(self) -> None:
        self._start_child([str(PYTHON), "-c", ENGINE, *self._arguments])

    def _answers(self) -> bool:
        """Whether it takes orders; one that is given earlier would not be answered for a minute."""
        with ThreadPoolExecutor(1) as thread:  # where the caller's is running a loop already
            return thread.submit(asyncio.run, _are_taken_from(self._broker)).result()


async def _are_taken_from(broker: str) -> bool:
    async with await aio_pika.connect(broker) as connection:
        channel = await connection.channel()
        try:
            queues = [await channel.declare_queue(name, passive=True) for name in QUEUES]
        except aio_pika.exceptions.ChannelClosed:  # one of them was not declared yet
            return False
        return all(queue.declaration_result.consumer_count for queue in queues)
