"""What the server program does: opens the database, prints where to go and a one-time sign-in link, serves until SIGTERM or Ctrl-C."""

import argparse
import errno
import gc
import signal
import socket
import sys
import time
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from app import demo as demo_runs
from app import logging as logs
from app.db import Database
from app.errors import PlateauError, from_pydantic
from app.live import Hub
from app.main import create_app
from app.migrate import open_database
from app.security import tokens
from app.settings import Settings

GRACE_S = 2
"""An open stream would hold a shutdown up for as long as its page is open."""
BACKLOG = 512
KEEP_ALIVE_S = 75
"""A worker beats every 15 s and keeps its connection."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class CannotStart(PlateauError):
    """The server cannot start."""


class _Server(uvicorn.Server):
    """Ends the live streams first when it shuts down: their browsers come back by themselves."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets)


def http_server(app: FastAPI) -> uvicorn.Server:
    """uvicorn with httptools and uvloop where they are installed, ready to be given a socket."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return _Server(config, app.state.hub)


def run(settings: Settings, *, demo: bool = False) -> int:
    """Serve until told to stop; the exit code. What keeps it from starting is one sentence on stderr."""
    try:
        listener = bind(settings)
        try:
            db = open_database(settings)
        except PlateauError:
            listener.close()
            raise
    except PlateauError as error:
        print(error, file=sys.stderr)  # noqa: T201  # this is a program
        return 1
    try:
        return _serve(settings, db, listener, demo=demo)
    finally:
        db.close()


def _serve(settings: Settings, db: Database, listener: socket.socket, *, demo: bool) -> int:
    now = time.time()
    tokens.first_start(settings, db, now=now)
    if demo:
        db.write(lambda tx: demo_runs.ensure_demo(tx, now))
    app = create_app(settings, db)
    server = http_server(app)
    _settle_memory()
    _greet(settings, tokens.sign_in_code(db, now=now, lifetime_s=tokens.FIRST_LINK_LIFETIME_S))

    def leave(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again after its shutdown: that is no failure
        signal.signal(number, leave)
    server.run(sockets=[listener])
    return 0


def _settle_memory() -> None:
    """What the start has made stays: the collector need not look at it again and again, nor after every few requests.

    A seventh of what a posted batch costs.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _greet(settings: Settings, code: str) -> None:
    url = tokens.address(settings)
    print(f"Plateau is at {url}", flush=True)  # noqa: T201
    print(f"Sign in once with {url}/login?code={code}", flush=True)  # noqa: T201
    if settings.host not in LOOPBACK:
        print("It listens beyond this machine, over plain HTTP: use it in networks you trust.", flush=True)  # noqa: T201


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises CannotStart for an open address without allowed hosts, and for a port in use."""
    if settings.host not in LOOPBACK and not settings.allowed_hosts.strip():
        raise CannotStart(
            f"Listening on {settings.host} opens Plateau to other machines: name the hosts it is called by "
            "(--allow-host NAME or PLATEAU_ALLOWED_HOSTS), or leave --host away."
        )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"Port {settings.port} is in use; stop what uses it or take another with --port."
            ) from None
        raise CannotStart(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror or error}."
        ) from None
    listener.setblocking(False)
    return listener


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.server", description="Plateau's server.")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (8000)")
    parser.add_argument("--home", type=Path, help="folder of the database and the files")
    parser.add_argument("--demo", action="store_true", help="queue the demo runs if the database is empty")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="a host name to answer to")
    given = parser.parse_args(arguments)
    asked = {name: getattr(given, name) for name in ("host", "port", "home") if getattr(given, name) is not None}
    try:
        settings = Settings(**asked)
    except ValidationError as error:
        print(f"The settings need a correction: {from_pydantic(error)}", file=sys.stderr)  # noqa: T201
        return 2
    if given.allow_host:
        hosts = ",".join([*filter(None, [settings.allowed_hosts]), *given.allow_host])
        settings = settings.model_copy(update={"allowed_hosts": hosts})
    logs.configure()
    return run(settings, demo=given.demo)
