"""What a deleted dataset takes on disks is given back: by the server at once, by each worker when it asks for work."""

import pytest

from app import artifacts, datasets, extension, freeing, runs
from app.contract.states import JobKind
from app.errors import Conflict, NotFound
from app.extension import Extension
from tests.domain import SHA, World, manifest


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


def prepared(world: World, worker: str = "attic"):
    """The built-in dataset, prepared by this worker, its one token file in the store."""
    world.write(lambda tx: datasets.ensure_builtin(tx, world.now))
    claim = world.claim(worker)
    world.finish(claim, 0, summary=manifest())
    stored = artifacts.path(world.settings.store, SHA)
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_bytes(b"x" * 700)
    sql = "INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, 700, 'shard', 1, 0)"
    world.write(lambda tx: tx.raw.execute(sql, (SHA,)))
    report = world.claim(worker)
    assert report.kind == JobKind.report
    world.finish(report, 0, outcome="failed")


def delete(world: World) -> None:
    freeing.delete(world.db, world.settings.store, "d-0001", now=world.now)


def freed(world: World) -> freeing.Freed:
    with world.db.read() as tx:
        return freeing.find(tx, "d-0001")


def test_the_server_frees_at_once_and_the_worker_when_it_asks(world):
    prepared(world)
    delete(world)
    assert not artifacts.path(world.settings.store, SHA).exists()
    assert (freed(world).bytes, freed(world).waiting) == (700, ["attic"])
    assert world.claim("cellar") is None, "only who has the files is told to delete them"
    claim = world.claim("attic")
    assert claim.kind == JobKind.free
    assert len(claim.config["manifest_sha256"]) == 64
    world.finish(claim, 0, summary={"bytes": 1300})
    assert (freed(world).server_bytes, freed(world).bytes, freed(world).waiting) == (700, 2000, [])


def test_a_worker_that_is_told_to_leave_or_vanishes_does_it_later(world):
    prepared(world)
    delete(world)
    world.finish(world.claim("attic"), 0, outcome="requeue")
    world.claim("attic")
    world.silence(world.settings.lease_s + world.settings.grace_s + 100)
    assert freed(world).waiting == ["attic"]
    world.finish(world.claim("attic"), 0, summary={"bytes": 5})
    assert freed(world).bytes == 705


def test_a_worker_that_could_not_says_why(world):
    prepared(world)
    delete(world)
    world.finish(world.claim("attic"), 0, outcome="failed", log_tail=["Permission denied"])
    (there,) = freed(world).workers
    assert (there.bytes, there.detail) == (None, "Permission denied")


def test_the_same_data_prepared_again_stays(world):
    prepared(world)
    delete(world)
    sha256 = "SELECT manifest_sha256 FROM datasets WHERE id = 1"
    world.write(lambda tx: datasets.ensure_builtin(tx, world.now))
    world.write(lambda tx: tx.raw.execute(f"UPDATE datasets SET manifest_sha256 = ({sha256}) WHERE id = 2"))
    claim = world.claim("attic")
    assert claim.kind == JobKind.prepare, "the deletion has been called off"
    assert freed(world).waiting == []


def test_a_run_keeps_the_manifest_of_what_it_was_trained_on(world):
    prepared(world)
    run = world.launch(config={"data": {"dataset": "builtin"}})
    world.finish(world.claim("attic"), 0)
    delete(world)
    with world.db.read() as tx:
        kept = datasets.get(tx, "d-0001", deleted=True)
        assert kept.manifest["train"]["tokens"] == 1_000_000
        assert runs.get(tx, run).dataset_id == 1


def test_a_run_cannot_go_on_without_the_data_and_stays_what_it_was(world):
    prepared(world)
    run = world.launch(config={"data": {"dataset": "builtin"}})
    world.finish(world.claim("attic"), 0)
    delete(world)
    with pytest.raises(Conflict, match="Its dataset has been deleted"):
        world.write(lambda tx: extension.extend(tx, runs.get(tx, run), Extension(steps=5000), now=world.now))
    assert (world.run(run).state, world.run(run).steps) == ("finished", 1000)


def test_only_what_was_deleted_has_given_anything_back(world):
    prepared(world)
    with pytest.raises(NotFound):
        freed(world)
