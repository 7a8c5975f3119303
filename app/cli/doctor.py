"""What this machine has and lacks, one line each: the first thing to look at when something does not start."""

import importlib.util
import os
import platform
import sys
from typing import NamedTuple

from app.cli.rest import CliError, Rest, place
from app.contract.home import plateau_home

SERVER = ("fastapi", "uvicorn", "sqlalchemy", "alembic", "jinja2", "plotly")
WORKER = ("torch", "tiktoken", "pyarrow", "safetensors", "psutil")


class Check(NamedTuple):
    what: str
    ok: bool
    detail: str


def checks(url: str | None, token: str | None) -> list[Check]:
    return [_python(), _packages("server", SERVER), _packages("worker", WORKER), _home(), _answers(url, token)]


def _python() -> Check:
    return Check("Python", sys.version_info >= (3, 11), platform.python_version())


def _packages(extra: str, names: tuple[str, ...]) -> Check:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    detail = (
        f"{', '.join(missing)} missing; pip install 'plateau-runs[{extra}]'" if missing else "all packages are here"
    )
    return Check(f"{extra} packages", not missing, detail)


def _home() -> Check:
    home = plateau_home()
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    ok = os.access(there, os.W_OK)
    return Check("home", ok, f"{home}" if ok else f"{home} cannot be written; set PLATEAU_HOME to a folder that can")


def _answers(url: str | None, token: str | None) -> Check:
    try:
        with Rest(place(url, token)) as rest:
            workers = rest.get("workers")["workers"]
            return Check(
                "server", True, f"{rest.url} answers; workers: {', '.join(one['name'] for one in workers) or 'none'}"
            )
    except CliError as error:
        return Check("server", False, str(error))
