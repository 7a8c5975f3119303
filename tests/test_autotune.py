import time
from pathlib import Path

import pytest
import torch
from tiny_data import Run

from worker import autotune, checkpoint
from worker.linear import KERNELS, OWN, Route, Shape
from worker.model import GPT

ROUTE = Route("onednn", "onednn", "medium")


def test_each_product_gets_its_fastest_kernel_and_torch_where_nothing_is_clearly_faster() -> None:
    seconds = [
        {"torch": 1.0, "medium": 0.7, "onednn": 0.6},
        {"torch": 1.0, "medium": 0.99, "onednn": 1.2},
        {"torch": 1.0, "medium": 0.8, "onednn": 0.9},
    ]
    assert autotune.fastest(seconds) == Route("onednn", "torch", "medium")


def test_a_model_whose_products_are_small_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "measure", lambda *_: pytest.fail("measured"))
    assert autotune.choose(GPT(50, 16, 2, 2, 16), 64) == OWN


def test_a_kernel_that_is_not_exact_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    offered: list[list[str]] = []

    def measure(kernels: list[str], *_: object) -> list[dict[str, float]]:
        offered.append(kernels)
        return [dict.fromkeys(kernels, 1.0)] * 3

    monkeypatch.setattr(autotune, "measure", measure)
    monkeypatch.setitem(KERNELS, "medium", lambda a, b: (a.bfloat16() @ b.bfloat16().t()).float())
    monkeypatch.setitem(KERNELS, "onednn", lambda a, b: a @ b.t())
    autotune.choose(GPT(50, 64, 2, 4, 128), 1024)
    assert offered == [["torch", "onednn"]]


def test_measuring_keeps_to_its_budget_and_finds_the_slow_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        time.sleep(0.01)
        return a @ b.t()

    monkeypatch.setitem(KERNELS, "medium", slow)
    began = time.perf_counter()
    seconds = autotune.measure(["torch", "medium"], {Shape(64, 32, 32): 3}, 0.2)
    assert time.perf_counter() - began < 5
    assert all(times["torch"] < times["medium"] for times in seconds)
    assert all(times["medium"] > 0.03 for times in seconds), "three layers"


def test_a_resume_on_the_chosen_route_is_equal_to_the_last_bit_and_does_not_choose_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []

    def choose(model: torch.nn.Module, tokens: int) -> Route:
        chosen.append(tokens)
        return ROUTE if len(chosen) == 1 else pytest.fail("a resume takes its checkpoint's route")

    monkeypatch.setattr(autotune, "choose", choose)
    run = Run(tmp_path, checkpoint={"every": 4, "keep_last": 9}, system={"chunked_loss": "on"})
    assert run.attempt() == 0
    assert (run.telemetry()["products"], run.telemetry()["loss_rows"]) == (str(ROUTE), 256)
    straight = checkpoint.load(run.checkpoint(12))[0]
    state = checkpoint.load(run.checkpoint(8))[2]
    assert state["numeric_path"]["products"] == str(ROUTE)
    assert run.attempt(2, resume=run.checkpoint(8)) == 0
    assert run.events("alarm", 2) == []
    for step in range(9, 13):
        assert run.points(2)[step]["train/loss"] == run.points(1)[step]["train/loss"]
    resumed = checkpoint.load(run.checkpoint(12, attempt=2))[0]
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
