"""The statistics of an experiment, against independent computations and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import nctdtr

from app import inference

# Two-sided 95 % quantiles of Student's t, from printed tables (n − 1 degrees of freedom).
T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 7: 2.365, 9: 2.262}


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 10])
def test_a_mean_has_the_t_interval_of_the_printed_table(n: int) -> None:
    values = [3.0 + 0.01 * (-1) ** i * i for i in range(n)]
    found = inference.mean(values)
    sd = math.sqrt(sum((v - sum(values) / n) ** 2 for v in values) / (n - 1))
    assert found.sd == pytest.approx(sd)
    assert found.high - found.mean == pytest.approx(T975[n - 1] * sd / math.sqrt(n), rel=2e-4)


def test_one_seed_has_no_interval() -> None:
    assert inference.mean([3.1]) == (1, 3.1, None, None, None)
    assert inference.paired({1: 3.0}, {1: 2.5}) == (1, 0.5, None, None, None, None)
    assert inference.unpaired([3.0], [2.5, 2.6]) is None


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    covered = sum(
        low <= 3 <= high
        for _, _, _, low, high in (inference.mean(rng.normal(3, 0.01, 3).tolist()) for _ in range(2000))
    )
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)  # three standard errors


def test_pairing_removes_what_the_seeds_share() -> None:
    rng = np.random.default_rng(2)
    seeds = range(5)
    level = dict(zip(seeds, rng.normal(0, 0.05, 5), strict=True))
    a = {seed: 3.02 + level[seed] + rng.normal(0, 0.002) for seed in seeds}
    b = {seed: 3.00 + level[seed] + rng.normal(0, 0.002) for seed in seeds}
    pairs, apart = inference.paired(a, b), inference.unpaired(list(a.values()), list(b.values()))
    assert pairs.low > 0 > apart.low
    assert pairs.high - pairs.low < (apart.high - apart.low) / 5
    assert inference.paired(a, {**b, 99: 1.0}) == pairs, "a seed that only one arm has is no pair"


def test_a_permutation_of_signs_agrees_with_the_paired_test() -> None:
    """Exact p by flipping the signs of the differences in all 2^10 ways."""
    differences = [0.012, 0.008, -0.003, 0.015, 0.006, 0.011, -0.001, 0.009, 0.004, 0.007]
    a = {i: 3 + d for i, d in enumerate(differences)}
    p = inference.paired(a, dict.fromkeys(range(10), 3.0)).p
    observed = abs(sum(differences))
    flips = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=10)
    ]
    assert p == pytest.approx(np.mean([flip >= observed - 1e-12 for flip in flips]), abs=0.01)


def test_equal_arms_without_noise_do_not_divide_by_zero() -> None:
    same = {1: 3.0, 2: 3.5}
    assert inference.paired(same, same).p == 1.0
    assert inference.paired({1: 3.25, 2: 3.75}, same)[:5] == (2, 0.25, 0.0, 0.25, 0.25)


def test_holm_is_the_step_down_of_bonferroni() -> None:
    assert inference.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert inference.holm([]) == []


@settings(deadline=None, max_examples=50)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_falls_below_p_nor_above_bonferroni(p: list[float]) -> None:
    for raw, adjusted in zip(p, inference.holm(p), strict=True):
        assert raw <= adjusted <= min(1.0, raw * len(p))


def test_dunnett_lies_between_one_comparison_and_bonferroni() -> None:
    rng = np.random.default_rng(1)
    control = rng.normal(3, 0.01, 6)
    arms = [rng.normal(3 + shift, 0.01, 6) for shift in (0, 0.01, 0.02)]
    for arm, p in zip(arms, inference.dunnett(arms, control), strict=True):
        pooled = np.concatenate([x - x.mean() for x in (*arms, control)])
        t = (arm.mean() - control.mean()) / math.sqrt((pooled @ pooled) / (24 - 4) * 2 / 6)
        single = 2 * stats.t.sf(abs(t), 20)
        assert single - 1e-3 <= p <= min(1, 3 * single) + 1e-3


def test_dunnett_of_one_arm_is_the_t_test_and_of_several_scipys_within_its_sampling() -> None:
    rng = np.random.default_rng(2)
    for sizes, control_size in (([2], 2), ([7], 3), ([3, 3, 3], 3), ([3, 8, 2], 4), ([5] * 6, 5)):
        control = rng.normal(3, 0.01, control_size)
        arms = [rng.normal(3 + 0.006 * i, 0.01, n) for i, n in enumerate(sizes)]
        found = inference.dunnett(arms, control)
        if len(arms) == 1:
            assert found == pytest.approx([stats.ttest_ind(arms[0], control).pvalue], abs=1e-12)
        else:  # scipy integrates by random points
            expected = stats.dunnett(*arms, control=control, random_state=np.random.default_rng(0)).pvalue
            assert found == pytest.approx(expected, abs=5e-4)
    assert all(map(math.isnan, inference.dunnett([[3.0, 3.0]], [2.0, 2.0])))


# Two-sided 5 %, correlation 1/2, by arms and degrees of freedom: Dunnett, Biometrics 20 (1964), table 2a.
@pytest.mark.parametrize(("arms", "freedom", "limit"), [(2, 6, 2.86), (2, 12, 2.50), (3, 8, 2.88), (3, 20, 2.54)])
def test_dunnetts_limits_are_those_of_his_table(arms: int, freedom: int, limit: float) -> None:
    n = freedom // (arms + 1) + 1  # equal groups
    assert (arms + 1) * (n - 1) == freedom
    shape = np.linspace(-1, 1, n)
    sd = math.sqrt((shape @ shape) / (n - 1))
    shifted = shape + limit * sd * math.sqrt(2 / n)
    p = inference.dunnett([shifted, *[shape] * (arms - 1)], shape)[0]
    assert p == pytest.approx(0.05, abs=6e-4)  # the table has two decimals


@given(st.lists(st.floats(2, 5), min_size=2, max_size=8), st.lists(st.floats(2, 5), min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_two_arms_are_compared_to_the_last_digit_as_scipy_does(a: list[float], b: list[float]) -> None:
    if min(np.std(a), np.std(b)) < 1e-6:
        return
    found, welch = inference.unpaired(a, b), stats.ttest_ind(a, b, equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert found[-3:] == pytest.approx((interval.low, interval.high, welch.pvalue), rel=1e-9, abs=1e-12)
    n = min(len(a), len(b))
    if np.std(np.subtract(a[:n], b[:n])) > 1e-6:
        pairs = inference.paired(dict(enumerate(a[:n])), dict(enumerate(b[:n])))
        expected = stats.ttest_rel(a[:n], b[:n])
        interval = expected.confidence_interval(0.95)
        assert pairs[-3:] == pytest.approx((interval.low, interval.high, expected.pvalue), rel=1e-9, abs=1e-12)


def test_two_arms_without_noise_are_equal_or_different() -> None:
    assert inference.unpaired([3.0, 3.0], [3.0, 3.0])[-3:] == (0.0, 0.0, 1.0)
    assert inference.unpaired([3.5, 3.5], [3.0, 3.0])[-3:] == (0.5, 0.5, 0.0)


@pytest.mark.parametrize("df", [1, 2, 4, 9, 60, 1000])
def test_the_noncentral_t_is_scipys(df: int) -> None:
    limit = stats.t.ppf(0.975, df)
    for shift in (0.01, 0.5, 2, 10):
        assert nctdtr(df, shift, limit) == pytest.approx(stats.nct.cdf(limit, df, shift), abs=1e-12)


# Runs per arm for 80 % power at 5 %: unpaired, pairs of correlation 0.5 and 0.9. A table computed elsewhere with statsmodels'
# TTestIndPower and TTestPower; each entry at least 3.
POWER = {
    (0.0019, 0.01): (3, 3, 3), (0.0019, 0.005): (4, 4, 3), (0.0019, 0.002): (16, 10, 4),
    (0.005, 0.01): (6, 5, 3), (0.005, 0.005): (17, 10, 4), (0.01, 0.01): (17, 10, 4), (0.01, 0.005): (64, 34, 9),
    (0.02, 0.01): (64, 34, 9),
}  # fmt: skip


@pytest.mark.parametrize(("sd", "delta"), POWER)
def test_runs_needed_are_those_of_the_published_power_table(sd: float, delta: float) -> None:
    found = [inference.runs_needed(sd, delta)]
    found += [inference.pairs_needed(sd * math.sqrt(2 * (1 - rho)), delta) for rho in (0.5, 0.9)]
    assert tuple(max(3, n) for n in found) == POWER[sd, delta]


def test_pairs_needed_have_the_power_they_promise() -> None:
    n = inference.pairs_needed(0.01, 0.01)
    rng = np.random.default_rng(3)
    found = [
        inference.paired(dict(enumerate(rng.normal(0.01, 0.01, n))), dict.fromkeys(range(n), 0.0)).p < 0.05
        for _ in range(1500)
    ]
    assert 0.77 < np.mean(found) < 0.9
    assert inference.pairs_needed(1.0, 1e-6) is None, "no number of runs that anybody would make"


def sweep(rng: np.random.Generator, grid: list[float], at: float, noise: float, seeds: int = 3) -> dict:
    level = rng.normal(3.3, 0.02, seeds)
    return {
        value: {
            s: level[s] + 0.02 * (math.log10(value) - math.log10(at)) ** 2 + rng.normal(0, noise) for s in range(seeds)
        }
        for value in grid
    }


GRID = [0.01, 0.0316, 0.1, 0.316, 1.0]


def test_the_minimum_is_found_with_an_interval_that_covers_it() -> None:
    rng = np.random.default_rng(4)
    found = [inference.minimum(sweep(rng, GRID, at=0.1, noise=0.002), draws=400) for _ in range(120)]
    assert not any(one.refused for one in found)
    assert np.mean([one.low <= 0.1 <= one.high for one in found]) > 0.87  # 0.95 less three standard errors
    widths = [math.log10(one.high / one.low) for one in found]
    assert np.median(widths) < 0.18  # 0.10 decades in a published simulation of this grid, without levels of seeds
    assert all(one.flat[0] <= one.at <= one.flat[1] and one.delta >= 0.005 for one in found)


def test_a_minimum_at_the_edge_is_not_told_and_the_way_out_is() -> None:
    rng = np.random.default_rng(6)
    above = inference.minimum(sweep(rng, GRID, at=10.0, noise=0.002))
    assert above.at is None
    assert above.refused == "The minimum is not bracketed by the grid: add a λ above 1."
    assert "below 0.01" in inference.minimum(sweep(rng, GRID, at=0.001, noise=0.002)).refused
    assert "three" in inference.minimum({0.0: {1: 3.0}, 0.1: {1: 3.0}, 1.0: {1: 3.1}}).refused


def test_noise_alone_has_no_minimum() -> None:
    rng = np.random.default_rng(7)
    flat = [{value: {s: 3 + rng.normal(0, 0.01) for s in range(3)} for value in GRID} for _ in range(60)]
    assert np.mean([inference.minimum(one, draws=400).at is None for one in flat]) > 0.85


def test_the_chance_of_being_least_adds_up_and_follows_the_means() -> None:
    chances = inference.chance_of_least([[3.0, 3.01, 2.99], [3.1, 3.11, 3.09], [3.0, 3.02, 2.99]])
    assert sum(chances) == pytest.approx(1)
    assert chances[0] > chances[2] > chances[1]
    assert inference.chance_of_least([[3.0], [3.1, 3.2]]) is None


def test_the_mixed_model_of_a_full_grid_gives_the_paired_differences() -> None:
    rng = np.random.default_rng(8)
    level = rng.normal(3, 0.05, 6)
    values = {
        arm: {s: level[s] + shift + rng.normal(0, 0.003) for s in range(6)}
        for arm, shift in (("a", 0), ("b", 0.02), ("c", 0.04))
    }
    found = inference.mixed(values, "a")
    for arm in ("b", "c"):
        assert found[arm].mean == pytest.approx(inference.paired(values[arm], values["a"]).mean, abs=1e-6)
        assert found[arm].low < {"b": 0.02, "c": 0.04}[arm] < found[arm].high
    del values["b"][3]
    assert inference.mixed(values, "a")["b"].mean == pytest.approx(0.02, abs=0.01), "a missing run drops nothing else"
    with pytest.raises(ValueError, match="two seeds"):
        inference.mixed({"a": {1: 3.0}, "b": {1: 3.1}}, "a")
