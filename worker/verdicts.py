"""What a quality report's numbers mean: one sentence each, ok, a note or a warning, with what to do about it.

Thresholds: ../docs/data.md says where each comes from.
"""

from collections.abc import Iterator

from app.contract.quality import Finding, QualityReport

LEAK_WARNING = 0.01
LEAK_NOTE = 0.001
COPIES_WARNING = 0.10
COPIES_NOTE = 0.01
NEAR_WARNING = 0.20
NEAR_NOTE = 0.05
REPEATS_WARNING = 0.20
REPEATS_NOTE = 0.05
VAL_TOKENS_WARNING = 1_000_000
VAL_TOKENS_GOOD = 10_000_000
UNLIKE_Z = 4.0
UNLIKE_WARNING_NATS = 0.01
NEVER_SEEN_NOTE = 0.2
UNKNOWN_NOTE = 0.001
ONE_DOCUMENT_WARNING = 0.10
ONE_DOCUMENT_NOTE = 0.02
LEAKED_DOCUMENTS = (
    "Remove leaked validation (drop_leaked_val) takes the whole documents out; passages that documents share stay."
)
LEAKED_PASSAGES = (
    "No whole document is in both: these are passages, as quotations and near copies share them. Remove leaked validation "
    "(drop_leaked_val) does not take them out; removing near copies from the sources does."
)
RATIO_LOW, RATIO_HIGH = 1.5, 5.0


def findings(of: QualityReport) -> list[Finding]:
    """Warnings first, then notes, then what is well; in each the most consequential first."""
    made = [*_unusable(of), *_leakage(of), *_duplicates(of), *_validation(of), *_vocabulary(of), *_shape(of)]
    return sorted(made, key=lambda one: ("warning", "note", "ok").index(one.level))


def _level(value: float, note: float, warning: float) -> str:
    return "warning" if value >= warning else "note" if value >= note else "ok"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0995 or share == 0 else f"{share:.2%}" if share >= 0.0001 else "less than 0.01%"


def _finding(key: str, level: str, text: str, advice: str = "", **numbers: float) -> Finding:
    return Finding.model_validate({"key": key, "level": level, "text": text, "advice": advice, "numbers": numbers})


def _unusable(of: QualityReport) -> Iterator[Finding]:
    use = of.vocabulary
    if use.beyond:
        text = f"{use.beyond:,} tokens have ids beyond the vocabulary of {use.entries:,}: training on them would fail."
        yield _finding("vocabulary", "warning", text, "Check the token files' number type and the vocabulary's size.", tokens=use.beyond)  # fmt: skip


def _leakage(of: QualityReport) -> Iterator[Finding]:
    leak = of.leakage
    if leak.window_share is not None:
        level = _level(leak.window_share, LEAK_NOTE, LEAK_WARNING)
        text = f"{_percent(leak.window_share)} of validation's 32-token windows occur in train"
        text += ": its loss flatters the model." if level == "warning" else "."
        whole = max(leak.documents or 0, leak.normalised_documents or 0)
        advice = "" if level == "ok" else LEAKED_DOCUMENTS if whole else LEAKED_PASSAGES
        yield _finding("leakage", level, text, advice, share=leak.window_share)
    share = max((one for one in (leak.share, leak.normalised_share) if one is not None), default=None)
    if share is not None and leak.documents is not None:
        normalised = (
            f", {leak.normalised_documents:,} after normalising" if leak.normalised_documents is not None else ""
        )
        text = (
            f"{leak.documents:,} of {of.val.documents:,} validation documents are in train word for word{normalised}."
        )
        advice = ""
        if share > 0:
            advice = "Split by a hash of the text, and remove leaked validation (drop_leaked_val)."
        yield _finding("leakage", _level(share, 1e-9, LEAK_WARNING), text, advice, share=share)


