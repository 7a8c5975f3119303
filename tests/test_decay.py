"""Weight decay's arithmetic against the schedule itself and the golden run of the science notes (B.0)."""

import math
import time

import pytest

from app import decay
from app.contract.config import OptimConfig, ScheduleConfig
from app.contract.presets import PRESETS
from app.contract.schedule import decay_per_step, decay_share, learning_rate

GOLDEN = PRESETS["fineweb-40m"].config.schedule


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 1000},
        {"steps": 1, "warmup_steps": 0},
        {"steps": 1, "warmup_steps": 1},
        {"steps": 500, "warmup_steps": 500},
        {"steps": 500, "warmup_steps": 0, "decay_steps": 300},
        {"steps": 500, "warmup_steps": 50, "decay_steps": 800},
        {"steps": 500, "warmup_steps": 50, "decay_steps": 50},
        {"steps": 700, "warmup_steps": 10, "min_lr": 0.0},
    ],
)
def test_the_closed_form_is_the_sum_of_the_schedule(fields):
    schedule = ScheduleConfig(**fields)
    end = schedule.decay_steps or schedule.steps
    rates = [
        learning_rate(
            update, lr=schedule.lr, min_lr=schedule.min_lr, warmup_steps=schedule.warmup_steps, decay_steps=end
        )
        for update in range(schedule.steps)
    ]
    assert decay.rate_sum(schedule) == pytest.approx(math.fsum(rates), rel=1e-12)


@pytest.mark.parametrize("steps", [500, 5000])
@pytest.mark.parametrize("shape", ["cosine", "linear", "wsd", "constant"])
@pytest.mark.parametrize("share", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(
    "how",
    [{}, {"adamc": True}, {"decay_coupling": "independent", "weight_decay": 1e-4}],
    ids=["lr", "adamc", "independent"],
)
def test_the_total_is_the_sum_of_every_updates_share(steps, shape, share, how):
    schedule = ScheduleConfig(
        steps=steps, warmup_steps=50, min_lr=0, decay_steps=steps - 100, shape=shape, cooldown=0.3
    )
    optim = OptimConfig(decay_schedule=share, **how)
    end = steps - 100
    shares = []
    for update in range(steps):
        rate = learning_rate(update, lr=1e-3, min_lr=0, warmup_steps=50, decay_steps=end, shape=shape, cooldown=0.3)
        decayed = optim.weight_decay * decay_share(update, shape=share, decay_steps=end)
        shares.append(decay_per_step(rate, decayed, peak=1e-3, coupling=optim.decay_coupling, adamc=optim.adamc))
    assert decay.total_decay(schedule, optim) == pytest.approx(math.fsum(shares), rel=1e-11)


def test_l2_in_the_gradient_has_no_e_folds():
    assert decay.total_decay(GOLDEN, OptimConfig(optimizer="adam_l2")) == 0


def test_independent_decay_has_the_coupled_one_that_equals_it_at_the_peak():
    schedule = ScheduleConfig(lr=1e-3)
    assert decay.coupled(schedule, OptimConfig(weight_decay=1e-4, decay_coupling="independent")) == pytest.approx(0.1)
    assert decay.coupled(schedule, OptimConfig(weight_decay=0.3)) == 0.3


@pytest.mark.parametrize(
    ("steps", "total", "keep"), [(10_000, 0.8266, 0.4375), (14_500, 1.0114, 0.3637), (20_000, 1.0975, 0.3337)]
)
def test_the_golden_runs_e_folds(steps, total, keep):
    schedule = GOLDEN.model_copy(update={"steps": steps, "decay_steps": 20_000})
    assert decay.total_decay(schedule, OptimConfig(weight_decay=0.1)) == pytest.approx(total, abs=1e-4)
    assert decay.init_keep(decay.total_decay(schedule, OptimConfig(weight_decay=0.1))) == pytest.approx(keep, abs=1e-4)


def test_the_golden_runs_timescale_half_life_and_equilibrium():
    assert decay.timescale_steps(1e-3, 0.1) == pytest.approx(10_000)
    assert decay.half_life_steps(1e-3, 0.1) == pytest.approx(6931, abs=1)
    assert decay.rms_equilibrium(1e-3, 0.1) == pytest.approx(0.0707, abs=1e-4)
    assert decay.rms_equilibrium(2.6540e-4, 0.1) == pytest.approx(0.0364, abs=1e-4)


def test_without_decay_nothing_ever_happens():
    assert decay.total_decay(GOLDEN, OptimConfig(weight_decay=0)) == 0
    assert decay.init_keep(0.0) == 1
    assert (
        math.inf == decay.timescale_steps(1e-3, 0) == decay.half_life_steps(1e-3, 0) == decay.rms_equilibrium(1e-3, 0)
    )


def test_a_step_that_wipes_out_has_no_half_life():
    assert decay.half_life_steps(1.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("total", "verdict"),
    [(0.055, "inert"), (0.3, "weak"), (0.5, "informative"), (10, "informative"), (15, "strong"), (21, "over")],
)
def test_the_verdict_follows_the_e_folds(total, verdict):
    assert decay.judge(total, 1.0) == verdict
    assert decay.judge(total, 0.0) == "none"


def test_a_hundred_million_steps_cost_no_time():
    began = time.perf_counter()
    decay.total_decay(ScheduleConfig(steps=100_000_000), OptimConfig())
    assert time.perf_counter() - began < 0.01
