"""D15: validation that is not like train."""

import numpy as np
import pytest
from loss_curves import golden

from app.diagnosis import val_split
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve, Observations

STEPS = np.arange(0, 5001, 500)


def run(
    offset: float, sigma: float, seed: int = 0, fixed: bool | None = False, stated: bool = True, **facts: object
) -> Observations:
    rng = np.random.default_rng(seed)
    law = 3.2 + (np.maximum(STEPS, 50) / 1000) ** -0.5
    if fixed:
        val, train = law + rng.normal(0, sigma), law + rng.normal(0, sigma)
    else:
        val, train = law + rng.normal(0, sigma, 11), law + rng.normal(0, sigma, 11)
    curves = {"val/loss": Curve(STEPS, val + offset), "eval/train_loss": Curve(STEPS, train)}
    if stated:
        curves |= {
            "val/loss_se": Curve(STEPS, np.full(11, sigma)),
            "eval/train_loss_se": Curve(STEPS, np.full(11, sigma)),
        }
    return Observations(curves, step=5000, fixed_eval=fixed, **facts)


def test_the_golden_offset_is_found_with_its_published_numbers() -> None:
    found = val_split.judge(golden())
    gap = found.evidence[0]
    assert (found.verdict, found.level) == ("offset", Level.warn)
    assert gap.value == pytest.approx(-0.0707, abs=1e-4)
    assert (gap.high - gap.low) / 2 / 1.645 == pytest.approx(0.0076, abs=1e-4)
    assert "z -9.3" in gap.limit


@pytest.mark.parametrize("fixed", [True, False])
def test_splits_that_are_alike_are_not_called_unlike(fixed: bool) -> None:
    called = [val_split.judge(run(0.0, 0.02, 100 + seed, fixed)).level for seed in range(60)]
    assert called.count(Level.warn) <= 1


def test_on_fixed_windows_the_same_error_comes_back_each_time_and_is_no_offset() -> None:
    # −0.05 at an error of 0.02·√2: 1.8 standard errors, however often it is looked at
    assert val_split.judge(run(-0.05, 1e-9, fixed=True, stated=False)).level == Level.unknown
    sure = run(-0.05, 0.02, fixed=False)
    assert val_split.judge(sure).verdict == "offset"


def test_validation_above_train_is_no_offset() -> None:
    run_above = run(0.1, 0.01)
    run_above.curves["eval/train_loss"].value[0] = run_above.curves["val/loss"].value[0]  # alike before learning
    assert val_split.judge(run_above).level == Level.ok


def test_a_gap_at_step_0_is_the_cleanest_sign_but_not_of_weights_trained_before() -> None:
    made = run(0.0, 0.005)
    made.curves["val/loss"].value[0] += 0.1
    found = val_split.judge(made)
    assert (found.verdict, found.level) == ("offset", Level.warn)
    assert "At step 0" in found.sentence
    made = run(0.0, 0.005, pretrained=True)
    made.curves["val/loss"].value[0] += 0.1
    assert val_split.judge(made).level == Level.ok


def test_what_the_data_report_says_is_told() -> None:
    assert val_split.judge(run(0.0, 0.02, leak_share=0.03)).verdict == "leaks"
    small = val_split.judge(run(0.0, 0.02, val_tokens=300_000, split_rule="tail"))
    assert (small.verdict, small.level) == ("weak", Level.info)
    assert "300,000 tokens" in small.sentence
    assert "end of the text" in small.sentence
    far = val_split.judge(run(0.0, 0.02, split_distance=0.02, split_noise=0.001))
    assert "99 %" in far.sentence


def test_too_few_evaluations_say_how_many_are_missing() -> None:
    made = run(0.0, 0.02)
    few = Observations({key: Curve(curve.step[:5], curve.value[:5]) for key, curve in made.curves.items()}, step=2000)
    found = val_split.judge(few)
    assert (found.level, found.needs) == (Level.unknown, "4 more evaluations of both splits.")
