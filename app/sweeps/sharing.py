"""Links that show one sweep to anybody who has them, and nothing else: made, listed, revoked. Only a hash is stored."""

import hashlib
import secrets

from sqlalchemy import select

from app.db import Tx
from app.errors import NotFound
from app.tables import Share, Sweep

NOUN = "sweep"


def make(tx: Tx, sweep: Sweep, *, now: float) -> tuple[Share, str]:
    """A new link and its secret, which nobody can read again."""
    secret = secrets.token_urlsafe(24)
    share = Share(sha256=_digest(secret), noun=NOUN, noun_id=sweep.id, created_at=now)
    tx.session.add(share)
    tx.session.flush()
    return share, secret


def listing(tx: Tx, sweep: Sweep) -> list[Share]:
    """Those that still work, newest first."""
    query = select(Share).where(Share.noun == NOUN, Share.noun_id == sweep.id, Share.revoked_at.is_(None))
    return list(tx.session.scalars(query.order_by(Share.id.desc())))


def revoke(tx: Tx, sweep: Sweep, number: int, *, now: float) -> None:
    share = tx.session.get(Share, number)
    if share is None or share.noun != NOUN or share.noun_id != sweep.id:
        raise NotFound("There is no such link.")
    share.revoked_at = share.revoked_at or now


def open_(tx: Tx, secret: str) -> Sweep:
    """The sweep behind a link. Raises NotFound alike for one that never was, was revoked, or whose sweep is gone."""
    share = tx.session.scalar(select(Share).where(Share.sha256 == _digest(secret[:200]), Share.noun == NOUN))
    sweep = tx.session.get(Sweep, share.noun_id) if share is not None and share.revoked_at is None else None
    if sweep is None or sweep.deleted_at is not None:
        raise NotFound("This link shows nothing: it was revoked, or never was.")
    return sweep


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
