"""D13: values that are no numbers."""

import numpy as np

from app.contract.learning import ScheduleConfig
from app.diagnosis import not_finite
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve, Observations

STEPS = np.arange(1, 101)


def run(bad: slice, key: str = "train/loss", **facts: object) -> Observations:
    values = {"train/loss": np.full(100, 3.5), "train/grad_norm": np.linspace(0.2, 9.0, 100)}
    values[key][bad] = np.nan
    return Observations({name: Curve(STEPS, value) for name, value in values.items()}, step=100, **facts)


def test_a_run_that_ended_in_nan_is_told_what_went_before_and_where_to_go_back_to() -> None:
    schedule = ScheduleConfig(steps=1000, lr=1e-3, min_lr=0.0)
    found = not_finite.judge(
        run(slice(90, None), checkpoint_steps=(20, 60, 95), schedule=schedule, non_finite_tensor="h.3.mlp.c_fc.weight")
    )
    assert (found.verdict, found.level) == ("not finite", Level.critical)
    assert "from step 91 on" in found.sentence
    assert "h.3.mlp.c_fc.weight" in found.sentence
    assert "checkpoint of step 60" in found.advice
    assert found.because.count(",") == 19  # the last twenty gradient norms
    assert (found.experiment.kind, found.experiment.fork) == ("lr_half", True)


def test_a_run_that_its_worker_stopped_for_it_counts_even_without_the_value() -> None:
    found = not_finite.judge(run(slice(0, 0), failed="non_finite"))
    assert (found.verdict, found.level) == ("not finite", Level.critical)


def test_a_value_that_mended_is_a_warning() -> None:
    found = not_finite.judge(run(slice(50, 51)))
    assert (found.verdict, found.level) == ("was not finite", Level.warn)


def test_gradients_that_overflow_under_the_scaler_are_no_fault() -> None:
    assert not_finite.judge(run(slice(50, 52), "train/grad_norm", dtype="float16")).level == Level.ok
    assert not_finite.judge(run(slice(90, None), "train/grad_norm", dtype="bfloat16")).level == Level.critical


def test_a_log_without_a_loss_says_so() -> None:
    found = not_finite.judge(Observations({"train/lr": Curve(STEPS, np.ones(100))}, step=100))
    assert (found.level, found.sentence) == (Level.unknown, "There is no loss in this log.")
