"""What the columns and tags of other tools mean here: metric names of contract/metrics.py for those of W&B, TensorBoard, nanoGPT."""

import re

STEP_NAMES = (
    "iter", "iteration", "iterations", "iters", "iter_num", "trainer/global_step", "global_step", "train/global_step", "update", "updates",
    "step", "steps", "_step",
)  # fmt: skip
"""In the order of preference: W&B's own Step counts its calls."""
AMBIGUOUS = ("loss", "value")
"""Of training or of validation, nobody knows."""

_NAMES = {
    "train/loss": ("train/loss", "train_loss", "trainloss", "training_loss", "loss/train", "loss_train", "losses/train", "train/total_loss"),
    "val/loss": (
        "val/loss", "val_loss", "valloss", "valid_loss", "valid/loss", "validation_loss", "validation/loss", "loss/val", "loss/valid",
        "loss/validation", "losses/val", "eval_loss", "eval/loss", "test_loss", "test/loss", "loss_val", "dev_loss", "dev/loss",
    ),
    "eval/train_loss": ("eval/train_loss", "train_loss_eval", "eval_train_loss"),
    "val/loss_se": ("val/loss_se", "val_loss_se"),
    "val/perplexity": ("val/perplexity", "val_ppl", "val/ppl", "perplexity", "ppl", "val_perplexity"),
    "val/bpb": ("val/bpb", "bpb", "val_bpb", "bits_per_byte"),
    "train/lr": ("train/lr", "lr", "learning_rate", "learningrate", "train/learning_rate", "lr-adamw", "opt/lr", "train_lr"),
    "train/grad_norm": ("train/grad_norm", "grad_norm", "gradient_norm", "gradnorm", "norm", "gnorm", "train/gnorm", "grad/norm"),
    "train/mfu": ("train/mfu", "mfu"),
    "train/step_ms": ("train/step_ms", "step_ms", "dt_ms", "time_ms", "iter_time_ms"),
    "train/tok_per_s": ("train/tok_per_s", "tok_per_s", "tokens_per_sec", "tokens_per_second", "tok/s", "tok/sec", "throughput", "train/tok_per_sec"),
    "x/tokens": ("x/tokens", "tokens", "train/tokens", "tokens_seen", "consumed_tokens", "total_tokens"),
    "x/wall_s": ("x/wall_s", "wall_s", "_runtime", "elapsed_s", "relative_time_(process)"),
}  # fmt: skip
_OF = {name: key for key, names in _NAMES.items() for name in names}
_IGNORED = re.compile(r"_timestamp|wall[ _]time|relative time \(wall\)|.*__(?:min|max)|_wandb.*|epoch", re.I)


def tidy(name: str) -> str:
    return re.sub(r"\s+", "_", name.strip().strip('"').lower()).lstrip("\ufeff")


def step_rank(name: str) -> int | None:
    """How good a column of steps this is, 0 the best; None for another."""
    return STEP_NAMES.index(tidy(name)) if tidy(name) in STEP_NAMES else None


def metric(name: str) -> str | None:
    """The key here: Plateau's own for what it knows, else elsewhere/NAME; None for what is no metric."""
    short = tidy(name)
    if not short or _IGNORED.fullmatch(short.replace("_", " ")) or _IGNORED.fullmatch(short):
        return None
    if known := _OF.get(short):
        return known
    parts = [re.sub(r"[^A-Za-z0-9_.@%-]+", "_", part).strip("_") for part in short.split("/")]
    parts = [part for part in parts if part]
    if not parts:
        return None
    first = re.sub(r"[^a-z0-9_]", "_", parts[0])
    key = "/".join((first, *parts[1:])) if len(parts) > 1 else f"elsewhere/{parts[0]}"
    return key[:200]
