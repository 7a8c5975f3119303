"""What a sweep says: golden numbers of a measured sweep, and every way in which nothing may be concluded."""

import itertools
import json
import math

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats
from sweep_data import LR, WD, sweep

from app.sweeps import sheets
from app.sweeps.analysis import analysis

NAN = math.nan
PUBLISHED = ROOT / "docs" / "data" / "decay_sweep.json"


def arms(said):
    return {row["label"]: row for row in said["arms"]}


def golden() -> dict[float, dict[int, float]]:
    """λ 0 and 0.1 of a sweep on a CPU (science.md D.3): means 2.1212 and 2.1258, sd .0040, paired +.0046 ± .0020."""
    base = 2.1212 + 0.0040 * np.array([-1.0, 0.0, 1.0])
    paired_sd = 0.0020 * math.sqrt(3) / stats.t.ppf(0.975, 2)
    difference = 0.0046 + paired_sd * np.array([0.0, -1.0, 1.0])
    return {0.0: dict(enumerate(base)), 0.1: dict(enumerate(base + difference))}


def test_the_pairs_of_the_golden_sweep_tell_apart_what_unpaired_runs_do_not():
    said = analysis(sweep(golden()))
    row = arms(said)["λ 0.1"]
    assert row["paired"]["mean"] == pytest.approx(0.0046)
    assert (row["paired"]["high"] - row["paired"]["low"]) / 2 == pytest.approx(0.0020)
    assert row["paired"]["p_adjusted"] < 0.05 < row["unpaired"]["p"]
    assert row["unpaired"]["high"] - row["unpaired"]["low"] > 4 * (row["paired"]["high"] - row["paired"]["low"])
    assert said["verdict"]["kind"] == "irrelevant"  # told apart, yet below δ = .005
    assert "no difference in practice" in said["verdict"]["text"]


def test_decay_of_the_golden_sweep_is_what_its_schedule_says():
    said = analysis(sweep({0.0: {0: 2.1}, 0.1: {0: 2.1}, 1.0: {0: 2.2}, 3.0: {0: 2.3}}))
    assert [row["total_decay"] for row in said["arms"]] == pytest.approx([0.0, 0.055, 0.55, 1.6], rel=0.03)  # D.3
    assert arms(said)["λ 0.1"]["verdict"] == "inert"
    assert arms(said)["λ 0.1"]["reading_text"] == "inert: Λ < 0.1"
    assert arms(said)["λ 1"]["timescale_steps"] == pytest.approx(1000)
    assert arms(said)["λ 0"]["timescale_steps"] is None


def test_a_minimum_at_the_grids_edge_is_not_bracketed_and_zero_is_not_called_the_best_value():
    losses = {0.0: 2.1212, 0.1: 2.1258, 1.0: 2.1717, 3.0: 2.2577}
    noise = {0: -0.004, 1: 0.0, 2: 0.004}
    data = sweep({value: {seed: mean + shift for seed, shift in noise.items()} for value, mean in losses.items()})
    said = analysis(data)
    minimum = said["slices"][0]["minimum"]
    assert minimum["at"] is None
    assert "not bracketed" in minimum["refused"]
    assert "not bracketed" in said["verdict"]["text"]


def test_a_bracketed_minimum_is_found_with_its_interval_and_its_flat_stretch():
    rng = np.random.default_rng(3)
    grid = [10.0**x for x in (-2, -1.5, -1, -0.5, 0)]
    values = {value: {s: 3.6 + 0.02 * (math.log10(value) + 0.9) ** 2 + float(rng.normal(0, 0.001)) + 0.002 * s for s in range(3)} for value in grid}  # fmt: skip
    minimum = analysis(sweep(values))["slices"][0]["minimum"]
    assert minimum["low"] < 10**-0.9 < minimum["high"]
    assert minimum["flat"][0] < minimum["at"] < minimum["flat"][1]


def test_a_diverged_arm_is_shown_left_out_and_counted():
    said = analysis(
        sweep({0.0: {0: 3.0, 1: 3.1, 2: 3.05}, 1.0: {0: 3.2, 1: NAN, 2: 3.25}, 30.0: {0: NAN, 1: NAN, 2: NAN}})
    )
    assert said["runs"]["diverged"] == 4
    assert (arms(said)["λ 1"]["n"], arms(said)["λ 1"]["diverged"]) == (2, 1)
    assert arms(said)["λ 1"]["mean"] == pytest.approx(3.225)
    assert arms(said)["λ 30"]["mean"] is None
    assert arms(said)["λ 30"]["reading_text"] == "diverged: left out"
    assert "4 diverged runs are left out" in said["verdict"]["text"]
    json.dumps(said, allow_nan=False)


