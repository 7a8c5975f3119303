"""Files of the server's store that nothing refers to: found among all that is there, and deleted when somebody asks.

An upload that never became a dataset, a piece of one that broke off, a file of a dataset or checkpoint that is gone.
Young ones are left: somebody may be filling in the form that needs them.
"""

from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select

from app import artifacts, checkpoints, datasets
from app.contract.states import JobKind, JobState
from app.db import Database, Tx
from app.tables import Checkpoint, Job

KEPT_S = 24 * 3600.0


class Cleaned(NamedTuple):
    files: int
    bytes: int  #: that the disk has back


def clean(db: Database, store: Path, *, now: float, older_than_s: float = KEPT_S) -> Cleaned:
    """Delete them. What is being referred to in the same moment is safe: it is looked up in the one write transaction."""
    before = now - older_than_s

    def work(tx: Tx) -> list[str]:
        rows = tx.raw.execute("SELECT sha256 FROM artifacts WHERE on_server AND created_at <= ?", (before,))
        needed = _referred_to(tx)
        return artifacts.forget(tx, [sha256 for (sha256,) in rows.fetchall() if sha256 not in needed])

    files = db.write(work)
    freed = artifacts.unlink(store, files)
    with db.read() as tx:
        known = {sha256 for (sha256,) in tx.raw.execute("SELECT sha256 FROM artifacts WHERE on_server")}
    loose = [
        path
        for path in (*store.glob("incoming/*"), *store.glob("[0-9a-f][0-9a-f]/*"))
        if path.name not in known and path.is_file() and path.stat().st_mtime <= before
    ]
    for path in loose:
        there = path.stat()
        path.unlink(missing_ok=True)
        freed += there.st_size if there.st_nlink == 1 else 0
    return Cleaned(len(files) + len(loose), freed)


def _referred_to(tx: Tx) -> set[str]:
    """The hashes of all files that a dataset, a checkpoint, an export or an import under way needs."""
    found = {sha256 for dataset in datasets.list_all(tx) for sha256 in datasets.files(dataset)}
    for checkpoint in tx.session.scalars(select(Checkpoint).where(Checkpoint.deleted_at.is_(None))):
        found |= {file.sha256 for file in checkpoints.files(checkpoint)}
    kinds = [JobKind.export.value, JobKind.adopt.value]
    for job in tx.session.scalars(select(Job).where(Job.kind.in_(kinds))):
        if job.kind == JobKind.export.value or job.state != JobState.done.value:
            found |= {str(file["sha256"]) for file in job.payload.get("files") or () if file.get("sha256")}
    return found
