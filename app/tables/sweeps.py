"""Sweeps: experiments of many runs, the runs they share with others, and pages shown without a sign-in."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, Json


class Sweep(Base):
    """An experiment: what varies, over which seeds, and how far it has come. Its runs name it in runs.sweep_id."""

    __tablename__ = "sweeps"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(12))  #: running | paused | cancelled | finished
    detail: Mapped[str] = mapped_column(default="")  #: one sentence: why it stands where it stands
    spec: Mapped[Json]  #: app/contract/sweep.py's SweepSpec, whole
    priority: Mapped[int] = mapped_column(default=0)  #: of its jobs; the higher goes first
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id"))
    created_at: Mapped[float]
    updated_at: Mapped[float]
    ended_at: Mapped[float | None]
    deleted_at: Mapped[float | None]


class SweepLink(Base):
    """A run that was there before the sweep and has exactly the configuration of one of its arms: not trained again."""

    __tablename__ = "sweep_links"
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweeps.id"), primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    arm: Mapped[Json]
    seed_index: Mapped[int]


class Share(Base):
    """A page that anybody with the link may read; only the hash of the link's secret is here."""

    __tablename__ = "shares"
    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    noun: Mapped[str] = mapped_column(String(12))  #: sweep
    noun_id: Mapped[int]
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]
