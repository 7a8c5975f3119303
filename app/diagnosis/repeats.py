"""D04: how often the run reads its data, and what the passes after the first are still worth (2305.16264)."""

from app.diagnosis import scaling
from app.diagnosis.findings import Evidence, Experiment, Finding, Level
from app.diagnosis.observations import Observations
from app.repetition import AS_GOOD_AS_NEW, WORTH_LITTLE, repetition

WORTH_NOTHING = 40.0
"""Epochs beyond which a repeat teaches about nothing."""


def judge(o: Observations) -> Finding:
    if not o.train_tokens or not o.tokens_per_step:
        missing = tuple(name for name in ("train_tokens", "tokens_per_step") if not getattr(o, name))
        return Finding(
            "D04", "Data repetition", "not enough data", Level.unknown, "How often the data are read is not known.",
            needs="The tokens in the train split (of nanoGPT's train.bin: its bytes over 2) and the tokens of a step.",
            missing=missing, would_change="Those two numbers.",
        )  # fmt: skip
    repeated = min(0.999, max(0.0, o.duplicate_share or 0.0))
    so_far = repetition(max(1, o.tokens or 0), o.train_tokens, repeated)
    planned = o.planned_tokens if not o.ended and o.planned_tokens else o.tokens
    end = repetition(max(1, planned or 0), o.train_tokens, repeated)
    evidence = [
        Evidence("passes over the data so far", so_far.distinct_epochs, "epochs", limit=f"as good as new up to {AS_GOOD_AS_NEW:g}, little beyond {WORTH_LITTLE:g}"),
        Evidence("passes at the end", end.distinct_epochs, "epochs"),
        Evidence("worth so far", so_far.worth, "distinct tokens", limit=f"of {so_far.tokens:,.0f} read"),
    ]  # fmt: skip
    if repeated:
        evidence.append(Evidence("duplicates in train", repeated, "of its tokens"))
    cost = ""
    if o.parameters:
        penalty = _penalty(o.parameters, so_far.worth, so_far.tokens)
        evidence.append(Evidence("loss above that on fresh tokens", penalty, "nats", limit="by scaling laws"))
        cost = f", which costs about {penalty:.3f} nats against fresh text"
    epochs = end.distinct_epochs
    when = "by its end" if planned != o.tokens else "by now"
    sentence = f"{so_far.distinct_epochs:.1f} passes over {o.train_tokens:,} tokens so far, {epochs:.1f} {when}{cost}."
    steps = o.steps or o.step
    experiment = Experiment("more_data", "Does the loss fall faster on as many fresh tokens?", {}, steps)
    common = {"evidence": tuple(evidence), "would_change": "Another size of the train split."}
    confidence = "medium" if "train_tokens" in o.notes else "high"
    if epochs > WORTH_LITTLE:
        nothing = " Beyond 40 a repeat is worth about nothing." if epochs > WORTH_NOTHING else ""
        return Finding(
            "D04", "Data repetition", "too often", Level.warn, sentence + nothing, confidence=confidence,
            advice="More distinct text, or fewer steps; small models bear more passes than large ones.", experiment=experiment, **common,  # type: ignore[arg-type]
        )  # fmt: skip
    if epochs > AS_GOOD_AS_NEW:
        return Finding(
            "D04", "Data repetition", "repeats", Level.info, sentence, confidence=confidence,
            advice="More distinct text would be worth the difference; it is rarely the largest one.", experiment=experiment, **common,  # type: ignore[arg-type]
        )  # fmt: skip
    return Finding("D04", "Data repetition", "fresh enough", Level.ok, sentence, confidence=confidence, **common)  # type: ignore[arg-type]


def _penalty(parameters: int, worth: float, tokens: float) -> float:
    """Of the law's data term alone; Hoffmann's gives a twentieth more."""
    law = scaling.BESIROGLU
    return law.loss(parameters, min(worth, tokens)) - law.loss(parameters, tokens)
