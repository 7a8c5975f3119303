"""Experiments from a diagnosis: launched as a form, REST or the command line would, run by simulated batches, judged by their rule."""

import math
from typing import Any

import numpy as np
import pytest
from domain import SHA, World

from app import diagnoses, diagnosis_json, runs
from app.contract import ids
from app.errors import Conflict, Invalid
from app.experiments import launching, outcomes
from app.experiments.launching import ExperimentLaunch
from app.experiments.offers import offers
from app.tables import Experiment, Run, Sweep

WINDOWS = 50
HARD = np.random.default_rng(5).normal(0, 0.5, WINDOWS)
"""How much harder each validation window is than the mean, for every run alike."""


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready(train=50_000_000, val=5_000_000)
    world.write(
        lambda tx: tx.raw.execute(
            "INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, 7, 'checkpoint', 1, 0)",
            (SHA,),
        )
    )
    yield world
    world.db.close()


class Trained:
    """A run under a worker's claim; `report` posts evaluations with the loss of each window."""

    def __init__(self, world: World) -> None:
        self.world, self.claim, self.seq = world, world.claim(), 0
        assert self.claim is not None
        self.id = self.claim.run

    def report(self, losses: dict[int, float], *, paired: bool = True, **body: Any) -> None:
        self.seq += 1
        steps, values = list(losses), list(losses.values())
        columns = {"val/loss": {"step": steps, "value": values}, "val/loss_se": {"step": steps, "value": [0.07] * len(steps)},
                   "eval/train_loss": {"step": steps, "value": [value - 0.01 for value in values]}}  # fmt: skip
        noise = np.random.default_rng(len(steps)).normal(0, 0.002, WINDOWS)
        events = [
            {
                "kind": "evaluation",
                "step": step,
                "data": {"losses": (value + HARD - HARD.mean() + noise - noise.mean()).tolist()},
            }
            for step, value in losses.items()
        ]
        self.world.post(self.claim, self.seq, columns=columns, events=events if paired else [], **body)

    def checkpoint(self, step: int) -> None:
        self.seq += 1
        self.world.checkpoint(self.claim, self.seq, step)

    def finish(self, outcome: str = "finished", **fields: Any) -> None:
        self.world.finish(self.claim, self.seq, outcome, **fields)


def parent(world: World, losses: dict[int, float] | None = None, **config: Any) -> Trained:
    """A run at a constant rate that has been flat at 3.3 since step 500, at step 3000 of 6000, with a checkpoint there."""
    schedule = {"steps": 6000, "warmup_steps": 100, "shape": "constant"} | config.pop("schedule", {})
    world.launch(name="parent", config={"schedule": schedule, "eval": {"every": 100, "windows": WINDOWS}, **config})
    run = Trained(world)
    flat = {step: 3.3 + 0.002 * math.sin(step) for step in range(100, 3001, 100)}
    run.report({0: 8.3} | flat if losses is None else losses, telemetry={"vocab_size": 4096, "eval_windows": WINDOWS})
    run.checkpoint(max(losses or flat))
    return run


def asked(world: World, run: str, kind: str, key: str | None = None, **body: Any) -> Experiment:
    diagnoses.of(world.db, ids.parse("run", run), now=world.now)
    wanted = ExperimentLaunch.model_validate({"kind": kind, **body})
    return world.write(
        lambda tx: launching.create(tx, runs.get(tx, run), wanted, key=key, body_sha256=str(body), now=world.now)[0]
    )


def settled(world: World, number: int) -> Experiment:
    diagnoses.Watch(world.db).look(world.now)
    with world.db.read() as tx:
        return tx.session.get_one(Experiment, number)


def test_the_diagnosis_of_a_plateau_offers_its_anneal_probe_first_with_its_cost_and_its_form(world):
    run = parent(world)
    run.report({3100: 3.3}, telemetry={}, log=[])
    world.write(lambda tx: setattr(tx.session.get_one(Run, 1), "tok_per_s", 2048.0))
    row = diagnoses.of(world.db, 1, now=world.now)
    with world.db.read() as tx:
        first = next(one for one in offers(tx, runs.get(tx, run.id), row.findings, row.verdict) if one.rule == "D01")
    assert (row.verdict, first.kind.key) == ("plateau", "anneal_probe")
    assert first.seconds == pytest.approx(333)  # a ninth of 3,000 steps, one a second
    assert first.url.startswith("/runs/new?fork=c-0001&cooldown=333&experiment=r-0001.D01.anneal_probe")


