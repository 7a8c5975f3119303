"""Checkpoints: known from events, sent only when someone asks, resumed from the newest attempt."""

import pytest

from app import checkpoints
from app.errors import Conflict, NotFound
from tests.domain import SHA, World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    world.launch()
    yield world
    world.db.close()


def steps(world: World) -> list[int]:
    with world.db.read() as tx:
        return [one.step for one in checkpoints.listing(tx, 1)]


def test_checkpoints_come_and_go_with_the_workers_events(world):
    claim = world.claim()
    world.checkpoint(claim, 1, 100)
    world.checkpoint(claim, 2, 200)
    world.checkpoint(claim, 3, 200)  # the same one, now kept for another reason
    assert steps(world) == [200, 100]
    world.post(claim, 4, events=[{"kind": "checkpoint_deleted", "data": {"attempt": 1, "step": 100}}])
    world.post(claim, 5, events=[{"kind": "checkpoint_deleted", "data": {"attempt": "?", "step": None}}])
    assert steps(world) == [200]
    assert "manifest" not in world.events("r-0001", "checkpoint")[0][1]


def test_a_checkpoint_of_a_diverged_run_is_known_too(world):
    data = {"attempt": 1, "step": 5, "kept": "end", "bytes": 7, "val_loss": "NaN", "manifest": {}}
    world.post(world.claim(), 1, events=[{"kind": "checkpoint", "step": 5, "data": data}])
    with world.db.read() as tx:
        assert checkpoints.newest(tx, 1).val_loss is None


def test_a_run_goes_on_from_its_latest_attempts_checkpoint(world):
    first = world.claim()
    world.checkpoint(first, 1, 500)
    world.finish(first, 1, "requeue", exit=75)
    second = world.claim()
    world.checkpoint(second, 1, 450)  # after a fall back to an older one
    with world.db.read() as tx:
        assert checkpoints.newest(tx, 1).step == 450


def test_asking_twice_makes_one_job_for_the_holder_and_the_end_is_told(world):
    claim = world.claim("one")
    world.checkpoint(claim, 1, 100)

    def ask(tx):
        job = checkpoints.request_send(tx, checkpoints.get(tx, "c-0001"), now=world.now)
        return job.id if job else None

    assert world.write(ask) == world.write(ask)
    assert world.claim("two") is None
    send = world.claim("one")
    assert (send.kind, send.run, send.config) == ("send", "r-0001", {"run": "r-0001", "attempt": 1, "step": 100})
    assert [file.sha256 for file in send.files] == [SHA]
    sql = "INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, 7, 'checkpoint', 1, 0)"
    world.write(lambda tx: tx.raw.execute(sql, (SHA,)))
    world.finish(send, 0)
    assert world.events("r-0001", "checkpoint_sent")[0][1] == {"id": 1, "on_server": True}
    assert world.write(ask) is None


def test_a_sending_that_failed_says_why(world):
    claim = world.claim()
    world.checkpoint(claim, 1, 100)
    world.write(lambda tx: checkpoints.request_send(tx, checkpoints.get(tx, "c-0001"), now=world.now))
    world.finish(world.claim(), 0, "failed", exit=1, log_tail=["The file is gone."])
    assert world.events("r-0001", "checkpoint_sent")[0][0].endswith(
        "did not reach the server. exit 1: The file is gone."
    )


def test_a_checkpoint_nobody_holds_cannot_be_sent(world):
    world.checkpoint(world.claim(), 1, 100)
    world.write(lambda tx: tx.raw.execute("UPDATE checkpoints SET worker_id = NULL"))
    with pytest.raises(Conflict, match="No worker"):
        world.write(lambda tx: checkpoints.request_send(tx, checkpoints.get(tx, "c-0001"), now=1.0))
    with world.db.read() as tx, pytest.raises(NotFound):
        checkpoints.get(tx, "c-0009")
