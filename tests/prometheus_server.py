"""A private Prometheus that scrapes an exporter of the test's, each second; as :mod:`tests.servers` has others."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.servers import Server, installed


class Exporter:
    """Shows a text in Prometheus' format at ``/metrics`` of a loopback port."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = exporter.text.encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class PrometheusServer(Server):
    """Prometheus.

    Args:
        exporter_port: that it scrapes each second.
        settings: lines for its configuration, beside ours.
    """

    def __init__(self, exporter_port: int | None = None, *settings: str) -> None:
        super().__init__()
        self._program = installed("prometheus", package="prometheus")
        self._exporter_port = exporter_port
        self._settings = settings

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        settings = ["global: {scrape_interval: 1s, scrape_timeout: 1s}", *self._settings]
        if self._exporter_port is not None:
            targets = f"[{{targets: ['127.0.0.1:{self._exporter_port}']}}]"
            settings += ["scrape_configs:", f"- {{job_name: exporter, honor_labels: true, static_configs: {targets}}}"]
        (self.folder / "prometheus.yml").write_text("\n".join(settings) + "\n")

    def _launch(self) -> None:
        # fmt: off
        self._start_child([
            self._program, f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
        ])
        # fmt: on

    def _answers(self) -> bool:
        return self._first_answer(b"GET /-/ready HTTP/1.0\r\n\r\n", 12) == b"HTTP/1.0 200"
