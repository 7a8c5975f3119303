"""D16 and D17: utilisation, and steps that have become slower."""

import numpy as np
import pytest
from loss_curves import golden

from app.diagnosis import speed
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve, Observations


def times(steps: int, seed: int = 0, spread: float = 0.1) -> Curve:
    return Curve(np.arange(1, steps + 1), 300 * np.exp(np.random.default_rng(seed).normal(0, spread, steps)))


def run(curve: Curve, **facts: object) -> Observations:
    return Observations({"train/step_ms": curve}, step=int(curve.step[-1]), **facts)


def test_the_golden_utilisation_is_by_its_own_device_and_not_by_another_ones_peak() -> None:
    found = speed.mfu(golden())  # the log says 11 %, of an A100's peak
    share, done = found.evidence[:2]
    assert (found.verdict, found.level) == ("usual", Level.ok)
    assert share.value == pytest.approx(0.59, abs=0.01)  # 31 to 37 TFLOP/s of 58: 54 to 64 %
    assert 31 <= done.value <= 37.4
    assert "another device's peak" in found.because


def test_throughput_and_shape_give_it_too() -> None:
    run = golden(
        **{
            "train/mfu": Curve(np.empty(0, int), np.empty(0)),
            "train/tok_per_s": Curve(np.array([10, 20]), np.array([1.1e5, 1.1e5])),
        }
    )
    assert speed.utilisation(run) == pytest.approx(1.1e5 * 299_983_104 / 58.3e12, rel=1e-3)


def test_another_variant_of_a_known_device_has_its_own_peak_or_none() -> None:
    assert speed.peak_of(golden(device="RTX 4070 Ti")) == pytest.approx(80.2e12, rel=1e-3)
    assert speed.mfu(golden(device="RTX 4070 Laptop GPU")).missing == ("peak_flops",)
    assert speed.peak_of(golden(device="A100", devices=8)) == 8 * 312e12
    assert speed.peak_of(golden(device="A100", dtype="float32")) is None


def test_half_of_what_this_shape_reached_before_is_low() -> None:
    slow = {"train/mfu": Curve(np.array([10, 20]), np.array([0.04, 0.04]))}
    assert speed.mfu(golden(same_shape_mfu=(0.6, 0.62, 0.61), **slow)).level == Level.warn
    assert speed.mfu(golden(same_shape_mfu=(0.6, 0.62, 0.61))).level == Level.ok
    assert speed.mfu(golden(**slow)).level == Level.ok  # nothing to hold it against


def test_more_than_the_peak_cannot_be() -> None:
    assert speed.mfu(golden(peak_flops=10e12)).verdict == "impossible"


def test_an_unknown_device_is_asked_for_and_a_cpu_is_not_judged() -> None:
    assert speed.mfu(golden(device=None)).missing == ("device",)
    assert speed.mfu(golden(device="Potato 3000")).missing == ("peak_flops",)
    assert speed.mfu(golden(device="cpu")) is None
    assert (
        speed.mfu(golden(**{"train/mfu": Curve(np.array([1, 2]), np.array([-1.0, -1.0]))})).level == Level.unknown
    )  # not known yet


@pytest.mark.parametrize("steps", [300, 3000, 100_000])
def test_steady_steps_are_never_called_slower(steps: int) -> None:
    for seed in range(5):
        assert speed.slowdown(run(times(steps, seed, 0.3))).verdict == "steady"


def test_steps_that_take_longer_are_told_with_where_it_began() -> None:
    curve = times(3000)
    curve.value[2000:] *= 1.4
    found = speed.slowdown(run(curve))
    assert (found.verdict, found.level) == ("slower", Level.warn)
    assert found.marks[0].first_step == pytest.approx(2000, abs=60)
    curve = times(3000)
    curve.value[2900:] *= 1.4  # two windows only
    assert speed.slowdown(run(curve)).verdict == "steady"
    curve = times(3000)
    curve.value[2000:] *= 1.1
    assert speed.slowdown(run(curve)).verdict == "steady"


def test_what_another_device_did_before_the_resume_does_not_count() -> None:
    curve = times(3000)
    curve.value[2000:] *= 2
    assert speed.slowdown(run(curve, resumed_at=(2000,))).verdict == "steady"


def test_evaluations_do_not_make_steps_slow() -> None:
    curve = times(3000)
    evaluated = np.arange(2500, 3001, 3)
    curve.value[evaluated - 1] += 5000
    slow = Observations({"train/step_ms": curve}, step=3000)
    known = Observations({"train/step_ms": curve, "val/loss": Curve(evaluated, np.ones(len(evaluated)))}, step=3000)
    assert speed.slowdown(known).verdict == "steady"
    assert float(speed.step_times(slow).value.max()) > 5000 > float(speed.step_times(known).value.max())


def test_few_steps_are_too_few() -> None:
    assert speed.slowdown(run(times(100))).needs == "105 more step times."
    assert speed.slowdown(Observations({}, step=0)) is None
