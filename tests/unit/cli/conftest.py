from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest
import structlog
import uvicorn
from typer.testing import CliRunner, Result

from autoscaler.cli.main import app
from tests.api.running import Api, running


@dataclass
class Shell:
    """Somebody who types commands."""

    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, words, env=self.environment, input=stdin)


@pytest.fixture
def shell() -> Shell:
    return Shell()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Running:
    """A controller on a free port, in a thread with a loop of its own."""

    def __init__(self) -> None:
        self.api: Api
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._server: _Server

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._listening.close()

    async def _serve(self) -> None:
        async with running() as self.api:
            self._server = _Server(uvicorn.Config(self.api.app, log_config=None, lifespan="off"))
            self._up.set()
            await self._server.serve(sockets=[self._listening])


@pytest.fixture(scope="module")
def controller() -> Iterator[Running]:
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # it shares this process' standard output
    with Running() as found:
        yield found
    structlog.configure(**before)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def asking(controller: Running) -> Shell:
    """A shell that knows where the controller is."""
    return Shell({"AUTOSCALER_API": controller.url})
