import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from app.contract.config import SystemConfig
from app.contract.protocol import DeviceInfo
from worker import devices

CPU = torch.device("cpu")
PATH = devices.NumericPath("cuda", "NVIDIA H100 80GB HBM3", "bfloat16", True, 4, "2.13.0")


def test_the_command_prints_what_the_agent_claims_with() -> None:
    done = subprocess.run([sys.executable, "-m", "worker.devices"], capture_output=True, text=True, check=True)
    described = [DeviceInfo.model_validate(entry) for entry in json.loads(done.stdout)]
    assert described
    assert all(device.name for device in described)
    assert all(device.memory_gib is not None and device.memory_gib > 0.1 for device in described)


def test_auto_is_the_workers_own_device_and_an_absent_one_is_refused() -> None:
    assert devices.choose("auto", "cpu") == CPU
    assert devices.choose("cpu", "cuda:1") == CPU
    assert devices.choose("cuda", "cuda:1") == torch.device("cuda:1")
    if not torch.cuda.is_available():
        with pytest.raises(devices.Unavailable, match="asks for cuda, which this worker does not have; it has cpu"):
            devices.choose("cuda", "cpu")


def test_a_cpu_run_is_exact_and_eager_unless_asked_otherwise() -> None:
    auto = devices.numeric_path(SystemConfig(), CPU)
    assert (auto.dtype, auto.compile, auto.threads) == ("float32", False, torch.get_num_threads())
    asked = devices.numeric_path(SystemConfig(dtype="bfloat16", compile="on", threads=3), CPU)
    assert (asked.dtype, asked.compile, asked.threads) == ("bfloat16", True, 3)


def test_a_resume_keeps_the_checkpoints_arithmetic_and_names_what_differs() -> None:
    here = replace(PATH, device="cpu", device_name="x", dtype="float32", compile=False, threads=2)
    saved = replace(here, dtype="bfloat16", threads=7, torch="2.11.0")
    path = devices.resumed_path(vars(saved), here)
    assert (path.dtype, path.threads, path.torch) == ("bfloat16", 7, "2.13.0")
    assert saved.differences(path) == ["torch was 2.11.0, is 2.13.0"]


def test_peak_is_known_for_listed_cards_at_bf16_only() -> None:
    assert devices.peak_flops(PATH) == 989e12
    assert devices.peak_flops(replace(PATH, dtype="float32")) is None
    for name in ("NVIDIA GeForce RTX 4070 Ti", "NVIDIA H100 PCIe", "AMD EPYC"):
        assert devices.peak_flops(replace(PATH, device_name=name)) is None, name


def test_running_out_of_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 55)
    assert devices.is_out_of_memory(refused.value)
    assert devices.is_out_of_memory(MemoryError())
    assert devices.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not devices.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
