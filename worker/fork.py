"""What a run that starts from another run's checkpoint takes from it, and what its own configuration decides.

Taken: weights, moments, random state, step, tokens and seconds so far, the place in the data. The
configuration is the fork's own throughout; where it differs from the one in the checkpoint, what the
checkpoint would have carried over (its arithmetic, its cut of the batch, its random numbers) gives way.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, Field

from app.contract.config import RunConfig
from worker.keeper import Misfit

ARITHMETIC = frozenset(
    {
        "system.device", "system.dtype", "system.tf32", "system.compile", "system.threads", "system.chunked_loss",
        "batch.micro_batch",
    }
)  # fmt: skip
"""Fields that the numeric path follows from; with one of them changed it is chosen afresh."""


class Origin(BaseModel):
    """Where a fork begins."""

    run: str
    step: int = Field(ge=0)


def changes(state: Mapping[str, Any], config: RunConfig) -> dict[str, tuple[Any, Any]]:
    """{"optim.weight_decay": (0.1, 0.3)}: the fields whose value is another than in the checkpoint.

    Raises Misfit where one of them makes another network.
    """
    saved = RunConfig.model_validate(state["config"]).flat()
    found = {key: (saved[key], value) for key, value in config.flat().items() if saved[key] != value}
    for key, (there, here) in found.items():
        if key.startswith("model.") and key != "model.dropout":
            raise Misfit(f"A fork keeps the network of its checkpoint: {key} is {there} there, {here} here.")
    return found


def told(origin: Origin, changed: Mapping[str, tuple[Any, Any]], optimizer: torch.optim.Optimizer, name: str) -> str:
    """What the run's events say: from where, what differs, and which moments the checkpoint could not give."""
    differs = "; ".join(f"{key} {there} → {here}" for key, (there, here) in changed.items())
    said = [f"Starts from the checkpoint of step {origin.step} of {origin.run}."]
    said.append(f"Changed: {differs}." if differs else "Nothing is changed.")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    missing = sum(parameter not in optimizer.state for parameter in parameters)
    if missing and origin.step:
        said.append(
            f"The moments of {missing} of {len(parameters)} tensors start at zero: the checkpoint has none for {name}."
        )
    return " ".join(said)[:2000]