@pytest.mark.parametrize(("end", "word"), [(3.18, "supported"), (3.295, "refuted"), (3.265, "open")])
def test_an_anneal_probe_is_written_to_the_diagnosis_it_came_from(world, end, word):
    run = parent(world)
    made = asked(world, run.id, "anneal_probe")
    run.finish()
    probe = Trained(world)
    assert probe.claim.config["schedule"]["steps"] == 3333
    probe.report({3000: 3.3, 3100: 3.28, 3333: end})
    assert settled(world, made.id).outcome is None, "it is still under way"
    probe.finish()
    found = settled(world, made.id)
    assert (found.outcome, found.rule, found.verdict) == (word, "D01", "plateau")
    assert found.numbers["paired"] is True
    assert found.numbers["difference"] == pytest.approx(end - 3.3, abs=0.002)
    assert found.numbers["high"] - found.numbers["low"] == pytest.approx(2 * outcomes.Z * outcomes.PAIR_SD, rel=0.3)
    told = world.events(run.id, "experiment")[-1]
    assert told[1]["outcome"] == word
    assert "window by window" in told[0]
    with world.db.read() as tx:
        shown = diagnosis_json.experiment(found)
        assert launching.of_child(tx, runs.get(tx, probe.id)).id == found.id
    assert (shown["child"], shown["outcome"]) == (probe.id, word)


def test_half_the_rate_is_compared_at_the_same_step_and_waits_for_its_parent_to_get_there(world):
    run = parent(world)
    made = asked(world, run.id, "lr_half")
    probe = Trained(world)
    assert (probe.claim.config["schedule"]["lr"], probe.claim.config["schedule"]["steps"]) == (5e-4, 3300)
    probe.report({3000: 3.3, 3300: 3.28})
    probe.finish()
    assert settled(world, made.id).outcome is None, "its parent is at step 3000 and goes on"
    run.report({3300: 3.3})
    found = settled(world, made.id)
    assert (found.outcome, found.numbers["against_step"]) == ("supported", 3300)


def test_without_pairs_the_noise_of_both_means_decides_and_without_any_nothing_does(world):
    run = parent(world)
    made = asked(world, run.id, "lr_double")
    probe = Trained(world)
    run.report({3300: 3.3}, paired=False)
    probe.report({3300: 3.2}, paired=False)
    probe.finish()
    found = settled(world, made.id)
    assert (found.outcome, found.numbers["paired"]) == ("open", False)
    assert found.numbers["se"] == pytest.approx(0.07 * 2**0.5)


def test_a_probe_that_diverges_refutes_and_one_that_fails_otherwise_says_nothing(world):
    run = parent(world)
    for reason, word in (("non_finite", "refuted"), ("oom", "open")):
        made = asked(world, run.id, "lr_double")
        probe = Trained(world)
        probe.report({3000: 3.3})
        probe.finish("failed", exit=3, reason=reason)
        assert settled(world, made.id).outcome == word


def test_past_a_nan_of_its_parent_a_slower_probe_is_right(world):
    run = parent(world)
    made = asked(world, run.id, "lr_half")
    run.finish("failed", exit=3, reason="non_finite")
    probe = Trained(world)
    probe.report({3300: 3.3})
    probe.finish()
    found = settled(world, made.id)
    assert found.outcome == "supported"
    assert "diverged" in found.numbers["sentence"]


def test_a_longer_evaluation_is_quieter_by_the_root_of_its_windows(world):
    run = parent(world)
    made = asked(world, run.id, "longer_eval")
    probe = Trained(world)
    assert probe.claim.config["eval"]["windows"] == 4 * WINDOWS
    probe.seq = 1
    columns = {
        "val/loss": {"step": [3000, 3001], "value": [3.3, 3.3]},
        "val/loss_se": {"step": [3000, 3001], "value": [0.035, 0.035]},
    }
    world.post(probe.claim, 1, columns=columns, telemetry={"eval_windows": 4 * WINDOWS})
    probe.finish()
    found = settled(world, made.id)
    assert (found.outcome, found.numbers["se_before"], found.numbers["se_after"]) == ("supported", 0.07, 0.035)


def test_a_larger_model_is_compared_at_each_ones_end(world):
    run = parent(world, {0: 8.3, 3000: 3.3}, schedule={"steps": 3000})
    made = asked(world, run.id, "larger_model")
    run.finish()
    larger = Trained(world)
    larger.report({larger.claim.config["schedule"]["steps"]: 3.2})
    larger.finish()
    found = settled(world, made.id)
    assert found.outcome == "supported"
    assert found.numbers["against_step"] == 3000


def test_a_sweep_tells_whether_another_decay_does_better_in_pairs(world):
    def loss(decay: float, seed: int, better: float | None = None) -> float:
        return 3.3 + 0.01 * (seed % 3) + 0.0005 * (seed % 2) * (decay + 1) - (0.05 if decay == better else 0.0)

    run = parent(world, {0: 8.3, 600: loss(0.1, 1337)}, schedule={"steps": 600})
    made = asked(world, run.id, "decay_sweep")
    run.finish()
    with world.db.read() as tx:
        grid = tx.session.get_one(Sweep, made.sweep_id).spec["factors"][0]["values"]
    better = next(value for value in grid if value not in (0, 0.1))
    while (claim := world.claim()) is not None:
        value = loss(claim.config["optim"]["weight_decay"], claim.config["system"]["seed"], better)
        world.post(claim, 1, columns={"val/loss": {"step": [600], "value": [value]}})
        world.finish(claim, 1)
    found = settled(world, made.id)
    assert (found.outcome, found.numbers["best"], found.numbers["pairs"]) == ("supported", better, 3)


