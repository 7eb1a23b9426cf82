"""A private MariaDB with its data in a folder of its own, as :mod:`tests.servers` has others."""

from __future__ import annotations

import getpass
import subprocess
from urllib.parse import quote

from tests.servers import Server, installed

SERVER_PACKAGE = "mariadb-server-core mariadb-client-core"
USER, PASSWORD = "tests", "geheim"


class MariaServer(Server):
    """MariaDB, with a user of every right and the databases that are wanted.

    Args:
        databases: names of those that are made, empty.
    """

    def __init__(self, *databases: str) -> None:
        super().__init__()
        self._program = installed("mariadbd", package=SERVER_PACKAGE)
        self._installer = installed("mariadb-install-db", package=SERVER_PACKAGE)
        self._databases = databases

    @property
    def url(self) -> str:
        return f"mysql://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    def database(self, name: str) -> str:
        """What SQLAlchemy calls a database of ours, with the driver that OpenStack uses."""
        return f"mysql+pymysql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{quote(name)}?charset=utf8mb4"

    def _prepare(self) -> None:
        # fmt: off
        ran = subprocess.run(
            [
                self._installer, "--no-defaults", f"--datadir={self.folder}/data", f"--user={getpass.getuser()}",
                "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M",
            ],
            capture_output=True, text=True, timeout=120, check=False, cwd=self.folder,
        )
        # fmt: on
        assert ran.returncode == 0, f"mariadb-install-db failed:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
        statements = [
            f"CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'127.0.0.1' WITH GRANT OPTION",
            *(f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4" for name in self._databases),
        ]
        # run at each start, before anybody is let in
        (self.folder / "first.sql").write_text("".join(f"{statement};\n" for statement in statements))

    def _launch(self) -> None:
        # fmt: off
        self._start_child([
            self._program, "--no-defaults", f"--user={getpass.getuser()}", f"--datadir={self.folder}/data",
            "--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.folder}/mariadb.sock",
            f"--pid-file={self.folder}/mariadb.pid", f"--init-file={self.folder}/first.sql", "--skip-name-resolve",
            "--skip-log-bin", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M",
            "--innodb-flush-log-at-trx-commit=2", "--key-buffer-size=1M", "--performance-schema=OFF",
            "--max-connections=100", "--max-connect-errors=1000000",
        ])
        # fmt: on

    def _answers(self) -> bool:
        # the first packet of a connection: three bytes of length, its number 0, and the protocol's version 10
        return self._first_answer(b"", 5)[3:] == b"\x00\x0a"
