"""A server's domain without its web: a database in a temporary folder, a clock that tests turn, plain helpers."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import create_engine

from app import datasets, ingest, lifecycle, runs
from app.contract import ids
from app.contract.protocol import Ack, Claim, ClaimRequest, DeviceInfo, Finish, WorkerInfo
from app.db import Database
from app.runs import Launch
from app.settings import Settings
from app.tables import Base, Dataset, Run, Worker

SHA = "ab" * 32


def manifest(train: int = 1_000_000, val: int = 100_000, **changes: Any) -> dict[str, Any]:
    """A dataset's manifest of these many tokens."""

    def split(tokens: int) -> dict[str, Any]:
        return {"tokens": tokens, "documents": 10, "text_bytes": tokens * 3,
                "shards": [{"file": "a.bin", "sha256": SHA, "bytes": tokens * 2, "tokens": tokens}]}  # fmt: skip

    return {
        "version": 1, "spec": {"name": "python-stdlib", "kind": "builtin"}, "sources": [],
        "tokenizer": {"kind": "bpe", "vocab_size": 4096, "eot": 0, "sha256": SHA}, "dtype": "uint16",
        "train": split(train), "val": split(val), "bytes_per_token": 3.0, "unigram_entropy": 6.0,
    } | changes  # fmt: skip


@functools.cache
def empty_database() -> bytes:
    """A database file with every table; made once, because forty statements with an fsync each take their time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        engine = create_engine(f"sqlite:///{path}")
        Base.metadata.create_all(engine)
        engine.dispose()
        return path.read_bytes()


class World:
    """One server's domain; `now` moves only when a test moves it."""

    def __init__(self, folder: Path, lease_s: float = 60.0) -> None:
        self.settings = Settings(home=folder, lease_s=lease_s, grace_s=300.0, max_attempts=3)
        self.settings.database.write_bytes(empty_database())
        self.db = Database(self.settings.database, sync="NORMAL")  # no power is cut here
        self.now = 1000.0
        self.keys = 0

    def write(self, fn: Any) -> Any:
        return self.db.write(fn)

    def run(self, run: str) -> Run:
        return self.db.write(lambda tx: runs.get(tx, run))

    def events(self, run: str, kind: str) -> list[tuple[str, dict[str, Any]]]:
        with self.db.read() as tx:
            rows = tx.raw.execute(
                "SELECT text, data FROM events WHERE run_id = ? AND kind = ? ORDER BY id", (ids.parse("run", run), kind)
            )
            return [(text, orjson.loads(data)) for text, data in rows]

    def count(self, sql: str, *values: Any) -> int:
        with self.db.read() as tx:
            return int(tx.raw.execute(sql, values).fetchone()[0])

    def ready(self, **changes: Any) -> Dataset:
        """The built-in dataset, prepared."""

        def fn(tx: Any) -> Dataset:
            dataset = datasets.ensure_builtin(tx, self.now)
            tx.raw.execute("UPDATE jobs SET state = 'done' WHERE kind = 'prepare'")
            datasets.prepared(tx, dataset, manifest(**changes), now=self.now)
            runs.dataset_changed(tx, dataset)
            return dataset

        return self.write(fn)

    def launch(self, key: str | None = None, **fields: Any) -> str:
        launch = Launch.model_validate(fields)
        run, _ = self.write(lambda tx: runs.create(tx, launch, key=key, body_sha256=str(fields), now=self.now))
        return ids.show("run", run.id)

    def request(self, worker: str = "one", key: str | None = None, device: Any = "cpu", **changes: Any) -> ClaimRequest:
        self.keys += 1
        info = WorkerInfo(name=worker, instance=f"instance-{worker}", devices=[DeviceInfo(kind=device, name="it")])
        return ClaimRequest(worker=info, protocol=1, idempotency_key=key or f"key-{self.keys:06d}").model_copy(
            update=changes
        )

    def claim(self, worker: str = "one", key: str | None = None, **changes: Any) -> Claim | None:
        request = self.request(worker, key, **changes)
        return self.write(lambda tx: lifecycle.claim(tx, request, now=self.now, settings=self.settings))

    def post(self, claim: Claim, seq: int, **body: Any) -> Ack:
        batch = ingest.parse_batch(
            orjson.dumps({"claim_id": claim.claim_id, "attempt": claim.attempt, "seq": seq, **body})
        )
        job = ids.parse("job", claim.job)
        return self.write(lambda tx: ingest.accept(tx, job, batch, now=self.now, lease_s=self.settings.lease_s))

    def points(self, claim: Claim, seq: int, *steps: int, key: str = "train/loss", **body: Any) -> Ack:
        """One batch with value 10 − step at these steps."""
        return self.post(claim, seq, columns={key: {"step": steps, "value": [10.0 - step for step in steps]}}, **body)

    def checkpoint(self, claim: Claim, seq: int, step: int) -> None:
        """The worker reports a checkpoint."""
        files = [{"name": "model.safetensors", "sha256": SHA, "bytes": 7}]
        data = {"attempt": claim.attempt, "step": step, "kept": "interval", "bytes": 7, "val_loss": 3.0,
                "manifest": {"files": files, "attempt": claim.attempt, "step": step}}  # fmt: skip
        self.post(claim, seq, events=[{"kind": "checkpoint", "step": step, "data": data}])

    def finish(self, claim: Claim, final_seq: int, outcome: str = "finished", **fields: Any) -> None:
        finish = Finish.model_validate(
            {"claim_id": claim.claim_id, "attempt": claim.attempt, "final_seq": final_seq, "outcome": outcome, **fields}
        )
        self.write(lambda tx: lifecycle.finish(tx, ids.parse("job", claim.job), finish, now=self.now))

    def sweep(self, after_s: float = 0.0) -> None:
        self.now += after_s
        self.write(lambda tx: lifecycle.sweep(tx, now=self.now, started_at=0.0, settings=self.settings))

    def silence(self, seconds: float) -> None:
        """Time passes while the server sweeps and no worker speaks."""
        end = self.now + seconds
        while self.now < end:
            self.sweep(min(45.0, end - self.now))

    def worker(self, name: str = "one") -> Worker:
        return self.write(lambda tx: next(one for one in tx.session.query(Worker) if one.name == name))
