"""Forks in the domain: which checkpoint, which configuration, how it waits for its files, what its worker is told."""

from typing import Any

import pytest
from pydantic import ValidationError

from app import datasets, extension, forks, runs
from app.contract import ids
from app.contract.dataset import DatasetSpec
from app.errors import Conflict, Invalid, from_pydantic
from app.extension import Extension
from app.forks import Fork
from tests.domain import SHA, World, manifest


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def trained(world: World, **schedule: Any) -> str:
    """A run of 100 steps under way at step 60, with checkpoints at 0, 20 (the best) and 60."""
    run = world.launch(config={"schedule": {"steps": 100, "warmup_steps": 10, "shape": "constant", **schedule}})
    claim = world.claim("one")
    world.points(claim, 1, *range(1, 61))
    for seq, (step, val) in enumerate([(0, 9.0), (20, 2.0), (60, 3.0)], 2):
        data = {"attempt": 1, "step": step, "kept": "interval", "bytes": 7, "val_loss": val,
                "manifest": {"files": [{"name": "model.safetensors", "sha256": SHA, "bytes": 7}]}}  # fmt: skip
        world.post(claim, seq, events=[{"kind": "checkpoint", "step": step, "data": data}])
    return run


def fork(world: World, run: str, key: str | None = None, **body: Any) -> str:
    asked = Fork.model_validate(body)
    made, _ = world.write(
        lambda tx: forks.create(tx, runs.get(tx, run), asked, key=key, body_sha256=str(body), now=world.now)
    )
    return ids.show("run", made.id)


def on_server(world: World) -> None:
    world.write(
        lambda tx: tx.raw.execute(
            "INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, 7, 'checkpoint', 1, 0)",
            (SHA,),
        )
    )


def refused(world: World, run: str, **body: Any) -> list[tuple[str, str]]:
    try:
        fork(world, run, **body)
    except ValidationError as error:
        return [tuple(one) for one in from_pydantic(error, "", Fork).errors]
    except Invalid as error:
        return [tuple(one) for one in error.errors]
    pytest.fail(f"{body} was accepted")


@pytest.mark.parametrize(
    ("body", "step"),
    [({}, 60), ({"at": "last"}, 60), ({"at": "best"}, 20), ({"at": 20}, 20), ({"checkpoint": "c-0002"}, 20)],
)
def test_it_starts_from_the_checkpoint_that_was_meant(world, body, step):
    run = trained(world)
    made = world.run(fork(world, run, **body))
    assert (made.step, made.steps, made.state, made.best_val) == (step, 100, "queued", None)
    assert forks.tokens_at(made, step) == step * 16 * 128
    with world.db.read() as tx:
        assert forks.origin_of(tx, made).step == step
        assert [parent.id for parent, _ in forks.ancestors(tx, made)] == [1]
        assert [child.id for child in forks.children(tx, runs.get(tx, run))] == [made.id]


def test_it_waits_until_its_checkpoint_is_on_the_server_and_then_any_worker_may_take_it(world):
    run = trained(world)
    made = fork(world, run, at="best", config={"optim": {"weight_decay": 0.3}})
    assert world.run(made).detail == "waiting for worker w-0001 to send the checkpoint of step 20"
    assert world.claim("two") is None, "neither the fork, whose files could be deleted under it, nor another's files"
    send = world.claim("one")
    assert (send.kind, send.config["step"]) == ("send", 20)
    on_server(world)
    world.finish(send, 0)
    assert world.run(made).detail == ""
    claim = world.claim("two")
    assert (claim.run, claim.attempt, claim.config["optim"]["weight_decay"]) == (made, 1, 0.3)
    assert {key: claim.resume[key] for key in ("run", "attempt", "step")} == {"run": run, "attempt": 1, "step": 20}
    assert claim.resume["fork"] == {"run": run, "step": 20}
    assert [file.sha256 for file in claim.files] == [SHA]


