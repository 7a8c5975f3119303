"""Signed-in browsers: a random cookie whose hash is in the database, so a restart signs nobody out."""

import secrets
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

from sqlalchemy import delete, update

from app.db import Database, Tx
from app.security.tokens import digest
from app.tables import BrowserSession

COOKIE = "plateau_session"
LIFETIME_S = 30 * 86_400.0
_RENEW_EVERY_S = 3_600.0
_CACHE_SIZE = 1_000


def start(tx: Tx, *, now: float) -> str:
    """A new session; returns the cookie's value."""
    secret = secrets.token_urlsafe(32)
    tx.session.add(
        BrowserSession(sha256=digest(secret), created_at=now, last_used=now, expires_at=now + LIFETIME_S)
    )  # fmt: skip
    return secret


def end(tx: Tx, secret: str) -> None:
    tx.session.execute(delete(BrowserSession).where(BrowserSession.sha256 == digest(secret)))


def purge(tx: Tx, *, now: float) -> None:
    tx.session.execute(delete(BrowserSession).where(BrowserSession.expires_at <= now))


def _renew(tx: Tx, key: str, now: float) -> None:
    here = update(BrowserSession).where(BrowserSession.sha256 == key)
    tx.session.execute(here.values(last_used=now, expires_at=now + LIFETIME_S))


def cookie_of(header: str) -> str | None:
    """The session cookie in a Cookie header."""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel is not None else None


class Sessions:
    """Answers "is this cookie signed in?" from memory; expiry slides with use."""

    def __init__(self, db: Database, clock: Callable[[], float]) -> None:
        self._db = db
        self._clock = clock
        self._known: dict[str, tuple[float, float]] = {}  # sha256 -> (expires_at, renewed_at)

    def remembered(self, secret: str) -> bool:
        """Without touching the database; False means "ask `verify`"."""
        now = self._clock()
        expires_at, renewed_at = self._known.get(digest(secret), (0.0, 0.0))
        return expires_at > now and now - renewed_at < _RENEW_EVERY_S

    def verify(self, secret: str) -> bool:
        now, key = self._clock(), digest(secret)
        with self._db.read() as tx:
            found = tx.session.get(BrowserSession, key)
            # a renewal may still be on its way to the disk
            valid = found is not None and max(found.expires_at, self._known.get(key, (0.0, 0.0))[0]) > now
        if not valid:
            self._known.pop(key, None)
            return False
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[key] = (now + LIFETIME_S, now)
        self._db.submit(lambda tx: _renew(tx, key, now))
        return True

    def forget(self) -> None:
        self._known.clear()
