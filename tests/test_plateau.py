"""D01, the three-way plateau test: golden numbers, error rates by simulation, published curves."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from app.contract.learning import ScheduleConfig
from app.diagnosis import plateau
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve, Observations

STEPS = np.arange(10_000, 14_501, 500)
# Ten evaluations of a 40 M-parameter run on one FineWeb file (0.02 standard error each), and ten of a flat one.
VAL = np.array([3.6381, 3.6365, 3.6584, 3.6324, 3.5848, 3.6045, 3.5861, 3.5917, 3.5546, 3.5790])
FLAT = np.array([3.6068, 3.6047, 3.6090, 3.6117, 3.6145, 3.6104, 3.6078, 3.6069, 3.6130, 3.6165])
COSINE = ScheduleConfig(steps=20_000, warmup_steps=500, lr=1e-3, min_lr=1e-4, shape="cosine")


def run(values: np.ndarray, sigma: float | None, steps: np.ndarray = STEPS, **facts: object) -> Observations:
    curves = {"val/loss": Curve(steps, values)}
    if sigma:
        curves["val/loss_se"] = Curve(steps, np.full(len(steps), sigma))
    return Observations(curves, step=int(steps[-1]), **{"schedule": COSINE, **facts})


def test_the_golden_run_is_improving_with_its_published_numbers() -> None:
    found = plateau.judge(run(VAL, 0.017))
    slope, robust = found.evidence[:2]
    assert found.verdict == "improving"
    assert (slope.value, slope.low, slope.high) == pytest.approx((-0.2288, -0.3164, -0.1413), abs=1e-4)
    assert (robust.value, robust.low, robust.high) == pytest.approx((-0.1982, -0.3776, -0.1506), abs=1e-4)
    line = plateau.fit(np.log(STEPS), VAL, 0.017)
    assert (line.sxx, line.se, line.noise, line.df) == pytest.approx((0.140109, 0.0471, 0.0176, 8), abs=1e-4)


def test_the_flat_run_is_a_plateau_because_its_slope_is_shown_small() -> None:
    found = plateau.judge(run(FLAT, 0.004))
    slope = found.evidence[0]
    assert found.verdict == "plateau"
    assert (slope.value, slope.low, slope.high) == pytest.approx((0.0175, -0.00005, 0.0351), abs=1e-4)
    assert "do not judge the final loss yet" in found.sentence


@pytest.mark.parametrize(
    ("sigma", "slope", "rates"),
    [
        # Shares of verdicts in 4,000 published simulations of ten evaluations; 1,000 here, hence ±0.05.
        (0.017, 0.0, {"inconclusive": 0.93, "improving": 0.04, "worsening": 0.04, "plateau": 0.0}),
        (0.017, -0.1, {"improving": 0.62, "plateau": 0.0}),
        (0.017, -0.2, {"improving": 0.99, "plateau": 0.0}),
        (0.005, 0.0, {"plateau": 0.90}),
        (0.005, -0.1, {"improving": 1.0}),
        (0.002, 0.0, {"plateau": 0.96}),
    ],
)
def test_error_rates_are_those_of_the_simulation(sigma: float, slope: float, rates: dict[str, float]) -> None:
    rng = np.random.default_rng(1)
    x = np.log(STEPS)
    centred = x - x.mean()
    verdicts = []
    for _ in range(1000):
        line = plateau.fit(x, 3.6 + slope * centred + rng.normal(0, sigma, 10), sigma)
        verdicts.append(plateau.classify(line.low, line.high))
    for verdict, rate in rates.items():
        assert verdicts.count(verdict) / 1000 == pytest.approx(rate, abs=0.05), verdict


def test_the_robust_line_is_scipys_theil_sen_line() -> None:
    rng = np.random.default_rng(4)
    for n in (2, 3, 10, 41):
        x, y = np.sort(rng.normal(size=n)), np.round(rng.normal(size=n), 1)  # with ties
        assert plateau.theil_sen(x, y) == pytest.approx(np.take(stats.theilslopes(y, x, 0.90), [0, 2, 3]), rel=1e-12)


def test_a_disagreeing_robust_line_makes_it_inconclusive() -> None:
    values = FLAT.copy()
    values[-1] -= 0.25  # one evaluation drags the least-squares line down
    found = plateau.judge(run(values, 0.004))
    assert found.verdict == "inconclusive"
    assert found.confidence == "low"


def test_an_inconclusive_verdict_says_what_would_settle_it() -> None:
    rng = np.random.default_rng(3)
    found = plateau.judge(run(3.6 + rng.normal(0, 0.017, 10), 0.017))
    assert found.verdict == "inconclusive"
    more = int(found.would_change.split()[1])
    longer = np.log(10_000 + 500 * np.arange(10 + more))
    assert 2.49 * found.evidence[2].value / math.sqrt(((longer - longer.mean()) ** 2).sum()) <= plateau.SLOPE


def test_a_constant_rate_offers_the_anneal_probe() -> None:
    constant = ScheduleConfig(steps=20_000, warmup_steps=500, lr=1e-3, min_lr=1e-4, shape="constant")
    found = plateau.judge(run(FLAT, 0.004, schedule=constant))
    assert found.experiment.kind == "anneal_probe"
    assert found.experiment.fork
    assert found.experiment.changes["schedule.steps"] == 14_500 + found.experiment.steps


def test_rising_loss_is_worsening() -> None:
    rising = plateau.judge(run(FLAT + 0.3 * np.log(STEPS / 10_000), 0.004))
    assert (rising.verdict, rising.level) == ("worsening", Level.warn)


def test_too_few_evaluations_say_how_many_are_missing() -> None:
    found = plateau.judge(run(VAL[:5], 0.017, STEPS[:5]))
    assert (found.verdict, found.level) == ("not enough data", Level.unknown)
    assert "8 evaluations within the last half" in found.needs
    assert plateau.judge(Observations({}, step=10)) is None


def test_evaluations_before_the_warm_up_and_before_a_restart_of_the_rate_do_not_count() -> None:
    steps = np.arange(100, 2001, 100)
    values = 3 + 5 / steps**0.5
    schedule = ScheduleConfig(steps=4000, warmup_steps=1500, lr=1e-3, min_lr=1e-4, shape="cosine")
    assert plateau.judge(run(values, None, steps, schedule=schedule)).verdict == "not enough data"
    lr = Curve(np.arange(1, 2001), np.where(np.arange(1, 2001) < 1600, 1e-4, 1e-3))
    again = Observations({"val/loss": Curve(steps, values), "train/lr": lr}, step=2000)
    assert plateau.judge(again).verdict == "not enough data"


@pytest.mark.parametrize(
    ("name", "first", "last", "verdict", "slope"),
    [
        ("25M_constant_72000", 0, 1.0, "improving", -0.066),
        ("25M_cosine_24000", 0, 0.725, "improving", -0.197),
        ("25M_wsd_20000_24000", 0, 0.8, "improving", None),
        ("25M_cosine_72000", 0, 0.9, "improving", None),
    ],
)
def test_published_curves_are_read_as_they_should(
    data_folder: Path, name: str, first: float, last: float, verdict: str, slope: float | None
) -> None:
    with (data_folder / "curves" / f"{name}.csv").open() as file:
        rows = [(int(row["step"]), float(row["lr"]), float(row["loss"])) for row in csv.DictReader(file)]
    end = rows[-1][0] * last
    steps, lrs, losses = (np.array(column) for column in zip(*[row for row in rows if row[0] <= end], strict=True))
    found = plateau.judge(
        Observations({"val/loss": Curve(steps, losses), "train/lr": Curve(steps, lrs)}, step=int(steps[-1]))
    )
    assert found.verdict == verdict
    if slope is not None:
        assert found.evidence[0].value == pytest.approx(slope, abs=0.04)
