"""What the server keeps for itself: the feed of changes, who is signed in, keys of launches, small facts."""

from sqlalchemy import String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, Json


class Feed(Base):
    """What changed, in the order it was committed: the server-wide event number that streams replay from.

    `ref` says where to read: for points and truncate the first step concerned, for log the first row's id,
    for event and sample the id of that; 0 for state. Old rows are pruned; a stream that asks for them is told to reload.
    """

    __tablename__ = "feed"
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: Mapped[int] = mapped_column(primary_key=True)
    noun: Mapped[str] = mapped_column(String(8))  #: run | dataset | worker
    noun_id: Mapped[int]
    kind: Mapped[str] = mapped_column(String(10))  #: state | points | truncate | log | event | sample
    ref: Mapped[int] = mapped_column(default=0)


class Token(Base):
    """A secret somebody holds; only its hash is here."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    scope: Mapped[str] = mapped_column(String(10))  #: api | worker | link (one-time sign-in)
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    last_used: Mapped[float | None]
    revoked_at: Mapped[float | None]


class BrowserSession(Base):
    """A signed-in browser; survives restarts."""

    __tablename__ = "sessions"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[float]
    last_used: Mapped[float]
    expires_at: Mapped[float]


class IdempotencyKey(Base):
    """A launch's key for 24 h: the same key and body give the same run."""

    __tablename__ = "idempotency"
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    noun_id: Mapped[int]
    created_at: Mapped[float]


class Setting(Base):
    """Small facts about this database: the pinned baseline, the demo's runs."""

    __tablename__ = "settings"
    key: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[Json] = mapped_column(server_default=text("'{}'"))
