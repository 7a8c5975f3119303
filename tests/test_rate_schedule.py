"""D08 and D09: the beginning and the end of the learning rate."""

import numpy as np
import pytest
from loss_curves import golden
from test_outliers import healthy

from app.contract.learning import ScheduleConfig
from app.diagnosis import rate_schedule
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve


def schedule(**changes: object) -> ScheduleConfig:
    return ScheduleConfig(**{"steps": 20_000, "warmup_steps": 500, "lr": 1e-3, "min_lr": 1e-4, **changes})


def test_jumps_in_the_warm_up_ask_for_a_longer_one() -> None:
    loss = healthy(0, 14_500)
    calm = rate_schedule.warmup(golden(**{"train/loss": Curve(loss.step, loss.value.copy())}))
    assert (calm.verdict, calm.level) == ("long enough", Level.ok)
    loss.value[450] += 3.0
    found = rate_schedule.warmup(golden(**{"train/loss": loss}))
    assert (found.verdict, found.level) == ("too short", Level.warn)
    assert "step 451" in found.sentence
    assert "1,000 steps" in found.advice  # twice this one; 2/(1−β₂) is 200


def test_jumps_after_it_are_none_of_its_business() -> None:
    loss = healthy(0, 14_500)
    loss.value[5000] += 3.0
    assert rate_schedule.warmup(golden(**{"train/loss": loss})).verdict == "long enough"


def test_healthy_starts_are_left_as_they_are() -> None:
    called = [rate_schedule.warmup(golden(**{"train/loss": healthy(seed, 14_500)})).level for seed in range(20)]
    assert called.count(Level.warn) <= 2


def test_a_log_without_its_beginning_says_so() -> None:
    assert rate_schedule.warmup(golden()).level == Level.unknown
    assert rate_schedule.warmup(golden(schedule=None)) is None


@pytest.mark.parametrize(
    ("changes", "verdict", "level"),
    [
        ({}, "high floor", Level.info),  # 10 % at 258 tokens a parameter
        ({"min_lr": 4e-5}, "low enough", Level.ok),
        ({"shape": "constant"}, "never falls", Level.info),
        ({"decay_steps": 40_000}, "ends elsewhere", Level.warn),
        ({"decay_steps": 10_000}, "ends elsewhere", Level.warn),
        ({"decay_steps": 20_100, "min_lr": 0.0}, "low enough", Level.ok),  # within a hundredth
    ],
)
def test_the_end_of_the_decay_is_judged(changes: dict, verdict: str, level: Level) -> None:
    found = rate_schedule.floor(golden(schedule=schedule(**changes)))
    assert (found.verdict, found.level) == (verdict, level)


def test_a_short_run_may_end_at_a_tenth() -> None:
    assert rate_schedule.floor(golden(parameters=10**9)).verdict == "low enough"
    unknown = rate_schedule.floor(golden(parameters=None))
    assert (unknown.verdict, unknown.confidence) == ("high floor", "low")


def test_a_decay_that_ends_late_says_how_high_the_rate_still_is() -> None:
    found = rate_schedule.floor(golden(schedule=schedule(decay_steps=40_000)))
    assert "56% of the peak rate" in found.sentence  # half of the way by a cosine, at a floor of a tenth
    assert found.experiment.kind == "anneal_probe"


def test_an_unknown_schedule_is_asked_for() -> None:
    found = rate_schedule.floor(golden(schedule=None))
    assert (found.level, found.missing) == (Level.unknown, ("schedule",))
    assert np.isfinite([one.value for one in rate_schedule.floor(golden()).evidence]).all()
