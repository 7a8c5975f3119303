"""Datasets: asked for by a spec, prepared by a worker's job, known to runs by their manifest's hash."""

import hashlib
import json
import re
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select

from app import artifacts, feed, jobs, workers
from app.contract import ids
from app.contract.dataset import DatasetSpec, Manifest, PrepareProgress
from app.contract.protocol import FileRef
from app.contract.states import DatasetState, JobKind, JobState
from app.db import Tx
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.tables import Dataset, Job, Run

BUILTIN = "python-stdlib"
"""The name of the dataset that needs no download; a run asks for it as "builtin"."""
_MOST_NAMED = 8


def create(tx: Tx, spec: DatasetSpec, *, now: float) -> Dataset:
    """Enter a dataset and queue its preparation. Raises Conflict for a name in use, Invalid for files not here."""
    name = " ".join(spec.name.split())
    if not name or name == "builtin" or re.fullmatch(ids.PATTERN, name):
        raise Invalid(
            [FieldError("/name", "must be a name of its own: not empty, not “builtin”, not like an id (d-0001)")]
        )
    if tx.session.scalar(select(Dataset.id).where(Dataset.name == name)):
        raise Conflict(f"There is a dataset named {name} already; give this one another name.")
    missing = [
        FieldError(f"/files/{index}/sha256", f"is not uploaded yet; send it first: PUT /api/v1/artifacts/{file.sha256}")
        for index, file in enumerate(spec.files)
        if file.sha256 is not None and artifacts.on_server(tx.raw, file.sha256) is None
    ] + [
        FieldError(f"/files/{index}", "needs either sha256 (an upload) or path (a file on the worker's disk)")
        for index, file in enumerate(spec.files)
        if file.sha256 is None and file.path is None
    ]
    if missing:
        raise Invalid(missing)
    dataset = Dataset(
        name=name, state=DatasetState.queued.value, detail="", progress={}, created_at=now,
        spec={**spec.model_dump(mode="json"), "name": name},
    )  # fmt: skip
    tx.session.add(dataset)
    tx.session.flush()
    requeue(tx, dataset, "", now=now)
    return dataset


def ensure_builtin(tx: Tx, now: float) -> Dataset:
    """The built-in dataset, entered and queued when it is not there yet."""
    found = tx.session.scalar(select(Dataset).where(Dataset.name == BUILTIN, Dataset.deleted_at.is_(None)))
    return found or create(tx, DatasetSpec(name=BUILTIN, kind="builtin"), now=now)


def get(tx: Tx, text: str, *, deleted: bool = False) -> Dataset:
    """By id (d-0001) or by name. NotFound names those that exist. `deleted`: also one that only its runs remember."""
    number = ids.parse("dataset", text)
    where = Dataset.name == text if number is None else Dataset.id == number
    there = Dataset.deleted_at.is_(None)
    remembered = (
        Dataset.deleted_at.is_not(None) & Dataset.manifest_sha256.is_not(None) & Dataset.id.in_(select(Run.dataset_id))
    )
    dataset = tx.session.scalar(select(Dataset).where(where, there | remembered if deleted else there))
    if dataset is None:
        names = [one.name for one in list_all(tx)]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        known = ", ".join(["builtin", *names[:_MOST_NAMED]]) + more
        raise NotFound(f"There is no dataset “{text[:80]}”; known: {known}.")
    return dataset


def list_all(tx: Tx) -> list[Dataset]:
    return list(tx.session.scalars(select(Dataset).where(Dataset.deleted_at.is_(None)).order_by(Dataset.id.desc())))


def retry(tx: Tx, dataset: Dataset, *, now: float) -> None:
    """Queue a failed preparation again."""
    if dataset.state != DatasetState.failed.value:
        raise Conflict(f"The dataset is {dataset.state}; only a failed preparation can be tried again.")
    requeue(tx, dataset, "", now=now)


def delete(tx: Tx, dataset: Dataset, *, now: float) -> list[str]:
    """Take it off the list; the name becomes free. Runs that refer to it keep its manifest and report.

    Returns the hashes of the files that the server holds for no other dataset: `artifacts.unlink` them once this
    is committed. Raises Conflict while a run still needs the data.
    """
    waiting = [
        ids.show("run", row[0])
        for row in tx.raw.execute(
            "SELECT id FROM runs WHERE dataset_id = ? AND deleted_at IS NULL"
            " AND state NOT IN ('finished', 'failed', 'stopped') ORDER BY id",
            (dataset.id,),
        )
    ]
    if waiting:
        shown = ", ".join(waiting[:_MOST_NAMED])
        raise Conflict(f"{len(waiting)} unfinished runs use this dataset ({shown}); stop them first.")
    for job in _open_jobs(tx, dataset.id):
        jobs.end(tx, job, now=now, outcome="stopped")
    needed = {sha256 for other in list_all(tx) if other.id != dataset.id for sha256 in files(other)}
    alone = sorted(files(dataset) - needed)
    if not tx.raw.execute("SELECT 1 FROM runs WHERE dataset_id = ? LIMIT 1", (dataset.id,)).fetchone():
        dataset.manifest = dataset.report = None
        tx.raw.execute("DELETE FROM log WHERE dataset_id = ?", (dataset.id,))
    dataset.name = f"{dataset.name[:160]} (deleted, {ids.show('dataset', dataset.id)})"
    dataset.deleted_at = now
    feed.post(tx, "dataset", dataset.id, "state")
    return artifacts.forget(tx, alone)