def test_a_single_seed_has_no_interval_and_the_verdict_says_so():
    said = analysis(sweep({0.0: {0: 3.0}, 0.1: {0: 2.9}}))
    assert said["verdict"]["kind"] == "single"
    assert "no interval" in said["verdict"]["text"]
    assert arms(said)["λ 0.1"]["low"] is None
    assert arms(said)["λ 0.1"]["paired"]["p"] is None


def test_arms_that_cannot_be_told_apart_say_how_many_pairs_it_would_take():
    said = analysis(sweep({0.1: {0: 3.0, 1: 3.02, 2: 2.99}, 0.3: {0: 3.02, 1: 3.01, 2: 3.0}}))
    assert said["verdict"]["kind"] == "open"
    (needed,) = said["verdict"]["needed"].values()
    assert f"About {needed} more pairs" in said["verdict"]["text"]
    difference = np.array([0.02, -0.01, 0.01])
    power = stats.nct(needed + 2, max(0.005, difference.mean()) / difference.std(ddof=1) * math.sqrt(needed + 3))
    limit = stats.t.ppf(0.975, needed + 2)
    assert power.sf(limit) + power.cdf(-limit) == pytest.approx(0.8, abs=0.05)


def test_no_winner_is_named_where_a_fixed_factor_differs():
    data = sweep({0.0: {0: 3.0, 1: 3.0}, 1.0: {0: 4.0, 1: 4.1}})
    data["runs"][0]["fields"]["optim.beta2"] = 0.95
    for one in data["runs"][1:]:
        one["fields"]["optim.beta2"] = 0.99
    said = analysis(data)
    assert said["verdict"]["kind"] == "refused"
    assert said["verdict"]["best"] is None
    assert [one["field"] for one in said["comparable"]["differ"]] == ["optim.beta2"]
    assert "optimiser" not in said["comparable"]["equal"]


def test_runs_of_one_pair_with_different_seeds_are_refused():
    data = sweep({0.0: {0: 3.0, 1: 3.0}, 1.0: {0: 4.0, 1: 4.1}})
    data["runs"][2]["seed"] = 99
    assert analysis(data)["comparable"]["seeds"] == "Runs of seed index 0 have different seeds (99, 1337)."


def test_learning_rate_by_decay_becomes_a_heat_map_with_lines_of_equal_timescale():
    losses = {((LR, lr), (WD, wd)): {0: 3.0 + abs(math.log10(lr) + 3) + 0.1 * wd, 1: 3.01 + abs(math.log10(lr) + 3)} for lr in (3e-4, 1e-3, 3e-3) for wd in (0.0, 0.1, 1.0)}  # fmt: skip
    said = analysis(sweep(losses))
    heat = said["heat"]
    assert (heat["lr"], heat["weight_decay"]) == ([3e-4, 1e-3, 3e-3], [0.0, 0.1, 1.0])
    assert heat["mean"][1][0] == pytest.approx(3.005)
    assert all(line["product"] * line["share"] * heat["steps"] == pytest.approx(1) for line in heat["lines"])
    assert heat["best_lr"][0] == {"weight_decay": 0.0, "lr": 1e-3}
    assert said["slices"][said["slice"]]["values"] == {LR: 1e-3}
    assert said["reference"] == '{"optim.weight_decay": 0.0, "schedule.lr": 0.001}'  # λ = 0 at the base's learning rate


def test_difference_curves_are_paired_and_end_at_the_tables_difference():
    said = analysis(sweep({0.0: {0: 3.0, 1: 3.2, 2: 3.1}, 1.0: {0: 3.1, 1: 3.3, 2: 3.22}}))
    (curve,) = said["curves"]
    row = arms(said)["λ 1"]
    assert curve["step"] == [0, 250, 500, 750, 1000]
    assert curve["mean"][-1] == pytest.approx(row["paired"]["mean"])
    assert (curve["low"][-1], curve["high"][-1]) == pytest.approx((row["paired"]["low"], row["paired"]["high"]))


def test_window_by_window_the_interval_excludes_the_seeds():
    data = sweep({0.0: {0: 3.0, 1: 3.3}, 1.0: {0: 3.1, 1: 3.2}})
    noise = np.random.default_rng(0).normal(0, 0.5, 200)
    for one in data["runs"]:
        one["windows"] = (one["final"] + noise - noise.mean()).tolist()
    row = arms(analysis(data))["λ 1"]
    assert row["windows"]["mean"] == pytest.approx(row["paired"]["mean"])
    assert row["windows"]["se"] < 1e-9  # the same windows, each shifted alike: nothing is left of their noise
    assert row["paired"]["high"] - row["paired"]["low"] > 1  # the seeds' differ in sign


def test_an_arm_that_lacks_a_seed_is_estimated_by_a_mixed_model_too():
    said = analysis(sweep({0.0: {0: 3.0, 1: 3.2, 2: 3.1}, 1.0: {0: 3.1, 2: 3.21}}))
    row = arms(said)["λ 1"]
    assert row["paired"]["n"] == 2
    assert row["mixed"]["mean"] == pytest.approx(row["paired"]["mean"], abs=0.02)


