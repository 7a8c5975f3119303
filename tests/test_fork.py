"""Runs that start from another run's checkpoint, on the worker: what they take from it and what is their own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_data import Run, write_dataset

from app.contract.config import RunConfig
from app.contract.schedule import learning_rate
from worker import checkpoint, train
from worker.commands import Commands
from worker.engine import Engine, Job, build
from worker.fork import Origin
from worker.journal import Journal
from worker.keeper import Keeper

AT = 8


class Fork(Run):
    """A run with another id that starts from step AT of `parent`; its journal is its own."""

    def __init__(self, folder: Path, parent: Run, **sections: dict[str, Any]) -> None:
        merged = {name: parent.config.get(name, {}) | sections.get(name, {}) for name in parent.config | sections}
        super().__init__(folder, **merged)
        self.folder = folder / "fork"
        self.parent = parent

    def job(self, attempt: int = 1, resume: Path | None = None) -> Job:
        return Job(
            run="r-0002", attempt=attempt, config=RunConfig.model_validate(self.config), dataset_dir=self.dataset,
            resume=resume or self.parent.checkpoint(AT), device="cpu", fork=Origin(run="r-0001", step=AT),
        )  # fmt: skip

    def built(self) -> Engine:
        self.folder.mkdir()
        journal = Journal(self.journal())
        keeper = Keeper(self.folder, "r-0002", 1, 2, journal, self.journal())
        return build(self.job(), keeper, journal)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("parent"), checkpoint={"every": 4}, model={"dropout": 0.1})
    assert run.attempt() == 0
    return run


def test_a_fork_that_changes_nothing_repeats_its_parents_later_losses_to_the_bit(tmp_path: Path, parent: Run) -> None:
    fork = Fork(tmp_path, parent)
    fork.dataset = parent.dataset
    torch.manual_seed(999)  # another process's random numbers
    assert fork.attempt() == 0
    theirs, mine = parent.points(), fork.points()
    assert sorted(mine) == [8, 9, 10, 11, 12], "its curve begins where its parent's was saved"
    for key in ("train/loss", "train/grad_norm", "train/lr", "x/tokens", "x/flops"):
        assert [mine[step][key] for step in range(9, 13)] == [theirs[step][key] for step in range(9, 13)], key
    assert [mine[step]["val/loss"] for step in (8, 12)] == [theirs[step]["val/loss"] for step in (8, 12)]
    assert mine[8]["x/tokens"] == theirs[8]["x/tokens"]
    assert mine[9]["x/wall_s"] > theirs[8]["x/wall_s"]
    told = fork.events("fork")[0]
    assert (told.step, told.text) == (8, "Starts from the checkpoint of step 8 of r-0001. Nothing is changed.")
    assert fork.on_disk() == [(1, 8, "start"), (1, 12, "end")]
    assert fork.events("best")[-1].step == 12, "its best is its own"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optim.weight_decay", 0.4), ("optim.beta1", 0.8), ("optim.beta2", 0.999), ("optim.eps", 1e-5),
        ("optim.clip", 0.25), ("optim.adamc", True), ("optim.decay_coupling", "independent"),
        ("optim.decayed", "matrices"), ("optim.decayed", "all"), ("optim.cautious", True), ("schedule.lr", 9e-3), ("model.dropout", 0.5),
        ("batch.micro_batch", 2), ("batch.accumulation", 4), ("data.sampler", "random"), ("system.threads", 2),
        ("system.recompute", True), ("system.dtype", "bfloat16"),
    ],
)  # fmt: skip
def test_every_changed_hyper_parameter_really_applies(tmp_path: Path, parent: Run, field: str, value: Any) -> None:
    section, name = field.split(".")
    fork = Fork(tmp_path, parent, **{section: {name: value}})
    fork.dataset = parent.dataset
    engine = fork.built()
    loop, groups, batches = engine.loop, engine.optimizer.param_groups, engine.loop.batches
    decays = lambda tensor: any(tensor in group["names"] and group["decay"] > 0 for group in groups)  # noqa: E731
    in_force = {
        "weight_decay": groups[0]["decay"], "beta1": groups[0]["betas"][0], "beta2": groups[0]["betas"][1],
        "eps": groups[0]["eps"], "clip": loop.clip, "adamc": groups[0]["adamc"],
        "decay_coupling": groups[0]["coupling"],
        "decayed": {(False, False): "matrices", (True, False): "weights", (True, True): "all"}[
            decays("transformer.wte.weight"), decays("transformer.ln_f.weight")
        ],
        "cautious": type(engine.optimizer).__name__ == "CautiousAdamW", "lr": groups[0]["peak"],
        "dropout": engine.model.transformer.drop.p, "micro_batch": batches.micro_batch,
        "accumulation": batches.accumulation, "sampler": batches.sampler, "threads": engine.path.threads,
        "recompute": engine.model.transformer.recompute, "dtype": engine.path.dtype,
    }  # fmt: skip
    assert in_force[name] == value
    assert engine.changed == {field: (RunConfig.model_validate(parent.config).flat()[field], value)}
    moments = [engine.optimizer.state[parameter]["exp_avg"] for group in groups for parameter in group["params"]]
    assert all(moment.any() for moment in moments), "they came along"
    torch.set_num_threads(1)


def test_another_decay_and_a_longer_schedule_show_in_what_is_logged(tmp_path: Path, parent: Run) -> None:
    fork = Fork(tmp_path, parent, optim={"weight_decay": 0.5}, schedule={"steps": 14, "shape": "constant"})
    fork.dataset = parent.dataset
    assert fork.attempt() == 0
    points = fork.points()
    assert max(points) == 14
    assert points[9]["train/lr"] == 3e-3
    assert points[9]["decay/effective"] == pytest.approx(3e-3 * 0.5)
    s = parent.job().config.schedule
    before = learning_rate(8, lr=s.lr, min_lr=s.min_lr, warmup_steps=s.warmup_steps, decay_steps=s.steps)
    assert parent.points()[9]["decay/effective"] == pytest.approx(before * 0.1)
    assert "optim.weight_decay 0.1 → 0.5" in fork.events("fork")[0].text


@pytest.mark.parametrize(("there", "here"), [("adamw", "muon"), ("muon", "adamw")])
def test_moments_that_the_new_optimiser_cannot_take_over_start_at_zero_and_it_says_so(
    tmp_path: Path, there: str, here: str
) -> None:
    parent = Run(tmp_path, optim={"optimizer": there}, checkpoint={"every": 4})
    parent.attempt()
    fork = Fork(tmp_path, parent, optim={"optimizer": here})
    assert fork.attempt() == 0
    assert f"start at zero: the checkpoint has none for {here}." in fork.events("fork")[0].text
    assert sorted(fork.points()) == [8, 9, 10, 11, 12]


@pytest.mark.parametrize(("field", "value"), [("n_embd", 32), ("activation", "relu2"), ("block_size", 8)])
def test_another_network_is_refused_by_the_name_of_its_field(
    tmp_path: Path, parent: Run, field: str, value: Any
) -> None:
    fork = Fork(tmp_path, parent, model={field: value})
    fork.dataset = parent.dataset
    assert fork.attempt() == 1
    assert f"A fork keeps the network of its checkpoint: model.{field} is " in fork.frames("l")[-1][2]


def test_a_fork_with_another_batch_goes_on_counting_tokens_and_reads_on_where_its_parent_was(
    tmp_path: Path, parent: Run
) -> None:
    fork = Fork(tmp_path, parent, batch={"micro_batch": 8, "accumulation": 2})
    fork.dataset = parent.dataset
    assert fork.attempt() == 0
    per_step = 4 * 2 * 16
    assert [fork.points()[step]["x/tokens"] for step in (8, 9, 12)] == [
        8 * per_step, 10 * per_step, 16 * per_step
    ]  # fmt: skip
    assert checkpoint.load(fork.checkpoint(12))[2]["windows"] == 8 * 8 + 4 * 16


def test_another_seed_draws_other_random_numbers(tmp_path: Path, parent: Run) -> None:
    fork = Fork(tmp_path, parent, system={"seed": 7})
    fork.dataset = parent.dataset
    assert fork.attempt() == 0
    assert fork.points()[9]["train/loss"] != parent.points()[9]["train/loss"]
    saved = checkpoint.load(parent.checkpoint(AT))[1]["rng/cpu"]
    assert not torch.equal(checkpoint.load(fork.checkpoint(8))[1]["rng/cpu"], saved)


def test_other_data_of_the_same_vocabulary_is_read_from_its_beginning(tmp_path: Path, parent: Run) -> None:
    fork = Fork(tmp_path, parent, data={"dataset": "other"})
    fork.dataset = write_dataset(tmp_path / "other", train=4000)
    assert fork.attempt() == 0
    assert checkpoint.load(fork.checkpoint(12))[2]["windows"] == 4 * 8
    assert fork.attempt(2, resume=fork.checkpoint(12)) == 0, "later attempts know the data as their own"


def test_replaced_data_and_another_vocabulary_are_refused(tmp_path: Path, parent: Run) -> None:
    replaced = Fork(tmp_path, parent)
    replaced.dataset = write_dataset(tmp_path / "replaced", train=4000)
    assert replaced.attempt() == 1
    assert "is not the one this run has trained on" in replaced.frames("l")[-1][2]
    shutil.rmtree(replaced.folder)

    foreign = Fork(tmp_path, parent, data={"dataset": "foreign"})
    foreign.dataset = write_dataset(tmp_path / "foreign")
    manifest = json.loads((foreign.dataset / "manifest.json").read_text())
    manifest["tokenizer"]["sha256"] = "1" * 64
    (foreign.dataset / "manifest.json").write_text(json.dumps(manifest))
    assert foreign.attempt() == 1
    assert "another vocabulary" in foreign.frames("l")[-1][2]


def test_what_it_brought_along_goes_once_its_own_start_is_saved_and_serves_until_then(
    tmp_path: Path, parent: Run
) -> None:
    fork = Fork(tmp_path, parent)
    fork.dataset = parent.dataset
    brought = checkpoint.folder(fork.folder, 0, AT)
    shutil.copytree(parent.checkpoint(AT), brought)
    manifest = json.loads((brought / "manifest.json").read_text())
    (brought / "manifest.json").write_text(json.dumps(manifest | {"attempt": 0, "reasons": []}))
    assert fork.attempt(resume=brought) == 0
    assert not brought.exists()
    assert [event.data["step"] for event in fork.events("checkpoint_deleted")] == []


def test_a_fork_never_starts_afresh_when_its_checkpoint_is_damaged(tmp_path: Path, parent: Run) -> None:
    fork = Fork(tmp_path, parent)
    fork.dataset = parent.dataset
    damaged = tmp_path / "damaged" / "step-00000008"
    shutil.copytree(parent.checkpoint(AT), damaged)
    (damaged / checkpoint.MODEL).write_bytes(b"")
    assert fork.attempt(resume=damaged) == 1
    assert "fork r-0001 again" in fork.frames("l")[-1][2]
    assert fork.points() == {}


def test_a_fork_that_is_killed_goes_on_from_its_own_checkpoints(tmp_path: Path, parent: Run) -> None:
    fork = Fork(tmp_path, parent, checkpoint={"every": 1})
    fork.dataset = parent.dataset
    journal = Journal(fork.journal())
    training = train.Training(fork.folder, fork.job(), journal, Commands())
    training.load()
    training.evaluate({})
    training.save({"start"})
    training.update()
    training.report.settle()
    training.keeper.wait()
    journal.close()
    newest = checkpoint.newest_verified(fork.folder)
    assert newest == fork.checkpoint(9)
    assert fork.attempt(2, resume=newest) == 0
    assert [event.data["first_step"] for event in fork.events("resume", 2)] == [9]
    assert fork.events("fork", 2) == []
    theirs = parent.points()
    assert [fork.points(2)[step]["train/loss"] for step in (10, 11, 12)] == [
        theirs[step]["train/loss"] for step in (10, 11, 12)
    ]
