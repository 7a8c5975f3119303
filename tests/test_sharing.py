import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_data import Run

from app.contract.config import SystemConfig
from worker import devices, sharing
from worker.linear import OWN, Route
from worker.model import GPT

AUTO = SystemConfig(device="cpu")
FRESH = devices.numeric_path(AUTO, torch.device("cpu"))
OPEN = {"dtype": "auto", "compile": "auto", "threads": 0, "chunked_loss": "auto"}
SOURCE: dict[str, Any] = {
    "run": "r-0007", "asked": OPEN, "device": "cpu", "dtype": "float32", "compile": False, "tf32": False, "processes": 1,
    "threads": 1, "products": "onednn+torch+medium", "loss_rows": 256, "attention": "torch",
}  # fmt: skip


def test_what_both_leave_open_and_what_was_measured_is_the_siblings() -> None:
    fresh = replace(FRESH, threads=2)
    path = sharing.as_its_sibling({**SOURCE, "dtype": "bfloat16", "attention": "blocks"}, fresh, AUTO)
    assert path is not None
    assert (path.dtype, path.threads, path.products, path.loss_rows) == ("bfloat16", 1, "onednn+torch+medium", 256)
    assert path.attention == "blocks"


@pytest.mark.parametrize(
    "other",
    [
        {"device": "cuda"},
        {"dtype": "bfloat16", "asked": {**OPEN, "dtype": "bfloat16"}},
        {"processes": 2},
        {"tf32": True},
    ],
)
def test_another_arithmetic_is_not_taken(other: dict[str, Any]) -> None:
    assert sharing.as_its_sibling({**SOURCE, **other}, FRESH, AUTO) is None
    kind, text = sharing.told({**SOURCE, **other}, FRESH, "r-0008")
    assert kind == "alarm"
    assert next(iter(other)) in text


def test_nothing_known_nothing_taken() -> None:
    assert sharing.as_its_sibling(None, FRESH, AUTO) is None
    assert sharing.as_its_sibling({}, FRESH, AUTO) is None


def test_the_runs_own_wishes_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing.os, "cpu_count", lambda: 64)
    asks = SystemConfig(device="cpu", threads=3, chunked_loss="off")
    path = sharing.as_its_sibling({**SOURCE, "threads": 8}, replace(FRESH, threads=3), asks)
    assert path is not None
    assert (path.threads, path.loss_rows) == (3, 0)
    monkeypatch.setattr(sharing.os, "cpu_count", lambda: 4)
    path = sharing.as_its_sibling({**SOURCE, "threads": 8}, replace(FRESH, threads=2), AUTO)
    assert path is not None
    assert path.threads == 2, "more threads than processors would be far slower"
    assert sharing.told({**SOURCE, "threads": 8}, path, "r-0008")[0] == "alarm"


def test_a_shared_route_is_taken_without_measuring_and_dropped_where_it_is_not_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = GPT(50, 16, 1, 2, 16)
    shared = replace(FRESH, products="onednn+torch+medium", loss_rows=256)
    monkeypatch.setattr(devices.autotune, "choose", lambda model, tokens: Route.parse("medium+medium+medium"))
    monkeypatch.setattr(devices, "exact", lambda kernel, found: True)
    path = devices.fitted(FRESH, model, 50, 64, "auto", shared)
    assert (path.products, path.loss_rows) == ("onednn+torch+medium", 256)
    assert devices.fitted(FRESH, model, 50, 64, "off", shared).loss_rows == 0
    assert devices.fitted(FRESH, model, 50, 64, "auto").products == "medium+medium+medium"
    monkeypatch.setattr(devices, "exact", lambda kernel, found: False)
    assert devices.fitted(FRESH, model, 50, 64, "auto", shared).products == str(OWN), "another processor"


def test_a_run_computes_as_its_sibling_and_reads_its_batch_in_the_same_pieces(tmp_path: Path) -> None:
    first, second = Run(tmp_path), Run(tmp_path)
    second.folder = tmp_path / "second"
    assert first.attempt() == 0
    told = {**asdict(FRESH), **first.telemetry(), "run": "r-0007", "asked": OPEN, "micro_batch": 2, "accumulation": 4}
    second.numeric_path = json.loads(json.dumps(told | {"loss_rows": 20, "products": "torch+torch+torch"}))
    assert second.attempt() == 0
    assert [event.text for event in second.events("arithmetic")] == [
        "Computes as r-0007: float32, products torch+torch+torch, 1 CPU threads."
    ]
    assert {key: second.telemetry()[key] for key in ("micro_batch", "accumulation", "loss_rows")} == {
        "micro_batch": 2, "accumulation": 4, "loss_rows": 20,
    }  # fmt: skip
    losses = [[run.points()[step]["train/loss"] for step in range(1, 13)] for run in (first, second)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert first.events("arithmetic") == []
