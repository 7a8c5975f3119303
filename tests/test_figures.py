"""Charts keep every extreme at any length; comparisons say what differs and what the numbers do not show."""

import json
import time

import numpy as np
import pytest

from app import figures, runs, series
from app.errors import Invalid
from tests.domain import World

TOKENS = 16 * 128  # a step of the default configuration


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready(train=2_000_000)
    yield world
    world.db.close()


def trained(
    world: World, loss: float, se: float = 0.01, rms: float = 0.02, outcome: str | None = "finished", **launch
) -> str:
    """A run with evaluations at steps 0 and 1000, of which the last has this loss."""
    run = world.launch(**launch)
    claim = world.claim()
    columns = {
        "val/loss": {"step": [0, 1000], "value": [8.0, loss]},
        "val/loss_se": {"step": [0, 1000], "value": [se, se]},
        "rms/mlp.fc": {"step": [0, 1000], "value": [0.02, rms]},
        "x/tokens": {"step": [1, 1000], "value": [TOKENS, 1000 * TOKENS]},
    }
    world.post(claim, 1, columns=columns)
    if outcome:
        world.finish(claim, 1, outcome)
    return run


def compare(world: World, *names: str, baseline: int | None = None) -> dict:
    with world.db.read() as tx:
        found = figures.compare(tx, [runs.get(tx, name) for name in names], baseline)
    json.dumps(found, allow_nan=False)
    return found


def test_two_series_of_a_million_points_are_drawn_quickly_and_lose_no_spike(world):
    world.launch()
    world.launch()
    steps = np.arange(1, 1_000_001)
    for run in (1, 2):
        loss = 3.0 + 1.0 / np.sqrt(steps)
        loss[654_321] = 99.0
        loss[777_777] = np.nan
        world.write(
            lambda tx, run=run, loss=loss: series.append(
                tx.raw, run, {"train/loss": (steps, loss), "x/tokens": (steps, steps * 2048.0)}
            )
        )
    with world.db.read() as tx:
        began = time.perf_counter()
        chart = figures.chart(tx, [1, 2], ["train/loss"], "tokens", width=1000)
        took = time.perf_counter() - began
    assert took < 1.0
    curve = chart["runs"]["r-0001"]["train/loss"]
    assert curve["merged"]
    assert curve["total"] == 1_000_000
    assert len(curve["y"]) <= 1100
    assert 99.0 in curve["y"]
    assert curve["non_finite"] == [{"step": 777_778, "value": "NaN"}]
    assert curve["y"][curve["step"].index(777_778)] is None
    assert np.allclose(curve["x"], np.array(curve["step"]) * 2048.0, rtol=0.01)
    json.dumps(chart, allow_nan=False)


def test_a_window_in_units_of_the_axis_reads_only_there_with_a_neighbour_on_each_side(world):
    world.launch()
    steps = np.arange(1, 5001)
    world.write(lambda tx: series.append(tx.raw, 1, {"a/b": (steps, steps * 1.0), "x/wall_s": (steps, steps * 0.5)}))
    with world.db.read() as tx:
        in_steps = figures.chart(tx, [1], ["a/b"], "step", 100, 110)["runs"]["r-0001"]["a/b"]
        in_seconds = figures.chart(tx, [1], ["a/b"], "wall_s", 100.1, 102.0)["runs"]["r-0001"]["a/b"]
    assert in_steps["step"] == list(range(100, 111))
    assert in_seconds["x"] == [100.0, 100.5, 101.0, 101.5, 102.0]


def test_a_prefix_stands_for_its_series_and_unknown_keys_for_nothing(world):
    trained(world, 3.0)
    with world.db.read() as tx:
        chart = figures.chart(tx, [1], ["val/", "no/such", "rms/mlp.fc"])
        assert list(chart["runs"]["r-0001"]) == ["val/loss", "val/loss_se", "rms/mlp.fc"]
        with pytest.raises(Invalid, match="step, tokens"):
            figures.chart(tx, [1], ["val/loss"], "fortnights")


def test_without_the_axis_its_values_are_null(world):
    world.launch()
    world.points(world.claim(), 1, 1, 2)
    with world.db.read() as tx:
        assert figures.chart(tx, [1], ["train/loss"], "flops")["runs"]["r-0001"]["train/loss"]["x"] == [None, None]


def test_a_sparkline_is_short_and_finite(world):
    world.launch()
    value = np.linspace(5, 3, 1000)
    value[500] = np.inf
    world.write(lambda tx: series.append(tx.raw, 1, {"val/loss": (np.arange(1000), value)}))
    with world.db.read() as tx:
        lines = figures.sparkline(tx, [1, 99])
    assert 20 <= len(lines[1]) <= 50
    assert lines[1][0] == 5
    assert lines[99] == []


