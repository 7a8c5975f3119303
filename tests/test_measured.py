"""Which loss a verdict is about."""

from pathlib import Path

import numpy as np
import pytest
from loss_curves import GOLDEN_SCHEDULE, published
from test_outliers import healthy

from app.contract.learning import ScheduleConfig
from app.diagnosis import forecast, plateau
from app.diagnosis.measured import MOST, means, measured, without_spikes
from app.diagnosis.observations import Curve, Observations


def test_validation_comes_first_and_without_it_means_of_train_losses() -> None:
    train, val = healthy(0, 20_000), Curve(np.array([1000, 2000]), np.array([4.0, 3.9]))
    both = measured(Observations({"train/loss": train, "val/loss": val}, step=20_000))
    assert (both.name, both.of_train, len(both.curve.step)) == ("validation loss", False, 2)
    alone = measured(Observations({"train/loss": train}, step=20_000))
    assert (alone.name, alone.of_train) == ("train loss", True)
    assert len(alone.curve.step) <= MOST
    assert alone.curve.value[-1] == pytest.approx(train.value[-34:].mean())


def test_means_keep_the_last_values_and_the_trend() -> None:
    step = np.arange(1, 12)
    found = means(Curve(step, 2.0 * step), 3)
    assert found.step.tolist() == [4, 7, 10]
    assert found.value.tolist() == [8.0, 14.0, 20.0]


def test_many_evaluations_are_merged_with_their_error() -> None:
    step = np.arange(1, 6001)
    curves = {"val/loss": Curve(step, np.ones(6000)), "val/loss_se": Curve(step, np.full(6000, 0.01))}
    found = measured(Observations(curves, step=6000))
    assert len(found.curve.step) == 600
    assert found.errors.value == pytest.approx(0.01 / np.sqrt(10))


def test_a_log_of_train_losses_only_is_improving_and_forecast() -> None:
    train = healthy(0, 14_500)
    run = Observations({"train/loss": train}, step=14_500, steps=20_000, schedule=GOLDEN_SCHEDULE)
    found = plateau.judge(run)
    assert found.verdict == "improving"
    assert found.evidence[0].name == "slope of the train loss"
    assert "no validation" in found.sentence
    ahead = forecast.forecast(run)
    assert ahead.mean[-1] == pytest.approx(3.2 + 20**-0.5, abs=0.02)
    flat = Curve(train.step, 3.6 + train.value - 3.2 - (train.step / 1000) ** -0.5)
    still = plateau.judge(Observations({"train/loss": flat}, step=14_500))
    assert still.verdict == "plateau"


def test_a_published_curve_given_as_train_losses_is_read_the_same(data_folder: Path) -> None:
    cosine = ScheduleConfig(steps=24_000, warmup_steps=2160, lr=3e-4, min_lr=3e-5, shape="cosine")
    run, end = published(data_folder, "25M_cosine_24000", 0.725, cosine)
    train = Observations({"train/loss": run.curve("val/loss")}, step=run.step, steps=run.steps, schedule=cosine)
    assert plateau.judge(train).verdict == plateau.judge(run).verdict == "improving"
    assert forecast.forecast(train).mean[-1] == pytest.approx(end, abs=0.003)


def test_a_spike_goes_and_noise_ends_and_steps_down_stay() -> None:
    step = np.arange(500, 15_001, 500)
    rng = np.random.default_rng(0)
    kept = [
        len(without_spikes(Curve(step, 3.2 + (step / 1000) ** -0.5 + rng.normal(0, 0.017, 30))).step)
        for _ in range(100)
    ]
    assert min(kept) >= 29
    assert sum(kept) >= 2995
    for place, left in ((20, 29), (28, 29), (29, 30), (0, 30)):
        values = 3.2 + (step / 1000) ** -0.5
        values[place] += 1.0
        assert len(without_spikes(Curve(step, values)).step) == left
    lower = np.where(step > 8000, 3.4, 3.6)
    assert len(without_spikes(Curve(step, lower)).step) == 30
    assert len(without_spikes(Curve(step, lower[::-1].copy())).step) == 30


def test_one_spiked_evaluation_changes_neither_verdict_nor_forecast() -> None:
    step = np.arange(0, 14_501, 500)
    values = np.minimum(10.8, 3.2 + (np.maximum(step, 1) / 1000) ** -0.5) + np.random.default_rng(0).normal(
        0, 0.003, 30
    )
    found = []
    for rise in (0.0, 1.0):
        values[-4] += rise
        run = Observations(
            {"val/loss": Curve(step, values.copy())}, step=14_500, steps=20_000, schedule=GOLDEN_SCHEDULE
        )
        found.append((plateau.judge(run), forecast.forecast(run)))
    assert [verdict.verdict for verdict, _ in found] == ["improving", "improving"]
    assert found[1][0].because == "1 evaluation far above the line left out."
    assert found[1][1].mean[-1] == pytest.approx(found[0][1].mean[-1], abs=0.005)
