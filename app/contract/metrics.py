"""The metrics a run reports: key, title, unit, scale. Slashes make sections.

A step is the number of finished optimiser updates: train/loss at step n is the loss of the batch of
update n (1-based), val/loss at step 0 is measured before the first update.
"""

import re
from typing import NamedTuple


class Metric(NamedTuple):
    key: str  #: exact key, or a prefix ending in "/" for one series per parameter group
    title: str
    unit: str = ""
    log: bool = False  #: drawn on a logarithmic axis unless the reader chooses otherwise


METRICS: tuple[Metric, ...] = (
    Metric("train/loss", "Train loss", "nats per token"),
    Metric("eval/train_loss", "Train loss, eval mode", "nats per token"),
    Metric("eval/train_loss_se", "Standard error of the train loss", "nats per token"),
    Metric("val/loss", "Validation loss", "nats per token"),
    Metric("val/loss_se", "Standard error of the validation loss", "nats per token"),
    Metric("val/perplexity", "Perplexity", ""),
    Metric("val/bpb", "Bits per byte", "bits"),
    Metric("train/lr", "Learning rate"),
    Metric("train/grad_norm", "Gradient norm, before clipping"),
    Metric("train/loss_scale", "Loss scale (float16)", "", log=True),
    Metric("train/skipped", "Skipped (float16): the gradients overflowed, nothing was updated", "steps"),
    Metric("train/tok_per_s", "Throughput", "tokens/s"),
    Metric("train/step_ms", "Step time", "ms"),
    Metric("train/mfu", "Model FLOP utilisation", "share of peak"),
    Metric("decay/effective", "Effective decay a, lr·λ unless chosen otherwise", "per step"),
    Metric("decay/active", "Decayed weights that cautious decay reaches", "share"),
    Metric("rms/", "Weight RMS", ""),
    Metric("update_ratio/", "Update ratio |Δw|/|w|", "per step", log=True),
    Metric("rotation/", "Rotation, angle between w before and after", "radians per step", log=True),
    Metric("decay_share/", "Decay share a·|w|/|Δw|", "of the update"),
    Metric("noise/grad_sq_micro", "|G|² of the first micro-batch, every 10 steps", "", log=True),
    Metric("noise/grad_sq_batch", "|G|² of the whole batch, every 10 steps", "", log=True),
    Metric("system/device_mem_gib", "Device memory", "GiB"),
    Metric("system/device_util", "Device utilisation: time with a kernel running", "%"),
    Metric("system/device_power_w", "Device power", "W"),
    Metric("system/device_temp_c", "Device temperature", "°C"),
    Metric("system/cpu", "Processor, all cores of the machine", "%"),
    Metric("system/process_cpu", "Processor, this run's process (100: one core)", "%"),
    Metric("system/rss_gib", "Process memory", "GiB"),
)

X_AXES: dict[str, str | None] = {"step": None, "tokens": "x/tokens", "wall_s": "x/wall_s", "flops": "x/flops"}
"""Axis name → the series that holds it, joined by step. wall_s is training time since the run's first step."""

KEY = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9_.@%-]+)+")
"""What a metric key must look like (fullmatch), at most 200 characters."""

PARAMETER_GROUPS = ("embedding", "attn.qkv", "attn.proj", "mlp.fc", "mlp.proj", "norm", "bias", "head")
"""Groups for rms/, update_ratio/, rotation/ and decay_share/, in the order they are drawn; head: an untied one."""

_GROUP_OF = (
    ("transformer.wte.", "embedding"),
    ("transformer.wpe.", "embedding"),
    ("lm_head.", "head"),
    (".c_attn.", "attn.qkv"),
    (".attn.c_proj.", "attn.proj"),
    (".c_fc.", "mlp.fc"),
    (".mlp.c_proj.", "mlp.proj"),
    (".ln_", "norm"),
)


def parameter_group(name: str) -> str:
    """The group of a tensor of worker/model.py, by its name."""
    if name.endswith(".bias"):
        return "bias"
    found = next((group for part, group in _GROUP_OF if part in name), None)
    assert found, f"{name} belongs to no metric group"
    return found
