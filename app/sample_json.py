"""The JSON of a sample, the same from each route and each live message."""

from typing import Any

from typing_extensions import TypedDict

from app.contract import ids
from app.shapes import iso, maybe_iso
from app.tables import Sample


class SampleJson(TypedDict):
    """Text written from a checkpoint, or by the run itself (checkpoint null), as far as it is written."""

    id: str
    run: str
    checkpoint: str | None
    step: int
    state: str
    detail: str
    settings: dict[str, Any]
    texts: list[str]
    created_at: str
    ended_at: str | None


def sample(row: Sample) -> SampleJson:
    return {
        "id": ids.show("sample", row.id),
        "run": ids.show("run", row.run_id),
        "checkpoint": ids.show("checkpoint", row.checkpoint_id) if row.checkpoint_id is not None else None,
        "step": row.step,
        "state": row.state,
        "detail": row.detail,
        "settings": row.settings,
        "texts": row.texts,
        "created_at": iso(row.created_at),
        "ended_at": maybe_iso(row.ended_at),
    }
