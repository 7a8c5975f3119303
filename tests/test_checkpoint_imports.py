"""app/imports.py and app/exports.py: a run of a file from elsewhere, through every way its reading can end, and back."""

import pytest
from pydantic import ValidationError

from app import checkpoints, exports, imports, runs, samples
from app.contract.config import RunConfig
from app.contract.exchange import CheckpointImport
from app.contract.sampling import Asked
from app.errors import Conflict, Invalid
from tests.domain import SHA, World

FILE = {"name": "ckpt.pt", "path": "/data/ckpt.pt"}
PARTS = [{"name": "model.safetensors", "sha256": SHA, "bytes": 7}]


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


def imported(world, **asked):
    body = CheckpointImport.model_validate({"files": [FILE]} | asked)
    return f"r-{world.write(lambda tx: imports.create(tx, body, now=world.now).id):04d}"


def summary(**changes):
    config = RunConfig.model_validate({"schedule": {"lr": 0.01}}).model_dump(mode="json")
    return {
        "config": config,
        "imported_step": 250,
        "best_val": 2.5,
        "vocab_size": 50304,
        "detail": "step 250.",
    } | changes


def read(world, claim, **changes):
    data = {"attempt": 1, "step": 250, "kept": "asked", "bytes": 7, "val_loss": 2.5, "manifest": {"files": PARTS}}
    world.post(claim, 1, events=[{"kind": "checkpoint", "step": 250, "data": data}])
    world.finish(claim, 1, summary=summary(**changes))


def test_the_run_has_the_files_configuration_and_one_checkpoint_of_that_worker(world):
    run = imported(world, name="theirs")
    assert (world.run(run).state, world.run(run).source) == ("queued", "imported")
    claim = world.claim("one")
    assert (claim.kind, claim.config["files"][0]["path"], claim.manifest) == ("adopt", "/data/ckpt.pt", None)
    assert world.run(run).state == "starting"
    read(world, claim)
    row = world.run(run)
    assert (row.state, row.step, row.best_val, row.config["schedule"]["lr"]) == ("finished", 250, 2.5, 0.01)
    with world.db.read() as tx:
        (saved,) = checkpoints.listing(tx, row.id)
    assert (saved.step, saved.worker_id) == (250, 1)


def test_a_dataset_is_told_to_the_worker_and_named_in_the_configuration(world):
    dataset = world.ready()
    run = imported(world, dataset="builtin")
    claim = world.claim()
    assert claim.manifest["tokenizer"]["vocab_size"] == 4096
    read(world, claim, vocab_size=4096)
    assert (world.run(run).dataset_id, world.run(run).config["data"]["dataset"]) == (dataset.id, dataset.name)
    assert world.run(run).data_sha256 == dataset.manifest_sha256


@pytest.mark.parametrize(("rows", "possible"), [(50257, True), (50304, True), (65, False)])
def test_without_a_dataset_only_gpt2s_vocabulary_can_be_sampled(world, rows, possible):
    run = imported(world)
    read(world, world.claim(), vocab_size=rows)

    def ask(tx):
        return samples.ask(tx, runs.get(tx, run), Asked(), now=world.now, quiet_s=60).state

    if possible:
        assert world.write(ask) == "queued"
        assert world.claim("one").manifest is None
    else:
        with pytest.raises(Conflict, match="No dataset belongs to this run"):
            world.write(ask)


def test_it_never_trains_and_cannot_be_told_to(world):
    run = imported(world)
    claim = world.claim()
    for verb in (runs.stop, runs.pause, runs.save, runs.terminate, runs.kill):
        with pytest.raises(Conflict):
            world.write(lambda tx, verb=verb: verb(tx, runs.get(tx, run), now=world.now))
    assert runs.actions(world.run(run)) == []
    world.finish(claim, 0, "failed", exit=1, summary={"detail": "It has no model."})
    assert "It has no model." in world.run(run).detail
    with pytest.raises(Conflict, match="no worker trains it"):
        world.write(lambda tx: runs.resume(tx, runs.get(tx, run), now=world.now))
    assert runs.actions(world.run(run)) == ["archive", "trash"]


def test_stopped_before_anybody_read_it_nobody_does(world):
    run = imported(world)
    world.write(lambda tx: runs.stop(tx, runs.get(tx, run), now=world.now))
    assert world.claim() is None
    assert world.run(run).state == "stopped"


def test_a_worker_told_to_leave_hands_it_back_and_one_that_vanishes_fails_it(world):
    run = imported(world)
    world.finish(world.claim(), 0, "requeue")
    assert world.run(run).state == "queued"
    world.claim()
    world.silence(600)
    assert (world.run(run).state, world.run(run).reason) == ("failed", "lost")


@pytest.mark.parametrize("changes", [{"config": {"model": 1}}, {"imported_step": -1}, {"imported_step": "x"}])
def test_a_worker_that_reports_nonsense_is_refused(world, changes):
    imported(world)
    with pytest.raises(Invalid):
        read(world, world.claim(), **changes)


@pytest.mark.parametrize(
    "asked",
    [
        {"files": []},
        {"files": [{"name": "ckpt.pt"}]},
        {"files": [FILE, FILE]},
        {"format": "gpt2"},
        {"format": "gpt2", "files": [FILE, {"name": "config.json", "path": "/x"}]},
    ],
)
def test_files_that_make_no_checkpoint_are_refused_at_once(asked):
    with pytest.raises(ValidationError):
        CheckpointImport.model_validate({"files": [FILE]} | asked)


def test_an_upload_that_is_not_there_and_an_unknown_dataset_are_refused_at_their_fields(world):
    for asked, pointer in (
        ({"files": [{"name": "a.pt", "sha256": SHA}]}, "/files/0/sha256"),
        ({"dataset": "x"}, "/dataset"),
    ):
        with pytest.raises(Invalid) as refused:
            imported(world, **asked)
        assert refused.value.errors[0].pointer == pointer


def test_an_export_is_made_once_and_again_when_its_files_are_gone(world):
    run = imported(world)
    read(world, world.claim("one"))

    def ask(tx):
        checkpoint = samples.chosen(tx, runs.get(tx, run), "last")
        job = exports.ask(tx, checkpoint, "nanogpt", now=world.now, quiet_s=60)
        return job.id, exports.state(tx, job), job.payload.get("detail", "")

    first, state, _ = world.write(ask)
    assert (world.write(ask), state) == ((first, "queued", ""), "queued")
    assert world.claim("two") is None
    claim = world.claim("one")
    assert (claim.kind, claim.config, claim.resume["step"]) == ("export", {"format": "nanogpt"}, 250)
    world.write(lambda tx: tx.raw.execute("INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, 9, 'checkpoint', 1, 1)", ("cd" * 32,)))  # fmt: skip
    world.finish(
        claim, 0, summary={"files": [{"name": "ckpt.pt", "sha256": "cd" * 32, "bytes": 9}], "detail": "step 250."}
    )
    assert world.write(ask) == (first, "done", "step 250.")
    world.write(lambda tx: tx.raw.execute("UPDATE artifacts SET on_server = 0"))
    again, state, _ = world.write(ask)
    assert (again > first, state) == (True, "queued")
    world.finish(world.claim("one"), 0, "failed", exit=1, summary={"detail": "GPT-2 has no QK norm."})
    assert [text for text, _ in world.events(run, "exported")][-1].endswith("was not exported. GPT-2 has no QK norm.")
