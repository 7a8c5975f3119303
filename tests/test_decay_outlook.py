"""Decay over a run, against sums over every update and the golden numbers of science.md A.2, B.0 and D.5."""

import math
import time

import pytest

from app import decay
from app.contract.config import RunConfig
from app.contract.presets import PRESETS
from app.contract.schedule import learning_rate
from app.decay_outlook import outlook, settles_at, share_at

GOLDEN = PRESETS["fineweb-40m"].config


def changed(**optim) -> RunConfig:
    return GOLDEN.model_copy(update={"optim": GOLDEN.optim.model_copy(update=optim)})


@pytest.mark.parametrize(
    ("weight_decay", "keep", "age"),
    [(0.01, 0.896, None), (0.1, 0.334, 0.58), (0.3, 0.037, 0.455), (0.86, 1e-4, 0.275), (1.0, 0.0, 0.25)],
)
def test_what_is_left_and_how_old_the_rest_is(weight_decay, keep, age):
    """science.md A.2, the seed run: λ .01 keep .896; .1 .334, age .58T; .3 .037, .455T; .86 1e-4, .275T; 1.0 0, .25T."""
    found = outlook(changed(weight_decay=weight_decay))
    assert found.left[-1] == pytest.approx(keep, abs=5e-4)
    if age is not None:
        assert found.mean_age == pytest.approx(age, abs=5e-3)


def test_the_average_is_that_of_every_single_update():
    schedule, total = GOLDEN.schedule, GOLDEN.schedule.steps
    rates = [
        learning_rate(i, lr=schedule.lr, min_lr=schedule.min_lr, warmup_steps=500, decay_steps=total)
        for i in range(total)
    ]
    taken = [0.3 * rate for rate in rates]
    later, weights = 0.0, []
    for a in reversed(taken):
        weights.append(a * math.exp(-later))
        later += a
    weights.reverse()
    whole = math.fsum(weights)
    found = outlook(changed(weight_decay=0.3))
    assert found.left[-1] == pytest.approx(math.exp(-math.fsum(taken)), rel=1e-6)
    age = math.fsum(c * (total - i) for i, c in enumerate(weights)) / whole / total
    assert found.mean_age == pytest.approx(age, rel=1e-3)
    assert found.averaged == pytest.approx(whole**2 / math.fsum(c * c for c in weights), rel=1e-3)


def test_the_golden_runs_rates_timescale_and_equilibria():
    """science.md B.0: lr(10000) 5.6812e-4, lr(14500) 2.6540e-4, lr(20000) 1e-4; RMS_eq .0707 peak, .0364, .0224; τ_frac .50."""
    rate = lambda step: decay.rate(GOLDEN.schedule, step)  # noqa: E731
    assert [rate(step) for step in (10_000, 14_500, 20_000)] == pytest.approx([5.6812e-4, 2.6540e-4, 1e-4], rel=2e-5)
    settled = [settles_at(GOLDEN, step) for step in (500, 14_500, 20_000)]
    assert settled == pytest.approx([0.0707, 0.0364, 0.0224], abs=1e-4)
    steps = [decay.timescale_steps(rate(step), 0.1) for step in (500, 10_000, 14_500, 20_000)]
    assert steps == pytest.approx([10_000, 17_602, 37_679, 100_000], rel=1e-4)
    assert outlook(GOLDEN).timescale_of_run == pytest.approx(0.5)


@pytest.mark.parametrize(("weight_decay", "rms", "rotation"), [(0.1, 0.0707, 0.003244), (1.0, 0.02236, 0.01026)])
def test_the_equilibria_are_those_that_were_simulated(weight_decay, rms, rotation):
    """science.md A.2 [R]: lr 1e-3, β₁ .9: simulated .0701/.003247 against .0707/.003244; λ 1: .0223/.01034 against .02236/.01026."""
    assert decay.rms_equilibrium(1e-3, weight_decay) == pytest.approx(rms, rel=5e-3)
    assert decay.rotation_equilibrium(1e-3 * weight_decay, 0.9) == pytest.approx(rotation, rel=5e-4)


def test_the_decay_share_at_equilibrium_is_decay_over_rotation():
    a = 1e-4
    assert share_at(a, 0.9) == pytest.approx(a / decay.rotation_equilibrium(a, 0.9))
    assert share_at(a, 0.9) == pytest.approx(math.sqrt(a * 1.9 / 0.2))


def test_curves_begin_and_end_with_the_run():
    found = outlook(GOLDEN)
    assert (found.step[0], found.step[-1], found.left[0]) == (0, 20_000, 1.0)
    assert list(found.left) == sorted(found.left, reverse=True)
    assert max(found.per_step) == pytest.approx(1e-4, rel=1e-3)
    assert found.left[-1] == pytest.approx(decay.init_keep(decay.total_decay(GOLDEN.schedule, GOLDEN.optim)), rel=1e-6)


def test_a_fork_counts_from_where_it_starts():
    whole, rest = outlook(GOLDEN), outlook(GOLDEN, first=14_500)
    assert (rest.step[0], rest.left[0]) == (14_500, 1.0)
    assert rest.left[-1] == pytest.approx(
        whole.left[-1] / decay.init_keep(1.0114), rel=1e-3
    )  # Λ(14,500), science.md B.0


def test_corrected_scheduled_and_independent_decay_have_equilibria_of_their_own():
    assert settles_at(changed(adamc=True), 14_500) == pytest.approx(0.0707, abs=1e-4), "AdamC holds it where it was"
    independent = changed(decay_coupling="independent", weight_decay=1e-4)
    assert settles_at(independent, 14_500) == pytest.approx(2.6540e-4 / math.sqrt(2e-4), rel=1e-3)
    assert outlook(changed(decay_schedule="linear")).rms_equilibrium[-1] is not None


@pytest.mark.parametrize(
    "optim", [{"weight_decay": 0.0}, {"optimizer": "adam_l2"}, {"optimizer": "muon"}, {"cautious": True}]
)
def test_nothing_is_predicted_where_nothing_is_known(optim):
    found = outlook(changed(**optim))
    assert set(found.rms_equilibrium) == set(found.rotation_equilibrium) == {None}
    assert (found.mean_age is None) is (optim in ({"weight_decay": 0.0}, {"optimizer": "adam_l2"}))
    assert settles_at(changed(**optim), 100) is None


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_the_shortest_runs_have_an_outlook_too(steps):
    found = outlook(RunConfig.model_validate({"schedule": {"steps": steps, "warmup_steps": 0}}))
    assert found.step == tuple(range(steps + 1))
    assert found.averaged is not None


def test_a_hundred_million_steps_cost_no_time():
    began = time.process_time()
    outlook(RunConfig.model_validate({"schedule": {"steps": 100_000_000}}))
    assert time.process_time() - began < 0.25, "not one evaluation a step"