def _duplicates(of: QualityReport) -> Iterator[Finding]:
    if of.exact is not None:
        share = of.exact.token_share
        text = f"{_percent(share)} of tokens are exact repeats of another document"
        if of.exact.documents:
            text += f" ({of.exact.documents:,} documents; the most repeated occurs {of.exact.most:,} times)"
            if of.train.distinct_tokens is not None and share >= COPIES_WARNING:
                times = of.train.tokens / max(1, of.train.distinct_tokens)
                text += f"; one epoch reads train's distinct text {times:.2f} times"
        advice = "Drop exact duplicates in the dataset's settings." if share >= COPIES_NOTE else ""
        yield _finding("duplicates", _level(share, COPIES_NOTE, COPIES_WARNING), text + ".", advice, share=share)
    if of.exact is not None and of.normalised is not None:
        share = of.normalised.token_share - of.exact.token_share
        text = f"A further {_percent(share)} of tokens are repeats in another layout (case or white space)."
        advice = "Drop duplicates after normalising." if share >= COPIES_NOTE else ""
        yield _finding("duplicates", _level(share, COPIES_NOTE, COPIES_WARNING), text, advice, share=share)
    if of.near is not None:
        near = of.near
        among = f"a sample of {near.compared:,}" if near.sampled else f"{near.compared:,}"
        text = f"{_percent(near.share)} of {among} distinct documents are near duplicates of another one."
        if near.val_in_train:
            text += f" {near.val_in_train:,} of {near.val_documents:,} validation documents are near ones of train."
        yield _finding("near", _level(near.share, NEAR_NOTE, NEAR_WARNING), text, share=near.share)
    if of.repeats.share is not None:
        share = of.repeats.share
        text = f"{_percent(share)} of train's 32-token windows occur earlier in train."
        yield _finding("windows", _level(share, REPEATS_NOTE, REPEATS_WARNING), text, share=share)


def _validation(of: QualityReport) -> Iterator[Finding]:
    tokens = of.val.tokens
    level = "warning" if tokens < VAL_TOKENS_WARNING else "note" if tokens < VAL_TOKENS_GOOD else "ok"
    text = f"Validation has {tokens:,} tokens"
    text += {
        "warning": ": too few to tell small differences in loss from noise.",
        "note": "; with 10 million, small differences in loss stand out from noise.",
        "ok": ".",
    }[level]
    yield _finding(
        "val_tokens", level, text, "Raise the validation share." if level == "warning" else "", tokens=tokens
    )
    like = of.likeness
    if like is not None:
        excess = like.distance - like.noise
        z = excess / max(like.noise_sd, 1e-9)
        unlike = z > UNLIKE_Z and like.distance > like.noise_99
        level = "ok" if not unlike else "warning" if excess >= UNLIKE_WARNING_NATS else "note"
        numbers = f"distance {like.distance:.4f} nats; random splits: {like.noise:.4f} ± {like.noise_sd:.4f}"
        text = f"Validation {'does not look' if unlike else 'looks'} like train ({numbers})."
        advice = "Split by a hash of each document's text." if unlike else ""
        yield _finding("likeness", level, text, advice, distance=like.distance, noise=like.noise, z=z)


def _vocabulary(of: QualityReport) -> Iterator[Finding]:
    use = of.vocabulary
    share = use.never_seen / use.entries
    text = f"{use.seen:,} of {use.entries:,} vocabulary entries occur in train; {_percent(share)} never do."
    advice = "A smaller vocabulary, learnt from this text, spends fewer parameters." if share >= NEVER_SEEN_NOTE else ""
    yield _finding("vocabulary", "note" if share >= NEVER_SEEN_NOTE else "ok", text, advice, share=share)
    unknown = use.val_only_tokens / max(1, of.val.tokens)
    if unknown >= UNKNOWN_NOTE:
        text = f"{_percent(unknown)} of validation's tokens have ids that never occur in train."
        yield _finding("vocabulary", "note", text, share=unknown)


def _shape(of: QualityReport) -> Iterator[Finding]:
    if of.extremes is not None:
        ends = of.extremes
        level = _level(ends.longest_share, ONE_DOCUMENT_NOTE, ONE_DOCUMENT_WARNING)
        text = f"The longest document has {ends.longest:,} tokens, {_percent(ends.longest_share)} of all."
        yield _finding("lengths", level, text, share=ends.longest_share)
        if ends.empty_documents:
            text = f"{ends.empty_documents:,} documents are empty."
            yield _finding("empty", "note", text, documents=ends.empty_documents)
    if of.compression is not None:
        ratio = of.compression.ratio
        text = f"The text compresses {ratio:.2f} times"
        if ratio < RATIO_LOW:
            yield _finding("compression", "note", text + ": it is close to random, as encoded or binary data is.", ratio=ratio)  # fmt: skip
        elif ratio > RATIO_HIGH:
            yield _finding("compression", "note", text + ": it repeats itself a great deal.", ratio=ratio)
        else:
            yield _finding("compression", "ok", text + ", as ordinary text does.", ratio=ratio)
