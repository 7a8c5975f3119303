"""Ready-made experiments: a question, why it is open, and the sweep that answers it on the built-in data."""

from dataclasses import dataclass
from typing import Any

from app.contract.sweep import SweepSpec
from app.errors import NotFound
from app.i18n import N_
from app.sweeps import arms

_BASE: dict[str, dict[str, Any]] = {
    "data": {"dataset": "builtin"},
    "schedule": {"steps": 300, "lr": 2e-3, "min_lr": 2e-4, "warmup_steps": 20},
    "eval": {"every": 50},
    "checkpoint": {"every": 0},
}
"""Over the preset “tiny”: short, and at a learning rate at which λ = 3 comes to Λ = 1. Less than a minute a run on two cores."""


@dataclass(frozen=True)
class ReadyMade:
    key: str
    name: str
    question: str
    why: str  #: what is commonly said, and what is right
    look_at: str  #: what in the result answers the question
    claims: tuple[str, ...]  #: of the guide's list, W1 to P24
    minutes: int  #: on two idle CPU cores, all runs
    spec: dict[str, Any]  #: of app.contract.sweep.SweepSpec

    def sweep(self) -> SweepSpec:
        return SweepSpec.model_validate(self.spec)


def _spec(name: str, weight_decay: float | None = None, **more: Any) -> dict[str, Any]:
    config = _BASE | ({"optim": {"weight_decay": weight_decay}} if weight_decay is not None else {})
    return {"name": name, "preset": "tiny", "config": config, "seeds": 3, "tags": ["ready-made"], **more}


