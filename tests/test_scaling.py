"""Published laws, at the numbers worked out for the 40 M-parameter run."""

import pytest

from app.diagnosis import scaling

N = 40_559_616  # without positions


@pytest.mark.parametrize(
    ("step", "hoffmann", "besiroglu"), [(10_000, 3.522, 3.487), (14_500, 3.445, 3.413), (20_000, 3.385, 3.357)]
)
def test_the_laws_give_the_published_levels(step: int, hoffmann: float, besiroglu: float) -> None:
    tokens = step * 524_288
    assert scaling.HOFFMANN.loss(N, tokens) == pytest.approx(hoffmann, abs=1e-3)
    assert scaling.BESIROGLU.loss(N, tokens) == pytest.approx(besiroglu, abs=1e-3)


def test_the_slope_is_that_of_the_law() -> None:
    tokens = 7.6e9
    assert [law.slope(tokens) for law in scaling.LAWS] == pytest.approx([-0.197, -0.185], abs=1e-3)
    wider = scaling.HOFFMANN.loss(N, tokens * 1.01) - scaling.HOFFMANN.loss(N, tokens)
    assert wider == pytest.approx(scaling.HOFFMANN.slope(tokens) * 0.00995, rel=0.01)


def test_the_learning_rates_are_those_worked_out_before() -> None:
    assert scaling.rate_by_size(21.2e6) == pytest.approx(8.9e-4, rel=0.01)
    assert scaling.rate_by_compute(1.85e18) == pytest.approx(1.6e-3, rel=0.02)
    assert scaling.rate_by_size(1e12) > 0
