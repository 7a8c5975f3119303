"""Comparisons say what differs, what is not comparable, and what the numbers do not show."""

import json

import numpy as np
import pytest

from app import comparison, runs
from tests.domain import World

TOKENS = 16 * 128  # a step of the default configuration


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready(train=2_000_000)
    yield world
    world.db.close()


def trained(
    world: World,
    loss: float,
    se: float = 0.01,
    rms: float = 0.02,
    outcome: str | None = "finished",
    windows=None,
    **launch,
) -> str:
    """A run with evaluations at steps 0 and 1000, of which the last has this loss, and these losses per window."""
    run = world.launch(**launch)
    claim = world.claim()
    columns = {
        "val/loss": {"step": [0, 1000], "value": [8.0, loss]},
        "val/loss_se": {"step": [0, 1000], "value": [se, se]},
        "rms/mlp.fc": {"step": [0, 1000], "value": [0.02, rms]},
        "x/tokens": {"step": [1, 1000], "value": [TOKENS, 1000 * TOKENS]},
    }
    events = [{"kind": "evaluation", "step": 1000, "data": {"losses": windows}}] if windows is not None else []
    world.post(claim, 1, columns=columns, events=events)
    if outcome:
        world.finish(claim, 1, outcome)
    return run


def compare(world: World, *names: str, baseline: int | None = None) -> dict:
    with world.db.read() as tx:
        found = comparison.compare(tx, [runs.get(tx, name) for name in names], baseline)
    json.dumps(found, allow_nan=False)
    return found


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
    a = trained(world, 3.0, config={"system": {"dtype": "float32"}})
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


def test_a_run_that_has_not_started_is_not_said_to_have_another_precision(world):
    started = world.launch()
    world.post(world.claim(), 1, telemetry={"dtype": "float32"})
    assert compare(world, started, world.launch())["warnings"] == []


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


def paired_runs(world: World, **second) -> dict:
    """The second run's row: windows that differ widely from each other, and by about 0.02 between the runs."""
    noise = np.random.default_rng(0)
    hard = noise.normal(4.0, 1.0, 64)
    harder = hard + noise.normal(0.02, 0.01, 64)
    a = trained(world, float(hard.mean()), se=1 / 8, windows=hard.tolist(), config={"optim": {"weight_decay": 0.0}})
    b = trained(
        world,
        float(harder.mean()),
        se=1 / 8,
        windows=harder.tolist(),
        config={"optim": {"weight_decay": 3.0}, **second},
    )
    return compare(world, a, b)


def test_runs_scored_on_the_same_windows_are_compared_in_pairs(world):
    found = paired_runs(world)
    row = found["rows"][1]
    assert row["difference_paired"]
    assert row["difference"] == pytest.approx(0.02, abs=0.004)
    assert row["difference_se"] == pytest.approx(0.01 / 8, rel=0.3), (
        "sd of the pairs / √64, not the windows' own spread"
    )
    assert "costs a little loss" in found["meaning"]
    assert "paired, over the same windows" in found["meaning"]


def test_other_windows_make_no_pairs(world):
    row = paired_runs(world, eval={"windows": 64})["rows"][1]
    assert not row["difference_paired"]
    assert row["difference_se"] == pytest.approx(2**0.5 / 8)