def test_what_is_not_possible_is_refused_with_its_reason(world):
    world.launch(config={"schedule": {"steps": 600}})
    with pytest.raises(Conflict, match="needs a checkpoint"):
        asked(world, "r-0001", "anneal_probe")


def test_a_form_remembers_what_it_was_filled_in_for_and_no_other_token_counts(world):
    run = parent(world)
    diagnoses.of(world.db, 1, now=world.now)
    world.write(lambda tx: None)
    world.launch(name="child")
    child = world.run("r-0002")
    for wrong in ("", "r-0099.D01.anneal_probe", "r-0001.D01.nonsense", "r-0001"):
        with pytest.raises(Invalid, match="experiment"):
            world.write(lambda tx, wrong=wrong: launching.remember(tx, wrong, child=child, now=world.now))
    for _ in range(2):  # the button pressed twice
        row = world.write(lambda tx: launching.remember(tx, f"{run.id}.D01.anneal_probe", child=child, now=world.now))
    assert (row.id, row.run_id, row.child_id, row.verdict) == (1, 1, 2, "plateau")
    assert row.question.startswith("Does the loss drop by 0.05")
    assert len(world.events(run.id, "experiment")) == 1


def test_more_text_is_judged_by_the_gap_where_the_windows_are_others(world):
    run = parent(world, {0: 8.3, 600: 3.3}, schedule={"steps": 600})
    made = asked(world, run.id, "more_data")
    run.finish()
    more = Trained(world)
    world.write(lambda tx: setattr(tx.session.get_one(Run, 2), "data_sha256", "cd" * 32))
    more.report({600: 3.3})
    more.finish()
    found = settled(world, made.id)
    assert (found.numbers["gap_before"], found.numbers["paired"]) == (pytest.approx(0.01), False)
    assert "gap between validation and train" in found.numbers["sentence"]


@pytest.mark.parametrize(("paired", "word"), [(True, "supported"), (False, "open")])
def test_fixed_windows_are_worth_it_where_the_change_between_evaluations_is_known_better_from_pairs(
    world, paired, word
):
    run = parent(world, data={"sampler": "nanogpt"})
    made = asked(world, run.id, "fixed_windows")
    run.finish()
    probe = Trained(world)
    config = probe.claim.config
    assert (config["data"]["sampler"], config["schedule"]["steps"]) == ("random", 3200)
    probe.report({3000: 3.3, 3100: 3.295, 3200: 3.29}, paired=paired, telemetry={"first_step": 3000})
    assert settled(world, made.id).outcome is None, "it is still under way"
    probe.finish()
    found = settled(world, made.id)
    assert found.outcome == word
    if paired:
        assert found.numbers["se_drawn"] == pytest.approx(0.07 * 2**0.5)
        assert found.numbers["se_paired"] < 0.01
        assert found.numbers["difference"] == pytest.approx(-0.01)
    assert world.events(run.id, "experiment")[-1][1]["outcome"] == word


def test_fixed_windows_that_leave_the_change_as_uncertain_refute_it(world):
    run = parent(world, data={"sampler": "nanogpt"})
    made = asked(world, run.id, "fixed_windows")
    run.finish()
    probe = Trained(world)
    probe.report({3000: 3.3}, telemetry={"first_step": 3000})
    other = {"kind": "evaluation", "step": 3200, "data": {"losses": (3.29 - HARD + HARD.mean()).tolist()}}
    columns = {"val/loss": {"step": [3200], "value": [3.29]}, "val/loss_se": {"step": [3200], "value": [0.07]}}
    world.post(probe.claim, 2, columns=columns, events=[other])  # windows that were hard are easy now
    probe.seq = 2
    probe.finish()
    found = settled(world, made.id)
    assert found.outcome == "refuted"
    assert found.numbers["se_paired"] > 0.5 * found.numbers["se_drawn"]


@pytest.mark.parametrize(("end", "word"), [(3.05, "supported"), (3.12, "refuted"), (3.097, "open")])
def test_on_from_the_best_checkpoint_is_held_against_the_best_that_its_parent_reached(world, end, word):
    run = parent(world, {0: 8.3, 1000: 3.2, 2000: 3.1})
    run.report({3000: 3.4}, telemetry={})
    run.checkpoint(3000)
    world.write(lambda tx: tx.raw.execute("UPDATE checkpoints SET val_loss = 3.4 WHERE step = 3000"))
    world.write(lambda tx: tx.raw.execute("UPDATE checkpoints SET val_loss = 3.1 WHERE step = 2000"))
    made = asked(world, run.id, "fork_best")
    run.finish("stopped")
    probe = Trained(world)
    start = "SELECT checkpoints.step FROM checkpoints JOIN runs ON runs.fork_checkpoint_id = checkpoints.id WHERE runs.id = ?"
    assert world.count(start, ids.parse("run", probe.id)) == 2000, "not its newest one"
    probe.report({6000: end})
    probe.finish()
    found = settled(world, made.id)
    assert (found.outcome, found.numbers["against_step"], found.numbers["paired"]) == (word, 2000, True)
    assert found.numbers["difference"] == pytest.approx(end - 3.1, abs=0.002)
    assert "the parent's best" in found.numbers["sentence"]