def test_rows_carry_differences_from_the_baseline_with_combined_errors(world):
    a = trained(world, 3.00, se=0.03, config={"optim": {"weight_decay": 0.0}})
    b = trained(world, 3.10, se=0.04, config={"optim": {"weight_decay": 3.0}})
    first, second = compare(world, a, b)["rows"]
    assert (first["final_val"], first["final_step"], first["difference"]) == (3.0, 1000, None)
    assert second["difference"] == pytest.approx(0.1)
    assert second["difference_se"] == pytest.approx(0.05)
    assert second["tokens"] == 1000 * TOKENS
    assert compare(world, a, b, baseline=2)["rows"][0]["difference"] == pytest.approx(-0.1)


def test_only_what_differs_is_listed(world):
    a = trained(world, 3.0)
    b = trained(world, 3.0, config={"schedule": {"lr": 5e-4}})
    assert compare(world, a, b)["differences"] == [{"field": "schedule.lr", "values": {a: 1e-3, b: 5e-4}}]
    assert compare(world, a, b)["meaning"] is None


def test_each_thing_that_makes_curves_incomparable_is_warned_of(world):
    a = trained(world, 3.0)
    b = trained(
        world,
        3.0,
        config={"batch": {"micro_batch": 8}, "schedule": {"steps": 2000}, "system": {"seed": 1, "dtype": "bfloat16"}},
    )
    warnings = " ".join(compare(world, a, b)["warnings"])
    for part in (
        "Tokens per step differ (1,024, 2,048)",
        "lengths (1,000, 2,000 steps)",
        "bfloat16",
        "seeds differ (1, 1,337)",
    ):
        assert part in warnings
    assert "different data" not in warnings
    world.ready(train=5_000_000, tokenizer={"kind": "bpe", "vocab_size": 9, "eot": 0, "sha256": "cd" * 32})
    c = trained(world, 3.0)
    assert "different data" in compare(world, a, c)["warnings"][0]
    assert compare(world, a, a)["warnings"] == []


@pytest.mark.parametrize(
    ("weight_decay", "loss", "rms", "says"),
    [
        (3.0, 3.1, 0.01, "0.1000 ± 0.0141 above λ = 0: in so short a run on fresh data decay (Λ = Σ lr·λ = 1.6"),
        (
            3.0,
            3.9,
            0.01,
            "in so short a run on fresh data decay (Λ = Σ lr·λ = 1.6, 19% of the initial weights are left) costs loss.",
        ),
        (3.0, 2.9, 0.01, "below λ = 0: decay"),
        (
            3.0,
            3.01,
            0.01,
            "so the two cannot be told apart: Λ = Σ lr·λ = 1.6, 19% of the initial weights are left, but no effect",
        ),
        (0.1, 3.01, 0.02, "practically inert in so short a run, 95% of the initial"),
        (100.0, 3.9, 0.001, "forgotten many times over"),
    ],
)
def test_runs_that_differ_in_decay_alone_get_a_sentence_with_its_numbers(world, weight_decay, loss, rms, says):
    a = trained(world, 3.0, config={"optim": {"weight_decay": 0.0}})
    b = trained(world, loss, rms=rms, config={"optim": {"weight_decay": weight_decay}})
    meaning = compare(world, b, a)["meaning"]
    assert says in meaning
    assert meaning.startswith("At step 1,000 λ = ")
    assert "mlp.fc has an RMS of" in meaning
    assert meaning.endswith("with one seed for each λ, how much another seed would change is not known.")


def test_on_data_read_many_times_it_is_not_called_fresh(world):
    world.ready(train=200_000)
    a = trained(world, 3.0, config={"optim": {"weight_decay": 0.0}})
    b = trained(world, 3.1, config={"optim": {"weight_decay": 3.0}})
    assert "in this run decay (" in compare(world, a, b)["meaning"]


def test_before_the_first_common_evaluation_nothing_is_claimed(world):
    a = world.launch(config={"optim": {"weight_decay": 0.0}})
    b = world.launch(config={"optim": {"weight_decay": 1.0}})
    found = compare(world, a, b)
    assert "have not both been evaluated" in found["meaning"]
    assert found["rows"][1]["final_val"] is None


def test_runs_under_way_are_said_to_be_under_way(world):
    a = trained(world, 3.0, config={"optim": {"weight_decay": 0.0}})
    b = trained(world, 3.1, outcome=None, config={"optim": {"weight_decay": 1.0}})
    assert "not the last word" in compare(world, a, b)["meaning"]
