"""D05: does the model's size fit its tokens, and is its loss where scaling laws and its own relatives would have it?"""

import math

import numpy as np

from app.diagnosis import scaling
from app.diagnosis.findings import Evidence, Experiment, Finding, Level
from app.diagnosis.observations import Observations

OPTIMAL, FEW, MANY = 20.0, 10.0, 100.0
"""Tokens a parameter: about compute-optimal; under-trained below; above, a larger model would use the same compute better."""
OFF = 0.15
"""nats from where the run's own finished relatives lie."""
NEARLY_DONE = 0.95
WIDEST = 16_384
"""Channels, the most that a configuration takes."""


def judge(o: Observations) -> Finding:
    tokens = o.planned_tokens if not o.ended and o.planned_tokens else o.tokens
    if not o.parameters or not tokens:
        missing = tuple(name for name in ("parameters", "tokens_per_step") if not getattr(o, name))
        return Finding(
            "D05", "Model size", "not enough data", Level.unknown, "Tokens a parameter are not known.",
            needs="The number of parameters and the tokens of a step.", missing=missing, would_change="Those two numbers.",
        )  # fmt: skip
    ratio = tokens / o.parameters
    laws = [law.loss(o.parameters, tokens) for law in scaling.LAWS]
    evidence = [
        Evidence("tokens a parameter, at the end", ratio, "", limit=f"{OPTIMAL:g} is compute-optimal; few below {FEW:g}, many above {MANY:g}"),
        Evidence("final loss by scaling laws", scaling.loss(o.parameters, tokens), "nats", min(laws), max(laws), "another tokenizer and text: 0.1 to 0.3 too low on web text"),
    ]  # fmt: skip
    off = _off(o, tokens, evidence)
    if off is not None and off > OFF:
        return Finding(
            "D05", "Model size", "above its relatives", Level.warn,
            f"The loss is {off:.2f} nats above where the finished runs on this data put a model of this size.",
            evidence=tuple(evidence), confidence="medium" if len(o.relatives) > 1 else "low",
            because=f"Held against {len(o.relatives)} finished runs.", would_change="More finished runs to hold it against.",
            advice="Not the size: look at the learning rate, the data and the initial loss first.",
        )  # fmt: skip
    larger = _larger(o, tokens)
    if ratio > MANY:
        gain = f" Twice the parameters on half the tokens: {larger[1]:+.2f} nats at the same cost." if larger else ""
        return Finding(
            "D05", "Model size", "small for its tokens", Level.info,
            f"{ratio:.0f} tokens a parameter, {ratio / OPTIMAL:.0f} times the compute-optimal {OPTIMAL:g}: size limits this run more than data.{gain}",
            evidence=tuple(evidence), confidence="high" if ratio > 2 * MANY else "medium", because="Differences by these laws carry over to other data; levels do not.",
            would_change="A larger model at the same cost that is no better.",
            advice="For a lower loss at this cost make the model larger; for cheap inference the small one is right.",
            experiment=larger[0] if larger else None,
        )  # fmt: skip
    if ratio < FEW:
        return Finding(
            "D05", "Model size", "under-trained", Level.info,
            f"{ratio:.1f} tokens a parameter; about {OPTIMAL:g} are compute-optimal: a smaller model, or more tokens, would use this compute better.",
            evidence=tuple(evidence), confidence="high" if ratio < FEW / 2 else "medium", would_change="More steps.",
            advice=f"Train {OPTIMAL / ratio:.1f} times as long, or a model of {o.parameters * math.sqrt(ratio / OPTIMAL) / 1e6:.2g} M parameters at the same cost.",
        )  # fmt: skip
    return Finding(
        "D05", "Model size", "balanced", Level.ok, f"{ratio:.0f} tokens a parameter; about {OPTIMAL:g} are compute-optimal.",
        evidence=tuple(evidence), confidence="high", would_change="A tenth or ten times the tokens.",
    )  # fmt: skip


def _off(o: Observations, tokens: int, evidence: list[Evidence]) -> float | None:
    """nats above law + offset, the offset being that of finished relatives; only of a run that is nearly done."""
    curve = o.finite("val/loss")
    done = o.ended or (o.steps is not None and o.step >= NEARLY_DONE * o.steps)
    usable = [one for one in o.relatives if one.parameters > 0 and one.tokens > 0 and math.isfinite(one.loss)]
    if not usable or not done or not len(curve.step) or not o.parameters:
        return None
    offset = float(np.median([one.loss - scaling.loss(one.parameters, one.tokens) for one in usable]))
    off = float(curve.value[-3:].mean()) - scaling.loss(o.parameters, tokens) - offset
    evidence.append(Evidence("above its relatives", off, "nats", limit=f"much: {OFF}; their offset from the laws is {offset:+.2f}"))  # fmt: skip
    return off


def _larger(o: Observations, tokens: int) -> tuple[Experiment, float] | None:
    """About twice the parameters on half the tokens, 6·N·D being the cost; heads keep their size."""
    if not o.n_embd or not o.parameters or not o.steps or not o.tokens_per_step or not o.vocab_size or not o.n_layer:
        return None
    head = o.n_embd // o.n_head if o.n_head and o.n_embd % o.n_head == 0 else 64
    embedding = o.vocab_size * (1 if o.tied_head is not False else 2)

    def size(width: int) -> float:
        return 12.0 * (o.n_layer or 0) * width**2 + embedding * width

    widths = range(o.n_embd + head, min(4 * o.n_embd, WIDEST) + 1, head)
    if not widths:
        return None
    width = min(widths, key=lambda one: abs(size(one) / size(o.n_embd or 1) - 2))
    factor = size(width) / size(o.n_embd)
    steps = max(1, round(o.steps / factor))
    changes = {"model.n_embd": width, "model.n_head": width // head, "schedule.steps": steps, "schedule.decay_steps": None,
               "schedule.warmup_steps": min(o.warmup_steps, steps)}  # fmt: skip
    gain = scaling.loss(o.parameters * factor, tokens / factor) - scaling.loss(o.parameters, tokens)
    question = f"Is a model of {factor:.1f} times the parameters better at the same cost, as the laws expect ({gain:+.2f} nats)?"  # fmt: skip
    return Experiment("larger_model", question, changes, steps), gain
