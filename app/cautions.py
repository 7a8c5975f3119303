"""What speaks against a run before it starts: warnings whose text names the numbers and the way out. Pure."""

import math
from typing import NamedTuple

from app import decay
from app.contract.config import RunConfig
from app.contract.dataset import Manifest
from app.decay_groups import Decayed
from app.memory import Fit
from app.repetition import Repetition

TOKENS_PER_PARAMETER = 20.0
"""About compute-optimal for one pass over the data (Hoffmann et al. 2022)."""
MANY_EPOCHS = 4.0
"""Up to about four passes, repeated tokens are worth almost as much as fresh ones (Muennighoff et al. 2305.16264)."""
USELESS_EPOCHS = 40.0
"""Beyond it, more passes are worth nothing (same source)."""


class Caution(NamedTuple):
    kind: str
    text: str


def of_decay(config: RunConfig, total: float, decayed: Decayed, first_step: int) -> list[Caution]:
    """`total`: Λ of the steps to come."""
    schedule, optim = config.schedule, config.optim
    given, coupled = optim.weight_decay, decay.coupled(config.schedule, config.optim)
    found: list[Caution] = []
    if optim.optimizer == "adam_l2" and given:
        found.append(
            Caution(
                "decay_l2",
                "With adam_l2, λ goes through the gradient and Adam's denominator: Λ and its timescale say nothing here. AdamW decays as they say.",
            )
        )
    match decay.judge(total, coupled):
        case "inert" if not first_step:  # a fork's few steps come after all those in which λ has worked
            needed = given * decay.INFORMATIVE[0] / total if total else math.inf
            say = f"; λ ≥ {needed:.2g} would be visible" if math.isfinite(needed) else ""
            found.append(
                Caution(
                    "decay_inert",
                    f"λ = {given:g} cannot matter in this run: Λ = Σ lr·λ = {total:.2g}, {decay.init_keep(total):.0%} of the initial weights are left, and less than {decay.INERT_DIFFERENCE:g} nats of difference from λ = 0 are to be expected{say}.",
                )
            )
        case "over":
            found.append(
                Caution(
                    "decay_over",
                    f"λ = {given:g} is very strong here: Λ = {total:.3g}; weights are forgotten every {decay.timescale_steps(schedule.lr, coupled):,.0f} steps.",
                )
            )
        case _:
            pass
    if schedule.lr * coupled >= 1:
        found.append(
            Caution(
                "decay_step",
                f"lr·λ = {schedule.lr * coupled:.3g} wipes out or flips every decayed weight in one step; keep it far below 1.",
            )
        )
    return found + (_of_the_rule(config, decayed) if given else [])


def _of_the_rule(config: RunConfig, decayed: Decayed) -> list[Caution]:
    found: list[Caution] = []
    if decayed.everything:
        found.append(
            Caution(
                "decay_all",
                f"All {decayed.of_tensors} tensors decay, norms and biases too, whose gains are pulled towards 0. OLMo-2 does so; GPT-1, nanoGPT and most others spare them.",
            )
        )
    if decayed.rule == "matrices" and config.model.tied_head:
        found.append(
            Caution(
                "decay_tied",
                "The output head is the token embedding (tied): sparing embeddings spares the head as well. Untie the head (model.tied_head) to decay it alone.",
            )
        )
    if decayed.idle_patterns:
        found.append(
            Caution("decay_pattern_idle", f"No tensor fits {', '.join(decayed.idle_patterns)}: is the name misspelt?")
        )
    return found


def of_length(config: RunConfig, tokens_per_parameter: float) -> list[Caution]:
    found: list[Caution] = []
    if config.checkpoint.every == 0 and config.schedule.steps > 20_000:
        found.append(
            Caution("few_checkpoints", "Only start, best and end are kept: a crash goes back to the best one.")
        )
    if tokens_per_parameter < 1:
        found.append(
            Caution(
                "few_tokens",
                f"{tokens_per_parameter:.2g} tokens per parameter; about {TOKENS_PER_PARAMETER:.0f} are compute-optimal, so a smaller model would learn more in this time.",
            )
        )
    return found


def of_devices(config: RunConfig, most: int | None) -> list[Caution]:
    """`most`: devices of the largest worker that is there; None where nobody has looked."""
    asked = config.system.devices
    if most is None or most >= asked or asked == 1:
        return []
    has = f"the largest that is there has {most}" if most else "none is there"
    return [
        Caution(
            "too_few_devices",
            f"No worker has the {asked} devices that this run asks for; {has}. It would wait for one: start such a worker, or ask for fewer devices.",
        )
    ]


def of_memory(config: RunConfig, fits: list[Fit]) -> list[Caution]:
    """Nothing as long as the run sits well on one device that may take it."""
    if not fits or any(fit.verdict == "fits" for fit in fits):
        return []
    best = min(fits, key=lambda fit: fit.total_gib / fit.free_gib)
    where = f"about {best.total_gib:.1f} GiB of {best.device}'s {best.free_gib:.1f} GiB"
    cuts = [offer for offer in best.offers if offer.micro_batch != config.batch.micro_batch]
    if cuts:
        way_out = f" Micro-batch {cuts[0].micro_batch} with accumulation {cuts[0].accumulation} is the same step."
    elif config.system.recompute:
        way_out = " Take a smaller model or a shorter context."
    else:
        way_out = " Recompute activations, or take a smaller model or a shorter context."
    if best.verdict == "tight":
        return [Caution("memory_tight", f"A step takes {where}: it may run out of memory.{way_out}")]
    return [Caution("memory_too_large", f"A step takes {where}: it does not fit.{way_out}")]


def of_data(
    config: RunConfig, manifest: Manifest, repetition: Repetition | None, penalty: float | None
) -> list[Caution]:
    found: list[Caution] = []
    window = config.model.block_size + 1
    for split, tokens in (("training", manifest.train.tokens), ("validation", manifest.val.tokens)):
        if tokens < window:
            found.append(
                Caution(
                    "data_too_small", f"The {split} split has {tokens:,} tokens, fewer than one window of {window:,}."
                )
            )
    epochs = repetition.epochs if repetition else 0.0
    if epochs > MANY_EPOCHS:
        worth = (
            "more of them teach nothing"
            if epochs > USELESS_EPOCHS
            else "repeated tokens teach less and over-fitting becomes likely"
        )
        costs = f"; expect about {penalty:.2g} nats more than on new text" if penalty else ""
        found.append(
            Caution(
                "many_epochs", f"{epochs:.1f} passes over the data; beyond about {MANY_EPOCHS:.0f}, {worth}{costs}."
            )
        )
    windows = manifest.val.tokens // config.model.block_size
    if 0 < windows < config.eval.windows:
        found.append(
            Caution(
                "few_windows",
                f"The validation split has {windows:,} windows of this length; all of them are used instead of {config.eval.windows:,}.",
            )
        )
    return found
