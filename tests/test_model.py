import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from worker.model import GPT, angles, rotate
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


MODERN = {
    "activation": "relu2", "positions": "rope", "qk_norm": True, "zero_init": True, "tied_head": False, "softcap": 15.0,
}  # fmt: skip


@pytest.mark.parametrize("switch", [{key: value} for key, value in MODERN.items()] + [MODERN])
def test_every_switch_changes_the_network_and_it_still_learns(switch: dict) -> None:
    torch.manual_seed(0)
    plain = GPT(30, 16, 2, 2, 16)
    torch.manual_seed(0)
    model = GPT(30, 16, 2, 2, 16, **switch)
    x, y = torch.randint(30, (2, 4, 16)).unbind()
    assert not torch.equal(model(x, y)[0], plain(x, y)[0])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = model(x, y)[1]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert all(p.isfinite().all() for p in model.parameters())
    assert losses[-1] < losses[0] - 0.3


def test_switches_leave_every_other_tensor_as_it_was_drawn() -> None:
    torch.manual_seed(0)
    plain = dict(GPT(30, 16, 2, 2, 16).named_parameters())
    torch.manual_seed(0)
    model = dict(
        GPT(30, 16, 2, 2, 16, activation="relu2", qk_norm=True, zero_init=True, softcap=15.0).named_parameters()
    )
    assert list(model) == list(plain)
    for name, tensor in model.items():
        expected = torch.zeros_like(tensor) if name.endswith("c_proj.weight") else plain[name]
        assert torch.equal(tensor, expected), name


def test_blocks_with_zero_projections_begin_as_the_identity() -> None:
    model = GPT(30, 16, 2, 2, 16, zero_init=True, positions="rope").eval()
    x = torch.randint(30, (1, 16))
    torch.testing.assert_close(model.transformer(x), F.layer_norm(model.transformer.wte(x), (16,)))


def test_rotary_scores_depend_on_the_distance_only() -> None:
    torch.manual_seed(0)
    cos, sin = angles(32, 8)
    q, k = torch.randn(2, 1, 1, 1, 8)
    turned = [rotate(t.expand(1, 1, 32, 8), cos, sin)[0, 0] for t in (q, k)]
    scores = turned[0] @ turned[1].T
    for distance in (0, 3, 20):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(turned[0].norm(dim=-1), q.norm().expand(32))


def test_rotation_turns_the_first_pair_by_the_position_in_radians() -> None:
    cos, sin = angles(4, 2)
    turned = rotate(torch.tensor([1.0, 0.0]).expand(1, 1, 4, 2), cos, sin)[0, 0]
    torch.testing.assert_close(turned, torch.stack([torch.tensor([math.cos(t), math.sin(t)]) for t in range(4)]))


def test_capped_logits_never_pass_the_cap() -> None:
    model = GPT(30, 16, 1, 2, 16, softcap=15.0)
    torch.testing.assert_close(
        model.capped(torch.tensor([0.0, 15.0, -1000.0])), torch.tensor([0.0, 15 * math.tanh(1), -15.0])
    )


def test_an_untied_head_counts_once_more_but_its_embedding_is_no_product() -> None:
    tied, untied = (GPT(30, 16, 2, 2, 16, tied_head=tie) for tie in (True, False))
    assert untied.parameter_counts()[0] == tied.parameter_counts()[0] + 30 * 16
    assert untied.parameter_counts()[2] == tied.parameter_counts()[2]
    assert untied.flops_per_token() == tied.flops_per_token()
    assert "transformer.cos" not in GPT(30, 16, 1, 2, 16, positions="rope").state_dict()


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
