"""What a sweep will take before it is started: runs, tokens, time, disk, and for each arm whether its λ can matter."""

from typing import Any

from app import datasets, preflight, workers
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.dataset import Manifest
from app.contract.sweep import SweepSpec
from app.db import Tx
from app.errors import FieldError, Invalid, NotFound
from app.sweeps import arms, launching, members, search
from app.tables import Dataset


def estimate(tx: Tx, spec: SweepSpec) -> dict[str, Any]:
    """Numbers of the whole sweep and of each of its arms; nothing is written. Raises Invalid.

    Times are training alone, from the speed last measured for each shape; None where one has never been measured.
    """
    wanted = launching.planned(spec)
    base = arms.base_of(spec)
    dataset = _dataset(tx, base.data.dataset)
    manifest = Manifest.model_validate(dataset.manifest) if dataset is not None and dataset.manifest else None
    known = members.known_runs(tx, dataset, wanted) if dataset is not None and spec.reuse else {}
    devices, speeds = workers.devices(tx, spec.worker), _speeds(tx, spec.worker)
    shown: dict[str, dict[str, Any]] = {}
    new, seconds, tokens, flops, disk, timed = 0, 0.0, 0, 0.0, 0, True
    for one in wanted:
        key = arms.key_of(one.arm)
        if key not in shown:
            flight = preflight.preflight(one.config, manifest, speeds, devices)
            tight = [warning.text for warning in flight.warnings if warning.kind.startswith("memory")]
            shown[key] = {
                "arm": one.arm, "label": arms.name_of(one.arm), "runs": 0, "new": 0, "seconds": flight.seconds,
                "tokens": flight.total_tokens, "flops": flight.flops, "disk": flight.checkpoints_bytes,
                "parameters": flight.parameters, "total_decay": flight.total_decay, "init_keep": flight.init_keep,
                "verdict": _verdict(one.config, flight), "timescale_epochs": flight.timescale_epochs,
                "warnings": tight,
            }  # fmt: skip
        arm = shown[key]
        arm["runs"] += 1
        if arms.identity(one.config) in known:
            continue
        new += 1
        arm["new"] += 1
        timed &= arm["seconds"] is not None
        seconds += arm["seconds"] or 0.0
        tokens, flops, disk = tokens + arm["tokens"], flops + arm["flops"], disk + arm["disk"]
    made = {
        "runs": len(wanted), "new": new, "there": len(wanted) - new, "arms": list(shown.values()),
        "seconds": seconds if timed else None, "tokens": tokens, "flops": flops, "disk": disk,
        "seeds": arms.seeds(spec), "dataset": dataset.name if dataset else base.data.dataset, "stages": None,
    }  # fmt: skip
    if spec.search is not None:
        made |= _of_search(spec, made)
    return made


def _of_search(spec: SweepSpec, first: dict[str, Any]) -> dict[str, Any]:
    """A search begins with a part of its runs: the rest costs what the mean of those does, by its steps."""
    stages = search.total(spec, arms.base_of(spec))
    began = sum(arm["runs"] for arm in first["arms"])
    runs = sum(count for count, _ in stages) * spec.seed_count()
    steps = sum(count * steps for count, steps in stages) * spec.seed_count()
    known = stages[0][1] * began
    share = steps / known if known else 0.0
    return {
        "stages": [{"arms": count, "steps": steps} for count, steps in stages],
        "runs": runs, "new": runs - first["there"],
        "seconds": None if first["seconds"] is None else first["seconds"] * share,
        "tokens": round(first["tokens"] * share), "flops": first["flops"] * share,
        "disk": round(first["disk"] * runs / began) if began else 0,
    }  # fmt: skip


def _dataset(tx: Tx, text: str) -> Dataset | None:
    try:
        return datasets.get(tx, datasets.BUILTIN if text == "builtin" else text)
    except NotFound:
        if text == "builtin":
            return None
        raise Invalid([FieldError("/config/data/dataset", f"There is no dataset {text[:80]}.")]) from None


def _verdict(config: RunConfig, flight: preflight.Preflight) -> str:
    """What λ can do in the run; "gradient" where it is L2 in the gradient, which takes no share off."""
    if config.optim.optimizer == "adam_l2" and config.optim.weight_decay > 0:
        return "gradient"
    return str(getattr(flight.decay_verdict, "value", flight.decay_verdict))


def _speeds(tx: Tx, worker: str | None) -> dict[str, float]:
    """The best speed measured for each shape on the workers that may take the runs."""
    best: dict[str, float] = {}
    for row in workers.list_all(tx):
        if row.enabled and worker in (None, ids.show("worker", row.id)):
            for shape, speed in row.speeds.items():
                best[shape] = max(speed, best.get(shape, 0.0))
    return best
