"""A small quality report with made-up numbers, and changes to it: for tests only."""

from typing import Any

from app.contract.quality import (
    Beyond,
    Compression,
    Copies,
    Entropy,
    Extremes,
    Leakage,
    Lengths,
    Likeness,
    NearCopies,
    QualityReport,
    SplitNumbers,
    Vocabulary,
    WindowRepeats,
)


def small_report(**changes: Any) -> QualityReport:
    """A dataset with nothing to complain about but the size of its validation split."""
    lengths = Lengths(edges=[0, 1, 2], documents=[0, 9], mean=1.0, quantiles={"min": 1, "median": 1, "max": 1})
    none = Copies(documents=0, share=0.0, tokens=0, token_share=0.0, most=1)

    def split(tokens: int) -> SplitNumbers:
        return SplitNumbers(tokens=tokens, documents=tokens // 1000, characters=4 * tokens, bytes=4 * tokens,
                            bytes_per_token=4.0, distinct_tokens=tokens, lengths=lengths)  # fmt: skip

    made = QualityReport(
        train=split(90_000_000),
        val=split(10_000_000),
        exact=none,
        normalised=none,
        near=NearCopies(compared=1000, sampled=False, documents=0, share=0.0, tokens=0, token_share=0.0, threshold=0.5,
                        permutations=128, bands=32, val_documents=100, val_in_train=0),
        leakage=Leakage(documents=0, share=0.0, normalised_documents=0, normalised_share=0.0, windows=9, window_share=0.0,
                        drawn_one_in=1),
        repeats=WindowRepeats(windows=9, share=0.0, drawn_one_in=1),
        entropy=Entropy(unigram=7.6, bigram=5.0, bigram_tokens=9),
        compression=Compression(ratio=2.6, bytes=9),
        extremes=Extremes(empty_documents=0, beyond=[Beyond(context=256, documents=0.5, tokens=0.9)], longest=1000,
                          longest_share=0.001, longest_percent_share=0.1),
        vocabulary=Vocabulary(entries=1000, seen=990, never_seen=10, rare=5, val_only_tokens=0, beyond=0),
        likeness=Likeness(distance=0.01, noise=0.01, noise_sd=0.001, noise_99=0.013, draws=200, unit="documents"),
    )  # fmt: skip
    return made.model_copy(update=changes)
