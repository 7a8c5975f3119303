"""Epochs and what repeated tokens are worth: the formula of Muennighoff et al. 2023, arXiv 2305.16264."""

import pytest

from app.repetition import R_STAR, repetition


def test_one_pass_is_worth_its_tokens() -> None:
    once = repetition(1e6, 1_000_000)
    assert (once.epochs, once.worth, once.advice) == (1.0, 1e6, "once")


def test_less_than_a_pass_is_worth_what_is_read() -> None:
    part = repetition(2.5e5, 1_000_000)
    assert (part.epochs, part.worth, part.advice) == (0.25, 2.5e5, "part")


@pytest.mark.parametrize(
    ("epochs", "advice"), [(4, "fine"), (4.1, "diminishing"), (16, "diminishing"), (17, "useless")]
)
def test_the_advice_turns_at_four_and_at_sixteen(epochs: float, advice: str) -> None:
    assert repetition(epochs * 1e6, 1_000_000).advice == advice


def test_four_passes_are_nearly_as_good_as_new_and_endless_ones_end() -> None:
    assert repetition(4e6, 1_000_000).worth > 0.9 * 4e6
    assert repetition(1e12, 1_000_000).worth == pytest.approx((1 + R_STAR) * 1e6)


def test_copies_in_train_are_repetition_too() -> None:
    doubled = repetition(1e6, 1_000_000, repeated_share=0.5)
    assert (doubled.epochs, doubled.distinct_epochs) == (1.0, 2.0)
    assert doubled.worth < 1e6


@pytest.mark.parametrize(("distinct", "worth"), [(700_000_000, 5.80e9), (100_000_000, 1.63e9)])
def test_the_golden_runs_tokens_are_worth_less(distinct: int, worth: float) -> None:
    """science.md B.0: U = .7B gives D' = 5.80B, U = .1B gives 1.63B; B.4: R* = 15.39."""
    assert repetition(7_602_176_000.0, distinct).worth == pytest.approx(worth, rel=2e-3)
