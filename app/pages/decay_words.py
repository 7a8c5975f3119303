"""What each number about weight decay says, and what it does not: the help beside it, right where common claims are wrong."""

from typing import NamedTuple

from app.i18n import N_


class Word(NamedTuple):
    title: str
    text: str


WORDS: dict[str, Word] = {
    "total": Word(
        N_("Decay over the whole run, Λ"),
        N_("The sum of lr·λ over all steps. Below 0.1 decay cannot show; between 0.5 and 10 it can be studied; above 20 the weights are forgotten many times over. λ alone says nothing: it acts only through the learning rate and the number of steps."),
    ),
    "effective": Word(
        N_("Effective decay, lr·λ"),
        N_("The share that a step takes off every decayed weight. AdamW adds nothing to the loss or its gradient, as is often said of weight decay; it shrinks the weights beside the update, in step with the learning rate."),
    ),
    "half_life": Word(
        N_("Half-life"),
        N_("Steps after which half of a weight would be left if no gradient held it, at the peak learning rate: ln 2 / −ln(1 − lr·λ)."),
    ),
    "timescale": Word(
        N_("Timescale, 1/(lr·λ)"),
        N_("The last weights are roughly a mean of the updates of so many steps. If it is much longer than the run, λ is inert: 0.1 at a fine-tuning rate of 5e-5 takes 200,000 steps."),
    ),
    "left": Word(
        N_("Initial weights left"),
        N_("exp(−Λ). It does not measure over-fitting: with about one pass over the data decay works through the optimisation and can lower the training loss too; as a regulariser it counts where data repeat many times."),
    ),
    "age": Word(
        N_("Mean age of what is kept"),
        N_("The last weights are a weighted mean of all updates; this is how old those are on average, with the whole schedule counted in."),
    ),
    "rms": Word(
        N_("Equilibrium RMS, √(lr/2λ)"),
        N_("Where the weights' size settles when decay and noisy AdamW updates balance. Right for matrices behind a norm; a reference, not a target: gradients that agree hold weights above it, and short runs never reach it."),
    ),
    "rotation": Word(
        N_("Equilibrium rotation"),
        N_("By how much such a matrix turns in each step once it has settled: √(2·lr·λ·(1−β₁)/(1+β₁)). λ decides how fast directions change, not only how large weights are."),
    ),
    "groups": Word(
        N_("Which tensors decay"),
        N_("Sparing biases and norms goes back to GPT-1 (2018). Decaying embeddings is a convention: nanoGPT and llm.c do it, OLMo-2 does not, and with a tied head the token embedding is the output head as well."),
    ),
    "priors": Word(
        N_("Three rules for λ"),
        N_("Where a sweep may begin, never a verdict. At 163M parameters 0.01 did better than 0.1, and 0.1 better than the 0.337 of the second rule; in four-layer runs on a CPU λ = 0 was best where it says 1."),
    ),
    "share": Word(
        N_("Decay share"),
        N_("How large the part of decay is in the length of an update. A large share means that the gradients hardly move the weights any more."),
    ),
    "ratio": Word(
        N_("Update ratio"),
        N_("Length of an update against that of the weights, decay included. It grows when decay makes the weights smaller: decay raises the effective learning rate."),
    ),
}  # fmt: skip
"""In the order in which they are explained."""
PREFLIGHT = ("total", "effective", "half_life", "timescale", "left", "age", "rms", "rotation", "groups", "priors")
RUN = ("total", "effective", "half_life", "timescale", "left", "rms", "ratio", "rotation", "share", "groups")
