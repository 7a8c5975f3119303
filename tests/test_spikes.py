"""D10 and D11 on whole logs."""

import dataclasses

import numpy as np
from test_outliers import healthy

from app.contract.learning import ScheduleConfig
from app.diagnosis import spikes
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve, Observations

COSINE = ScheduleConfig(steps=5000, warmup_steps=100, lr=1e-3, min_lr=1e-4, shape="cosine")


def run(loss: Curve, **facts: object) -> Observations:
    return Observations({"train/loss": loss, **facts.pop("curves", {})}, step=int(loss.step[-1]), **facts)  # type: ignore[dict-item]


def norms(seed: int = 0, steps: int = 5000) -> Curve:
    rng = np.random.default_rng(seed)
    return Curve(np.arange(1, steps + 1), 0.25 * np.exp(rng.normal(0, 0.05, steps)))


def test_a_loss_that_jumps_and_stays_is_critical_with_the_way_back() -> None:
    loss = healthy(0, 5000)
    loss.value[4000:] += 1.0
    found = spikes.spikes(run(loss, schedule=COSINE, checkpoint_steps=(1000, 3000, 4500)))
    assert (found.verdict, found.level) == ("lasting", Level.critical)
    assert "step 4,001" in found.sentence
    assert "has not come back" in found.sentence
    assert found.experiment.kind == "lr_half"
    assert found.experiment.fork
    assert found.experiment.changes["schedule.lr"] == 5e-4
    assert (found.experiment.steps, found.marks[-1].first_step) == (250, 4001)


def test_a_single_far_jump_is_a_warning_and_the_tail_of_a_healthy_run_none() -> None:
    loss = healthy(1, 5000)
    calm = spikes.spikes(run(Curve(loss.step, loss.value.copy())))
    assert calm.level in (Level.ok, Level.info)
    loss.value[2500] += 1.5
    found = spikes.spikes(run(loss))
    assert (found.verdict, found.level) == ("spikes", Level.warn)
    assert "step 2,501" in found.sentence


def test_where_the_rate_rises_again_the_loss_may_jump() -> None:
    loss = healthy(2, 4000)
    loss.value[2000:] += 0.5 * np.exp(-np.arange(2000) / 300)
    lr = Curve(loss.step, np.where(loss.step < 2000, 1e-4, 1e-3))
    assert spikes.spikes(run(loss)).level == Level.critical
    restarted = spikes.spikes(run(loss, curves={"train/lr": lr}))
    assert restarted.level in (Level.ok, Level.info)
    assert "1 jump where the learning rate rose again left out" in restarted.because


def test_losses_that_are_too_few_say_how_many_are_missing() -> None:
    found = spikes.spikes(run(healthy(0, 40)))
    assert (found.level, found.needs) == (Level.unknown, "24 more train losses.")
    assert spikes.spikes(Observations({}, step=0)) is None


def test_a_steady_norm_is_steady_and_a_far_jump_is_not() -> None:
    norm = norms()
    steady = run(healthy(0, 5000), curves={"train/grad_norm": norm})
    assert spikes.norms(steady).verdict == "steady"
    norm.value[3000] *= 50
    found = spikes.norms(dataclasses.replace(steady))
    assert (found.verdict, found.level) == ("spikes", Level.warn)
    assert "step 3,001" in found.sentence


def test_a_norm_that_grows_as_the_rate_falls_is_no_divergence_while_the_loss_falls() -> None:
    norm = norms()
    norm.value[:] *= 1 + 3 * (norm.step / 5000) ** 8
    falling = run(healthy(0, 5000), curves={"train/grad_norm": norm}, schedule=COSINE)
    found = spikes.norms(falling)
    assert (found.verdict, found.level) == ("grows as the rate falls", Level.info)
    loss = healthy(0, 5000)
    loss.value[:] += np.linspace(0, 0.5, 5000)
    rising = spikes.norms(run(loss, curves={"train/grad_norm": norm}, schedule=COSINE))
    assert (rising.verdict, rising.level) == ("growing", Level.warn)


def test_a_norm_that_has_jumped_up_for_good_is_critical() -> None:
    norm = norms()
    norm.value[4900:] *= 10
    found = spikes.norms(run(healthy(0, 5000), curves={"train/grad_norm": norm}))
    assert (found.verdict, found.level) == ("jumped up", Level.critical)


def test_norms_of_zero_or_below_are_left_out() -> None:
    norm = norms()
    norm.value[::7] = 0.0
    assert spikes.norms(run(healthy(0, 5000), curves={"train/grad_norm": norm})).verdict == "steady"
    assert (
        spikes.norms(run(healthy(0, 100), curves={"train/grad_norm": Curve(norm.step, 0 * norm.value)})).level
        == Level.unknown
    )
