"""What this machine can train on, and in which arithmetic a run computes.

    python -m worker.devices      a JSON list of DeviceInfo: the accelerators, or the CPU where there are none

The agent, which never imports torch, runs that command. `device` in each entry is what it puts into
a run's config.json.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from app.contract import peaks
from app.contract.arithmetic import CHOSEN, loss_in_chunks, loss_rows
from app.contract.config import SystemConfig
from worker import attention, autotune
from worker.linear import OWN, Route, exact, shapes, take

GIB = 2**30
CHOSEN_SINCE = ("tf32", *CHOSEN)
"""Fields of a NumericPath that older checkpoints lack."""


class Unavailable(Exception):
    """The run asks for a device that this worker does not have."""


@dataclass(frozen=True)
class NumericPath:
    """All that decides a run's last bits besides its configuration: chosen once, kept in every checkpoint."""

    device: str  #: cpu, cuda or mps
    device_name: str
    dtype: str  #: float32, or bfloat16 or float16 for autocast over float32 weights
    compile: bool
    threads: int
    torch: str  #: version
    tf32: bool = False  #: CUDA may round the factors of float32 products to TF32
    products: str = str(OWN)  #: CPU, float32: the worker.linear.Route of linear layers
    loss_rows: int = 0  #: tokens whose logits exist at once in the loss; 0: all
    processes: int = 1  #: that share each step, one a device
    attention: str = "torch"  #: or blocks: worker.attention's, CPU

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
    if dtype == "float16" and device.type == "cpu":
        # 2 GFLOP/s instead of 200 or more: a run would look stuck.
        raise Unavailable("CPUs compute float16 hundreds of times slower; choose float32 or bfloat16 as the precision.")
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" and _has_bf16() else "float32"
    compiled = device.type == "cuda" and can_compile() if system.compile == "auto" else system.compile == "on"
    return NumericPath(
        device=device.type,
        device_name=device_name(device),
        dtype=dtype,
        compile=compiled,
        # torch's own default: the physical cores this process may use, or $OMP_NUM_THREADS
        threads=system.threads or torch.get_num_threads(),
        torch=torch.__version__,
        tf32=system.tf32 and device.type == "cuda",
    )


def fitted(
    path: NumericPath, model: torch.nn.Module, vocab_size: int, tokens: int, chunked_loss: str,
    shared: NumericPath | None = None,
) -> NumericPath:  # fmt: skip
    """A new run's path with what depends on its model: the route of its products, the chunks of its loss.

    `tokens` of a micro-batch; `shared`: the path with a sibling's choices, worker.sharing's. Measures for about a second
    where there is something to choose from.
    """
    if shared:
        path = possible(shared, model, tokens)
    elif path.device == "cpu" and path.dtype == "float32" and not path.compile:
        path = replace(path, products=str(autotune.choose(model, tokens)))
    pays = loss_in_chunks(
        path.device, path.dtype, tokens * vocab_size, compiled=path.compile, memory_bytes=memory_bytes(path.device)
    )
    if shared and path.device == "cpu":
        pays = False  # only faster, and whole logits fitted the sibling too
    chunked = pays or bool(path.loss_rows) if chunked_loss == "auto" else chunked_loss == "on"
    path = replace(path, loss_rows=(path.loss_rows or loss_rows(path.device, path.dtype)) if chunked else 0)
    if shared:
        return path
    return replace(path, attention=attention.kind(path.device, path.dtype, compiled=path.compile, in_chunks=chunked))


def possible(path: NumericPath, model: torch.nn.Module, tokens: int) -> NumericPath:
    """A resumed run's path, less a route of products that this machine lacks or does not compute exactly."""
    try:
        kernels = set(Route.parse(path.products)) - set(OWN)
    except ValueError:
        return replace(path, products=str(OWN))
    found = shapes(model, tokens)
    fits = path.device == "cpu" and all(exact(kernel, found) for kernel in kernels)
    return path if fits or not kernels else replace(path, products=str(OWN))


def follow(path: NumericPath, model: Any) -> None:
    """Have a built model compute as `path` says; the threads and the loop are set by their owners."""
    take(model, Route.parse(path.products))
    model.loss_rows = path.loss_rows
    model.attend(blocked=path.attention == "blocks")


def resumed_path(saved: Mapping[str, Any], fresh: NumericPath) -> NumericPath:
    """The checkpoint's arithmetic where this machine has it; `fresh` is what a run that starts here would take."""
    # Checkpoints from before a field existed computed as its default says.
    newer = {key: saved.get(key, getattr(NumericPath, key)) for key in CHOSEN_SINCE}
    path = replace(fresh, dtype=saved["dtype"], compile=saved["compile"], threads=saved["threads"], **newer)
    if saved.get("processes", 1) != fresh.processes:  # the cores are shared out anew
        path = replace(path, threads=fresh.threads)
    if path.dtype == "float16" and fresh.device == "cpu":
        path = replace(path, dtype="float32")
    if path.dtype == "bfloat16" and fresh.device == "cuda" and not _has_bf16():
        path = replace(path, dtype="float32")
    return path


def peak_flops(path: NumericPath) -> float | None:
    """The peak of the path's devices together, for its precision; None where it is not known."""
    each = peaks.peak_flops(path.device_name, path.dtype)
    return each * path.processes if each else None


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


def memory_bytes(kind: str) -> int:
    """All memory of the current CUDA device, else of the machine."""
    if kind == "cuda":
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


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
                "free_gib": round(torch.cuda.mem_get_info(index)[0] / GIB, 2),  # others, a desktop, may hold some
                "device": f"cuda:{index}",
            }
            for index in range(torch.cuda.device_count())
        ]
    kind = "mps" if torch.backends.mps.is_available() else "cpu"
    memory = memory_bytes(kind) / GIB
    return [{"kind": kind, "name": _cpu_name(), "memory_gib": round(memory, 2), "device": kind}]


def _has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def can_autocast(dtype: object, kind: str) -> bool:
    """Whether a run on a device of this kind may compute in `dtype`, a sibling's."""
    if dtype == "bfloat16" and kind == "cuda":
        return _has_bf16()
    return dtype in ("float32", "bfloat16") or (dtype == "float16" and kind != "cpu")


def can_compile() -> bool:
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
