"""Three rules for λ: science.md A.3's formulas, the golden run's λ of B.0, and what they do not speak of."""

import pytest

from app.contract.config import RunConfig
from app.contract.presets import PRESETS
from app.decay_laws import power_lines_timescale, priors

GOLDEN = PRESETS["fineweb-40m"].config
SIZE = 40_560_000  # science.md P2: nanoGPT's count, without positions


def law(key: str, config: RunConfig = GOLDEN, tokens: int | None = 700_000_000):
    found = priors(config, SIZE, tokens)
    assert found is not None
    return next(one for one in found.laws if one.key == key)


def test_power_lines_for_the_golden_run():
    """science.md B.0: Power-Lines τ_opt .058 ⇒ λ ≈ .86 (prior only)."""
    assert power_lines_timescale(GOLDEN.total_tokens / SIZE) == pytest.approx(0.058, abs=1e-4)
    found = law("power_lines")
    assert found.weight_decay == pytest.approx(0.86, abs=5e-3)
    assert not found.within, "40M parameters and fifteen epochs are not what it was fitted on"


def test_a_timescale_between_one_epoch_and_all_of_them():
    """science.md A.3: λ = B/(lr·U·τ_epoch), 1 ≲ τ_epoch ≲ epochs_total."""
    found = law("wang")
    assert found.high == pytest.approx(524_288 / (1e-3 * 7e8))
    assert found.low == pytest.approx(found.high / (GOLDEN.total_tokens / 7e8))
    assert found.low < found.weight_decay < found.high
    assert law("wang", tokens=None).weight_decay is None
    assert "less than one" in law("wang", tokens=20_000_000_000).note


def test_nanochats_scaling():
    """science.md A.3: λ_ref·√(B/B_ref)·D_ref/D, here at B_ref."""
    assert law("nanochat").weight_decay == pytest.approx(0.28 * 1.3e9 / GOLDEN.total_tokens, rel=1e-6)


def test_they_are_shown_with_their_disagreement_and_a_grid_that_holds_them():
    found = priors(GOLDEN, SIZE, 700_000_000)
    said = [one.weight_decay for one in found.laws]
    assert found.disagreement == pytest.approx(max(said) / min(said))
    assert found.disagreement > 20
    assert found.grid[0] == 0
    assert found.grid[1] < min(said) < max(said) < found.grid[-1]
    assert len(found.grid) <= 9


def test_l2_in_the_gradient_has_no_rules():
    config = GOLDEN.model_copy(update={"optim": GOLDEN.optim.model_copy(update={"optimizer": "adam_l2"})})
    assert priors(config, SIZE, None) is None


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_gets_a_grid_that_can_be_launched(preset):
    found = priors(PRESETS[preset].config, 1_300_000, 3_000_000)
    for weight_decay in found.grid:
        RunConfig.model_validate({"optim": {"weight_decay": weight_decay}})
