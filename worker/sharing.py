"""Computing as a sibling does, an arm of a sweep as its first, a fork as its parent, a clone as its source, where this machine can.

The server's claim carries what the sibling has chosen. What the run's own configuration asks for goes first; what both
leave open ("auto") is taken over. What cannot be taken is said on the run's page.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from app.contract.arithmetic import ASKED_FOR, CHOSEN, CUT, LEFT_OPEN, SHARED_OUT
from app.contract.config import SystemConfig
from worker import devices
from worker.devices import NumericPath


def as_its_sibling(source: Mapping[str, Any] | None, fresh: NumericPath, system: SystemConfig) -> NumericPath | None:
    """`fresh`, the path of a run that chooses for itself, with the sibling's choices; not yet tried on a model.

    None where the two compute in another arithmetic altogether, or nothing is known: the run measures for itself.
    """
    if not source:
        return None
    mine, theirs = system.model_dump(), source.get("asked", {})
    open_to_both = [key for key in LEFT_OPEN if mine[key] in ("auto", 0) and theirs.get(key) == mine[key]]
    able = {
        "dtype": devices.can_autocast(source.get("dtype"), fresh.device),
        "compile": source.get("compile") is False or devices.can_compile(),
        "threads": 0 < source.get("threads", 0) <= (os.cpu_count() or 1),
    }
    taken = {key: source[key] for key in open_to_both if able.get(key) and key in source}
    path = replace(fresh, **taken)
    if any(source.get(key) != getattr(path, key) for key in ASKED_FOR):
        return None
    chosen = {key: source[key] for key in CHOSEN if key in source}
    if theirs and theirs.get("chunked_loss") != mine["chunked_loss"]:
        del chosen["loss_rows"]
    return replace(path, **chosen)


def cut(source: Mapping[str, Any] | None) -> dict[str, int] | None:
    """The pieces in which the sibling reads the same batch, smaller ones where it ran out of memory."""
    if not source or not all(key in source for key in CUT):
        return None
    return {key: source[key] for key in CUT}


def told(source: Mapping[str, Any], path: NumericPath, run: str) -> tuple[str, str]:
    """(the event's kind, its text): that `run` computes as its sibling does, or in what it does not."""
    mine, whose = asdict(path), source.get("run", "its source")
    if whose == run:
        whose = "its earlier attempt"
    keys = [key for key in (*ASKED_FOR, *SHARED_OUT, *CHOSEN) if key in source]
    differs = [f"{key} is {source[key]} there, {mine[key]} here" for key in keys if source[key] != mine[key]]
    if differs:
        return "alarm", f"Computes in other arithmetic than {whose}, so their last bits differ: {'; '.join(differs)}."
    products = f", products {path.products}" if path.device == "cpu" and path.dtype == "float32" else ""
    return "arithmetic", f"Computes as {whose}: {path.dtype}{products}, {path.threads} CPU threads."
