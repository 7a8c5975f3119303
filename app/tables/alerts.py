"""Alerts: what to tell whom, and every message that was or is to be sent."""

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.tables.base import Base, Json


class Alert(Base):
    """Conditions and a webhook (app/contract/alerts.py)."""

    __tablename__ = "alerts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    enabled: Mapped[bool]
    conditions: Mapped[Json]  #: on, verdicts, metric, direction, value, times, tag
    url: Mapped[str]
    shape: Mapped[str] = mapped_column(String(10))
    secret: Mapped[str] = mapped_column(String(200))
    seen_event: Mapped[int]  #: events up to this one have been looked at
    firing: Mapped[Json] = mapped_column(default=dict)  #: {"nan r-0001": true}: told, and not over yet
    created_at: Mapped[float]
    updated_at: Mapped[float]


class AlertDelivery(Base):
    """One message: waiting, under way again after a failure, sent or given up."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (Index("ix_alert_deliveries_due", "state", "due_at"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alerts.id"), index=True)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id"))
    kind: Mapped[str] = mapped_column(String(10))  #: of the contract's Kind, or test
    message: Mapped[Json]  #: what is told, before it has a shape
    state: Mapped[str] = mapped_column(String(10))  #: waiting | sent | failed
    tries: Mapped[int] = mapped_column(default=0)
    answer: Mapped[str] = mapped_column(String(300), default="")  #: what the last try came to
    created_at: Mapped[float]
    due_at: Mapped[float]  #: of the next try
    ended_at: Mapped[float | None]
