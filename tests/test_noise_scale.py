"""D18: the noise scale of the gradient, from simulated gradients of known noise."""

import numpy as np
import pytest

from app.diagnosis import noise_scale
from app.diagnosis.findings import Level
from app.diagnosis.observations import Curve, Observations


def run(
    true_scale: float, micro: int = 4, accumulation: int = 8, samples: int = 400, seed: int = 0, **facts: object
) -> Observations:
    """Squared norms of gradients in 200 dimensions: G of length 1, each token's noise of variance `true_scale`."""
    rng = np.random.default_rng(seed)
    tokens = micro * 128
    g = np.zeros(200)
    g[0] = 1.0
    noise = rng.normal(0, np.sqrt(true_scale / 200 / tokens), (samples, accumulation, 200))
    first, mean = g + noise[:, 0], g + noise.mean(1)
    steps = 10 * np.arange(1, samples + 1)
    curves = {
        "noise/grad_sq_micro": Curve(steps, (first**2).sum(1)),
        "noise/grad_sq_batch": Curve(steps, (mean**2).sum(1)),
    }
    known = {"micro_batch": micro, "block_size": 128, "tokens_per_step": tokens * accumulation, **facts}
    return Observations(curves, step=10 * samples, **known)


@pytest.mark.parametrize("scale", [500.0, 5_000.0, 20_000.0])
def test_the_noise_that_was_put_in_comes_out(scale: float) -> None:
    found = noise_scale.judge(run(scale))
    assert found.evidence[0].value == pytest.approx(scale, rel=0.25)
    assert found.evidence[0].low <= found.evidence[0].value <= found.evidence[0].high


@pytest.mark.parametrize(("scale", "verdict"), [(800.0, "large"), (4_000.0, "fits"), (80_000.0, "small")])
def test_a_batch_is_judged_by_it(scale: float, verdict: str) -> None:
    found = noise_scale.judge(run(scale))
    assert found.verdict == verdict
    assert found.level in (Level.ok, Level.info)


def test_one_micro_batch_does_not_show_its_noise() -> None:
    found = noise_scale.judge(run(1000.0, accumulation=1))
    assert (found.level, found.needs[:3]) == (Level.unknown, "Two")


def test_a_gradient_that_is_all_noise_is_not_told_a_number() -> None:
    made = run(1000.0)
    micro = made.curves["noise/grad_sq_micro"]
    noise = Observations(
        {**made.curves, "noise/grad_sq_batch": Curve(micro.step, micro.value / 9)},
        step=made.step,
        micro_batch=4,
        block_size=128,
        tokens_per_step=4096,
    )
    assert noise_scale.judge(noise).verdict == "not to be told"


def test_few_samples_and_unknown_sizes_say_what_they_need() -> None:
    assert noise_scale.judge(run(1000.0, samples=20)).needs == "30 more samples; one is taken every 10 steps."
    assert noise_scale.judge(run(1000.0, micro_batch=None)).missing == ("micro_batch",)
    assert noise_scale.judge(Observations({}, step=0)) is None