READY_MADE: dict[str, ReadyMade] = {
    one.key: one
    for one in (
        ReadyMade(
            "decoupled-or-l2",
            N_("Decoupled against L2"),
            N_("Is weight decay the same as adding (λ/2)‖w‖² to the loss?"),
            N_("For plain gradient descent it is, up to the learning rate. With Adam, λ·w in the gradient is divided by √v̂ like all of it, so weights with large gradients decay least; AdamW takes lr·λ off every weight alike. AdamC, cautious decay and λ that falls change when and where it acts."),
            N_("The RMS of each group at the same λ, and the paired differences from AdamW."),
            ("W1", "W2"),
            20,
            _spec(
                "Decoupled against L2", 3.0, reference={"variant": "AdamW"},
                variants=[
                    {"name": "AdamW", "set": {}},
                    {"name": "no decay", "set": {"optim.weight_decay": 0.0}},
                    {"name": "Adam + L2", "set": {"optim.optimizer": "adam_l2"}},
                    {"name": "Adam + L2, λ/100", "set": {"optim.optimizer": "adam_l2", "optim.weight_decay": 0.03}},
                    {"name": "AdamC", "set": {"optim.adamc": True}},
                    {"name": "cautious", "set": {"optim.cautious": True}},
                    {"name": "λ to 0, linear", "set": {"optim.decay_schedule": "linear"}},
                    {"name": "λ to 0, cosine", "set": {"optim.decay_schedule": "cosine"}},
                ],
            ),
        ),
        ReadyMade(
            "embeddings",
            N_("Embeddings decayed or not"),
            N_("Should the embedding tables decay?"),
            N_("Often told as a rule; it is a convention. nanoGPT and llm.c decay them, OLMo-2 does not. With a tied head the token embedding is the output head as well, so sparing one spares both: hence the second factor."),
            N_("The RMS of the embedding and the head, and the difference within tied and within untied heads."),
            ("W10", "W11"),
            10,
            _spec(
                "Embeddings decayed or not", 3.0,
                factors=[
                    {"field": "optim.decayed", "values": ["weights", "matrices"]},
                    {"field": "model.tied_head", "values": [True, False]},
                ],
            ),
        ),
        ReadyMade(
            "all-parameters",
            N_("All parameters decayed"),
            N_("What does it cost to decay norms and biases too?"),
            N_("GPT-1 already spared them; OLMo-2 decays norms and biases on purpose. A norm's gain is pulled towards 0, and the layer behind it can make up for that."),
            N_("The RMS of the norms, and whether the paired difference leaves ±0.005 nats."),
            ("W10", "W12"),
            5,
            _spec(
                "All parameters decayed", 3.0, config=_BASE | {"model": {"bias": True}, "optim": {"weight_decay": 3.0}},
                factors=[{"field": "optim.decayed", "values": ["weights", "all"]}],
            ),
        ),
        ReadyMade(
            "inert",
            N_("Is λ inert here?"),
            N_("Does the usual λ of 0.01 to 0.1 do anything in a short run?"),
            N_("λ acts through Λ = Σ lr·λ. In a few hundred steps 0.1 comes to Λ = 0.03 and leaves 97 % of the initial weights: below 0.1 less than 0.005 nats of difference were measured. λ = 3 stands beside it to show what acting looks like."),
            N_("Differences from λ = 0 with their intervals, and the RMS, which falls with λ in any case."),
            ("W3", "W4", "W13"),
            10,
            _spec("Is λ inert here?", factors=[{"field": "optim.weight_decay", "values": [0.0, 0.01, 0.1, 3.0]}]),
        ),
        ReadyMade(
            "learning-rate",
            N_("Three learning rates"),
            N_("Is this learning rate too high or too low?"),
            N_("Rules of thumb for the peak disagree by a factor of two and more. Three rates around the one in use, side by side over whole schedules, decide it for this model and these data."),
            N_("The final losses of the three with their intervals, and whether the best lies at an end of the row."),
            ("P10", "P11"),
            8,
            _spec("Three learning rates", factors=[{"field": "schedule.lr", "values": [1e-3, 2e-3, 4e-3]}]),
        ),
        ReadyMade(
            "to-zero",
            N_("To zero or to a tenth"),
            N_("Should the learning rate end at zero or at a tenth of its peak?"),
            N_("A tenth is the habit since GPT-3. Decay to zero was measured to be better, by about 0.8 % of the loss at 20 tokens a parameter and more beyond."),
            N_("The paired difference of the final losses; both arms see the same batches."),
            ("P12", "P13"),
            5,
            _spec("To zero or to a tenth", factors=[{"field": "schedule.min_lr", "values": [0.0, 2e-4]}]),
        ),
        ReadyMade(
            "second-moment",
            N_("How far back β₂ looks"),
            N_("Does β₂ matter, 0.95, 0.99 or 0.999?"),
            N_("1/(1 − β₂) is how many steps the second moment remembers: 20, 100 or 1,000. It damps no momentum; that is β₁'s."),
            N_("The paired differences from 0.95, and spikes of the gradient norm early in the runs."),
            ("P14",),
            8,
            _spec("How far back β₂ looks", factors=[{"field": "optim.beta2", "values": [0.95, 0.99, 0.999]}]),
        ),
        ReadyMade(
            "dropout",
            N_("With and without dropout"),
            N_("Does dropout of 0.1 help in a few passes over the data?"),
            N_("It holds back memorising, of which there is little in a few passes; there it usually costs loss."),
            N_("The paired difference of the validation losses. The training loss of the arm with dropout is measured with it on and is no comparison."),
            ("P15",),
            5,
            _spec("With and without dropout", factors=[{"field": "model.dropout", "values": [0.0, 0.1]}]),
        ),
    )
}  # fmt: skip


def runs() -> dict[str, int]:
    """How many runs each has."""
    return {key: len(arms.plan(one.sweep())) for key, one in READY_MADE.items()}


def get(key: str) -> ReadyMade:
    """Raises NotFound."""
    if key not in READY_MADE:
        raise NotFound(f"There is no ready-made experiment {key[:40]!r}; there are: {', '.join(READY_MADE)}.")
    return READY_MADE[key]
