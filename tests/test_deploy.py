"""The containers, without a container engine: linters, then every step of the files run as plain processes.

Paths of the image (/src, /dist, /venv, /data) are mapped into a temporary folder; the fresh virtual
environments borrow this one's packages, so that nothing is downloaded. What only a container can do is
named in CONTAINER_ONLY; any other RUN line is run, or the test fails.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from conftest import Program, environment, free_port, wait_until
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
CONTAINER_ONLY = ("apt-get ",)  # would change the machine the tests run on


class Step(NamedTuple):
    """One instruction of the Dockerfile, continuation lines joined."""

    stage: str
    parent: str
    verb: str
    rest: str


def dockerfile() -> list[Step]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
    steps, stage, parent = [], "", ""
    for line in filter(None, map(str.strip, text.splitlines())):
        verb, rest = line.split(maxsplit=1)
        if verb == "FROM":
            parent, _, stage = rest.split()
        steps.append(Step(stage, parent, verb, rest))
    return steps


STEPS = dockerfile()
COMPOSE: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def lineage(stage: str) -> list[str]:
    """A stage and those it is built from, the oldest first."""
    parents = {step.stage: step.parent for step in STEPS}
    line = [stage]
    while parents[line[0]] in parents:
        line.insert(0, parents[line[0]])
    return line


def steps(stage: str, verb: str) -> list[str]:
    return [step.rest for name in lineage(stage) for step in STEPS if step.stage == name and step.verb == verb]


class Image:
    """The Dockerfile's stages built under a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.ran: list[str] = []
        for name in ("src", "dist", "data"):
            (folder / name).mkdir()

    def map(self, text: str, stage: str) -> str:
        """The image's paths as paths of this machine."""
        places = {
            "/src": self.folder / "src",
            "/dist": self.folder / "dist",
            "/venv": self.folder / stage,
            "/data": self.data,
        }
        return re.sub(r"(?<![\w.])(/src|/dist|/venv|/data)\b", lambda found: str(places[found[1]]), text)

    def build(self, stage: str) -> None:
        """COPY and RUN of one stage, offline: no build isolation, no dependencies, this environment's packages lent."""
        for step in STEPS:
            if step.stage != stage:
                continue
            if step.verb == "COPY":
                *sources, target = shlex.split(step.rest)
                for source in sources:
                    self._copy(ROOT / source, self.folder / "src" / target)
            elif step.verb == "RUN":
                self._run(step, stage)
                self.ran.append(step.rest)

    def _copy(self, source: Path, target: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)

    def _run(self, step: Step, stage: str) -> None:
        command = self.map(step.rest, stage)
        command = command.replace("pip wheel ", "pip wheel --no-build-isolation ")
        command = command.replace("pip install ", "pip install --no-index --no-deps ")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-euc", command],
            cwd=self.folder / "src",
            env={**environment(), "PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"RUN {step.rest}\n{done.stdout}{done.stderr}"
        if "-m venv " in command:
            (lent,) = (self.folder / stage / "lib").glob("python3*/site-packages")
            (lent / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def python(self, stage: str) -> str:
        return str(self.folder / stage / "bin" / "python")

    def program(self, service: str, venv: str, port: int) -> Program:
        """A compose service as a process: the image's ENV and ENTRYPOINT, then compose's environment."""
        target = SERVICES[service]["build"]["target"]
        env = dict(pair.split("=", 1) for line in steps(target, "ENV") for pair in shlex.split(line))
        env |= {key: str(value) for key, value in SERVICES[service].get("environment", {}).items()}
        env = {key: self.map(value, venv) for key, value in env.items() if key != "PATH"}
        env |= {"PLATEAU_HOST": "127.0.0.1"} if "PLATEAU_HOST" in env else {}  # on this machine, loopback only
        env |= {"PLATEAU_URL": f"http://127.0.0.1:{port}"} if "PLATEAU_URL" in env else {"PLATEAU_PORT": str(port)}
        command = json.loads(steps(target, "ENTRYPOINT")[-1])
        assert command[0] == "python"
        log = self.folder / f"{service}.log"
        return Program([self.python(venv), *command[1:]], environment() | env, log, cwd=self.data)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    built = Image(tmp_path_factory.mktemp("image"))
    for stage in ("wheel", "server-venv", "worker-venv"):
        built.build(stage)
    return built


def test_linters_accept_dockerfile_and_compose() -> None:
    tools = Path(sys.executable).parent
    for command in (
        ["hadolint", "Dockerfile"],
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
    ):
        done = subprocess.run([str(tools / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_run_step_is_tried_or_needs_a_container(image: Image) -> None:
    left = [step.rest for step in STEPS if step.verb == "RUN" and step.rest not in image.ran]
    left = [rest for rest in left if not rest.startswith(CONTAINER_ONLY)]
    assert len(left) == 1, left
    assert left[0].startswith("useradd "), left  # tried in the next test


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("useradd"), reason="making a user needs root and useradd")
def test_the_image_user_can_be_made(tmp_path: Path) -> None:
    (step,) = [step.rest for step in STEPS if step.verb == "RUN" and step.rest.startswith("useradd ")]
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
        (tmp_path / "etc" / name).touch()
    command = step.replace("useradd ", f"useradd --prefix {tmp_path} ").replace(
        " 10001 /data", f" 10001 {tmp_path}/data"
    )
    done = subprocess.run(["sh", "-euc", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "plateau:x:10001:10001:" in (tmp_path / "etc" / "passwd").read_text()
    assert (tmp_path / "data").stat().st_uid == 10001


def test_containers_are_unprivileged() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert steps(service["build"]["target"], "USER") == ["10001"], name
        assert steps(service["build"]["target"], "STOPSIGNAL") == ["SIGTERM"], name


def test_nothing_is_published_beyond_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000"]


def test_workers_wait_for_a_healthy_server_and_share_its_volume() -> None:
    assert steps("server", "HEALTHCHECK")
    for name in ("worker", "worker-gpu"):
        assert SERVICES[name]["depends_on"]["server"]["condition"] == "service_healthy"
        assert SERVICES[name]["volumes"] == SERVICES["server"]["volumes"] == ["data:/data"]


def test_the_gpu_profile_alone_reserves_nvidia_devices() -> None:
    reserving = {name for name, service in SERVICES.items() if "nvidia" in json.dumps(service)}
    assert reserving == {"worker-gpu"}
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]  # compose refuses the reservation without it
    homes = [SERVICES[name]["environment"].get("PLATEAU_WORKER_HOME") for name in ("worker", "worker-gpu")]
    assert len(set(homes)) == 2, "two workers on one volume need two homes"


def test_the_server_image_installs_no_torch(image: Image) -> None:
    (install,) = [rest for rest in steps("server-venv", "RUN") if "pip install" in rest]
    assert "[server]" in install
    (metadata,) = (image.folder / "server-venv" / "lib").glob("python3*/site-packages/plateau_runs-*/METADATA")
    heavy = re.findall(r"^Requires-Dist: (torch|tiktoken)\b(?!.*extra == 'worker')", metadata.read_text(), flags=re.M)
    assert heavy == []


def test_an_installed_wheel_finds_the_assets_it_carries(image: Image) -> None:
    script = "import app.settings as s; print(s.__file__); print(s.assets())"
    env = environment(home=image.data)
    done = subprocess.run(
        [image.python("server-venv"), "-c", script], cwd=image.data, env=env, capture_output=True, text=True
    )
    module, assets = done.stdout.splitlines()
    assert module.startswith(str(image.folder / "server-venv")), "the wheel's own app, not the checkout's"
    for name in ("templates", "static", "migrations"):
        wanted = {path.relative_to(ROOT) for path in files(ROOT / name)}
        carried = {path.relative_to(assets) for path in files(Path(assets) / name)}
        assert carried >= wanted, f"the wheel lacks {sorted(map(str, wanted - carried))}"


def files(folder: Path) -> Iterator[Path]:
    """The files git keeps under a folder, roughly: no caches."""
    return (
        path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".mo"
    )


def test_server_and_worker_live_as_compose_starts_them(image: Image) -> None:
    port = free_port()
    server = image.program("server", "server-venv", port)
    worker = image.program("worker", "worker-venv", port)
    check = json.loads(steps("server", "HEALTHCHECK")[0].split(" CMD ")[1].replace(":8000", f":{port}"))
    check[0] = image.python("server-venv")

    def healthy() -> bool:
        assert server.running or server.process is None, f"the server ended:\n{server.output}"
        return subprocess.run(check, cwd=image.data, capture_output=True).returncode == 0

    assert not healthy(), "the health check must fail while nothing runs"
    try:
        server.start()
        wait_until(healthy, 30, lambda: f"the server never became healthy:\n{server.output}")
        token = json.loads((image.data / "client.json").read_text())["token"]
        headers = {"Host": "server", "Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            assert client.get("/login").status_code == 200, "templates come out of the wheel"
            assert client.get("/healthz", headers={"Host": "elsewhere"}).status_code == 400
            assert (image.data / "worker.token").stat().st_mode & 0o077 == 0, "the token file is its owner's alone"
            worker.start()
            wait_until(
                lambda: listed(client.get("/api/v1/workers")), 30, lambda: f"the worker never came:\n{worker.output}"
            )
        assert worker.stop(signal.SIGTERM, seconds(SERVICES["worker"]["stop_grace_period"])) == 0, worker.output
        assert server.stop(signal.SIGTERM, seconds(SERVICES["server"]["stop_grace_period"])) == 0, server.output
        assert "Traceback" not in server.output + worker.output
    finally:
        worker.kill()
        server.kill()


def listed(answer: httpx.Response) -> bool:
    """Whether the list of workers has one."""
    body = answer.raise_for_status().json()
    return bool(body["workers"] if isinstance(body, dict) else body)


def seconds(period: str) -> float:
    assert period.endswith("s"), period
    return float(period[:-1])
