"""The metric store: series, their chunks and coarser levels, evaluations window by window."""

from sqlalchemy import ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base


class Series(Base):
    """One metric of one run, with its summary."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("run_id", "key"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    key: Mapped[str] = mapped_column(String(200))
    count: Mapped[int] = mapped_column(default=0)
    last_step: Mapped[int] = mapped_column(default=-1)
    last_value: Mapped[float | None]  #: None: no point yet, or not finite


class Chunk(Base):
    """About 1,024 consecutive points of a series. The last one of a series is open, the others are sealed.

    Blobs stand last: SQLite reads the summary columns without touching their pages.
    """

    __tablename__ = "chunks"
    __table_args__ = (UniqueConstraint("series_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    number: Mapped[int]  #: 0, 1, … in the order of their steps
    count: Mapped[int]
    first_step: Mapped[int]
    last_step: Mapped[int]
    stride: Mapped[int]  #: distance between steps where regular, else 0 and `steps` holds them
    min: Mapped[float | None]  #: over finite values
    max: Mapped[float | None]
    sum: Mapped[float]  #: of finite values
    min_step: Mapped[int | None]
    max_step: Mapped[int | None]
    non_finite: Mapped[int]  #: how many values are NaN or infinite
    steps: Mapped[bytes | None] = mapped_column(LargeBinary)  #: zlib of little-endian int64 differences
    values: Mapped[bytes] = mapped_column(LargeBinary)  #: little-endian float64


class Level(Base):
    """Sixteen cells of a coarser level of a series (app/levels.py)."""

    __tablename__ = "levels"
    __table_args__ = ({"sqlite_with_rowid": False},)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    cells: Mapped[bytes] = mapped_column(LargeBinary)


class Evaluation(Base):
    """The loss of each fixed validation window at one evaluation: what a paired comparison of two runs needs."""

    __tablename__ = "evaluations"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    losses: Mapped[bytes] = mapped_column(LargeBinary)  #: little-endian float32, nats per token, in window order


class Resent(Base):
    """Losses that a resume took back, until their steps have come again and were compared (app/drift.py)."""

    __tablename__ = "resent"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    steps: Mapped[bytes] = mapped_column(LargeBinary)  #: little-endian int64, ascending
    values: Mapped[bytes] = mapped_column(LargeBinary)  #: little-endian float64
    compared: Mapped[int]
    differing: Mapped[int]
    first: Mapped[int | None]  #: the first step that differed
    largest: Mapped[float]
