import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from app.contract.config import SystemConfig
from app.contract.protocol import DeviceInfo
from worker import devices
from worker.linear import Route
from worker.model import GPT

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


def test_a_checkpoint_from_before_the_newer_fields_goes_on_as_it_computed() -> None:
    here = replace(PATH, device="cpu", device_name="x", dtype="float32", compile=False)
    newer = ("tf32", "products", "loss_rows")
    old = {key: value for key, value in vars(here).items() if key not in newer}
    path = devices.resumed_path(old, replace(here, products="onednn+onednn+onednn", loss_rows=256))
    assert path == here
    assert devices.NumericPath(**old).differences(path) == []


def test_cpus_refuse_float16() -> None:
    with pytest.raises(devices.Unavailable, match="choose float32 or bfloat16"):
        devices.numeric_path(SystemConfig(dtype="float16"), CPU)


def test_a_new_run_chooses_its_products_and_chunks_and_a_resume_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model = GPT(50, 16, 1, 2, 16)
    route = "onednn+torch+medium"
    monkeypatch.setattr(devices.autotune, "choose", lambda model, tokens: Route.parse(route))
    start = devices.numeric_path(SystemConfig(), CPU)
    path = devices.fitted(start, model, 50, 64, "on")
    assert (path.products, path.loss_rows) == (route, 256)
    assert devices.fitted(replace(start, dtype="bfloat16"), model, 50, 64, "auto") == replace(
        start, dtype="bfloat16", attention="blocks"
    )
    assert devices.possible(devices.resumed_path(vars(path), start), model, 64) == path
    devices.follow(path, model)
    assert model.loss_rows == 256
    assert str(model.lm_head.route) == route


def test_a_cpu_attends_in_blocks_and_older_checkpoints_go_on_without() -> None:
    path, model = devices.numeric_path(SystemConfig(), CPU), GPT(50, 16, 1, 2, 16)
    path = devices.fitted(path, model, 50, 64, "auto")
    assert path.attention == "blocks"
    for dtype, compiled, chunks, how in (
        ("float32", "on", "off", "torch"), ("float32", "off", "on", "torch"), ("bfloat16", "on", "on", "blocks"),
    ):  # fmt: skip
        other = devices.numeric_path(SystemConfig(dtype=dtype, compile=compiled), CPU)
        assert devices.fitted(other, model, 50, 64, chunks).attention == how, (dtype, compiled, chunks)
    devices.follow(path, model)
    assert all(block.attn.blocked for block in model.transformer.h)
    old = {key: value for key, value in vars(path).items() if key != "attention"}
    resumed = devices.resumed_path(old, path)
    assert resumed.attention == "torch"
    devices.follow(resumed, model)
    assert not any(block.attn.blocked for block in model.transformer.h)


def test_the_loss_is_computed_in_chunks_where_they_are_faster_or_the_logits_do_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, model = devices.numeric_path(SystemConfig(dtype="bfloat16"), CPU), GPT(50, 16, 1, 2, 16)
    monkeypatch.setattr(devices, "memory_bytes", lambda kind: 24 * devices.GIB)
    rows = [devices.fitted(path, model, 50_304, tokens, "auto").loss_rows for tokens in (160, 200)]
    assert rows == [0, 1024], "31 MiB, then 38"
    assert devices.fitted(replace(path, dtype="float32"), model, 50_304, 200, "auto").loss_rows == 256
    assert devices.fitted(path, model, 50_304, 8192, "off").loss_rows == 0
    sibling = replace(path, loss_rows=0)
    assert devices.fitted(path, model, 50_304, 200, "auto", sibling).loss_rows == 0, "as its sibling, whose fitted"
    card = replace(path, device="cuda")
    rows = [devices.fitted(card, model, 50_304, tokens, "auto").loss_rows for tokens in (2048, 8192)]
    assert rows == [0, 1024], "1.2 of 24 GiB, then 4.9"


def test_a_resume_drops_a_route_that_is_not_exact_here(monkeypatch: pytest.MonkeyPatch) -> None:
    path = replace(devices.numeric_path(SystemConfig(), CPU), products="medium+medium+torch")
    model = GPT(50, 16, 1, 2, 16)
    monkeypatch.setattr(devices, "exact", lambda kernel, found: kernel != "medium")
    assert devices.possible(path, model, 64).products == "torch+torch+torch"
    unknown = replace(path, products="cublas+torch+torch")
    assert devices.possible(unknown, model, 64).products == "torch+torch+torch"
    assert devices.possible(replace(path, products="onednn+torch+torch"), model, 64).products == "onednn+torch+torch"


def test_several_devices_have_the_peak_of_all_together() -> None:
    assert devices.peak_flops(PATH) == 989e12
    assert devices.peak_flops(replace(PATH, processes=4)) == 4 * 989e12
    assert devices.peak_flops(replace(PATH, device_name="AMD EPYC")) is None


def test_running_out_of_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 55)
    assert devices.is_out_of_memory(refused.value)
    assert devices.is_out_of_memory(MemoryError())
    assert devices.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not devices.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
