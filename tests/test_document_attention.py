"""Attention that stays within documents: worker.model's mask and positions, through every way a step may take."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.model import GPT, within_documents

EOT, V, T = 0, 30, 16
SWITCHES = [{}, {"positions": "rope"}, {"positions": "rope", "qk_norm": True, "softcap": 15.0}]


def model(switches: dict[str, object], *, blocked: bool = False, recompute: bool = False) -> GPT:
    torch.manual_seed(0)
    made = GPT(V, T, 2, 2, 16, **switches)  # type: ignore[arg-type]
    made.transformer.eot = EOT
    made.transformer.recompute = recompute
    made.attend(blocked=blocked)
    return made


def losses(made: GPT, idx: torch.Tensor, *, bf16: bool) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return made(idx, idx.roll(-1, 1), reduction="none")[1].float()


def test_positions_begin_anew_and_no_query_sees_another_document() -> None:
    positions, mask = within_documents(torch.tensor([[5, 6, EOT, 7, 8, EOT, EOT, 9]]), EOT, torch.float32)
    assert positions.tolist() == [[0, 1, 0, 1, 2, 0, 0, 1]]
    assert mask.shape == (1, 1, 8, 8)
    assert set(mask.flatten().tolist()) == {0.0, float("-inf")}
    seen = [(row == 0).nonzero().flatten().tolist() for row in mask[0, 0]]
    assert seen == [[0], [0, 1], [2], [2, 3], [2, 3, 4], [5], [6], [6, 7]]


@settings(deadline=None, max_examples=12)
@given(
    before=st.lists(st.integers(0, V - 1), min_size=6, max_size=6),
    other=st.lists(st.integers(0, V - 1), min_size=6, max_size=6),
    switches=st.sampled_from(SWITCHES),
    bf16=st.booleans(),
    blocked=st.booleans(),
)
def test_a_documents_logits_do_not_depend_on_the_one_before(before, other, switches, bf16, blocked) -> None:
    made = model(switches, blocked=blocked).eval()
    document = [EOT, 3, 1, 4, 1, 5, 9, 2, 6, 5]
    rows = torch.tensor([[*before, *document], [*other, *document]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = made(rows, rows)[0].float()
        alone = made(rows[:1, 6:], rows[:1, 6:])[0].float()
    assert torch.equal(logits[0, 6:], logits[1, 6:]), "to the bit: what stands before does not enter any sum"
    torch.testing.assert_close(logits[0, 6:], alone[0], rtol=0, atol=0.02 if bf16 else 1e-5)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("switches", SWITCHES)
def test_recomputation_and_blocks_learn_the_same(switches: dict[str, object], bf16: bool) -> None:
    torch.manual_seed(1)
    idx = torch.randint(0, V, (3, T))
    idx[:, [4, 9]] = EOT
    found = []
    for way in ({}, {"recompute": True}, {"blocked": True}, {"blocked": True, "recompute": True}):
        made = model(switches, **way)
        losses(made, idx, bf16=bf16).mean().backward()
        found.append([p.grad.clone() for p in made.parameters() if p.grad is not None])
    for other in found[1:]:
        for mine, truth in zip(other, found[0], strict=True):
            assert (mine - truth).norm() <= (0.03 if bf16 else 1e-5) * truth.norm()


def test_it_is_captured_as_one_graph() -> None:
    made = model({"positions": "rope"})
    idx = torch.randint(1, V, (2, T))
    idx[:, 7] = EOT
    torch._dynamo.reset()
    captured = torch.compile(made, dynamic=False, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(captured(idx, idx)[1], made(idx, idx)[1])


def test_one_document_is_what_ignoring_boundaries_computes() -> None:
    made = model({})
    idx = torch.randint(1, V, (2, T))
    within = losses(made, idx, bf16=False)
    made.transformer.eot = None
    torch.testing.assert_close(within, losses(made, idx, bf16=False))
