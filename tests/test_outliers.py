"""The detector of jumps: its z is the definition's, its tail that of published runs, and no healthy curve is called broken."""

import numpy as np
import pytest

from app.diagnosis.observations import Curve
from app.diagnosis.outliers import FLOOR, LIMIT, WINDOW, outliers, resolution
from app.diagnosis.spikes import HEALTHY_LOSS

# 18,560 steps of a published 124 M run: residuals with a kurtosis 4.8 above the normal's, that of Student's t at 5.25 degrees.
STEPS, FREEDOM = 18_560, 5.25


def healthy(seed: int, steps: int = STEPS, sigma: float = 0.043) -> Curve:
    step = np.arange(1, steps + 1)
    noise = np.random.default_rng(seed).standard_t(FREEDOM, steps) * sigma / np.sqrt(FREEDOM / (FREEDOM - 2))
    return Curve(step, 3.2 + (step / 1000) ** -0.5 + noise)


def definition(y: np.ndarray) -> np.ndarray:
    """z of each point that has a whole window before it."""
    before = np.lib.stride_tricks.sliding_window_view(y, WINDOW)[:-1]
    median = np.median(before, axis=1)
    scale = 1.4826 * np.median(np.abs(before - median[:, None]), axis=1)
    return (y[WINDOW:] - median) / np.maximum(scale, FLOOR)


def test_every_jump_of_the_definition_is_found_and_no_other() -> None:
    curve = healthy(0, 6000)
    z = definition(curve.value)
    found = {event.step for event in outliers(curve, FLOOR).events if event.step > WINDOW}
    assert found == set((np.flatnonzero(z > LIMIT) + WINDOW + 1).tolist())


def test_the_noise_of_the_simulation_passes_the_limits_as_often_as_the_published_run() -> None:
    # 1.6 %, 0.63 %, 52 and 22 of 18,560 steps beyond 3, 4, 5 and 6 on either side (science.md B.7)
    z = np.abs(np.concatenate([definition(healthy(seed).value[1000:]) for seed in range(4)]))
    assert np.mean(z > 3) == pytest.approx(0.016, abs=0.01)
    assert np.mean(z > 4) == pytest.approx(0.0063, abs=0.002)
    assert np.sum(z > 5) / 4 == pytest.approx(52, abs=20)
    assert np.sum(z > 6) / 4 == pytest.approx(22, abs=8)


def test_a_healthy_run_is_called_unusual_in_one_of_ten_at_most() -> None:
    called = 0
    for seed in range(40):
        found = outliers(healthy(seed), FLOOR)
        called += found.unusual(HEALTHY_LOSS, [event.z for event in found.events])
        assert not any(event.lasting for event in found.events)
    assert called <= 6


@pytest.mark.parametrize(("rise", "rate"), [(0.5, 0.5), (0.7, 0.9), (1.0, 1.0)])
def test_a_single_jump_in_2000_steps_is_called_the_surer_the_higher_it_is(rise: float, rate: float) -> None:
    called = 0
    for seed in range(40):
        curve = healthy(seed, 2000)
        curve.value[1500] += rise
        found = outliers(curve, FLOOR)
        called += found.unusual(HEALTHY_LOSS, [event.z for event in found.events])
    assert called / 40 >= rate


def test_a_jump_that_stays_is_one_event_that_has_not_come_back() -> None:
    curve = healthy(1, 4000)
    curve.value[3000:] += 1.5
    (event,) = [one for one in outliers(curve, FLOOR).events if one.lasting]
    assert (event.step, event.back, event.last_step) == (3001, False, 4000)
    assert event.points > 500


def test_a_jump_of_ten_steps_lasts_and_one_of_three_does_not() -> None:
    for length, lasting in ((10, True), (3, False)):
        curve = healthy(2, 2000)
        curve.value[1000 : 1000 + length] += 1.0
        event = max(outliers(curve, FLOOR).events, key=lambda one: one.z)
        assert (event.step, event.points, event.lasting) == (1001, length, lasting)


@pytest.mark.parametrize("memory", [0.5, 0.9, 0.99, 0.999])
def test_a_smoothed_log_that_wanders_has_no_lasting_jumps(memory: float) -> None:
    for seed in range(5):
        curve = healthy(seed, 5000)
        noise = curve.value - 3.2 - (curve.step / 1000) ** -0.5
        for i in range(1, len(noise)):
            noise[i] = memory * noise[i - 1] + np.sqrt(1 - memory**2) * noise[i]
        smooth = Curve(curve.step, 3.2 + (curve.step / 1000) ** -0.5 + noise)
        found = outliers(smooth, FLOOR)
        assert not any(event.lasting for event in found.events)
        assert not found.unusual(HEALTHY_LOSS, [event.z for event in found.events])


def test_a_log_of_two_decimals_does_not_explode() -> None:
    values = np.round(0.25 + 0.004 * np.random.default_rng(0).standard_normal(3000), 2)
    assert resolution(values) == pytest.approx(0.01)
    assert outliers(Curve(np.arange(3000), values), resolution(values) / 2).total == 0  # its MAD is 0


def test_a_few_points_are_too_few() -> None:
    assert outliers(healthy(0, 63), FLOOR) is None
    assert outliers(healthy(0, 64), FLOOR).looked == 32


def test_of_a_curve_chosen_for_its_peaks_all_points_count() -> None:
    curve = healthy(3, 20_000)
    curve.value[15_000] += 0.8  # as far out as the farthest of a million
    assert outliers(curve, FLOOR).unusual(HEALTHY_LOSS, [one.z for one in outliers(curve, FLOOR).events])
    part = outliers(curve, FLOOR, points=1_000_000)
    assert not part.unusual(HEALTHY_LOSS, [one.z for one in part.events])
