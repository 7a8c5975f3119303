"""What routes are handed: the database, the settings and the time, each under a name."""

import hashlib
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request

from app.db import Database
from app.settings import Settings

LONGEST_ID = 40


async def _db(request: Request) -> Database:
    db: Database = request.app.state.db
    return db


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _now(request: Request) -> float:
    return float(request.app.state.clock())


async def _body_sha256(request: Request) -> str:
    return hashlib.sha256(await request.body()).hexdigest()


Db = Annotated[Database, Depends(_db)]
Config = Annotated[Settings, Depends(_settings)]
Now = Annotated[float, Depends(_now)]
BodySha256 = Annotated[str, Depends(_body_sha256)]
IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="The same key and body within 24 h give the same run.")
]

Offset = Annotated[int, Query(ge=0, le=1_000_000_000, description="Rows to skip.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Rows to answer, at most 500.")]


def id_path(noun: str, example: str) -> object:
    """A path parameter that names one `noun`."""
    return Path(max_length=LONGEST_ID, description=f"The {noun}'s id.", examples=[example])


RunId = Annotated[str, id_path("run", "r-0001")]
WorkerId = Annotated[str, id_path("worker", "w-0001")]
JobId = Annotated[str, id_path("job", "j-0001")]
TokenId = Annotated[str, id_path("token", "t-0001")]
CheckpointId = Annotated[str, id_path("checkpoint", "c-0001")]
DatasetId = Annotated[str, Path(max_length=200, description="The dataset's id, or its name.", examples=["d-0001"])]
Sha256Path = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="The file's SHA-256 in lower-case hex.")]
