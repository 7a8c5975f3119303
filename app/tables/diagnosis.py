"""Diagnoses: what was last found about each run, and the experiments that it led to with what came of them."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, Json


class Diagnosis(Base):
    """The newest diagnosis of a run (app/diagnoses.py); the list's badge reads it."""

    __tablename__ = "diagnoses"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    signature: Mapped[str] = mapped_column(String(80))  #: what it was made from; another one means that it is stale
    step: Mapped[int]
    rule: Mapped[str] = mapped_column(String(3))  #: of the headline: D01
    verdict: Mapped[str] = mapped_column(String(40), index=True)  #: "plateau", "improving", …
    level: Mapped[str] = mapped_column(String(8))
    headline: Mapped[str]  #: one sentence
    findings: Mapped[list[Json]]  #: app.diagnosis.findings.Finding.as_json(), most urgent first
    forecast: Mapped[Json | None]  #: the loss to come: step, mean, low, high
    at: Mapped[float]


class Experiment(Base):
    """A run or sweep that somebody launched to decide what a diagnosis left open (app/experiments.py)."""

    __tablename__ = "experiments"
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), index=True)  #: the diagnosed run
    rule: Mapped[str] = mapped_column(String(3))  #: whose verdict it is about
    verdict: Mapped[str] = mapped_column(String(40))  #: what that was when it was launched
    kind: Mapped[str] = mapped_column(String(20))
    question: Mapped[str]
    child_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"), index=True)
    sweep_id: Mapped[int | None] = mapped_column(ForeignKey("sweeps.id"), index=True)
    created_at: Mapped[float]
    outcome: Mapped[str | None] = mapped_column(String(12))  #: supported | refuted | open; None: not over yet
    numbers: Mapped[Json] = mapped_column(default=dict)  #: difference, se, low, high, paired, step, sentence, …
    judged_at: Mapped[float | None]
