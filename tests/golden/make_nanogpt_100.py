"""Makes nanogpt_100.json anew: nanoGPT's own train.py, run from a checkout of it, over the tests' invented text.

    python tests/golden/make_nanogpt_100.py CHECKOUT

train.py prints its losses with four digits; here they are read from its variables when it prints, so that
the file holds all of them. Nothing else of it is changed. Takes about ten seconds on one thread.
"""

import argparse
import builtins
import json
import os
import pickle
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import nanogpt_data  # noqa: E402

STEPS = 100
COMMAND = (
    "train.py --dataset=invented --device=cpu --dtype=float32 --compile=False --log_interval=1 --eval_interval=50 "
    "--eval_iters=4 --gradient_accumulation_steps=1 --batch_size=12 --block_size=64 --n_layer=4 --n_head=4 --n_embd=128 "
    "--dropout=0.0 --learning_rate=1e-3 --min_lr=1e-4 --warmup_iters=10 --lr_decay_iters=100 --max_iters=100 "
    "--weight_decay=1e-1 --beta1=0.9 --beta2=0.99 --grad_clip=1.0 --always_save_checkpoint=False"
)


def run(checkout: Path) -> dict[str, Any]:
    """{"losses": [step 0…99], "evaluations": {"0": [train, val], …}, "config": train.py's}."""
    losses: list[float] = []
    evaluations: dict[str, list[float]] = {}
    config: dict[str, Any] = {}

    def listening(*words: Any, **more: Any) -> None:
        told = sys._getframe(1).f_globals  # train.py's variables
        line = str(words[0]) if words else ""
        if line.startswith("iter "):
            assert told["iter_num"] == len(losses), line
            losses.append(told["lossf"])
        elif line.startswith("step "):
            evaluations[str(told["iter_num"])] = [told["losses"][split].item() for split in ("train", "val")]
            config.update(told["config"])
        builtins.print(*words, **more)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("train.py", "model.py", "configurator.py"):
            shutil.copy(checkout / name, folder)
        data = folder / "data" / "invented"
        data.mkdir(parents=True)
        text = nanogpt_data.cut(nanogpt_data.invented_text())
        text.train.tofile(data / "train.bin")
        text.val.tofile(data / "val.bin")
        (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": len(text.characters)}))
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        sys.argv = COMMAND.split()
        runpy.run_path("train.py", init_globals={"print": listening}, run_name="__main__")
        os.chdir(HERE)
    return {"losses": losses[:STEPS], "evaluations": evaluations, "config": config}


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes nanogpt_100.json anew.")
    parser.add_argument("checkout", type=Path, help="a git checkout of nanoGPT")
    parser.add_argument("--commit", help="its commit, where the folder is no git checkout")
    given = parser.parse_args()
    checkout = given.checkout.resolve()
    commit = given.commit or subprocess.check_output(["git", "-C", checkout, "rev-parse", "HEAD"], text=True).strip()
    torch.set_num_threads(1)
    result = {
        "what": "losses of nanoGPT's first steps on the text of tests/nanogpt_data.py, characters, CPU, float32",
        "command": "python tests/golden/make_nanogpt_100.py CHECKOUT",
        "nanogpt_command": COMMAND,
        "nanogpt_commit": commit,
        "seed": 1337,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, one thread",
        **run(checkout),
    }
    (HERE / "nanogpt_100.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
