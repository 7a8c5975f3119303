"""Workers: known by their instance, seen without needless writes."""

import pytest

from app import feed, workers
from app.errors import NotFound
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


def test_a_worker_is_the_same_after_a_restart_and_its_new_name_is_shown(world):
    world.claim("one")
    renamed = world.request("one").worker.model_copy(update={"name": "renamed"})
    world.write(lambda tx: workers.seen(tx, renamed, now=world.now + 1))
    with world.db.read() as tx:
        assert [(one.id, one.name) for one in workers.list_all(tx)] == [(1, "renamed")]


def test_polling_writes_only_every_few_seconds(world):
    def head():
        with world.db.read() as tx:
            return feed.head(tx.raw)

    world.claim()
    before = head()
    world.now += 1
    world.claim()
    assert head() == before
    world.now += 10
    world.claim()
    assert head() == before + 1
    assert world.worker().last_seen == world.now


def test_a_batch_is_a_sign_of_life(world):
    world.ready()
    world.launch()
    claim = world.claim()
    world.now += 30
    world.post(claim, 1)
    assert world.worker().last_seen == world.now


def test_what_a_worker_is_doing_is_listed(world):
    world.ready()
    world.launch()
    world.claim()
    with world.db.read() as tx:
        assert [(job.kind, job.run_id) for job in workers.busy(tx)[1]] == [("train", 1)]


def test_an_unknown_worker_is_told_which_exist(world):
    world.claim()
    with world.db.read() as tx, pytest.raises(NotFound, match="known: w-0001"):
        workers.get(tx, "w-0002")


def test_the_most_devices_are_those_of_the_largest_worker_that_is_there(world):
    pair = world.request("pair").worker
    world.write(lambda tx: workers.seen(tx, pair.model_copy(update={"devices": pair.devices * 2}), now=world.now))
    world.claim("one")

    def most(worker: str | None = None, kind: str = "auto", after_s: float = 0.0) -> int:
        with world.db.read() as tx:
            return workers.most_devices(tx, worker, kind, now=world.now + after_s)

    assert (most(), most(kind="cpu"), most(kind="cuda"), most("w-0002"), most(after_s=3600)) == (2, 2, 0, 1, 0)
