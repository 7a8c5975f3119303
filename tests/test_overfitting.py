"""D03: over-fitting, and what is not."""

import numpy as np
import pytest
from loss_curves import golden, synthetic

from app.contract.learning import OptimConfig
from app.diagnosis import overfitting
from app.diagnosis.findings import Finding, Level
from app.diagnosis.observations import Curve, Observations

STEPS = np.arange(0, 5001, 250)


def judged(val: np.ndarray, train: np.ndarray, sigma: float = 0.005, seed: int = 0, **facts: object) -> Finding:
    rng = np.random.default_rng(seed)
    curves = {
        "val/loss": Curve(STEPS, val + rng.normal(0, sigma, 21)),
        "eval/train_loss": Curve(STEPS, train + rng.normal(0, sigma, 21)),
    }
    return overfitting.judge(Observations(curves, step=5000, **facts))


TRAIN = 1.0 + 3.2 * np.exp(-STEPS / 600) - 0.00008 * STEPS
OVER = np.maximum(1.47 + 0.00009 * (STEPS - 2000), 1.47 + 2.7 * np.exp(-STEPS / 400))
"""Character-level Shakespeare on a model that can hold it 18 times: best at step 2,000, then up while train falls."""


def test_a_model_that_learns_its_data_by_heart_is_told() -> None:
    found = judged(
        OVER, TRAIN, tokens_per_step=16_384, train_tokens=1_003_854, parameters=10_700_000, optim=OptimConfig()
    )
    assert (found.verdict, found.level, found.confidence) == ("over-fitting", Level.warn, "high")
    assert 1500 <= found.marks[0].first_step <= 2750
    ratio = {one.name: one.value for one in found.evidence}["what it can memorise over what there is"]
    assert ratio > 1
    assert found.experiment.kind == "decay_sweep"  # 80 passes over the data
    assert found.experiment.changes["optim.weight_decay"] == [0.1, pytest.approx(0.3), pytest.approx(1.0)]


def test_the_golden_run_is_not_over_fitting_because_validation_is_below_train() -> None:
    found = overfitting.judge(golden())
    assert (found.verdict, found.level, found.confidence) == ("not over-fitting", Level.ok, "high")
    assert "0.071 nats below train" in found.sentence
    ratio = {one.name: one.value for one in found.evidence}["what it can memorise over what there is"]
    assert ratio == pytest.approx(0.04, abs=0.002)


def test_healthy_runs_are_hardly_ever_called_over_fitting() -> None:
    law = 3.2 + (np.maximum(STEPS, 50) / 1000) ** -0.5
    called = [judged(law + 0.03, law, 0.01, seed).verdict for seed in range(60)]
    assert called.count("over-fitting") == 0
    assert called.count("suspect") <= 1


def test_a_run_whose_both_losses_rise_is_not_over_fitting() -> None:
    rising = 3.0 + 0.0001 * STEPS
    assert judged(rising, rising - 0.05).verdict == "not over-fitting"


def test_a_gap_that_opens_is_suspect_before_validation_rises() -> None:
    val = 2.0 + 0 * STEPS
    found = judged(val, val - 0.00005 * STEPS)
    assert (found.verdict, found.level) == ("suspect", Level.info)


def test_on_data_it_cannot_memorise_the_prior_speaks_against_it() -> None:
    found = judged(OVER, TRAIN, tokens_per_step=16_384, train_tokens=10**10, parameters=10_700_000)
    assert (found.verdict, found.confidence) == ("over-fitting", "low")
    assert found.experiment.kind == "more_data"


def test_without_a_comparable_train_loss_it_asks_for_one() -> None:
    alone = synthetic()
    found = overfitting.judge(alone)
    assert (found.level, found.missing) == (Level.unknown, ("dropout",))
    few = Observations({key: Curve(STEPS[:5], np.ones(5)) for key in ("val/loss", "eval/train_loss")}, step=1000)
    assert overfitting.judge(few).needs == "8 evaluations within the last half of the steps."
