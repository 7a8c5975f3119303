"""Checkpoints from and to other projects, and a checkpoint's own files."""

from typing import Annotated

from fastapi import Path, Request
from starlette.responses import RedirectResponse, Response
from typing_extensions import TypedDict

from app import checkpoints, exports, imports, runs, samples, shapes
from app.api.body import Json, JsonResponse
from app.api.deps import CheckpointId, Config, Db, Now, RunId
from app.api.problems import problems
from app.contract import ids
from app.contract.exchange import CheckpointExport, CheckpointImport
from app.db import Tx
from app.errors import Conflict, Invalid, NotFound
from app.routing import api_router
from app.shapes import RunJson
from app.tables import Job

router = api_router(tag="checkpoints")
FileName = Annotated[str, Path(max_length=200, description="A file of its manifest.", examples=["model.safetensors"])]


class ExportedFile(TypedDict):
    name: str
    sha256: str
    bytes: int
    url: str


class ExportJson(TypedDict):
    """A checkpoint as another project's files; `state` is queued, writing, done, failed or gone."""

    id: str
    checkpoint: str
    format: str
    state: str
    detail: str
    files: list[ExportedFile]


class ExportList(TypedDict):
    exports: list[ExportJson]


@router.post(
    "/imports", status_code=201, response_model=RunJson, summary="Import a checkpoint", responses=problems(Invalid, Conflict),
    openapi_extra={"x-body": {"format": "nanogpt", "files": [{"name": "ckpt.pt", "path": "/data/ckpt.pt"}], "dataset": "shakespeare"}},
)  # fmt: skip
def take_in(asked: Annotated[CheckpointImport, Json(CheckpointImport)], db: Db, now: Now) -> Response:
    """A checkpoint of nanoGPT (ckpt.pt) or GPT-2's weights (model.safetensors and config.json), uploaded as artifacts
    or on a worker's disk under one of its data roots, becomes a run of source `imported` with one checkpoint. The
    file is read as data; nothing in it is executed. The run is finished when it can be used, failed with the reason else.
    """

    def create(tx: Tx) -> RunJson:
        return shapes.run(tx, imports.create(tx, asked, now=now))

    shown = db.write(create)
    return JsonResponse(shown, 201, headers={"Location": f"/api/v1/runs/{shown['id']}"})


@router.post(
    "/runs/{run_id}/exports", status_code=202, response_model=ExportJson, summary="Export for another project",
    responses=problems(NotFound, Conflict, Invalid), openapi_extra={"x-body": {"at": "best", "format": "gpt2"}},
)  # fmt: skip
def give_out(
    run_id: RunId, asked: Annotated[CheckpointExport, Json(CheckpointExport)], db: Db, config: Config, now: Now
) -> Response:
    """Queues the work for the worker that holds the checkpoint; what was exported before is answered again. Ask the
    checkpoint's list until it is done, then fetch each file by its `url`.
    """

    def ask(tx: Tx) -> ExportJson:
        checkpoint = samples.chosen(tx, runs.get(tx, run_id), asked.at)
        return _shown(tx, exports.ask(tx, checkpoint, asked.format, now=now, quiet_s=config.lease_s))

    return JsonResponse(db.write(ask), 202)


@router.get(
    "/checkpoints/{checkpoint_id}/exports", response_model=ExportList, summary="List exports", responses=problems(NotFound)
)  # fmt: skip
def listing(checkpoint_id: CheckpointId, db: Db) -> Response:
    """Newest first."""
    with db.read() as tx:
        found = exports.listing(tx, checkpoints.get(tx, checkpoint_id))
        return JsonResponse({"exports": [_shown(tx, job) for job in found]})


@router.get(
    "/checkpoints/{checkpoint_id}/files/{name}", status_code=307, response_class=Response, summary="Download a checkpoint's file",
    responses={307: {"description": "To the artifact that holds it."}, **problems(NotFound, Conflict)},
)  # fmt: skip
def download(checkpoint_id: CheckpointId, name: FileName, request: Request, db: Db) -> Response:
    """Once the checkpoint is on the server; `send` brings it there."""
    with db.read() as tx:
        checkpoint = checkpoints.get(tx, checkpoint_id)
        here = checkpoints.on_server(tx, checkpoint)
        files = {file.name: file for file in checkpoints.files(checkpoint)}
    if name not in files:
        raise NotFound(f"{checkpoint_id} has no file {name}; it has {', '.join(sorted(files)) or 'none'}.")
    if not here:
        raise Conflict(
            f"{checkpoint_id} is on its worker only; POST /api/v1/checkpoints/{checkpoint_id}/send brings it here."
        )
    return RedirectResponse(f"/api/v1/artifacts/{files[name].sha256}?name={name}", 307)


def _shown(tx: Tx, job: Job) -> ExportJson:
    files = job.payload.get("files", [])
    return {
        "id": ids.show("job", job.id),
        "checkpoint": ids.show("checkpoint", job.payload["checkpoint"]),
        "format": job.payload["format"],
        "state": exports.state(tx, job),
        "detail": job.payload.get("detail", ""),
        "files": [_file(**file) for file in files],
    }


def _file(name: str, sha256: str, bytes: int) -> ExportedFile:
    return {"name": name, "sha256": sha256, "bytes": bytes, "url": f"/api/v1/artifacts/{sha256}?name={name}"}