def files(dataset: Dataset) -> set[str]:
    """The hashes of what was uploaded for it and of what its preparation made."""
    manifest = dataset.manifest or {}
    shards = [shard for split in ("train", "val") for shard in manifest.get(split, {}).get("shards", ())]
    tokenizer = manifest.get("tokenizer", {})
    made = [one["sha256"] for one in shards] + ([tokenizer["sha256"]] if tokenizer.get("file") else [])
    return {*made, *(one["sha256"] for one in dataset.spec.get("files") or () if one.get("sha256"))}


def tombstone(tx: Tx, text_id: str) -> Dataset | None:
    """A deleted dataset, for the last words about what is left of it on workers' disks."""
    number = ids.parse("dataset", text_id)
    dataset = tx.session.get(Dataset, number) if number is not None else None
    return dataset if dataset is not None and dataset.deleted_at is not None else None


def runs_on(tx: Tx) -> dict[int, int]:
    """Dataset id -> how many runs use it, those in the trash left out."""
    counted = (
        "SELECT dataset_id, count(*) FROM runs WHERE dataset_id IS NOT NULL AND deleted_at IS NULL GROUP BY dataset_id"
    )
    return dict(tx.raw.execute(counted))


def holders(tx: Tx, dataset: Dataset) -> dict[int, str]:
    """The workers on whose disks its token files lie, by number, with their names: who prepared, read or trained on it."""
    found = tx.raw.execute(
        "SELECT DISTINCT w.id, w.name FROM workers w WHERE w.id IN (SELECT claimed_by FROM jobs WHERE dataset_id = ?1)"
        " OR w.id IN (SELECT worker_id FROM runs WHERE dataset_id = ?1 AND step > 0) ORDER BY w.name",
        (dataset.id,),
    )
    return dict(found.fetchall())


def _open_jobs(tx: Tx, dataset_id: int) -> list[Job]:
    query = select(Job).where(
        Job.dataset_id == dataset_id,
        Job.kind.in_([JobKind.prepare.value, JobKind.report.value]),
        Job.state != JobState.done.value,
    )
    return list(tx.session.scalars(query))


def preparing(tx: Tx, dataset: Dataset, worker_name: str) -> None:
    """A worker has claimed the preparation."""
    dataset.state = DatasetState.preparing.value
    dataset.detail = f"being prepared by {worker_name}"
    dataset.progress = {}
    feed.post(tx, "dataset", dataset.id, "state")


def progressed(tx: Tx, dataset_id: int, telemetry: dict[str, Any]) -> None:
    """A preparing worker's telemetry. Raises Invalid when it is no PrepareProgress."""
    row = tx.raw.execute("SELECT progress FROM datasets WHERE id = ?", (dataset_id,)).fetchone()
    try:  # newest of each key: a worker repeats only what has changed
        progress = PrepareProgress.model_validate({**(json.loads(row[0]) or {}), **telemetry})
    except ValidationError:
        raise Invalid([FieldError("/telemetry", "is not the progress of a preparation")]) from None
    tx.raw.execute("UPDATE datasets SET progress = ? WHERE id = ?", (progress.model_dump_json(), dataset_id))
    feed.post(tx, "dataset", dataset_id, "state")


def prepared(tx: Tx, dataset: Dataset, manifest: dict[str, Any], *, now: float) -> None:
    """The worker's manifest arrived: the dataset is ready. A manifest that is none fails the dataset."""
    try:
        Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        failed(tx, dataset, f"The worker's manifest is not usable: {where}: {first['msg']}", now=now)
        return
    dataset.manifest = manifest
    dataset.manifest_sha256 = manifest_sha256(manifest)
    dataset.state = DatasetState.ready.value
    dataset.detail = ""
    dataset.ready_at = now
    feed.post(tx, "dataset", dataset.id, "state")


def failed(tx: Tx, dataset: Dataset, detail: str, *, now: float) -> None:
    dataset.state = DatasetState.failed.value
    dataset.detail = detail[:1000]
    feed.post(tx, "dataset", dataset.id, "state")


def requeue(tx: Tx, dataset: Dataset, why: str, *, now: float) -> None:
    """Queue the preparation. Files on a worker's disk go to a worker with such a data root, where one is known."""
    paths = [file["path"] for file in dataset.spec.get("files") or () if file.get("path")]
    able = workers.that_read(tx, paths, now=now) if paths else []
    payload = {"workers": [worker.id for worker in able]} if able else {}
    jobs.enqueue(tx, JobKind.prepare, dataset_id=dataset.id, payload=payload, now=now)
    dataset.state = DatasetState.queued.value
    names = " or ".join(worker.name for worker in able) or "a worker"
    dataset.detail = "; ".join(part for part in (why, f"waiting for {names}") if part)
    dataset.progress = {}
    feed.post(tx, "dataset", dataset.id, "state")


def sources(tx: Tx, dataset: Dataset) -> list[FileRef]:
    """The uploaded files that a preparation fetches."""
    spec = DatasetSpec.model_validate(dataset.spec)
    return [
        FileRef(name=file.name, sha256=file.sha256, bytes=artifacts.on_server(tx.raw, file.sha256) or 0)
        for file in spec.files
        if file.sha256 is not None
    ]


def canonical(manifest: dict[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def manifest_sha256(manifest: dict[str, Any]) -> str:
    """The data's name for runs: SHA-256 of the manifest as canonical JSON."""
    return hashlib.sha256(canonical(manifest)).hexdigest()
