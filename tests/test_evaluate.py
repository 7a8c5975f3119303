import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import VOCAB, write_dataset

from worker.batches import Tokens, fixed_windows, window_pair
from worker.evaluate import bits_per_byte, evaluate, perplexity, summarise
from worker.model import GPT

CPU = torch.device("cpu")


@pytest.fixture
def val(tmp_path: Path) -> Tokens:
    return Tokens([write_dataset(tmp_path) / "val-000.bin"], "uint16")


def model(dropout: float = 0.0) -> GPT:
    torch.manual_seed(0)
    return GPT(VOCAB, 16, 1, 2, 16, dropout)


def test_loss_is_the_mean_over_windows_whatever_the_batch_size(val: Tokens) -> None:
    gpt, starts = model(), fixed_windows(val, 16, 11)
    each = [gpt(*window_pair(val, starts[i : i + 1], 16))[1].item() for i in range(11)]
    for batch_size in (1, 4, 11, 64):
        result = evaluate(gpt, val, starts, 16, batch_size, CPU, nullcontext)
        assert len(result.losses) == 11
        assert result.loss == pytest.approx(np.mean(each), rel=1e-6)
        assert result.se == pytest.approx(np.std(each, ddof=1) / math.sqrt(11), rel=1e-4)


def test_dropout_rests_and_no_random_number_is_drawn(val: Tokens) -> None:
    gpt, starts = model(dropout=0.5).train(), fixed_windows(val, 16, 6)
    state = torch.get_rng_state()
    first, second = (evaluate(gpt, val, starts, 16, 4, CPU, nullcontext) for _ in range(2))
    assert first.losses.tolist() == second.losses.tolist()
    assert torch.equal(torch.get_rng_state(), state)
    assert gpt.training, "training goes on in train mode"
    assert all(p.grad is None for p in gpt.parameters())


def test_standard_error_shrinks_with_the_root_of_the_windows() -> None:
    losses = np.random.default_rng(0).normal(3, 0.2, 10_000)
    assert summarise(losses).se == pytest.approx(0.2 / 100, rel=0.05)
    assert summarise(losses[:100]).se == pytest.approx(0.2 / 10, rel=0.2)


def test_derived_figures() -> None:
    # science.md B.0: 3.57 → 35.5, 3.71 → 40.9
    assert perplexity(3.57) == pytest.approx(35.5, abs=0.05)
    assert perplexity(3.71) == pytest.approx(40.9, abs=0.05)
    assert perplexity(1e4) == math.inf
    assert bits_per_byte(math.log(2) * 4, bytes_per_token=4) == pytest.approx(1.0)
