"""Datasets: named once, prepared by a job, kept as long as a run needs them."""

import json

import pytest

from app import datasets, lifecycle, workers
from app.contract.dataset import DatasetSpec
from app.errors import Conflict, Invalid, NotFound
from tests.domain import SHA, World, manifest


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


def create(world: World, **spec):
    return world.write(lambda tx: datasets.create(tx, DatasetSpec.model_validate(spec), now=world.now))


def test_a_name_is_free_text_but_used_once_and_never_like_an_id(world):
    create(world, name="مجموعة <b>", kind="builtin")
    with pytest.raises(Conflict, match="named مجموعة"):
        create(world, name="مجموعة <b>", kind="builtin")
    for name in ("d-0001", "builtin", "  "):
        with pytest.raises(Invalid):
            create(world, name=name, kind="builtin")


def test_files_must_be_uploaded_first(world):
    with pytest.raises(Invalid) as caught:
        create(
            world,
            name="x",
            kind="text",
            files=[{"name": "a.txt", "path": "/a"}, {"name": "b.txt", "sha256": SHA}, {"name": "c"}],
        )
    assert [error.pointer for error in caught.value.errors] == ["/files/1/sha256", "/files/2"]
    assert f"PUT /api/v1/artifacts/{SHA}" in caught.value.errors[0].message


def test_an_uploaded_file_is_handed_to_the_worker_that_prepares(world):
    sql = "INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, 5, 'upload', 1, 0)"
    world.write(lambda tx: tx.raw.execute(sql, (SHA,)))
    create(world, name="x", kind="text", files=[{"name": "../a.txt", "sha256": SHA}])
    claim = world.claim()
    assert [(file.name, file.sha256, file.bytes) for file in claim.files] == [("../a.txt", SHA, 5)]


def test_the_builtin_dataset_is_entered_once(world):
    first = world.write(lambda tx: datasets.ensure_builtin(tx, 1.0).id)
    assert world.write(lambda tx: datasets.ensure_builtin(tx, 2.0).id) == first
    assert world.count("SELECT count(*) FROM jobs") == 1


def test_an_unknown_dataset_is_told_what_exists(world):
    create(world, name="moby", kind="builtin")
    with world.db.read() as tx, pytest.raises(NotFound, match="known: builtin, moby"):
        datasets.get(tx, "dick")


def test_only_a_failed_preparation_is_tried_again(world):
    number = create(world, name="x", kind="builtin").id
    with pytest.raises(Conflict, match="queued"):
        world.write(lambda tx: datasets.retry(tx, datasets.get(tx, "x"), now=1.0))
    world.finish(world.claim(), 0, "failed", exit=1)
    world.write(lambda tx: datasets.retry(tx, datasets.get(tx, "x"), now=1.0))
    assert world.claim().dataset == f"d-{number:04d}"


def test_progress_keeps_what_the_worker_does_not_repeat(world):
    create(world, name="x", kind="builtin")
    claim = world.claim()
    world.post(claim, 1, telemetry={"phase": "tokens", "share": 0.5, "documents": 7})
    world.post(claim, 2, telemetry={"outcome": "finished"})
    with world.db.read() as tx:
        progress = datasets.get(tx, "x").progress
    assert (progress["phase"], progress["share"], progress["documents"]) == ("tokens", 0.5, 7)
    with pytest.raises(Invalid, match="progress of a preparation"):
        world.post(claim, 3, telemetry={"tokens": "many"})


def test_deleting_waits_for_runs_and_frees_the_name(world):
    world.ready()
    run = world.launch()

    def delete(tx):
        datasets.delete(tx, datasets.get(tx, "python-stdlib"), now=world.now)

    with pytest.raises(Conflict, match="r-0001"):
        world.write(delete)
    world.finish(world.claim(), 0, "stopped")
    world.write(delete)
    assert (
        world.count("SELECT count(*) FROM datasets WHERE json_type(manifest) = 'object'") == 1
    )  # the run refers to it
    assert world.run(run).data_sha256 == datasets.manifest_sha256(manifest())
    assert world.write(lambda tx: datasets.ensure_builtin(tx, 1.0).id) == 2


def held(world: World, *hashes: str) -> None:
    sql = "INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, 5, 'shard', 1, 0)"
    world.write(lambda tx: tx.raw.executemany(sql, [(sha256,) for sha256 in hashes]))


def delete(world: World, name: str) -> list[str]:
    return world.write(lambda tx: datasets.delete(tx, datasets.get(tx, name), now=world.now))


def test_deleting_frees_the_servers_files_that_no_other_dataset_has(world):
    shared, own = "cd" * 32, "ef" * 32
    held(world, SHA, shared, own)
    create(world, name="one", kind="text", files=[{"name": "a", "sha256": shared}, {"name": "b", "sha256": own}])
    create(world, name="two", kind="text", files=[{"name": "a", "sha256": shared}])
    assert delete(world, "one") == [own]
    assert delete(world, "two") == [shared]
    assert world.count("SELECT count(*) FROM artifacts WHERE on_server") == 1


def test_without_runs_a_deleted_dataset_is_gone_and_with_runs_it_is_remembered(world):
    world.ready()
    delete(world, "python-stdlib")
    with world.db.read() as tx, pytest.raises(NotFound):
        datasets.get(tx, "d-0001", deleted=True)
    world.ready()
    world.launch()
    world.finish(world.claim(), 0, "stopped")
    delete(world, "python-stdlib")
    with world.db.read() as tx:
        assert datasets.get(tx, "d-0002", deleted=True).manifest == manifest()
        assert datasets.tombstone(tx, "d-0001").manifest is None
        assert datasets.runs_on(tx) == {2: 1}
        with pytest.raises(NotFound):
            datasets.get(tx, "d-0002")


def test_the_workers_that_hold_its_files_are_named(world):
    create(world, name="x", kind="builtin")
    world.finish(world.claim("attic"), 0, "failed", exit=1)
    with world.db.read() as tx:
        assert list(datasets.holders(tx, datasets.get(tx, "x")).values()) == ["attic"]


def test_the_manifests_hash_does_not_depend_on_its_order_and_survives_json():
    one = manifest()
    other = json.loads(json.dumps(dict(reversed(one.items())), indent=1))
    assert datasets.manifest_sha256(one) == datasets.manifest_sha256(other)
    assert datasets.manifest_sha256(manifest(train=5)) != datasets.manifest_sha256(one)


def test_files_on_a_workers_disk_go_to_a_worker_that_may_read_them(world):
    def knows(name: str, roots: str):
        request = world.request(name, device="cpu")
        info = request.worker.model_copy(update={"labels": {"data_roots": roots}})
        world.write(lambda tx: workers.seen(tx, info, now=world.now))
        return request.model_copy(update={"worker": info})

    attic, cellar = knows("attic", "/data\n/home/me"), knows("cellar", "/database")
    create(world, name="x", kind="text", files=[{"name": "a.txt", "path": "/data/a.txt"}])
    create(world, name="y", kind="text", files=[{"name": "a.txt", "path": "/elsewhere/a.txt"}])

    def claimed(request):
        return world.write(lambda tx: lifecycle.claim(tx, request, now=world.now, settings=world.settings))

    with world.db.read() as tx:
        assert [one.detail for one in datasets.list_all(tx)] == ["waiting for a worker", "waiting for attic"]
    assert claimed(cellar).name == "y", "nobody is known to have it: whoever takes it says what is wrong"
    assert claimed(cellar.model_copy(update={"idempotency_key": "another-key"})) is None
    assert claimed(attic).name == "x"
