"""The server program: what it prints, what it refuses, how it ends."""

import json
import re
import signal
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest
from conftest import Program, Server, environment, free_port, wait_until

from app import logging as logs
from app.serving import CannotStart, bind, main
from app.settings import Settings


def test_it_prints_its_address_and_a_link_that_signs_in_once(server: Server) -> None:
    wait_until(lambda: "login?code=" in server.output)
    assert f"Plateau is at {server.url}" in server.output
    link = re.search(r"http://\S+/login\?code=\S+", server.output)
    assert link is not None
    with httpx.Client() as browser:
        assert browser.get(link[0]).status_code == 303
        assert browser.get(f"{server.url}/runs").status_code == 200
    assert httpx.get(link[0]).status_code == 401, "once"


def test_it_stops_quickly_with_pages_open_and_keeps_its_sessions(server: Server) -> None:
    streams = []
    for _ in range(20):
        one = socket.create_connection(("127.0.0.1", server.port))
        one.sendall(
            f"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode()
        )
        assert b"200 OK" in one.recv(4096)
        streams.append(one)
    with httpx.Client(base_url=server.url) as browser:
        link = server.sign_in_link()
        assert browser.get(link).status_code == 303
        token = server.token
        began = time.monotonic()
        assert server.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 5
        for one in streams:
            one.close()
        server.start()
        assert browser.get("/runs").status_code == 200, "sessions survive"
        assert server.token == token, "so do tokens"


def test_secrets_do_not_reach_the_log(server: Server) -> None:
    with server.client() as client:
        client.get("/api/v1/runs")
        client.get("/login", params={"code": "plateau_link_guess"})
    assert server.token not in server.output
    assert server.worker_token not in server.output


def test_a_port_in_use_is_one_sentence(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = Program([sys.executable, "-m", "app.server"], environment(home=home, port=port), home.parent / "log")
        program.start()
        assert program.wait() == 1
    assert program.output == f"Port {port} is in use; stop what uses it or take another with --port.\n"


def test_a_second_server_on_the_same_home_refuses(server: Server) -> None:
    env = environment(home=server.home, port=free_port())
    second = Program([sys.executable, "-m", "app.server"], env, server.home.parent / "second.log")
    second.start()
    assert second.wait() == 1
    assert "Another Plateau server" in second.output
    assert "Traceback" not in second.output


@pytest.mark.parametrize(
    ("setting", "says"),
    [({"PLATEAU_PORT": "99999"}, "/port"), ({"PLATEAU_PORT": "x"}, "/port"), ({"PLATEAU_LEASE_S": "nan"}, "/lease_s")],
)
def test_a_wrong_setting_is_named(
    setting: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_open_address_needs_allowed_hosts(settings: Settings, host: str) -> None:
    with pytest.raises(CannotStart, match="allow-host"):
        bind(settings.model_copy(update={"host": host}))


def test_with_allowed_hosts_it_listens_everywhere(settings: Settings) -> None:
    bind(settings.model_copy(update={"host": "0.0.0.0", "allowed_hosts": "server", "port": free_port()})).close()


def test_an_address_that_is_not_ours_is_one_sentence(settings: Settings) -> None:
    with pytest.raises(CannotStart, match=r"Cannot listen on 192\.0\.2\.1"):
        bind(settings.model_copy(update={"host": "192.0.2.1", "allowed_hosts": "x", "port": free_port()}))


def test_the_log_hides_what_looks_like_a_secret() -> None:
    entry = logs.redact(
        None,
        "info",
        {"event": "GET /login?code=abc-1 Bearer xyz plateau_api_s3cret", "token": "t", "cookie": "c", "path": "/x"},
    )
    assert entry == {
        "event": f"GET /login?code={logs.HIDDEN} Bearer {logs.HIDDEN} {logs.HIDDEN}",
        "token": logs.HIDDEN, "cookie": logs.HIDDEN, "path": "/x",
    }  # fmt: skip


def test_outside_a_terminal_each_line_of_the_log_is_json(server: Server) -> None:
    server.stop(signal.SIGTERM)
    lines = [line for line in server.output.splitlines() if line.startswith("{")]
    assert all(json.loads(line)["level"] for line in lines)
