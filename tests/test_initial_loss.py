"""D20: the loss before anything is learnt."""

import numpy as np
import pytest

from app.diagnosis import initial_loss
from app.diagnosis.findings import Finding, Level
from app.diagnosis.observations import Curve, Observations


def begun(loss: float, vocab: int | None = 50_304, width: int | None = 384, **facts: object) -> Finding | None:
    return initial_loss.judge(
        Observations(
            {"val/loss": Curve(np.array([0, 500]), np.array([loss, 6.0]))},
            step=500,
            vocab_size=vocab,
            n_embd=width,
            **facts,
        )
    )


@pytest.mark.parametrize(
    ("loss", "vocab", "width"),
    # 10.87 to 10.903 and 4.1676 were measured; 10.969 and 11.009 in logs of a 124 M model
    [(10.87, 50_304, 384), (10.903, 50_304, 384), (10.969, 50_304, 768), (11.009, 50_304, 768), (4.1676, 65, 128)],
)
def test_measured_initial_losses_are_as_expected(loss: float, vocab: int, width: int) -> None:
    assert begun(loss, vocab, width).verdict == "as expected"


def test_the_expected_loss_is_the_formulas() -> None:
    assert begun(10.9).evidence[1].value == pytest.approx(10.9026, abs=1e-4)


def test_a_wrong_vocabulary_is_seen_at_once() -> None:
    high, low = begun(10.87, vocab=32_000), begun(10.87, vocab=100_277)
    assert (high.verdict, high.level) == ("too high", Level.warn)
    assert (low.verdict, low.level) == ("too low", Level.warn)


def test_an_untied_head_of_zeros_begins_at_the_logarithm_itself() -> None:
    assert begun(np.log(50_304), width=2048, tied_head=False, zero_init=True).evidence[1].value == pytest.approx(
        10.8258, abs=1e-4
    )


def test_weights_trained_before_are_not_judged_and_a_missing_beginning_is_told() -> None:
    assert begun(3.3, pretrained=True) is None
    late = Observations({"val/loss": Curve(np.array([500]), np.array([6.0]))}, step=500, vocab_size=50_304)
    assert initial_loss.judge(late).level == Level.unknown
    fork = Observations({"val/loss": Curve(np.array([500]), np.array([6.0]))}, step=500, first_step=500)
    assert initial_loss.judge(fork) is None
    assert begun(10.9, vocab=None).missing == ("vocab_size",)


def test_a_run_that_knows_frequencies_only_is_told_and_a_learning_one_is_not() -> None:
    steps = np.arange(0, 2001, 200)
    stuck = Curve(steps, np.where(steps == 0, 10.9, 7.6))
    known = {"step": 2000, "steps": 4000, "vocab_size": 50_304, "n_embd": 384, "unigram_entropy": 7.57}
    found = initial_loss.judge(Observations({"val/loss": stuck}, **known))
    assert (found.verdict, found.level) == ("stuck at frequencies", Level.warn)
    learning = Curve(steps, np.where(steps == 0, 10.9, 7.6 - steps / 2000))
    assert initial_loss.judge(Observations({"val/loss": learning}, **known)).verdict == "as expected"
    early = initial_loss.judge(Observations({"val/loss": stuck}, **{**known, "steps": 20_000}))
    assert early.verdict == "as expected"
