"""Samples as the domain knows them: which checkpoint, which worker, text as it arrives, and every way it can end."""

import pytest

from app import runs, sample_json, samples
from app.contract.sampling import Asked, SampleSettings
from app.errors import Conflict, Invalid, NotFound
from tests.domain import SHA, World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


@pytest.fixture
def run(world):
    """A run that trains, with checkpoints at 0, 10 and 20."""
    world.ready()
    run = world.launch()
    claim = world.claim()
    world.points(claim, 1, 1, 2)
    for seq, (step, loss) in enumerate([(0, 9.0), (10, 2.0), (20, 3.0)], 2):
        files = [{"name": "model.safetensors", "sha256": SHA, "bytes": 7}]
        data = {
            "attempt": 1,
            "step": step,
            "kept": "interval",
            "bytes": 7,
            "val_loss": loss,
            "manifest": {"files": files},
        }
        world.post(claim, seq, events=[{"kind": "checkpoint", "step": step, "data": data}])
    world.train = claim
    world.seq = 4
    return run


def ask(world, run, **asked):
    quiet_s = world.settings.lease_s

    def work(tx):
        made = samples.ask(tx, runs.get(tx, run), Asked(**asked), now=world.now, quiet_s=quiet_s)
        return sample_json.sample(made)

    return world.write(work)


def look(world, run, sample):
    with world.db.read() as tx:
        return sample_json.sample(samples.get(tx, runs.get(tx, run).id, sample["id"]))


def stop(world, run, sample):
    def work(tx):
        samples.stop(tx, samples.get(tx, runs.get(tx, run).id, sample["id"]), now=world.now)

    world.write(work)


def piece(index, written, **more):
    return {"kind": "sample", "data": {"index": index, "written": written, **more}}


@pytest.mark.parametrize(
    ("at", "step"), [("last", 20), ("best", 10), ("10", 10), ("0", 0), ("c-0001", 0), ("c-0003", 20)]
)
def test_the_checkpoint_is_the_one_that_was_meant(world, run, at, step):
    assert ask(world, run, at=at)["step"] == step


