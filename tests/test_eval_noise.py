"""D14: the noise of an evaluation against what it is to show."""

import numpy as np
import pytest
from loss_curves import golden, synthetic

from app.diagnosis import eval_noise
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve, Observations


def test_the_golden_evaluations_are_too_noisy_for_their_distance() -> None:
    found = eval_noise.judge(golden())
    by_name = {one.name: one for one in found.evidence}
    assert (found.verdict, found.level) == ("noisy", Level.warn)
    assert by_name["standard error of an evaluation"].value == 0.017
    assert by_name["expected drop to the next"].value == pytest.approx(0.008, abs=0.002)
    allowed = by_name["standard error allowed"].value
    assert by_name["windows that would do"].value == pytest.approx(3200 * (0.017 / allowed) ** 2, rel=0.01)
    assert found.experiment.kind == "fixed_windows"


@pytest.mark.parametrize("sigma", [0.002, 0.02])
def test_scatter_about_the_trend_is_the_noise_where_none_is_stated(sigma: float) -> None:
    found = []
    for seed in range(20):
        run = synthetic(noise=sigma, seed=seed, evaluations=60, fixed_eval=True)
        curve = run.curve("val/loss")
        found.append(eval_noise.noise(Observations({"val/loss": curve}, step=run.step, schedule=run.schedule)).sigma)
    assert np.median(found) == pytest.approx(sigma, rel=0.25)


def test_a_stated_error_counts_for_fresh_windows_only() -> None:
    fresh = synthetic(noise=0.001)
    errors = {**fresh.curves, "val/loss_se": Curve(fresh.curve("val/loss").step, np.full(30, 0.05))}
    stated = Observations(errors, step=20_000, schedule=fresh.schedule, fixed_eval=False)
    assert eval_noise.noise(stated) == (0.05, "stated")
    fixed = eval_noise.noise(Observations(errors, step=20_000, schedule=fresh.schedule, fixed_eval=True))
    assert fixed.source == "scatter"
    assert fixed.sigma < 0.01


def test_single_batches_tell_the_noise_of_two_evaluations() -> None:
    steps = np.arange(10, 5001, 10)
    batches = 3.6 + np.random.default_rng(0).normal(0, 0.24, 500)
    run = Observations(
        {"val/loss": Curve(np.array([2500, 5000]), np.array([3.7, 3.6])), "train/loss": Curve(steps, batches)}, step=5000,
        train_loss_is="last micro-batch", micro_batch=16, eval_windows=3200,
    )  # fmt: skip
    found = eval_noise.noise(run)
    assert found.source == "batches"
    assert found.sigma == pytest.approx(0.017, abs=0.004)  # 0.24 over √200, as published


def test_a_difference_asked_about_sets_the_limit() -> None:
    run = synthetic(noise=0.002, evaluations=20)
    assert eval_noise.judge(run).level == Level.ok
    strict = eval_noise.judge(Observations(run.curves, step=20_000, schedule=run.schedule, asked_difference=0.005))
    assert strict.level == Level.warn


def test_few_evaluations_without_an_error_are_no_answer() -> None:
    run = Observations({"val/loss": Curve(np.array([100, 200]), np.array([4.0, 3.9]))}, step=200)
    found = eval_noise.judge(run)
    assert (found.level, found.needs) == (Level.unknown, "3 more evaluations, or their standard error.")
