"""Whether the arms of a sweep differ in nothing but what they are meant to differ in. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.sweeps.arms import FLOOR, LR, STEPS, VARIANT

IGNORED = ("checkpoint.", "eval.sample_", "data.dataset", "system.seed", "system.threads")
"""Leave what is learnt as it is, or are told by their content instead (data.sha256, path.threads)."""
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("network", ("model.",)),
    ("data", ("data.sha256",)),
    ("order of the data", ("data.sampler", "data.boundaries", "batch.")),
    ("schedule and length", ("schedule.",)),
    ("optimiser", ("optim.",)),
    ("evaluation", ("eval.",)),
    ("arithmetic", ("system.", "path.")),
)
"""What a person calls them, in the order of the header."""


def compare(runs: Sequence[Mapping[str, Any]], varied: Iterable[str], spec: Mapping[str, Any]) -> dict[str, Any]:
    """{"ok", "differ": [{field, values: {shown: [runs]}}], "equal": [group names], "seeds": sentence or ""}.

    `runs` hold their own `fields` (those that are not the same in all runs).
    """
    allowed = set(varied)
    if spec.get("floor_follows", True) and LR in allowed:
        allowed.add(FLOOR)
    if STEPS in allowed:  # halving's rungs, each with its own whole schedule
        allowed |= {"schedule.warmup_steps", "schedule.decay_steps"}
    for variant in spec.get("variants", ()):
        allowed |= set(variant["set"])
    allowed.discard(VARIANT)
    fields = sorted({field for run in runs for field in run["fields"]})
    differ = []
    for field in fields:
        if field in allowed or field.startswith(IGNORED):
            continue
        values: dict[str, list[str]] = {}
        for run in runs:
            if field in run["fields"]:
                values.setdefault(str(run["fields"][field]), []).append(run["run"])
        if len(values) > 1:
            differ.append({"field": field, "values": values})
    wrong = {one["field"] for one in differ}
    equal = [
        name
        for name, starts in GROUPS
        if not any(field.startswith(starts) for field in wrong) and not all(_is_varied(start, allowed) for start in starts)
    ]  # fmt: skip
    seeds = _mismatched(runs)
    return {"ok": not differ and not seeds, "differ": differ, "equal": equal, "seeds": seeds}


def _is_varied(start: str, allowed: set[str]) -> bool:
    return any(field.startswith(start) for field in allowed)


def _mismatched(runs: Sequence[Mapping[str, Any]]) -> str:
    """Runs of one seed index must have one seed, or they are no pairs."""
    numbers: dict[int, set[int]] = {}
    for run in runs:
        numbers.setdefault(run["seed_index"], set()).add(run["seed"])
    wrong = next((index for index, found in sorted(numbers.items()) if len(found) > 1), None)
    if wrong is None:
        return ""
    return f"Runs of seed index {wrong} have different seeds ({', '.join(map(str, sorted(numbers[wrong])))})."
