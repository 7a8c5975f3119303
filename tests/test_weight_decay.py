"""D19: whether λ matters in this run."""

import numpy as np
import pytest
from loss_curves import GOLDEN_STEPS, golden

from app.contract.learning import OptimConfig, ScheduleConfig
from app.diagnosis import weight_decay
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve


def test_the_golden_decay_is_informative_and_the_law_a_prior_only() -> None:
    found = weight_decay.judge(golden())
    by_name = {one.name: one.value for one in found.evidence}
    assert (found.verdict, found.level) == ("informative", Level.ok)
    assert by_name["Λ = Σ lr·λ over the run"] == pytest.approx(1.0975, abs=1e-4)
    assert by_name["share of the initial weights left"] == pytest.approx(0.3337, abs=1e-4)
    assert by_name["λ by the timescale law, a prior"] == pytest.approx(0.86, abs=0.005)
    assert found.experiment.kind == "decay_sweep"
    assert found.experiment.changes["optim.weight_decay"] == [0.0, 0.1, 0.29, 0.86, 2.6]


@pytest.mark.parametrize(
    ("decay", "verdict", "level"),
    [
        (0.0, "none", Level.ok),
        (0.005, "inert", Level.info),
        (0.03, "weak", Level.ok),
        (1.2, "strong", Level.ok),
        (3.0, "very strong", Level.info),
    ],
)
def test_it_is_judged_by_the_share_of_the_weights_it_takes(decay: float, verdict: str, level: Level) -> None:
    found = weight_decay.judge(golden(optim=OptimConfig(weight_decay=decay)))
    assert (found.verdict, found.level) == (verdict, level)


def test_decay_that_wins_over_learning_is_a_warning() -> None:
    rising = Curve(GOLDEN_STEPS, 3.5 + 0.4 * np.log(GOLDEN_STEPS / 10_000))
    shrunk = Curve(np.arange(0, 14_501, 100), np.linspace(0.02, 0.004, 146))
    found = weight_decay.judge(golden(**{"val/loss": rising, "rms/mlp.fc": shrunk}))
    assert (found.verdict, found.level) == ("too much", Level.warn)
    assert "mlp.fc has shrunk to 20%" in found.sentence
    falling = weight_decay.judge(golden(**{"rms/mlp.fc": shrunk}))
    assert falling.verdict == "informative"
    over = weight_decay.judge(golden(optim=OptimConfig(weight_decay=3.0), **{"val/loss": rising}))
    assert over.level == Level.warn


def test_independent_decay_is_not_swept_on_the_coupled_grid() -> None:
    found = weight_decay.judge(golden(optim=OptimConfig(weight_decay=1e-4, decay_coupling="independent")))
    assert found.verdict == "informative"
    assert found.experiment is None


def test_without_a_schedule_a_decay_means_nothing() -> None:
    found = weight_decay.judge(golden(schedule=None))
    assert (found.level, found.missing) == (Level.unknown, ("schedule",))
    short = golden(schedule=ScheduleConfig(steps=1000, warmup_steps=100, lr=1e-3, min_lr=1e-4), steps=1000)
    assert weight_decay.judge(short).verdict == "inert"  # Λ .055 at the published 1,000 steps
