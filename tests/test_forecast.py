"""D02: forecasts that are right within their band, and refusals where a curve cannot tell."""

import csv
from pathlib import Path

import numpy as np
import pytest
from loss_curves import GOLDEN_SCHEDULE, GOLDEN_STEPS, GOLDEN_VAL, power_law, published, synthetic

from app.contract.learning import ScheduleConfig
from app.diagnosis import annealing, forecast
from app.diagnosis.findings import Level
from app.diagnosis.forecast import Forecast, Refused
from app.diagnosis.observations import Curve, Observations

END = float(power_law(np.array([20_000]))[0])
COSINE = ScheduleConfig(steps=24_000, warmup_steps=2160, lr=3e-4, min_lr=3e-5, shape="cosine")


@pytest.mark.parametrize("seed", range(8))
def test_a_full_noisy_log_is_forecast_within_two_hundredths_of_its_known_end(seed: int) -> None:
    found = forecast.forecast(synthetic(seed=seed))
    assert isinstance(found, Forecast)
    assert found.mean[-1] == pytest.approx(END, abs=0.02)


def test_the_band_covers_the_end_about_as_often_as_it_says() -> None:
    found = [forecast.forecast(synthetic(0.725, noise=0.005, seed=seed)) for seed in range(40)]
    assert all(isinstance(one, Forecast) for one in found)
    assert np.mean([one.low[-1] <= END <= one.high[-1] for one in found]) >= 0.8


def test_the_golden_run_is_refused_with_its_reasons_and_the_published_band() -> None:
    curves = {"val/loss": Curve(GOLDEN_STEPS, GOLDEN_VAL), "val/loss_se": Curve(GOLDEN_STEPS, np.full(10, 0.017))}
    found = forecast.judge(Observations(curves, step=14_500, steps=20_000, schedule=GOLDEN_SCHEDULE))
    assert (found.verdict, found.level) == ("refused", Level.unknown)
    assert "10 evaluations; 12 are needed" in found.sentence
    assert "of the curve's variance" in found.sentence
    assert "Published curves of this shape would put the end at 3.53 to 3.56" in found.sentence
    assert found.needs == "2 more evaluations."


@pytest.mark.parametrize(
    ("name", "share", "schedule", "miss"),
    [
        # How far off this law is on these curves when others fit it: .000, .011 and .005 (2408.11029's form).
        ("25M_cosine_24000", 0.725, COSINE, 0.003),
        ("25M_cosine_24000", 0.9, COSINE, 0.003),
        ("25M_cosine_72000", 0.5, COSINE.model_copy(update={"steps": 72_000}), 0.015),
        ("25M_cosine_72000", 0.725, COSINE.model_copy(update={"steps": 72_000}), 0.008),
        ("25M_constant_72000", 0.5, COSINE.model_copy(update={"steps": 72_000, "shape": "constant"}), 0.004),
    ],
)
def test_published_curves_are_forecast(
    data_folder: Path, name: str, share: float, schedule: ScheduleConfig, miss: float
) -> None:
    run, end = published(data_folder, name, share, schedule)
    found = forecast.forecast(run)
    assert isinstance(found, Forecast), found
    assert found.mean[-1] == pytest.approx(end, abs=miss)
    assert found.low[-1] <= end <= found.high[-1]


def test_a_constant_phase_before_its_decay_is_refused(data_folder: Path) -> None:
    wsd = ScheduleConfig(steps=24_000, warmup_steps=2160, lr=3e-4, min_lr=3e-5, shape="wsd", cooldown=1 / 6)
    run, _ = published(data_folder, "25M_wsd_20000_24000", 0.8, wsd)
    found = forecast.forecast(run)
    assert isinstance(found, Refused)
    assert any("gain of annealing is unknown, typically 0.08 to 0.14" in reason for reason in found.reasons)


def test_refusals_name_what_is_missing() -> None:
    unknown = forecast.forecast(synthetic(schedule=None))
    assert isinstance(unknown, Refused)
    assert "schedule is not known" in unknown.reasons[0]
    far = forecast.forecast(synthetic(0.2))
    assert isinstance(far, Refused)
    assert any("5.0 times as far" in reason for reason in far.reasons)
    flat = synthetic(0.9, noise=0.3)
    assert isinstance(forecast.forecast(flat), Refused)


def test_the_finding_tells_what_stopping_costs_and_how_fast_it_falls() -> None:
    run = synthetic(0.725, noise=0.003)
    wall = Curve(np.arange(0, 14_501, 100), np.arange(0, 14_501, 100) * 0.5)
    found = forecast.judge(
        Observations({**run.curves, "x/wall_s": wall}, step=14_500, steps=20_000, schedule=GOLDEN_SCHEDULE)
    )
    by_name = {one.name: one for one in found.evidence}
    truth = float(power_law(np.array([14_500]))[0]) - END
    assert by_name["still to gain"].value == pytest.approx(truth, abs=0.015)
    assert "Stopping now costs about" in found.sentence
    assert by_name["improvement now"].value == pytest.approx(0.5 * 14.5**-1.5 / 1000 * 7200, rel=0.5)


def test_one_spike_does_not_move_the_forecast() -> None:
    run = synthetic(0.725, noise=0.003)
    spiked = run.curve("val/loss").value.copy()
    spiked[20] += 2.0
    moved = forecast.forecast(
        Observations(
            {"val/loss": Curve(run.curve("val/loss").step, spiked)}, step=14_500, steps=20_000, schedule=GOLDEN_SCHEDULE
        )
    )
    plain = forecast.forecast(run)
    if isinstance(moved, Forecast):
        assert moved.mean[-1] == pytest.approx(plain.mean[-1], abs=0.02)
    else:
        assert any("variance" in reason for reason in moved.reasons)


