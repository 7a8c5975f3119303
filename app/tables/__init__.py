"""The tables, an idea a module. A new home gets them as they stand here, Alembic upgrades older ones; a test compares the two.

Times are Unix seconds (float) by the server's clock. JSON columns hold plain dicts and lists.
"""

from app.tables.alerts import Alert, AlertDelivery
from app.tables.base import Base, Json
from app.tables.diagnosis import Diagnosis, Experiment
from app.tables.metrics import Chunk, Evaluation, Level, Resent, Series
from app.tables.runs import Attempt, Checkpoint, Event, LogRow, Run, Sample
from app.tables.server import BrowserSession, Feed, IdempotencyKey, Setting, Token
from app.tables.sweeps import Share, Sweep, SweepLink
from app.tables.work import Artifact, Dataset, Job, Worker

__all__ = [
    "Alert",
    "AlertDelivery",
    "Artifact",
    "Attempt",
    "Base",
    "BrowserSession",
    "Checkpoint",
    "Chunk",
    "Dataset",
    "Diagnosis",
    "Evaluation",
    "Event",
    "Experiment",
    "Feed",
    "IdempotencyKey",
    "Job",
    "Json",
    "Level",
    "LogRow",
    "Resent",
    "Run",
    "Sample",
    "Series",
    "Setting",
    "Share",
    "Sweep",
    "SweepLink",
    "Token",
    "Worker",
]
