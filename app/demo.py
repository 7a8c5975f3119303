"""The first start: two small runs that differ in nothing but λ, so that there is something to see within minutes."""

from app import datasets, runs
from app.contract.presets import PRESETS
from app.db import Tx
from app.runs import Launch
from app.tables import Setting

TAG = "demo"
STEPS = 300
DECAYS = (0.0, 3.0)
"""λ of the two runs; with these learning rates the second has Λ = Σ lr·λ of about 1.0, well above "inert"."""
SCHEDULE = {"steps": STEPS, "lr": 2e-3, "min_lr": 2e-4, "warmup_steps": 20, "decay_steps": None}


def ensure_demo(tx: Tx, now: float) -> list[str]:
    """In an empty database: enter the built-in dataset and queue the demo. Returns the new runs' names, or nothing."""
    used = (
        tx.session.get(Setting, "demo")
        or tx.raw.execute("SELECT 1 FROM runs UNION ALL SELECT 1 FROM datasets").fetchone()
    )
    if used:
        return []
    datasets.ensure_builtin(tx, now)
    numbers: list[int] = []
    for weight_decay in DECAYS:
        launch = Launch(
            preset="tiny", name=f"demo λ = {weight_decay:g}", tags=[TAG],
            notes="Queued at the first start. Equal in everything but the weight decay: compare the two.",
            config={
                "schedule": SCHEDULE,
                "optim": {"weight_decay": weight_decay},
                "eval": {"every": 50, "windows": PRESETS["tiny"].config.eval.windows},
                "checkpoint": {"every": 0},
            },
        )  # fmt: skip
        run, _ = runs.create(tx, launch, key=None, body_sha256="", now=now)
        numbers.append(run.id)
    tx.session.add(Setting(key="demo", value={"runs": numbers}))
    return [f"demo λ = {weight_decay:g}" for weight_decay in DECAYS]
