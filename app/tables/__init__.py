"""The tables, an idea a module. Alembic creates them; a test compares the two.

Times are Unix seconds (float) by the server's clock. JSON columns hold plain dicts and lists.
"""

from app.tables.base import Base, Json
from app.tables.metrics import Chunk, Evaluation, Level, Resent, Series
from app.tables.runs import Attempt, Checkpoint, Event, LogRow, Run, Sample
from app.tables.server import BrowserSession, Feed, IdempotencyKey, Setting, Token
from app.tables.work import Artifact, Dataset, Job, Worker

__all__ = [
    "Artifact",
    "Attempt",
    "Base",
    "BrowserSession",
    "Checkpoint",
    "Chunk",
    "Dataset",
    "Evaluation",
    "Event",
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
    "Token",
    "Worker",
]
