"""D20: the loss before anything is learnt, which is known beforehand, and the loss of knowing frequencies only, which must be passed.

L₀ = ln V + d·σ²/2    logits of a normalised stream against an embedding of spread σ = 0.02
"""

import math

from app.diagnosis.findings import Evidence, Finding, Level, Mark
from app.diagnosis.observations import Curve, Observations

SIGMA = 0.02
OFF = 0.15
"""nats (science.md B.9)."""
STUCK, AFTER, LEAST_EVALUATIONS = 0.05, 0.2, 5
"""Within so many nats of the unigram entropy, after so much of the run: it has learnt how frequent tokens are, and no more."""


def judge(o: Observations) -> Finding | None:
    stuck = _stuck(o)
    if stuck is not None:
        return stuck
    start = _first(o)
    if start is None:
        if o.first_step or o.pretrained:
            return None
        return Finding(
            "D20", "Initial loss", "not enough data", Level.unknown, "The log has no loss from before the first update.",
            needs="An evaluation at step 0, or the train loss of the first step.", would_change="The log's beginning.",
        )  # fmt: skip
    if o.pretrained:
        return None
    step, loss = start
    if not o.vocab_size or o.vocab_size < 2:
        return Finding(
            "D20", "Initial loss", "not enough data", Level.unknown, f"The run began at {loss:.3f} nats; what it should have been depends on the vocabulary.",
            evidence=(Evidence("initial loss", loss, "nats"),), needs="The model's vocabulary size, padding included.", missing=("vocab_size",),
            would_change="That number.",
        )  # fmt: skip
    flat = math.log(o.vocab_size)
    blank = o.zero_init is True and o.tied_head is False
    spread = 0.0 if blank or not o.n_embd else o.n_embd * SIGMA**2 / 2
    due, off = flat + spread, loss - flat - spread
    evidence = (
        Evidence("initial loss", loss, "nats", limit=f"at step {step}"),
        Evidence("expected, ln V + d·σ²/2", due, "nats", due - OFF, due + OFF, f"V {o.vocab_size:,}" + (f", d {o.n_embd:,}" if o.n_embd else ", width not known")),
        Evidence("off by", off, "nats", limit=f"wrong beyond ±{OFF}"),
    )  # fmt: skip
    if abs(off) <= OFF:
        return Finding(
            "D20", "Initial loss", "as expected", Level.ok, f"It began at {loss:.3f} nats, {off:+.3f} from what {o.vocab_size:,} tokens give.",
            evidence=evidence, confidence="high", would_change="Another vocabulary or initialisation.",
        )  # fmt: skip
    reason = (
        "the weights were spread too far, or the targets are not the tokens they should be"
        if off > 0
        else "the weights were trained before, the vocabulary is smaller than stated, or targets leak into the input"
    )
    return Finding(
        "D20", "Initial loss", "too high" if off > 0 else "too low", Level.warn,
        f"It began at {loss:.3f} nats where {due:.3f} is expected of {o.vocab_size:,} tokens: {reason}.",
        evidence=evidence, confidence="high" if abs(off) > 3 * OFF and o.n_embd else "medium", would_change="The right vocabulary size, or weights that were not fresh.",
        missing=() if o.pretrained is False else ("pretrained",), advice="Check the vocabulary size, the shift of the targets by one, and the initialisation.",
        marks=(Mark(step, step, "initial loss"),),
    )  # fmt: skip


def _first(o: Observations) -> tuple[int, float] | None:
    """From before the first update: validation or train at step 0, or the first step's own train loss."""
    if o.first_step:
        return None
    for key, last in (("val/loss", 0), ("eval/train_loss", 0), ("train/loss", 1)):
        curve: Curve = o.finite(key)
        if len(curve.step) and curve.step[0] <= last:
            return int(curve.step[0]), float(curve.value[0])
    return None


def _stuck(o: Observations) -> Finding | None:
    entropy = o.unigram_entropy
    curve = o.finite("val/loss").between(max(1, o.warmup_steps), math.inf)
    total = o.steps or o.step
    if entropy is None or len(curve.step) < LEAST_EVALUATIONS or o.step < AFTER * total:
        return None
    best = float(curve.value.min())
    if best < entropy - STUCK:
        return None
    return Finding(
        "D20", "Initial loss", "stuck at frequencies", Level.warn,
        f"After {o.step:,} steps the best validation loss, {best:.3f} nats, is not below {entropy:.3f}, what knowing only how frequent tokens are would give.",
        evidence=(Evidence("best validation loss", best, "nats"), Evidence("unigram entropy", entropy, "nats", limit=f"learning begins {STUCK} below")),
        confidence="high", would_change="A loss below the unigram entropy.",
        advice="Check that inputs and targets belong together, then try a tenth of the learning rate.",
        marks=(Mark(int(curve.step[0]), int(curve.step[-1]), "no better than frequencies"),),
    )  # fmt: skip
