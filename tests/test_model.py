import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from worker.model import GPT
from worker.optim import parameter_groups


def on_meta(*shape: int) -> GPT:
    """The shapes alone: no memory, no time."""
    with torch.device("meta"):
        return GPT(*shape)


def test_the_40m_recipe_has_the_published_parameter_count() -> None:
    # science.md B.0: 12 layers, 12 heads, 384 wide, block 1024, vocabulary 50,304, no bias; nanoGPT prints 40.56M
    model = on_meta(50304, 1024, 12, 12, 384)
    everything, without_positions, without_embeddings = model.parameter_counts()
    assert (everything, without_positions, without_embeddings) == (40_953_216, 40_560_000, 21_243_264)
    decayed, spared = parameter_groups(model, 0.1)
    assert [len(group["params"]) for group in (decayed, spared)] == [50, 25]
    assert sum(p.numel() for p in decayed["params"]) == 40_943_616
    assert model.flops_per_token() == 299_983_104


def test_nanogpts_cpu_recipe_has_its_parameter_count() -> None:
    # science.md D.1: 18 decayed tensors with 802,944 weights, 9 undecayed with 1,152
    groups = parameter_groups(on_meta(65, 64, 4, 4, 128), 0.1)
    assert [(len(g["params"]), sum(p.numel() for p in g["params"])) for g in groups] == [(18, 802_944), (9, 1_152)]


def test_gpt2_124m_is_gpt2s_size() -> None:
    with torch.device("meta"):
        model = GPT(50257, 1024, 12, 12, 768, bias=True)
    assert model.parameter_counts()[0] == 124_439_808  # as Hugging Face's gpt2 counts


def test_attention_never_looks_ahead() -> None:
    torch.manual_seed(0)
    model = GPT(30, 16, 2, 2, 16).eval()
    idx = torch.randint(30, (1, 16))
    changed = idx.clone()
    changed[0, 9] = (changed[0, 9] + 1) % 30
    before, after = (model(x, idx)[0] for x in (idx, changed))
    assert torch.equal(before[0, :9], after[0, :9])
    assert not torch.equal(before[0, 9:], after[0, 9:])


def test_loss_per_token_averages_to_the_loss() -> None:
    torch.manual_seed(0)
    model = GPT(30, 16, 1, 2, 16).eval()
    x, y = torch.randint(30, (2, 3, 16)).unbind()
    logits, loss = model(x, y)
    _, each = model(x, y, reduction="none")
    assert each.shape == y.shape
    assert torch.allclose(each.mean(), loss)
    assert torch.allclose(loss, F.cross_entropy(logits.flatten(0, 1), y.flatten()))


def test_initial_loss_is_the_one_the_initialisation_predicts() -> None:
    # science.md D20: ln V + d·0.02²/2 within 0.03 for random tokens
    torch.manual_seed(0)
    model = GPT(4096, 64, 2, 6, 384).eval()
    x, y = torch.randint(4096, (2, 8, 64)).unbind()
    with torch.no_grad():
        assert model(x, y)[1].item() == pytest.approx(math.log(4096) + 384 * 0.02**2 / 2, abs=0.03)


def test_head_and_token_embedding_are_one_tensor() -> None:
    model = GPT(30, 16, 1, 2, 16, bias=True)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert "lm_head.weight" not in dict(model.named_parameters())


def test_initial_weights_and_batches_repeat_nanogpts_first_evaluation(data_folder: Path) -> None:
    # training.md 1a: nanoGPT's README recipe on character Shakespeare prints train 4.1676, val 4.1649 at step 0 (seed 1337).
    # Its order of draws is spelt out here: weights, one training batch, then 20 evaluation batches of each split.
    text = (data_folder / "tinyshakespeare.txt").read_text()
    index = {character: i for i, character in enumerate(sorted(set(text)))}
    ids = np.array([index[character] for character in text])
    splits = {"train": ids[: int(len(ids) * 0.9)], "val": ids[int(len(ids) * 0.9) :]}

    def batch(split: str) -> tuple[torch.Tensor, torch.Tensor]:
        data = splits[split]
        starts = torch.randint(len(data) - 64, (12,))
        return tuple(torch.tensor(np.stack([data[i + o : i + o + 64] for i in starts.tolist()])) for o in (0, 1))

    torch.manual_seed(1337)
    model = GPT(65, 64, 4, 4, 128).eval()
    batch("train")
    with torch.no_grad():
        losses = {split: np.mean([model(*batch(split))[1].item() for _ in range(20)]) for split in ("train", "val")}
    assert losses == {"train": pytest.approx(4.1676, abs=1e-4), "val": pytest.approx(4.1649, abs=1e-4)}
