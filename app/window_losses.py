"""Every validation window's loss at every evaluation as CSV, a row a window, streamed an evaluation at a time."""

from collections.abc import Iterator

from app import evaluations
from app.db import Database


def stream(db: Database, run_id: int) -> Iterator[bytes]:
    """Losses in nats per token; no transaction is held open between two pieces."""
    yield b"step,window,loss\n"
    with db.read() as tx:
        steps = [one.step for one in evaluations.listing(tx.raw, run_id)]
    for step in steps:
        with db.read() as tx:
            losses = evaluations.at(tx.raw, run_id, step)
        if losses is not None:  # else taken back by a resume meanwhile
            rows = (f"{step},{window},{loss:.6g}\n" for window, loss in enumerate(losses.tolist()))
            yield "".join(rows).encode()
