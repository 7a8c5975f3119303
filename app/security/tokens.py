"""Tokens for programs and one-time codes for signing in. A secret is shown once; only its SHA-256 is stored.

Scopes: `api` may do everything, `worker` may only claim jobs and move artifacts, `link` is a sign-in
code that works once.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import delete, select, update

from app.contract import ids
from app.db import Database, Tx
from app.errors import NotFound
from app.settings import Settings
from app.tables import Token

LINK_LIFETIME_S = 600.0
FIRST_LINK_LIFETIME_S = 86_400.0
_USED_EVERY_S = 60.0
_CACHE_SIZE = 1_000


class Identity(NamedTuple):
    """Who is asking, as far as permissions go."""

    scope: str  #: api | worker
    token_id: int | None = None  #: None: a signed-in browser


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def make(tx: Tx, name: str, scope: str, *, now: float, lifetime_s: float | None = None) -> tuple[Token, str]:
    """A new token and its secret, which nobody can read again."""
    secret = f"plateau_{scope}_{secrets.token_urlsafe(32)}"
    token = Token(
        sha256=digest(secret),
        name=name,
        scope=scope,
        created_at=now,
        expires_at=None if lifetime_s is None else now + lifetime_s,
    )
    tx.session.add(token)
    tx.session.flush()
    return token, secret


def listed(tx: Tx) -> list[Token]:
    """Tokens of programs, newest first; sign-in codes are nobody's business."""
    return list(tx.session.scalars(select(Token).where(Token.scope != "link").order_by(Token.id.desc())))


def get(tx: Tx, text_id: str) -> Token:
    number = ids.parse("token", text_id)
    token = tx.session.get(Token, number) if number is not None else None
    if token is None or token.scope == "link":
        raise NotFound("There is no token of that id.")
    return token


def revoke(tx: Tx, text_id: str, *, now: float) -> Token:
    token = get(tx, text_id)
    token.revoked_at = token.revoked_at or now
    return token


def find(tx: Tx, secret: str, *, now: float) -> Token | None:
    """The valid token with this secret."""
    token = tx.session.scalar(select(Token).where(Token.sha256 == digest(secret)))
    if token is None or token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now):
        return None
    return token


def redeem(tx: Tx, secret: str, *, now: float) -> bool:
    """True once for a sign-in code, any number of times for an api token."""
    token = find(tx, secret, now=now)
    if token is None or token.scope not in ("link", "api"):
        return False
    token.last_used = now
    if token.scope == "link":
        token.revoked_at = now
    return True


def purge_codes(tx: Tx, *, now: float) -> None:
    """Forgets sign-in codes that can no longer be used."""
    spent = (Token.revoked_at.is_not(None)) | (Token.expires_at <= now)
    tx.session.execute(delete(Token).where(Token.scope == "link", spent))


class Keyring:
    """Answers "whose token is this?" from memory; a revocation must call `forget`."""

    def __init__(self, db: Database, clock: Callable[[], float]) -> None:
        self._db = db
        self._clock = clock
        self._known: dict[str, tuple[Identity, float | None]] = {}  # sha256 -> (who, expires_at)
        self._used: dict[int, float] = {}  # token id -> last time its use was written down

    def remembered(self, secret: str) -> Identity | None:
        """Without touching the database; None means "ask `verify`"."""
        found = self._known.get(digest(secret))
        if found is None or (found[1] is not None and found[1] <= self._clock()):
            return None
        return found[0]

    def verify(self, secret: str) -> Identity | None:
        now = self._clock()
        with self._db.read() as tx:
            token = find(tx, secret, now=now)
            if token is None or token.scope == "link":
                return None
            identity, key, expires_at = Identity(token.scope, token.id), token.sha256, token.expires_at
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[key] = (identity, expires_at)
        return identity

    def note_use(self, identity: Identity) -> None:
        """Writes last_used at most once a minute, without waiting for it."""
        now, token_id = self._clock(), identity.token_id
        if token_id is None or now - self._used.get(token_id, -_USED_EVERY_S) < _USED_EVERY_S:
            return
        self._used[token_id] = now
        self._db.submit(lambda tx: _used(tx, token_id, now))

    def forget(self) -> None:
        self._known.clear()


def _used(tx: Tx, token_id: int, now: float) -> None:
    tx.session.execute(update(Token).where(Token.id == token_id).values(last_used=now))


def first_start(settings: Settings, db: Database, *, now: float) -> None:
    """client.json for the command line and worker.token for this machine's worker, both 0600.

    Made anew when missing or when the database does not know them (it was replaced); kept otherwise.
    """
    client = settings.home / "client.json"
    secret = _known_secret(db, _token_in(client), now) or _issue(db, "this machine's command line", "api", now)
    write_private(client, json.dumps({"url": address(settings), "token": secret}) + "\n")
    worker = settings.home / "worker.token"
    held = worker.read_text().strip() if worker.is_file() else ""
    if _known_secret(db, held, now) is None:
        write_private(worker, _issue(db, "this machine's worker", "worker", now) + "\n")


def address(settings: Settings) -> str:
    """Where this machine's own programs reach the server."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def sign_in_code(db: Database, *, now: float, lifetime_s: float = LINK_LIFETIME_S) -> str:
    return db.write(lambda tx: make(tx, "sign-in link", "link", now=now, lifetime_s=lifetime_s)[1])


def write_private(path: Path, text: str) -> None:
    """Replaces `path` in one step by a file that only this user can read."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _token_in(client: Path) -> str:
    try:
        found = json.loads(client.read_text())
    except (FileNotFoundError, ValueError):
        return ""
    token = found.get("token") if isinstance(found, dict) else None
    return token if isinstance(token, str) else ""


def _known_secret(db: Database, secret: str, now: float) -> str | None:
    with db.read() as tx:
        return secret if secret and find(tx, secret, now=now) else None


def _issue(db: Database, name: str, scope: str, now: float) -> str:
    return db.write(lambda tx: make(tx, name, scope, now=now)[1])
