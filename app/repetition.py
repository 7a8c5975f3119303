"""How often a run sees its data, and what tokens that it has seen before are still worth.

Muennighoff et al. 2023, "Scaling Data-Constrained Language Models" (arXiv 2305.16264): with U distinct tokens and
R repetitions beyond the first pass, the run learns as from D' = U + U·R*·(1 − exp(−R/R*)) distinct tokens.
"""

import math
from typing import Literal, NamedTuple

R_STAR = 15.39
"""The paper's fit of R* for data."""
AS_GOOD_AS_NEW = 4.0
"""Epochs up to which its runs could hardly be told from runs on new data."""
WORTH_LITTLE = 16.0
"""Epochs about which more repetition stops to pay."""

Advice = Literal["part", "once", "fine", "diminishing", "useless"]


class Repetition(NamedTuple):
    tokens: float  #: the run's
    epochs: float  #: passes over all train tokens
    distinct_epochs: (
        float  #: passes over the train tokens that are there for the first time; more where text is repeated
    )
    worth: float  #: the distinct tokens that it learns as from, D'
    advice: Advice


def repetition(tokens: float, train_tokens: int, repeated_share: float = 0.0) -> Repetition:
    """A run of `tokens` on a dataset. `repeated_share`: of its train tokens, in documents that stand there already."""
    assert tokens > 0, f"a run sees tokens, not {tokens}"
    assert train_tokens > 0, f"a dataset has train tokens, not {train_tokens}"
    assert 0 <= repeated_share < 1, f"a share of repeated tokens is below 1, not {repeated_share}"
    distinct = train_tokens * (1 - repeated_share)
    epochs = tokens / distinct
    again = max(0.0, epochs - 1)
    worth = min(tokens, distinct) + distinct * R_STAR * (1 - math.exp(-again / R_STAR))
    advice: Advice
    if epochs < 0.995:
        advice = "part"
    elif epochs <= 1.5:
        advice = "once"
    elif epochs <= AS_GOOD_AS_NEW:
        advice = "fine"
    elif epochs <= WORTH_LITTLE:
        advice = "diminishing"
    else:
        advice = "useless"
    return Repetition(tokens, tokens / train_tokens, epochs, worth, advice)