def test_later_attempts_go_on_from_its_own_checkpoints_and_from_its_start_while_it_has_none(world):
    run = trained(world)
    on_server(world)
    made = fork(world, run, at=20)
    claim = world.claim("two")
    world.points(claim, 1, 20, 21)
    world.finish(claim, 1, "requeue", exit=75)
    assert "goes on from the checkpoint of step 20" in world.run(made).detail
    claim = world.claim("two")
    assert (claim.attempt, claim.resume["run"], claim.resume["step"]) == (2, run, 20)
    world.points(claim, 1, 21, events=[{"kind": "resume", "step": 20, "data": {"first_step": 20}}])
    assert world.run(made).step == 21
    world.checkpoint(claim, 2, 30)
    world.finish(claim, 2, "paused")
    world.write(lambda tx: runs.resume(tx, runs.get(tx, made), now=world.now))
    claim = world.claim("two")
    assert (claim.resume["run"], claim.resume["step"], claim.resume["fork"]["step"]) == (made, 30, 20)
    assert claim.files == []


def test_a_checkpoint_that_is_gone_before_it_was_sent_fails_the_fork_with_a_way_out(world):
    made = fork(world, trained(world), at=20)
    world.finish(
        world.claim("one"), 0, "failed", log_tail=["model.safetensors of step 20 is no longer on this worker."]
    )
    row = world.run(made)
    assert row.state == "failed"
    assert "may have been deleted. Fork from another one." in row.detail


def test_a_worker_that_leaves_while_it_sends_sends_when_it_is_back(world):
    made = fork(world, trained(world), at=20)
    world.finish(world.claim("one"), 0, "requeue")
    assert world.run(made).state == "queued"
    assert world.claim("one").kind == "send"


def test_a_fork_that_was_stopped_while_it_waited_is_not_started_by_its_files(world):
    made = fork(world, trained(world), at=20)
    world.write(lambda tx: runs.stop(tx, runs.get(tx, made), now=world.now))
    on_server(world)
    world.finish(world.claim("one"), 0)
    assert world.run(made).state == "stopped"
    assert world.claim("two") is None
    world.write(lambda tx: runs.resume(tx, runs.get(tx, made), now=world.now))
    assert world.claim("two").resume["step"] == 20


def test_a_cool_down_sets_the_schedule_and_nothing_else(world):
    run = trained(world)
    made = world.run(fork(world, run, at=60, cooldown={"share": 0.25}))
    before, after = world.run(run).config, made.config
    assert after["schedule"] == before["schedule"] | {"steps": 80, "min_lr": 0.0, "shape": "wsd", "cooldown": 0.25}
    assert {key for key in after if after[key] != before[key]} == {"schedule"}
    assert made.name == f"{world.run(run).name} cool-down at 60"
    both = world.run(fork(world, run, at=60, cooldown={"steps": 5}, config={"optim": {"weight_decay": 0.5}}))
    assert (both.steps, both.config["optim"]["weight_decay"]) == (65, 0.5)


def test_what_a_fork_cannot_be_is_said_at_its_field(world):
    run = trained(world)
    assert refused(world, run, at=30) == [
        ("/at", "finds nothing: r-0001 has no checkpoint at step 30; there are: 0, 20, 60")
    ]
    assert refused(world, run, at="bst") == [("/at", "must be “best”, “last” or the step of a checkpoint")]
    assert refused(world, run, checkpoint="c-0009") == [("/checkpoint", "There is no checkpoint c-0009.")]
    [(pointer, message)] = refused(world, run, config={"model": {"n_embd": 256}})
    assert (pointer, message[:36]) == ("/config/model/n_embd", "is 128 in the checkpoint and stays s")
    assert refused(world, run, config={"schedule": {"steps": 60}})[0][0] == "/config/schedule/steps"
    assert refused(world, run, config={"optim": {"wd": 1}})[0][0] == "/config/optim/wd"
    assert refused(world, run, cooldown={}) == [
        ("/cooldown/share", "Give the cool-down's length as steps or as share, one of the two.")
    ]
    twice = refused(world, run, cooldown={"steps": 9}, config={"schedule": {"steps": 90}})
    assert twice == [("/config/schedule/steps", "is what the cool-down sets; give one of the two")]
    assert refused(world, run, at=0, cooldown={"steps": 9})[0][0] == "/cooldown"
    other = world.launch()
    assert refused(world, other) == [("/at", "finds nothing: r-0002 has no checkpoint")]
    assert refused(world, other, checkpoint="c-0001") == [("/checkpoint", "is of r-0001, not of r-0002")]