@pytest.mark.parametrize(
    ("at", "error", "says"),
    [
        ("15", NotFound, "no checkpoint of step 15; there are those of 0, 10, 20"),
        ("c-0099", NotFound, "no checkpoint c-0099"),
        ("newest", Invalid, "must be last, best, now"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_said_with_those_that_are(world, run, at, error, says):
    with pytest.raises(error) as refused:
        ask(world, run, at=at)
    assert says in str(refused.value.problem(""))


def test_the_worker_that_holds_the_checkpoint_writes_it_piece_by_piece(world, run):
    sample = ask(world, run, at="best", prompt="a", samples=2)
    assert (sample["state"], sample["detail"]) == ("queued", "for worker w-0001 (one), which holds the checkpoint")
    assert world.claim("two") is None
    claim = world.claim("one")
    assert (claim.kind, claim.config["prompt"], claim.resume["step"]) == ("sample", "a", 10)
    assert claim.manifest["tokenizer"]["kind"] == "bpe"
    world.post(claim, 1, events=[piece(0, "ab"), piece(0, "c")])
    world.post(claim, 1, events=[piece(0, "ab"), piece(0, "c")])  # again, because the answer was lost
    world.post(claim, 2, events=[piece(1, "ax")], log=[{"at": 1.0, "text": "a warning of some library"}])
    assert look(world, run, sample)["texts"] == ["abc", "ax"]
    assert look(world, run, sample)["state"] == "writing"
    world.finish(claim, 2)
    assert look(world, run, sample)["state"] == "done"
    assert world.count("SELECT count(*) FROM log WHERE text LIKE '%library%'") == 0, "no part of the run's log"
    assert world.run(run).state == "running"


def test_once_the_files_are_on_the_server_any_worker_writes(world, run):
    world.write(lambda tx: tx.raw.execute("INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, 7, 'checkpoint', 1, 1)", (SHA,)))  # fmt: skip
    ask(world, run)
    claim = world.claim("two")
    assert (claim.kind, [file.name for file in claim.files]) == ("sample", ["model.safetensors"])


def test_a_checkpoint_on_a_worker_that_has_vanished_is_refused_with_its_name(world, run):
    world.now += 3600
    with pytest.raises(Conflict, match=r"worker w-0001 \(one\), which has not been heard of for 3,6\d\d s"):
        ask(world, run)


def test_a_worker_that_is_told_to_leave_hands_the_work_back_and_it_begins_anew(world, run):
    sample = ask(world, run)
    claim = world.claim("one")
    world.post(claim, 1, events=[piece(0, "half of it")])
    world.finish(claim, 1, "requeue")
    assert look(world, run, sample)["state"] == "queued"
    again = world.claim("one")
    assert look(world, run, sample)["texts"] == []
    world.post(again, 1, events=[piece(0, "all of it")])
    world.finish(again, 1)
    assert look(world, run, sample)["texts"] == ["all of it"]


def test_a_worker_that_falls_silent_fails_it_and_a_failure_says_why(world, run):
    lost, wrong = ask(world, run), ask(world, run)
    world.claim("one")
    claim = world.claim("one")
    world.finish(claim, 0, "failed", exit=1, summary={"detail": "The prompt cannot be written."})
    assert "The prompt cannot be written." in look(world, run, wrong)["detail"]
    world.silence(600)
    assert (look(world, run, lost)["state"], look(world, run, lost)["detail"]) == (
        "failed",
        "its worker fell silent; ask again",
    )


def test_stopping_ends_a_queued_one_at_once_and_tells_the_worker_of_another(world, run):
    first, second = ask(world, run), ask(world, run)
    stop(world, run, second)
    assert look(world, run, second)["state"] == "stopped"
    claim = world.claim("one")
    stop(world, run, first)
    stop(world, run, first)  # pressed twice
    ack = world.post(claim, 1, events=[piece(0, "as far as this")])
    assert [one["command"] for one in ack.commands] == ["stop"]
    world.finish(claim, 1, "stopped")
    assert (look(world, run, first)["state"], look(world, run, first)["texts"]) == ("stopped", ["as far as this"])
    with pytest.raises(Conflict, match="nothing to stop"):
        stop(world, run, first)


def test_now_tells_the_run_itself_and_its_pieces_come_among_its_own_events(world, run):
    sample = ask(world, run, at="now", prompt="a", tokens=5)
    ack = world.post(world.train, 5)
    (command,) = ack.commands
    assert (command["command"], command["sample"], command["settings"]["prompt"]) == ("sample", 1, "a")
    world.post(world.train, 6, events=[{**piece(0, "ab", sample=1), "step": 21}])
    assert (look(world, run, sample)["step"], look(world, run, sample)["state"]) == (21, "writing")
    world.post(world.train, 7, events=[{"kind": "sample", "step": 21, "data": {"sample": 1, "done": True}}])
    done = look(world, run, sample)
    assert (done["state"], done["texts"], done["checkpoint"]) == ("done", ["ab"], None)
    assert world.events(run, "sample") == [], "texts are kept by themselves"


def test_what_a_run_was_asked_for_and_did_not_write_fails_when_it_ends(world, run):
    sample = ask(world, run, at="now")
    world.finish(world.train, 4, "finished")
    assert look(world, run, sample)["detail"] == "the run stopped training before it was written"
    with pytest.raises(Conflict, match="is finished: it cannot write now"):
        ask(world, run, at="now")


def test_texts_of_its_own_accord_are_kept_by_step_and_taken_back_by_a_resume(world, run):
    def own(step, written):
        data = {"settings": SampleSettings(prompt="x").model_dump(), "written": written}
        return {"kind": "sample", "step": step, "data": data}

    world.post(world.train, 5, events=[own(0, "xa"), own(10, "xb"), own(20, "xc")])
    world.post(world.train, 6, events=[{"kind": "resume", "step": 10, "data": {"first_step": 10}}])
    world.post(world.train, 7, events=[own(10, "xb"), own(20, "xC")])
    with world.db.read() as tx:
        kept = [(one.step, one.texts) for one in samples.listing(tx, runs.get(tx, run).id)]
    assert kept == [(20, ["xC"]), (10, ["xb"]), (0, ["xa"])]


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"index": 1, "written": "a"}, "/events/0/data/index"),
        ({"index": True, "written": "a"}, "/events/0/data/index"),
        ({"index": 0, "written": 7}, "/events/0/data/written"),
    ],
)
def test_a_piece_that_is_none_is_refused_at_its_field(world, run, data, pointer):
    ask(world, run)
    claim = world.claim("one")
    with pytest.raises(Invalid) as refused:
        world.post(claim, 1, events=[{"kind": "sample", "data": data}])
    assert refused.value.errors[0].pointer == pointer


@pytest.mark.parametrize(
    "data", [{"sample": 99, "index": 0, "written": "a"}, {"written": "a"}, {"settings": {}, "written": 1}]
)
def test_a_runs_own_piece_that_belongs_nowhere_is_refused(world, run, data):
    with pytest.raises(Invalid):
        world.post(world.train, 5, events=[{"kind": "sample", "step": 1, "data": data}])


def test_another_dataset_under_the_same_name_writes_nothing(world, run):
    world.write(lambda tx: setattr(runs.get(tx, run), "data_sha256", "0" * 64))
    with pytest.raises(Conflict, match="is not the one this run was trained on"):
        ask(world, run)


def test_a_run_in_the_trash_is_not_sampled(world, run):
    world.finish(world.train, 4)
    world.write(lambda tx: runs.trash(tx, runs.get(tx, run), now=world.now))
    with pytest.raises(Conflict, match="in the trash"):
        ask(world, run)
