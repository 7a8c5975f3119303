"""Tokens and sessions: they end when they should, and only their hashes are stored."""

import stat
import time
from collections.abc import Iterator
from typing import Any

import pytest
from website import Site

from app.security import tokens
from app.settings import Settings
from app.tables import BrowserSession, Token


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(Settings(home=tmp_path_factory.mktemp("tokens") / "home")) as started:
        yield started


@pytest.fixture(autouse=True)
def _real_time(site: Site) -> None:
    site.ahead_s = 0.0


def test_signing_out_ends_the_session(site: Site) -> None:
    with site.signed_in(Origin=site.url) as browser:
        cookie = browser.cookies["plateau_session"]
        assert browser.post("/logout").status_code == 303
        assert browser.get("/api/v1/runs", headers={"Cookie": f"plateau_session={cookie}"}).status_code == 401


def test_a_session_slides_and_ends_thirty_days_after_its_last_use(site: Site) -> None:
    day_s = 86_400
    with site.signed_in() as browser:
        for day in (0, 20, 45):
            site.ahead_s = day * day_s
            assert browser.get("/api/v1/runs").status_code == 200
        site.ahead_s = 76 * day_s
        assert browser.get("/api/v1/runs").status_code == 401


def test_a_revoked_token_is_refused_at_once(site: Site) -> None:
    made = site.api.post("/api/v1/tokens", json={"name": "script"}).json()
    with site.client(made["secret"]) as script:
        assert script.get("/api/v1/runs").status_code == 200
        assert site.api.delete(f"/api/v1/tokens/{made['id']}").status_code == 200
        assert script.get("/api/v1/runs").status_code == 401
    listed = site.api.get("/api/v1/tokens").json()["tokens"]
    assert next(one for one in listed if one["id"] == made["id"])["revoked_at"]


def test_a_token_expires(site: Site) -> None:
    made = site.api.post("/api/v1/tokens", json={"name": "short", "days": 1}).json()
    with site.client(made["secret"]) as script:
        assert script.get("/api/v1/runs").status_code == 200
        site.ahead_s = 86_401
        assert script.get("/api/v1/runs").status_code == 401


@pytest.mark.parametrize(
    "body", [{"name": ""}, {"name": "x", "scope": "link"}, {"name": "x", "days": -1}, {"name": "x", "admin": True}]
)
def test_odd_tokens_are_refused(site: Site, body: dict[str, Any]) -> None:
    assert site.api.post("/api/v1/tokens", json=body).status_code == 422


def test_the_database_holds_no_secret(site: Site) -> None:
    made = site.api.post("/api/v1/tokens", json={"name": "script"}).json()
    with site.signed_in() as browser:
        cookie = browser.cookies["plateau_session"]
    stored = b"".join(path.read_bytes() for path in site.settings.home.glob("plateau.db*"))
    for secret in (made["secret"], cookie, site.token, site.worker_token):
        assert secret.encode() not in stored
    with site.db.read() as tx:
        assert tx.session.query(Token).count() >= 3
        assert tx.session.query(BrowserSession).count() >= 1


def test_token_files_are_private_and_made_anew_when_missing_or_unknown(site: Site) -> None:
    client, worker = site.settings.home / "client.json", site.settings.home / "worker.token"
    before = (site.token, site.worker_token)
    for path in (client, worker):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    tokens.first_start(site.settings, site.db, now=time.time())
    assert (site.token, site.worker_token) == before, "good ones stay"
    client.write_text('{"url": "http://old", "token": "from another database"}')
    worker.unlink()
    tokens.first_start(site.settings, site.db, now=time.time())
    with site.client(site.token) as again:
        assert again.get("/api/v1/runs").status_code == 200
    assert site.worker_token != before[1]
    assert not list(site.settings.home.glob(".client*")), "no half-written file is left"
