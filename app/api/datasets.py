"""Datasets: add, list, look at, prepare again, take off the list."""

from typing import Annotated, Any

from starlette.responses import Response
from typing_extensions import TypedDict

from app import datasets, freeing, reports, shapes
from app.api.body import Json, JsonResponse
from app.api.deps import Config, DatasetId, Db, Limit, Now, Offset
from app.api.problems import problems
from app.contract import ids
from app.contract.dataset import DatasetSpec
from app.db import Tx
from app.errors import Conflict, Invalid, NotFound
from app.routing import api_router
from app.shapes import DatasetJson

router = api_router("/datasets", tag="datasets")


class DocumentList(TypedDict):
    documents: list[dict[str, Any]]


class FreedThere(TypedDict):
    """One worker that had its files; `bytes` is null until it has answered, and `detail` says why it could not."""

    worker: str
    name: str
    bytes: int | None
    detail: str


class FreedJson(TypedDict):
    """What a deletion has given back so far."""

    bytes: int
    server_bytes: int
    workers: list[FreedThere]


class DatasetList(TypedDict):
    datasets: list[DatasetJson]
    total: int
    offset: int
    limit: int


@router.get("", response_model=DatasetList, summary="List datasets")
def find(db: Db, offset: Offset = 0, limit: Limit = 100) -> Response:
    """With their state and progress, without their manifests."""
    with db.read() as tx:
        rows = datasets.list_all(tx)
        shown: DatasetList = {
            "datasets": [shapes.dataset(row, manifest=False) for row in rows[offset : offset + limit]],
            "total": len(rows),
            "offset": offset,
            "limit": limit,
        }
    return JsonResponse(shown)


@router.post(
    "", status_code=201, response_model=DatasetJson, summary="Add a dataset", responses=problems(Invalid, Conflict),
    openapi_extra={"x-body": {"name": "my texts", "kind": "text", "files": [{"name": "a.txt", "path": "/data/a.txt"}],
                              "tokenizer": {"kind": "bpe", "vocab_size": 4096}}},
)  # fmt: skip
def create(spec: Annotated[DatasetSpec, Json(DatasetSpec)], db: Db, now: Now) -> Response:
    """A worker prepares it: splits documents into train and val by a hash of their text, makes tokens, counts.
    Files are uploads (`PUT /artifacts/{sha256}?kind=upload` first) or paths under one of the worker's data roots.
    """
    shown = db.write(lambda tx: shapes.dataset(datasets.create(tx, spec, now=now)))
    return JsonResponse(shown, 201, headers={"Location": f"/api/v1/datasets/{shown['id']}"})


@router.get("/{dataset_id}", response_model=DatasetJson, summary="Look at a dataset", responses=problems(NotFound))
def look(dataset_id: DatasetId, db: Db) -> Response:
    """With the manifest once it is ready: counts, hashes, tokenizer, statistics. By id, a deleted one that runs refer to
    is still here.
    """
    with db.read() as tx:
        return JsonResponse(shapes.dataset(datasets.get(tx, dataset_id, deleted=True)))


@router.get(
    "/{dataset_id}/manifest",
    response_model=dict[str, Any],
    summary="Fetch its manifest",
    responses=problems(NotFound, Conflict),
)
def manifest(dataset_id: DatasetId, db: Db) -> Response:
    """What is in it, as a file: sources and token files with their SHA-256, counts, tokenizer, example documents. Its
    ETag is the fingerprint that runs keep: the SHA-256 of the canonical JSON that is sent.
    """
    with db.read() as tx:
        dataset = datasets.get(tx, dataset_id, deleted=True)
        if dataset.manifest is None:
            raise Conflict(f"The dataset is {dataset.state}; it has no manifest yet.")
        text, sha256 = datasets.canonical(dataset.manifest), dataset.manifest_sha256
    name = f"{ids.show('dataset', dataset.id)}-manifest.json"
    headers = {"ETag": f'"{sha256}"', "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type="application/json", headers=headers)


@router.get(
    "/{dataset_id}/documents",
    response_model=DocumentList,
    summary="Example documents with their tokens",
    responses=problems(NotFound),
)
def documents(dataset_id: DatasetId, db: Db) -> Response:
    """The first documents and a fixed random sample, cut short: text, ids, and the piece of text each id stands for."""
    with db.read() as tx:
        dataset = datasets.get(tx, dataset_id, deleted=True)
    shown: DocumentList = {"documents": (dataset.manifest or {}).get("preview", [])}
    return JsonResponse(shown)


@router.post(
    "/{dataset_id}/retry", response_model=DatasetJson, summary="Prepare again", responses=problems(NotFound, Conflict)
)
def retry(dataset_id: DatasetId, db: Db, now: Now) -> Response:
    """After a failure."""

    def again(tx: Tx) -> DatasetJson:
        dataset = datasets.get(tx, dataset_id)
        datasets.retry(tx, dataset, now=now)
        return shapes.dataset(dataset)

    return JsonResponse(db.write(again))


@router.post(
    "/{dataset_id}/report", response_model=DatasetJson, summary="Read what is in it again", responses=problems(NotFound, Conflict)
)  # fmt: skip
def report(dataset_id: DatasetId, db: Db, now: Now) -> Response:
    """Any worker reads the tokens once more and reports lengths, duplicates, leakage, entropies and whether validation
    looks like train; the first time that happens by itself. `report` in the dataset's JSON shows how far it is, and
    keeps the last result meanwhile.
    """

    def ask(tx: Tx) -> DatasetJson:
        dataset = datasets.get(tx, dataset_id)
        reports.ask(tx, dataset, now=now)
        return shapes.dataset(dataset)

    return JsonResponse(db.write(ask))


@router.delete(
    "/{dataset_id}", response_model=FreedJson, summary="Delete a dataset", responses=problems(NotFound, Conflict)
)
def delete(dataset_id: DatasetId, db: Db, config: Config, now: Now) -> Response:
    """Runs that read it keep its manifest; runs that still need it must be stopped first. The server's copies of its
    files go at once; each worker that has some deletes them when it next asks for work. `GET …/freed` says how far it is.
    """
    dataset = freeing.delete(db, config.store, dataset_id, now=now)
    with db.read() as tx:
        return JsonResponse(_freed(freeing.find(tx, ids.show("dataset", dataset.id))))


@router.get(
    "/{dataset_id}/freed", response_model=FreedJson, summary="What a deletion has given back", responses=problems(NotFound)
)  # fmt: skip
def freed(dataset_id: DatasetId, db: Db) -> Response:
    """Bytes of a deleted dataset that the disks have back: the server's, and each worker's once it has answered."""
    with db.read() as tx:
        return JsonResponse(_freed(freeing.find(tx, dataset_id)))


def _freed(found: freeing.Freed) -> FreedJson:
    return {
        "bytes": found.bytes,
        "server_bytes": found.server_bytes,
        "workers": [{"worker": one.worker, "name": one.name, "bytes": one.bytes, "detail": one.detail} for one in found.workers],
    }  # fmt: skip
