"""What the image would hold, and how the chart would run it, where there is neither a base image nor a runtime.

The build stage's own commands are run in a folder. What they install is then started as the chart starts it: with its
environment, as its user, with a root file system that cannot be written (where the tests may make a mount namespace),
beside a Valkey and a RabbitMQ with the trial's configuration files. What autoscaler depends on is this environment's,
unless ``make image`` asks for all of it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chart.rendering import Object, controller, example, objects, one
from tests.servers import RabbitServer, ValkeyServer, free_port

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
USER = 10001
PATIENCE = 90.0
WHOLE = os.environ.get("AUTOSCALER_TEST_IMAGE") == "whole"


def instructions() -> list[list[str]]:
    """The Dockerfile's, each with its words; lines that go on are joined."""
    joined = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in joined.splitlines() if line and not line.startswith("#")]


def build_stage() -> list[list[str]]:
    found = instructions()
    first, second = (number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[first + 1 : second]


@dataclass(frozen=True)
class Image:
    """What the build stage made.

    Args:
        folder: everybody's to read.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Of the image, with its folders where they are here."""
        (said,) = (rest for word, rest in instructions() if word == "ENV")
        found = dict(pair.partition("=")[::2] for pair in shlex.split(said))
        found["PATH"] = self.placed(found["PATH"].replace("$PATH", "/usr/bin:/bin"))
        return found

    def placed(self, text: str) -> str:
        """Words of the Dockerfile or the chart, with folders where they are here."""
        moved = {
            "/opt/autoscaler": "venv",
            "/wheels": "wheels",
            "/var/lib/autoscaler": "state",
            "/etc/autoscaler": "etc",
        }
        for path, here in moved.items():
            text = text.replace(path, str(self.folder / here))
        return text

    def ran_as(self, *command: str) -> list[str]:
        """A command as the image's user, on a root that cannot be written; as we are where we are not root."""
        program = [str(self.folder / "venv" / "bin" / command[0]), *command[1:]]
        if os.getuid() != 0 or not may_mount():
            return program
        state = self.folder / "state"
        script = [
            *self._python_for_others(),
            "mount -o remount,bind,ro /",
            f"mount -t tmpfs -o uid={USER},gid={USER},mode=0700 none {state}",
            'exec "$@"',
        ]
        lowered = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
        space = ["unshare", "--mount", "--", "/bin/sh", "-ec", "\n".join(script), "sh"]
        return [*space, "setpriv", *lowered, "--", *program]

    def _python_for_others(self) -> list[str]:
        """What lets everybody reach a Python that lies in root's home, in a mount namespace."""
        base = Path(sys.base_prefix)
        closed = [parent for parent in reversed(base.parents) if not parent.stat().st_mode & stat.S_IXOTH]
        if not closed:
            return []
        aside = self.folder / "python"
        aside.mkdir(exist_ok=True)
        return [
            f"mount --bind {base} {aside}",
            f"mount -t tmpfs -o mode=0755 none {closed[0]}",
            f"mkdir -p {base}",
            f"mount --bind {aside} {base}",
        ]


def may_mount() -> bool:
    tried = ["unshare", "--mount", "--", "mount", "-o", "remount,bind,ro", "/"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    made = Image(Path(tempfile.mkdtemp(prefix="image-")))  # pytest's own folders are closed to other users
    made.folder.chmod(0o755)
    try:
        _build(made)
        yield made
    finally:
        shutil.rmtree(made.folder)


def _build(made: Image) -> None:
    source = made.folder / "src"
    for folder in (source, made.folder / "state"):
        folder.mkdir()
    (made.folder / "state").chmod(0o777)
    for word, rest in build_stage():
        match word:
            case "WORKDIR":
                assert rest == "/src"
            case "COPY":
                *names, into = rest.split()
                for name in names:
                    copied = source / into / name if into == "./" else source / into
                    (shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile)(ROOT / name, copied)
            case "RUN":
                script = made.placed(rest).replace("--no-cache-dir", "" if WHOLE else "--no-deps")
                environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
                subprocess.run(["/bin/sh", "-ec", script], cwd=source, env=environment, check=True, capture_output=True)
            case _:
                raise AssertionError(f"{word}: the tests know no such instruction")
    if not WHOLE:
        (packages,) = (made.folder / "venv" / "lib").glob("python3*/site-packages")
        (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")


class TrialValkey(ValkeyServer):
    """With the trial's own configuration file; address and folder are ours."""

    def __init__(self, configuration: str) -> None:
        super().__init__()
        self._configuration = configuration

    def _launch(self) -> None:
        file = self.folder / "valkey.conf"
        file.write_text(self._configuration.replace("dir /data", f"dir {self.folder}"))
        self._start_child([self._program, str(file), "--port", str(self.port), "--bind", "127.0.0.1"])

    def _answers(self) -> bool:
        return self._first_answer(b"PING\r\n", 5) == b"-NOAU"


class Mount:
    """A folder as the kubelet mounts it: links to ``..data``, which is a link that is replaced.

    Args:
        folder: where it is; made here.
        files: texts by name.
    """

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._number = 0
        self.swap(files)
        for name in files:
            (folder / name).symlink_to(f"..data/{name}")

    def swap(self, files: dict[str, str]) -> None:
        """Other texts, all at once; what was there before is removed."""
        before = self._folder / f"..{self._number}"
        self._number += 1
        now = self._folder / f"..{self._number}"
        now.mkdir()
        for name, text in files.items():
            (now / name).write_text(text)
        (self._folder / "..data_tmp").symlink_to(now.name)
        (self._folder / "..data_tmp").rename(self._folder / "..data")
        if before.exists():
            shutil.rmtree(before)


def answered(port: int, path: str) -> tuple[int, str]:
    """Status and text; status 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def until(port: int, path: str, status: int, words: str = "") -> str:
    end = time.monotonic() + PATIENCE
    while True:
        found, text = answered(port, path)
        if found == status and words in text:
            return text
        if time.monotonic() > end:
            raise TimeoutError(f"{path} says {found} {text} and not {status} {words}")
        time.sleep(0.05)


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said, cwd="/")
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)
        sys.stdout.write(log.read_text(errors="replace")[-3000:])  # which pytest shows where the test fails


def test_it_is_run_as_the_images_user_on_a_root_that_cannot_be_written(image: Image) -> None:
    if os.getuid() != 0 or not may_mount():
        pytest.skip("only root can become another, and mount")
    told = "import os, sys, pathlib; print(os.getuid(), sys.version); pathlib.Path('/x').touch()"
    ran = subprocess.run(image.ran_as("python", "-c", told), capture_output=True, text=True, check=False, cwd="/")

    assert ran.stdout == f"{USER} {sys.version}\n"
    assert "Read-only file system: '/x'" in ran.stderr


def test_rules_are_checked_from_a_folder_that_cannot_be_written(image: Image) -> None:
    found = objects(example("trial"))
    Mount(image.folder / "check", one("ConfigMap", found, "autoscaler-check")["data"])
    (check,) = one("Job", found)["spec"]["template"]["spec"]["containers"]
    words = [word.replace("/etc/autoscaler/declarations", str(image.folder / "check")) for word in check["args"]]

    ran = subprocess.run(
        image.ran_as("autoscaler", *words), env=image.environment, capture_output=True, text=True, check=False, cwd="/"
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("2 files read: 1 alarm, 1 group, 1 policy, 0 schedules; 0 warnings.\n")


def test_the_controller_runs_as_the_chart_runs_it(image: Image, tmp_path: Path) -> None:
    found = objects(example("trial"))
    container, words = controller(found), one("Secret", found)["stringData"]
    declared = one("ConfigMap", found, "autoscaler-declarations")["data"]
    mount = Mount(image.folder / "etc" / "declarations", declared)
    with TrialValkey(words["valkey.conf"]) as valkey, RabbitServer(*words["rabbitmq.conf"].splitlines()) as rabbit:
        secrets = {
            "redis-url": words["redis-url"].replace("autoscaler-valkey:6379", f"127.0.0.1:{valkey.port}"),
            "amqp-url": words["amqp-url"].replace("autoscaler-rabbitmq:5672", f"127.0.0.1:{rabbit.port}"),
        }
        environment = image.environment | given(image, container, secrets)
        port = free_port()
        # on loopback only, as all that the tests start is; the pod's own address is every one
        environment["AUTOSCALER_API"] = f"127.0.0.1:{port}"
        command = image.ran_as("autoscaler", *container["args"])
        with running(command, environment, tmp_path / "log") as process:
            until(port, container["readinessProbe"]["httpGet"]["path"], 200)
            assert answered(port, container["livenessProbe"]["httpGet"]["path"])[0] == 200
            assert json.loads(answered(port, "/v1/groups")[1])[0]["name"] == "web"
            healthy = subprocess.run(health_check(image, port), env=image.environment, check=False)
            assert healthy.returncode == 0

            mount.swap(
                declared | {"policies-web.yaml": declared["policies-web.yaml"].replace("name: web\n", "name: shop\n")}
            )
            until(port, "/readyz", 503, "declarations")  # the policy's group is gone
            mount.swap({name: text.replace("web", "shop") for name, text in declared.items()})
            until(port, "/readyz", 200)
            assert json.loads(answered(port, "/v1/groups")[1])[0]["name"] == "shop"

            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert not [line for line in lines if line["event"] == "setting ignored"]
    assert "controller ending" in {line["event"] for line in lines}
    assert healthy_without_one(image, port) != 0


def given(image: Image, container: Object, secrets: dict[str, str]) -> dict[str, str]:
    """The container's variables as a kubelet would fill them in."""
    found: dict[str, str] = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            found[variable["name"]] = secrets[source["secretKeyRef"]["key"]]
        elif "fieldRef" in source:
            found[variable["name"]] = "autoscaler-5f7d-x2x9k"
        else:
            found[variable["name"]] = image.placed(variable["value"])
    return found


def health_check(image: Image, port: int) -> list[str]:
    """The image's HEALTHCHECK, for a controller at another port."""
    (said,) = (rest for word, rest in instructions() if word == "HEALTHCHECK")
    words = json.loads(re.search(r"CMD (\[.*\])", said)[1])
    return [str(image.folder / "venv" / "bin" / words[0]), *(word.replace(":8042/", f":{port}/") for word in words[1:])]


def healthy_without_one(image: Image, port: int) -> int:
    return subprocess.run(health_check(image, port), env=image.environment, check=False, capture_output=True).returncode
