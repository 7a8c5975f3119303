import pytest
import torch
from torch.nn import functional as F

from worker import attention
from worker.model import GPT


def both(qkv: torch.Tensor) -> list[list[torch.Tensor]]:
    """[output, gradient] of torch's kernel and of the blocks."""
    found = []
    for blocks in (False, True):
        x = qkv.detach().clone().requires_grad_()
        q, k, v = x.unbind()
        plain = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        y = attention.blocked(x) if blocks else plain
        (gradient,) = torch.autograd.grad((y * torch.arange(y.numel()).view_as(y).cos()).sum(), x)
        found.append([y.detach(), gradient])
    return found


@pytest.mark.parametrize("tokens", [1, 40, 128, 130, 300])
def test_blocks_compute_torchs_attention_and_its_gradients(tokens: int) -> None:
    torch.manual_seed(0)
    for mine, truth in zip(*reversed(both(torch.randn(3, 2, 3, tokens, 8, dtype=torch.float64))), strict=True):
        torch.testing.assert_close(mine, truth)


def test_in_bfloat16_both_are_equally_far_from_the_truth() -> None:
    torch.manual_seed(0)
    qkv = torch.randn(3, 2, 3, 200, 16)
    (truth, _), (own, mine) = both(qkv.double()), both(qkv.bfloat16())
    for exact, torchs, blocks in zip(truth, own, mine, strict=True):
        apart = [((rough - exact).norm() / exact.norm()).item() for rough in (torchs, blocks)]
        assert apart[1] < max(2 * apart[0], 4e-3)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("switches", [{}, {"qk_norm": True, "positions": "rope"}])
def test_a_model_that_attends_in_blocks_learns_the_same(switches: dict[str, object], half: bool) -> None:
    torch.manual_seed(0)
    model = GPT(50, 70, 2, 2, 16, **switches)  # type: ignore[arg-type]
    tokens = torch.randint(0, 50, (3, 70))
    found = []
    for blocked in (False, True):
        model.attend(blocked=blocked)
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = model(tokens, tokens.roll(1, 1))[1]
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert any(not torch.equal(mine, other) for mine, other in zip(*found, strict=True)), "the blocks were used"
    for mine, other in zip(*found, strict=True):
        assert (mine - other).norm() <= (0.02 if half else 1e-5) * other.norm()


def test_it_steps_aside_for_other_types_dropout_and_short_or_long_contexts() -> None:
    x = torch.zeros(1, attention.LONGEST, 6, dtype=torch.bfloat16)
    assert attention.suits(x, 0.0)
    assert attention.suits(x[:, :1], 0.0)
    assert attention.suits(x.float(), 0.0)
    assert not attention.suits(x[:, :64].float(), 0.0), "torch's own is as fast"
    assert not attention.suits(x.half(), 0.0)
    assert not attention.suits(x, 0.1)
    assert not attention.suits(torch.zeros(1, attention.LONGEST + 1, 6, dtype=torch.bfloat16), 0.0)