def test_while_runs_train_the_verdict_is_not_the_last_word():
    said = analysis(sweep({0.0: {0: 3.0, 1: 3.1}, 1.0: {0: 3.2, 1: None}, 3.0: {0: None}}))
    assert arms(said)["λ 3"]["reading_text"] == "no value yet"
    assert said["verdict"]["kind"] == "single"
    assert analysis(sweep({0.0: {0: None}}))["verdict"]["kind"] == "waiting"


def test_another_reference_turns_the_differences_round():
    data = sweep({0.0: {0: 3.0, 1: 3.1}, 1.0: {0: 3.2, 1: 3.35}})
    plain, turned = analysis(data), analysis(data, reference='{"optim.weight_decay": 1.0}')
    assert arms(turned)["λ 0"]["paired"]["mean"] == pytest.approx(-arms(plain)["λ 1"]["paired"]["mean"])


def test_the_highest_rung_of_a_search_by_halving_is_what_is_compared():
    rungs = {((LR, lr), ("schedule.steps", steps)): {0: loss, 1: loss + 0.01} for lr, steps, loss in ((1e-3, 333, 3.5), (3e-3, 333, 3.4), (3e-3, 1000, 3.0))}  # fmt: skip
    said = analysis(sweep(rungs, spec={"seeds": 2}))
    assert said["verdict"]["kind"] == "waiting"
    assert [point["compared"] for point in said["points"]] == [False] * 4 + [True] * 2


def test_every_table_is_made_of_rows():
    said = analysis(sweep({0.0: {0: 3.0, 1: 3.1}, 1.0: {0: 3.2, 1: NAN}}))
    rows = {name: sheets.sheet(said, name) for name in sheets.SHEETS}
    assert [row[WD] for row in rows["arms"]] == [0.0, 1.0]
    assert [row["diverged"] for row in rows["runs"]] == [False, False, False, True]
    assert {row["group"] for row in rows["weights"] if row["quantity"] == "rms"} == {"attn.qkv", "mlp.fc"}
    assert rows["heat"] == []


# --- the sweep that was run through the product: docs/data/decay_sweep.json -----------------------------------


@pytest.fixture(scope="module")
def published():
    return json.loads(PUBLISHED.read_text())


def test_the_published_sweeps_weights_shrink_strictly_with_decay(published):
    rows = analysis(published)["arms"]
    assert [row["weight_decay"] for row in rows] == [0, 0.1, 1, 3]
    assert all(row["n"] == 3 for row in rows)
    for group in ("embedding", "attn.qkv", "attn.proj", "mlp.fc", "mlp.proj"):
        sizes = [row["rms"][group] for row in rows]
        assert all(a > b for a, b in itertools.pairwise(sizes)), (group, sizes)


def test_the_published_sweeps_paired_intervals_are_narrower_than_unpaired_ones(published):
    for row in analysis(published)["arms"][1:]:
        paired, unpaired = row["paired"], row["unpaired"]
        assert paired["high"] - paired["low"] < unpaired["high"] - unpaired["low"], row["label"]


def test_the_published_sweeps_verdict_is_what_plain_scipy_finds(published):
    finals = {}
    for one in published["runs"]:
        finals.setdefault(one["arm"][WD], {})[one["seed"]] = one["final"]
    means = {value: np.mean(list(losses.values())) for value, losses in finals.items()}
    best = min(means, key=means.get)
    others = sorted((value for value in means if value != best), key=means.get)
    tests = {value: stats.ttest_rel(*zip(*((finals[value][seed], finals[best][seed]) for seed in finals[best]), strict=True)) for value in others}  # fmt: skip
    ordered = sorted(test.pvalue for test in tests.values())
    holm = {p: max(min(1, q * (len(ordered) - k)) for k, q in enumerate(ordered[: i + 1])) for i, p in enumerate(ordered)}  # fmt: skip
    said = analysis(published)
    rows = {row["weight_decay"]: row for row in said["arms"]}
    assert said["verdict"]["best"] == rows[best]["key"]
    assert said["verdict"]["rival"] == rows[others[0]]["key"]
    nearest = tests[others[0]]
    gap = means[others[0]] - means[best]
    told_apart = holm[nearest.pvalue] < 0.05
    assert said["verdict"]["kind"] == ("open" if not told_apart else "separated" if gap > 0.005 else "irrelevant")
    assert f"{gap:.4f}" in said["verdict"]["text"]
    interval = nearest.confidence_interval(0.95)
    assert f"± {(interval.high - interval.low) / 2:.4f}" in said["verdict"]["text"]
    assert said["comparable"]["ok"]