def test_the_sums_of_a_linear_schedule_are_those_added_up_one_by_one() -> None:
    linear = ScheduleConfig(steps=3000, warmup_steps=100, lr=1e-3, min_lr=0.0, shape="linear")
    run = Observations({}, step=3000, steps=3000, schedule=linear)
    steps = np.array([500, 1500, 3000])
    rates = annealing.rates_of(run, 3000)
    s1, s2 = np.interp(steps, rates.grid, rates.s1), annealing.lagged(rates, steps)
    rates = np.array([run.lr(update) for update in range(3001)])
    m, sums, exact = 0.0, 0.0, {}
    for update in range(1, 3001):
        m = 0.999 * m + (max(0.0, rates[update - 1] - rates[update]) if update > 100 else 0.0)
        sums += m
        exact[update] = sums
    assert s1 == pytest.approx([rates[:step].sum() for step in steps], rel=0.01)
    assert s2 == pytest.approx([exact[int(step)] for step in steps], rel=0.02)


@pytest.mark.parametrize("share", [0.9, 0.93, 0.96, 1.0])
@pytest.mark.parametrize(("thin", "noise", "miss"), [(1, 0.0, 0.004), (5, 0.003, 0.008)])
def test_a_decay_after_a_constant_phase_is_forecast_once_it_is_under_way(
    data_folder: Path, share: float, thin: int, noise: float, miss: float
) -> None:
    # The published run decays exponentially, which no schedule here does: its rates are those of the log.
    with (data_folder / "curves" / "25M_wsd_20000_24000.csv").open() as file:
        rows = [(int(row["step"]), float(row["lr"]), float(row["loss"])) for row in csv.DictReader(file)]
    steps, lrs, losses = (np.array(column) for column in zip(*rows, strict=True))
    seen = steps <= share * steps[-1]
    values = losses[seen][::thin] + np.random.default_rng(0).normal(0, noise, len(steps[seen][::thin]))
    curves = {"val/loss": Curve(steps[seen][::thin], values), "train/lr": Curve(steps, lrs)}
    found = forecast.forecast(Observations(curves, step=int(steps[seen][-1]), steps=int(steps[-1]), ended=True))
    assert isinstance(found, Forecast), found
    assert found.mean[-1] == pytest.approx(losses[-1], abs=miss)
    assert found.low[-1] <= losses[-1] <= found.high[-1]


@pytest.mark.parametrize("seed", range(3))
def test_fewer_and_noisier_points_of_a_published_curve_stay_within_the_band(data_folder: Path, seed: int) -> None:
    inside = 0
    for share in (0.8, 0.85, 0.9, 0.95):
        for name, steps, noise in (("25M_cosine_24000", 24_000, 0.005), ("25M_cosine_72000", 72_000, 0.01)):
            run, end = published(data_folder, name, share, COSINE.model_copy(update={"steps": steps}))
            curve = run.curve("val/loss")
            curve = Curve(
                curve.step[::8], curve.value[::8] + np.random.default_rng(seed).normal(0, noise, len(curve.step[::8]))
            )
            found = forecast.forecast(
                Observations({"val/loss": curve}, step=run.step, steps=steps, schedule=run.schedule)
            )
            assert isinstance(found, Forecast), found
            assert found.mean[-1] == pytest.approx(end, abs=0.03)
            inside += bool(found.low[-1] <= end <= found.high[-1])
    assert inside >= 6


def test_a_schedule_that_is_not_the_logs_is_refused(data_folder: Path) -> None:
    linear = COSINE.model_copy(update={"shape": "linear"})
    run, _ = published(data_folder, "25M_cosine_24000", 0.725, linear)
    logged = Observations({}, step=0, schedule=COSINE)
    steps = run.curve("val/loss").step
    curves = {**run.curves, "train/lr": Curve(steps, logged.rates(steps - 1))}
    found = forecast.forecast(Observations(curves, step=run.step, steps=24_000, schedule=linear))
    assert isinstance(found, Refused)
    assert "schedule is not this log's" in found.reasons[0]


def test_a_run_at_a_rate_of_zero_or_past_its_plan_is_no_trouble() -> None:
    frozen = synthetic(schedule=None, ended=True)
    steps = frozen.curve("val/loss").step
    none = Observations(
        {**frozen.curves, "train/lr": Curve(steps, np.zeros(30))}, step=20_000, steps=20_000, ended=True
    )
    assert forecast.forecast(none).reasons == ("The learning rate is 0 throughout.",)
    longer = forecast.forecast(synthetic(steps=15_000))
    assert isinstance(longer, Forecast)
    assert longer.step[-1] == 20_000


def test_a_rate_that_fell_for_a_moment_and_came_back_is_no_trouble() -> None:
    rate = np.ones(100)
    rate[2] = 0.0
    curves = {"train/lr": Curve(np.arange(0, 10_000, 100), rate), "val/loss": Curve(np.arange(100), np.zeros(100))}
    found = forecast.forecast(Observations(curves, step=0, steps=317_953, ended=True))
    assert isinstance(found, Refused)
    assert found.reasons


def test_a_rate_of_zero_at_the_start_is_no_trouble() -> None:
    rate = np.zeros(100)
    rate[1] = 1.0
    curves = {"train/lr": Curve(np.arange(2, 102), rate), "val/loss": Curve(np.arange(100), np.zeros(100))}
    assert isinstance(forecast.forecast(Observations(curves, step=0, steps=1, ended=True)), Forecast | Refused)
