"""What this machine can train on, and in which arithmetic a run computes.

    python -m worker.devices      a JSON list of DeviceInfo: the accelerators, or the CPU where there are none

The agent, which never imports torch, runs that command. `device` in each entry is what it puts into
a run's config.json.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from app.contract.config import SystemConfig

GIB = 2**30

PEAK_BF16_FLOPS: tuple[tuple[str, float], ...] = (
    # Dense bf16 with fp32 accumulation, from the makers' data sheets; the names are torch.cuda.get_device_name()'s.
    # Another card's peak would make MFU a lie, so the whole name has to match, and unknown devices show none.
    (r"NVIDIA A100.*", 312e12),
    (r"NVIDIA H100 80GB HBM3", 989e12),  # SXM; the PCIe and NVL cards are slower and not listed
    (r"NVIDIA H200", 989e12),
    (r"NVIDIA GeForce RTX 4090", 165.2e12),
    (r"NVIDIA GeForce RTX 4070", 58.3e12),
    (r"NVIDIA GeForce RTX 3090", 71e12),
)


class Unavailable(Exception):
    """The run asks for a device that this worker does not have."""


@dataclass(frozen=True)
class NumericPath:
    """All that decides a run's last bits besides its configuration: chosen once, kept in every checkpoint."""

    device: str  #: cpu, cuda or mps
    device_name: str
    dtype: str  #: float32, or bfloat16 for autocast over float32 weights
    compile: bool
    threads: int
    torch: str  #: version

    def differences(self, other: "NumericPath") -> list[str]:
        mine, theirs = asdict(self), asdict(other)
        return [f"{key} was {mine[key]}, is {theirs[key]}" for key in mine if mine[key] != theirs[key]]


def choose(asked: str, own: str) -> torch.device:
    """The device of a run that asks for auto, cpu, cuda or mps on a worker whose own device is `own` (cpu, cuda:1, mps)."""
    if own == "auto":
        own = describe()[0]["device"]
    kind = own.partition(":")[0]
    if asked in ("auto", kind):
        return torch.device(own)
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[asked]:
        raise Unavailable(f"The run asks for {asked}, which this worker does not have; it has {own}.")
    return torch.device(asked)


def numeric_path(system: SystemConfig, device: torch.device) -> NumericPath:
    """The arithmetic of a run that starts afresh: what its configuration asks for, auto resolved for `device`."""
    dtype = system.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" and _has_bf16() else "float32"
    return NumericPath(
        device=device.type,
        device_name=device_name(device),
        dtype=dtype,
        compile=device.type == "cuda" and _has_compiler() if system.compile == "auto" else system.compile == "on",
        # torch's own default: the physical cores this process may use, or $OMP_NUM_THREADS
        threads=system.threads or torch.get_num_threads(),
        torch=torch.__version__,
    )


def resumed_path(saved: Mapping[str, Any], fresh: NumericPath) -> NumericPath:
    """The checkpoint's arithmetic where this machine has it; `fresh` is what a run that starts here would take."""
    path = replace(fresh, dtype=saved["dtype"], compile=saved["compile"], threads=saved["threads"])
    if path.dtype == "bfloat16" and fresh.device == "cuda" and not _has_bf16():
        path = replace(path, dtype="float32")
    return path


def peak_flops(path: NumericPath) -> float | None:
    """The device's peak for the path's precision; None where it is not known."""
    if path.dtype != "bfloat16":
        return None
    return next((peak for name, peak in PEAK_BF16_FLOPS if re.fullmatch(name, path.device_name)), None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the host or on the device; torch raises a plain RuntimeError for the CPU and MPS."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    texts = ("DefaultCPUAllocator", "not enough memory", "MPS backend out of memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def memory_gib(device: torch.device) -> float | None:
    """Memory the process holds on an accelerator, at its highest; None on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / GIB
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() / GIB
    return None


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_name()  # Apple's graphics share the chip and its name


def describe() -> list[dict[str, Any]]:
    """The entries of a WorkerInfo's devices."""
    if torch.cuda.is_available():
        return [
            {
                "kind": "cuda",
                "name": torch.cuda.get_device_name(index),
                "memory_gib": round(torch.cuda.get_device_properties(index).total_memory / GIB, 2),
                "device": f"cuda:{index}",
            }
            for index in range(torch.cuda.device_count())
        ]
    kind = "mps" if torch.backends.mps.is_available() else "cpu"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    return [{"kind": kind, "name": _cpu_name(), "memory_gib": round(memory, 2), "device": kind}]


def _has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _has_compiler() -> bool:
    """Triton builds its launchers with the host's C compiler; without one, auto stays eager."""
    return any(shutil.which(compiler) for compiler in (os.environ.get("CC", ""), "cc", "gcc", "clang") if compiler)


def _cpu_name() -> str:
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    try:
        with open("/proc/cpuinfo") as file:
            name = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        name = ""
    return name or platform.machine() or "CPU"


if __name__ == "__main__":
    print(json.dumps(describe()))  # noqa: T201 the command's answer
