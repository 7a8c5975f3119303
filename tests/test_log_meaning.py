"""D21: what the numbers of a log are."""

import numpy as np
import pytest
from loss_curves import golden

from app.contract.learning import ScheduleConfig
from app.contract.schedule import learning_rate
from app.diagnosis import log_meaning
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve, Observations

STEPS = np.arange(10, 14_501, 10)
ITERS = Curve(STEPS, 3.7 + np.random.default_rng(0).normal(0, 0.24, len(STEPS)))


def test_nanogpts_lines_are_of_one_micro_batch_and_inflated_by_dropout() -> None:
    found = log_meaning.judge(golden(**{"train/loss": ITERS}))
    assert found.level == Level.info
    assert "last micro-batch only: they scatter 5.7 times" in found.sentence  # √32
    assert found.evidence[0].value == pytest.approx(0.24, abs=0.05)
    assert "dropout of 0.1" in found.sentence
    assert "312 TFLOP/s" in found.sentence


def test_a_resume_that_draws_the_same_batches_again_is_counted() -> None:
    found = log_meaning.judge(golden(resumed_at=(6_000, 10_000), replays_data=True, **{"train/loss": ITERS}))
    again = {one.name: one.value for one in found.evidence}["steps on replayed batches"]
    assert again == 4_000 + 4_500  # the first 6,000 steps hold both later stretches
    assert found.level == Level.warn
    assert [mark.first_step for mark in found.marks] == [6_000, 10_000]
    exact = log_meaning.judge(golden(resumed_at=(6_000,), **{"train/loss": ITERS}))
    assert exact.level == Level.info


def test_a_schedule_that_is_not_the_logs_is_found() -> None:
    given = ScheduleConfig(steps=20_000, warmup_steps=500, lr=1e-3, min_lr=1e-4)

    def logged(**changes: object) -> Curve:
        known = {"lr": 1e-3, "min_lr": 1e-4, "warmup_steps": 500, "decay_steps": 20_000, **changes}
        return Curve(STEPS, np.array([learning_rate(step - 1, **known) for step in STEPS.tolist()]))

    assert log_meaning.other_rate(golden(schedule=given, **{"train/lr": logged()})) is None
    step, rate, due = log_meaning.other_rate(golden(schedule=given, **{"train/lr": logged(shape="linear")}))
    assert rate == pytest.approx(
        learning_rate(step - 1, lr=1e-3, min_lr=1e-4, warmup_steps=500, decay_steps=20_000, shape="linear")
    )
    assert due == pytest.approx(learning_rate(step - 1, lr=1e-3, min_lr=1e-4, warmup_steps=500, decay_steps=20_000))
    found = log_meaning.judge(golden(**{"train/lr": logged(lr=5e-4)}))
    assert found.level == Level.warn


def test_a_plain_log_is_plain_and_guesses_are_named() -> None:
    steps = np.arange(1, 100)
    plain = Observations({"train/loss": Curve(steps, np.ones(99))}, step=99)
    assert log_meaning.judge(plain).verdict == "plain"
    guessed = Observations(plain.curves, step=99, notes={"vocab_size": "taken from the initial loss"})
    assert "vocab_size: taken from the initial loss." in log_meaning.judge(guessed).sentence
    assert log_meaning.judge(Observations({}, step=0)) is None
