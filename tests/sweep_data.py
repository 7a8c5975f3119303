"""A sweep's numbers as app/sweeps/gather.py would give them, made up: for the tests of what is concluded from them."""

from typing import Any

from app.contract.config import RunConfig
from app.contract.sweep import SweepSpec

WD, LR = "optim.weight_decay", "schedule.lr"
BASE = {
    "model": {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64}, "batch": {"micro_batch": 12},
    "schedule": {"steps": 1000, "lr": 1e-3, "min_lr": 1e-4, "warmup_steps": 100}, "optim": {"beta2": 0.99},
}  # fmt: skip
STEPS = (0, 250, 500, 750, 1000)


def run(number: int, arm: dict[str, Any], index: int, final: float | None, **changes: Any) -> dict[str, Any]:
    """One run that has ended at `final`; NaN: it diverged, None: it trains."""
    diverged = final is not None and final != final
    reached = 1000 if final is not None and not diverged else 500
    steps = [step for step in STEPS if step <= reached]
    end = 5.0 if final is None or diverged else final
    val = [end + 2.0 * (1 - step / 1000) ** 2 for step in steps]
    decay = float(arm.get(WD, 0.1))
    rms = [0.02 + 0.02 * step / 1000 / (1 + decay) for step in steps]
    made = {
        "run": f"r-{number:04d}", "name": f"run {number}", "state": "finished", "reason": None, "arm": arm, "seed_index": index,
        "seed": 1337 + index, "linked": False, "step": reached, "steps": 1000, "ended": True, "final": final, "diverged": False,
        "fields": {**arm, "system.seed": 1337 + index}, "tokens_per_step": 768, "clipped": 0.02, "skipped": None, "seconds": 60.0,
        "evaluations": {"step": steps, "val": val, "val_se": [0.01] * len(steps), "train": [v - 0.03 for v in val], "train_se": [0.01] * len(steps)},
        "groups": {"rms": {"attn.qkv": {"step": steps, "y": rms}, "mlp.fc": {"step": steps, "y": rms}}, "update_ratio": {}, "decay_share": {}},
        "grad_norm": {"step": steps, "y": [1.0] * len(steps)},
    }  # fmt: skip
    if final is None:
        made |= {"state": "running", "ended": False}
    if diverged:
        made |= {"state": "failed", "reason": "non_finite", "final": None, "diverged": True}
    return made | changes


def sweep(finals: dict[Any, Any], field: str = WD, spec: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:  # fmt: skip
    """{λ or arm: {seed index: final}} → a sweep's numbers."""
    runs = []
    for key, losses in finals.items():
        arm = dict(key) if isinstance(key, tuple) else {field: key}
        runs += [run(len(runs) + i + 1, arm, index, loss) for i, (index, loss) in enumerate(losses.items())]
    plain = SweepSpec.model_validate({"config": BASE, **(spec or {})}).model_dump(mode="json")
    varied = {field for one in runs for field in one["arm"]} | {"system.seed"}
    flat = RunConfig.model_validate(BASE).flat()
    common = {field: value for field, value in flat.items() if field not in varied} | {"data.sha256": "ab" * 32}
    data = {
        "format": 1, "sweep": {"id": "x-0001", "name": "made up", "state": "finished", "spec": plain, "created_at": 0.0, "ended_at": 1.0},
        "dataset": {"name": "text", "sha256": "ab" * 32, "train_tokens": 1_003_854, "bytes_per_token": 1.0}, "common": common, "runs": runs,
    }  # fmt: skip
    return data | changes
