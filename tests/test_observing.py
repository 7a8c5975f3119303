"""What the diagnosis knows of a stored run: everything of its own runs, of others only what was told."""

from dataclasses import replace

import numpy as np
import pytest
from domain import World

from app import facts, observing, runs
from app.contract.config import RunConfig
from app.diagnosis import speed
from app.diagnosis.observations import Curve


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready(train=700_000_000, val=5_000_000)
    yield world
    world.db.close()


def observed(world: World, run: str):
    with world.db.read() as tx:
        return observing.observe(tx, runs.get(tx, run))


def test_a_run_of_ours_tells_its_configuration_its_engine_and_its_data(world):
    run = world.launch(config={"model": {"n_layer": 2, "n_embd": 64}, "schedule": {"steps": 500}})
    claim = world.claim()
    engine = {"device_name": "NVIDIA A100", "dtype": "bfloat16", "parameters": 400_000, "parameters_no_embedding": 100_000,
              "vocab_size": 4096, "peak_flops": 624e12, "processes": 2, "eval_windows": 64}  # fmt: skip
    world.points(claim, 1, 1, 2, 3, telemetry=engine)
    o = observed(world, run)
    assert (o.step, o.steps, o.ended, o.failed) == (3, 500, False, None)
    assert (o.schedule.steps, o.optim.weight_decay, o.tokens_per_step) == (500, 0.1, 16 * 128)
    assert (o.device, o.devices, o.peak_flops, o.dtype) == ("NVIDIA A100", 2, 312e12, "bfloat16")
    assert o.parameters == 400_000 - 128 * 64, "the rules count without the table of positions"
    assert (o.train_tokens, o.val_tokens, o.split_rule, o.fixed_eval) == (700_000_000, 5_000_000, "hash", True)
    assert o.curve("train/loss").step.tolist() == [1, 2, 3]


def test_a_processor_has_no_peak_that_anybody_could_be_asked_for(world):
    run = world.launch(config={"schedule": {"steps": 500}})
    world.points(world.claim(), 1, 1, 2, telemetry={"device": "cpu", "device_name": "AMD EPYC", "dtype": "float32"})
    speeds = {"train/step_ms": Curve(np.arange(1, 3), np.full(2, 100.0))}
    o = observed(world, run)
    assert o.device == "cpu"
    assert speed.mfu(replace(o, curves={**o.curves, **speeds})) is None


def test_resumes_alarms_and_checkpoints_are_told(world):
    run = world.launch(config={"schedule": {"steps": 100}})
    claim = world.claim()
    world.points(claim, 1, *range(1, 31))
    world.checkpoint(claim, 2, 20)
    world.finish(claim, 2, "requeue", exit=75)
    claim = world.claim()
    oom = {"before": {"micro_batch": 16}, "after": {"micro_batch": 8}}
    texts = [
        ("alarm", 24, oom, "halved"),
        ("alarm", 25, {}, "The weights transformer.wte.weight are not finite after step 25."),
    ]
    events = [{"kind": kind, "step": step, "text": text, "data": data} for kind, step, data, text in texts]
    world.points(claim, 1, 21, events=[{"kind": "resume", "step": 20, "data": {"first_step": 20}}, *events])
    o = observed(world, run)
    assert (o.attempts, o.resumed_at, o.out_of_memory_at, o.checkpoint_steps) == (2, (20,), (24,), (20,))
    assert o.non_finite_tensor == "transformer.wte.weight"


def test_of_a_run_from_elsewhere_a_default_that_nobody_told_is_not_known(world):
    config = RunConfig()
    told = facts.said(config, {"model.n_layer", "schedule.lr"}, {"train_tokens": 5, "fixed_eval": False})
    assert (told["n_layer"], told["train_tokens"], told["fixed_eval"]) == (config.model.n_layer, 5, False)
    unknown = (
        "schedule",
        "optim",
        "n_embd",
        "dropout",
        "eval_every",
        "tokens_per_step",
        "parameters",
        "steps",
        "dtype",
    )
    assert {name: told[name] for name in unknown} == dict.fromkeys(unknown)


def test_a_finished_run_on_the_same_data_is_a_relative_and_seeds_give_their_spread(world):
    numbers = []
    for seed, loss in enumerate((3.00, 3.01, 3.02)):
        run = world.launch(config={"schedule": {"steps": 10, "warmup_steps": 1}, "system": {"seed": seed}})
        claim = world.claim()
        world.post(claim, 1, columns={"val/loss": {"step": [10], "value": [loss]}}, telemetry={"vocab_size": 4096})
        world.finish(claim, 1)
        numbers.append(run)
    o = observed(world, numbers[0])
    assert sorted(one.loss for one in o.relatives) == [3.01, 3.02]
    assert {one.tokens for one in o.relatives} == {10 * 16 * 128}
    assert o.seed_sd == pytest.approx(0.01)
