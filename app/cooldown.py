"""A cool-down as a change of configuration: from a checkpoint on, the learning rate falls linearly to zero. Pure."""

from typing import Any

from app.contract.config import RunConfig
from app.contract.schedule import decay_share, learning_rate

SETS = ("steps", "lr", "min_lr", "warmup_steps", "decay_steps", "shape", "cooldown")
"""Fields of the schedule that a cool-down decides."""


def steps_of(share: float, step: int) -> int:
    """How many steps after `step` make up this share of the whole run, at least one."""
    assert 0 < share < 1, f"{share} is no share of a run that leaves something before it"
    return max(1, round(step * share / (1 - share)))


def changes(config: RunConfig, step: int, steps: int) -> dict[str, dict[str, Any]]:
    """What to change in `config`, after `step` of its updates, so that `steps` more bring the learning rate to zero.

    Warm-up, stable, decay with no stable part left: the fall begins at `step` with the rate in force there, which
    becomes the schedule's `lr`. Where that is the peak, nothing jumps and nothing but the end of the run has moved. A
    λ that had a schedule of its own stays at what was in force: lr·λ falls with lr.
    """
    assert step >= 0, f"step {step} is before the run"
    assert steps >= 1, f"a cool-down of {steps} steps"
    schedule, optim = config.schedule, config.optim
    end = schedule.decay_steps or schedule.steps
    rate = learning_rate(
        step, lr=schedule.lr, min_lr=schedule.min_lr, warmup_steps=schedule.warmup_steps, decay_steps=end,
        shape=schedule.shape, cooldown=schedule.cooldown,
    )  # fmt: skip
    fields: dict[str, dict[str, Any]] = {
        "schedule": {
            "steps": step + steps, "lr": rate, "min_lr": 0.0, "warmup_steps": min(schedule.warmup_steps, step),
            "decay_steps": None, "shape": "wsd", "cooldown": steps / (step + steps),
        }
    }  # fmt: skip
    if optim.decay_schedule != "constant":
        share = decay_share(step, shape=optim.decay_schedule, decay_steps=end)
        fields["optim"] = {"decay_schedule": "constant", "weight_decay": optim.weight_decay * share}
    return fields
