"""Start a worker: `python -m worker --url http://127.0.0.1:8000 --token-file TOKEN`, or `plateau worker`.

Without options it works for the server whose home is on this machine.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.contract.home import plateau_home
from app.contract.protocol import WorkerInfo
from worker.agent import Agent, instance_of, lock, slots_for
from worker.client import Client, WorkerError

log = logging.getLogger("worker")

NEEDED = ("torch", "tiktoken", "pyarrow", "safetensors")
DEVICES_WITHIN_S = 120.0


class CannotWork(WorkerError):
    """This worker cannot start."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return _work(given)
    except WorkerError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _work(given: argparse.Namespace) -> int:
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise CannotWork(
            f"This machine cannot train yet: {', '.join(missing)} missing. Install with: pip install 'plateau-runs[worker]'"
        )
    for root in given.data_root:
        if not root.is_dir():
            raise CannotWork(f"The data root {root} is not a folder.")
    home = given.home.expanduser().resolve()
    try:
        held = lock(home)
    except OSError as error:
        raise CannotWork(f"The worker's home {home} cannot be written: {error.strerror}.") from error
    with held, Client(given.url, token_from(given)) as client:
        devices = _devices()
        labels = {"data_roots": "\n".join(str(root.resolve()) for root in given.data_root)} if given.data_root else {}
        info = WorkerInfo(
            name=given.name, instance=instance_of(home), devices=devices, versions=_versions(), labels=labels
        )  # fmt: skip
        log.info("%s works for %s with %s", given.name, given.url, ", ".join(str(device["name"]) for device in devices))
        slots = slots_for(devices, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        return Agent(client, home, info, slots, data_roots=given.data_root, once=given.once).run()


def _parser() -> argparse.ArgumentParser:
    home = Path(os.environ.get("PLATEAU_WORKER_HOME") or plateau_home() / "worker")
    parser = argparse.ArgumentParser(prog="python -m worker", description="Claims training runs and carries them out.")
    parser.add_argument("--url", default=os.environ.get("PLATEAU_URL") or "http://127.0.0.1:8000", help="the server")
    parser.add_argument("--token", help="a token of worker scope (better: --token-file, or $PLATEAU_TOKEN)")
    parser.add_argument("--token-file", type=Path, help="a file that holds the token")
    parser.add_argument("--home", type=Path, default=home, help="where this worker keeps its files")
    parser.add_argument("--name", default=socket.gethostname()[:200] or "worker", help="shown on the workers page")
    parser.add_argument(
        "--data-root", type=Path, action="append", default=[], help="a folder datasets may be read from; repeatable"
    )
    parser.add_argument("--once", action="store_true", help="take one job, carry it out, exit")
    return parser


def token_from(given: argparse.Namespace) -> str:
    """--token, --token-file, $PLATEAU_TOKEN, $PLATEAU_TOKEN_FILE, the home's worker.token; in this order."""
    if given.token:
        return str(given.token)
    file = given.token_file or (Path(name) if (name := os.environ.get("PLATEAU_TOKEN_FILE")) else None)
    if file is None and (token := os.environ.get("PLATEAU_TOKEN")):
        return token
    file = file or plateau_home() / "worker.token"
    try:
        return str(file.read_text().strip())
    except OSError:
        raise CannotWork(
            f"No token: {file} cannot be read. Start the server first, or give --token-file with a token made on its Workers page."
        ) from None


def _devices() -> list[Any]:
    """Asked in a process of its own, for only that one imports torch."""
    found = subprocess.run(
        [sys.executable, "-m", "worker.devices"], capture_output=True, text=True, check=False, timeout=DEVICES_WITHIN_S
    )
    if found.returncode:
        last = (found.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotWork(f"The devices of this machine cannot be listed: {last}")
    devices: list[Any] = json.loads(found.stdout)
    return devices


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name, distribution in (("plateau", "plateau-runs"), ("torch", "torch")):
        try:
            versions[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout without installing
            continue
    return versions


if __name__ == "__main__":
    sys.exit(main())
