"""Train and validation side by side: only where they can be compared."""

import numpy as np
import pytest

from app.diagnosis import gap
from app.diagnosis.observations import Curve, Observations

STEPS = np.arange(0, 2001, 200)


def losses(offset: float = 0.0) -> Curve:
    return Curve(STEPS, 3.5 - 0.0002 * STEPS + offset)


def test_evaluations_of_both_splits_are_taken_where_both_are() -> None:
    run = Observations({"val/loss": losses(), "eval/train_loss": Curve(STEPS[2:], losses(0.05).value[2:]),
                        "val/loss_se": Curve(STEPS, np.full(11, 0.03)), "eval/train_loss_se": Curve(STEPS, np.full(11, 0.04))}, step=2000)  # fmt: skip
    found = gap.pair(run)
    assert found.evaluated
    assert found.gap.value == pytest.approx(-0.05)
    assert found.se == pytest.approx(0.05)
    assert found.since(1000).val.step.tolist() == [1000, 1200, 1400, 1600, 1800, 2000]


def test_without_dropout_the_mean_of_batches_around_stands_in() -> None:
    steps = np.arange(1, 2001)
    batches = 3.45 - 0.0002 * steps + np.random.default_rng(0).normal(0, 0.04, 2000)
    curves = {"val/loss": losses(), "train/loss": Curve(steps, batches)}
    found = gap.pair(Observations(curves, step=2000, dropout=0.0))
    assert not found.evaluated
    assert found.val.step.tolist() == list(range(200, 1801, 200))  # around the first and the last they are one-sided
    assert found.gap.value == pytest.approx(0.05, abs=0.012)
    for dropout in (0.1, None):  # with dropout, or perhaps, batch losses are inflated
        assert gap.pair(Observations(curves, step=2000, dropout=dropout)) is None


def test_the_mean_of_a_gap_on_fixed_windows_is_no_surer_than_one_of_them() -> None:
    run = Observations(
        {"val/loss": losses(0.1), "eval/train_loss": losses(), "val/loss_se": Curve(STEPS, np.full(11, 0.03))},
        step=2000,
    )
    found = gap.pair(run)
    mean, fresh = gap.mean_gap(found, False)
    assert mean == pytest.approx(0.1)
    assert fresh == pytest.approx(0.03 * np.sqrt(2) / np.sqrt(11))
    assert gap.mean_gap(found, True)[1] == pytest.approx(0.03 * np.sqrt(2))
