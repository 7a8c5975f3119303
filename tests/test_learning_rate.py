"""D06 and D07: several signs, and one alone decides nothing."""

import numpy as np
import pytest
from loss_curves import golden
from test_outliers import healthy

from app.contract.learning import OptimConfig, ScheduleConfig
from app.diagnosis import learning_rate
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve

STEPS = np.arange(1, 14_501)


def high(**changes: object) -> object:
    return learning_rate.too_high(golden(**changes))


def spiked() -> Curve:
    loss = healthy(0, 14_500)
    loss.value[600::300] += 2.0
    return loss


def norms(clipped: float) -> Curve:
    return Curve(STEPS, np.where(np.random.default_rng(0).random(14_500) < clipped, 1.5, 0.5))


def test_the_golden_rate_is_not_too_high_nor_too_low() -> None:
    found = high()
    assert (found.verdict, found.level, found.confidence) == ("not too high", Level.ok, "low")
    assert "1 of 5 signs" in found.sentence
    assert learning_rate.too_low(golden()).verdict == "not too low"


def test_two_signs_are_needed() -> None:
    one = high(**{"train/loss": spiked()})
    assert (one.verdict, one.level) == ("not too high", Level.info)
    two = high(**{"train/loss": spiked(), "train/grad_norm": norms(0.3)})
    assert (two.verdict, two.level) == ("too high", Level.warn)
    assert two.experiment.kind == "lr_half"
    assert two.experiment.steps == 1000  # 5 % of 20,000
    few = high(**{"train/loss": spiked(), "train/grad_norm": norms(0.1)})
    assert few.verdict == "not too high"


def test_each_sign_fires_at_its_threshold() -> None:
    fires = {one.evidence.name: one.fires for one in (
        learning_rate._updates(golden(**{"update_ratio/mlp.fc": Curve(STEPS, np.full(14_500, 4e-3))}), 3e-3),
        learning_rate._above_laws(golden(), 0.0048),
        learning_rate._warmup_rise(golden(**{"train/loss": Curve(STEPS, 4.0 + 0.001 * np.minimum(STEPS, 500))})),
    )}  # fmt: skip
    assert all(fires.values()), fires
    assert not learning_rate._above_laws(golden(), 0.0046).fires
    falling = golden(**{"train/loss": Curve(STEPS, 9.0 - 0.001 * np.minimum(STEPS, 500))})
    assert not learning_rate._warmup_rise(falling).fires


def test_noise_alone_does_not_make_the_warm_up_rise() -> None:
    rng = np.random.default_rng(1)
    rises = [
        learning_rate._warmup_rise(golden(**{"train/loss": Curve(STEPS, 5 + rng.normal(0, 0.1, 14_500))})).fires
        for _ in range(100)
    ]
    assert sum(rises) <= 7


def slow_start(slope: float) -> Curve:
    steps = np.arange(500, 14_501, 250)
    return Curve(steps, 6.0 + slope * np.log(steps / 500) + np.random.default_rng(0).normal(0, 0.003, len(steps)))


@pytest.mark.parametrize(("slope", "verdict"), [(-0.02, "too low"), (-0.4, "low by the laws")])
def test_a_rate_below_a_third_of_the_laws_is_too_low_where_the_start_was_slow(slope: float, verdict: str) -> None:
    low = ScheduleConfig(steps=20_000, warmup_steps=500, lr=1e-4, min_lr=1e-5)
    found = learning_rate.too_low(golden(schedule=low, **{"val/loss": slow_start(slope)}))
    assert found.verdict == verdict
    assert found.experiment.kind == "lr_double"
    assert found.experiment.changes["schedule.lr"] == pytest.approx(2e-4)


def test_jumps_or_clipping_speak_against_too_low() -> None:
    low = ScheduleConfig(steps=20_000, warmup_steps=500, lr=1e-4, min_lr=1e-5)
    clipped = golden(
        schedule=low, optim=OptimConfig(clip=1.0), **{"val/loss": slow_start(-0.02), "train/grad_norm": norms(0.3)}
    )
    assert learning_rate.too_low(clipped).verdict == "not too low"


def test_without_rate_or_size_it_says_what_is_missing() -> None:
    found = learning_rate.too_low(golden(schedule=None))
    assert (found.level, found.missing) == (Level.unknown, ("schedule",))