def test_a_schedule_that_has_reached_zero_has_nothing_to_cool_down(world):
    run = trained(world, shape="linear", min_lr=0, decay_steps=50)
    assert refused(world, run, cooldown={"steps": 9}) == [
        ("/cooldown", "has nothing left to do: the learning rate is 0 at step 60 already")
    ]


def prepared(world: World, name: str, **tokenizer: Any) -> None:
    def work(tx: Any) -> None:
        spec = {"name": name, "kind": "text", "files": [{"name": "a.txt", "path": "/a.txt"}]}
        dataset = datasets.create(tx, DatasetSpec.model_validate(spec), now=world.now)
        tx.raw.execute("UPDATE jobs SET state = 'done' WHERE kind = 'prepare'")
        kept = {"kind": "bpe", "vocab_size": 4096, "eot": 0, "sha256": SHA} | tokenizer
        datasets.prepared(tx, dataset, manifest(spec=spec, tokenizer=kept), now=world.now)

    world.write(work)


def test_other_data_need_the_same_vocabulary(world):
    run = trained(world)
    on_server(world)
    prepared(world, "same")
    prepared(world, "foreign", sha256="cd" * 32, vocab_size=300)
    made = world.run(fork(world, run, config={"data": {"dataset": "same"}}))
    assert made.data_sha256 is None, "its own data are fixed at its first claim"
    [(pointer, message)] = refused(world, run, config={"data": {"dataset": "foreign"}})
    assert pointer == "/config/data/dataset"
    assert "has another vocabulary (foreign: bpe, 300 entries) than python-stdlib (bpe, 4,096)" in message


def test_data_that_turn_out_to_have_another_vocabulary_fail_the_fork_before_it_starts(world):
    run = trained(world)
    on_server(world)
    prepared(world, "foreign")
    made = fork(world, run, config={"data": {"dataset": "foreign"}})
    world.write(
        lambda tx: tx.raw.execute(
            "UPDATE datasets SET manifest = json_set(manifest, '$.tokenizer.sha256', ?) WHERE name = 'foreign'",
            ("e" * 64,),
        )
    )
    assert world.claim("two") is None
    assert "another vocabulary" in world.run(made).detail


def test_data_prepared_anew_since_are_refused(world):
    run = trained(world)
    world.write(lambda tx: tx.raw.execute("UPDATE datasets SET manifest_sha256 = ?", ("f" * 64,)))
    assert "was prepared anew after r-0001 had trained on it" in refused(world, run)[0][1]


def test_the_same_key_makes_one_fork_and_the_trash_none(world):
    run = trained(world)
    assert fork(world, run, key="k", at=20) == fork(world, run, key="k", at=20)
    world.write(lambda tx: tx.raw.execute("UPDATE runs SET deleted_at = 1 WHERE id = 1"))
    with pytest.raises(Conflict, match="restore it first"):
        fork(world, run)


def test_a_fork_of_a_fork_counts_the_tokens_of_all_and_knows_its_ancestors(world):
    run = trained(world)
    on_server(world)
    first = fork(world, run, at=20, config={"batch": {"accumulation": 2}})
    claim = world.claim("two")
    world.points(claim, 1, 20, 30)
    world.checkpoint(claim, 2, 30)
    second = world.run(fork(world, first))
    assert forks.tokens_at(second, 30) == (20 + 2 * 10) * 16 * 128
    with world.db.read() as tx:
        assert [(parent.id, step) for parent, step in forks.ancestors(tx, second)] == [(2, 30), (1, 20)]


def test_a_finished_fork_can_be_extended(world):
    run = trained(world)
    on_server(world)
    made = fork(world, run, cooldown={"steps": 20})
    claim = world.claim("two")
    world.points(claim, 1, *range(60, 81))
    world.checkpoint(claim, 2, 80)
    world.finish(claim, 2)
    world.write(lambda tx: extension.extend(tx, runs.get(tx, made), Extension(steps=200), now=world.now))
    claim = world.claim("two")
    assert (claim.resume["step"], claim.config["schedule"]["steps"], claim.resume["fork"]["step"]) == (80, 200, 60)
