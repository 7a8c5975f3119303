import pytest
import torch

from worker import feed_forward, linear
from worker.model import GPT, Block


def step(block: Block, x: torch.Tensor) -> list[torch.Tensor]:
    """[output, ∂x, ∂ of each parameter] of a block on x (B, T, C)."""
    x = x.clone().requires_grad_()
    y = block(x)
    gradients = torch.autograd.grad((y * torch.arange(y.numel()).view_as(y).cos()).sum(), [x, *block.parameters()])
    return [y.detach(), *gradients]


@pytest.mark.parametrize("route", [linear.OWN, linear.Route("onednn", "medium", "torch")])
def test_the_written_out_half_has_the_modules_bits(route: linear.Route, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block = Block(32, 4, 0.0, False)
    linear.take(block, route)
    x = torch.randn(3, 20, 32)
    half, used = feed_forward.half, []

    def counted(norm: torch.nn.LayerNorm, mlp: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        used.append(x.shape)
        return half(norm, mlp, x)

    monkeypatch.setattr(feed_forward, "half", counted)
    written = step(block, x)
    assert used == [x.shape], "the block does take it"
    monkeypatch.setattr(feed_forward, "suits", lambda *_: False)
    for mine, modules in zip(written, step(block, x), strict=True):
        assert torch.equal(mine, modules)


def test_recomputation_runs_it_again() -> None:
    torch.manual_seed(0)
    model = GPT(50, 16, 2, 2, 16)
    tokens = torch.randint(0, 50, (3, 16))
    found = []
    for recompute in (False, True):
        model.transformer.recompute = recompute
        found.append(torch.autograd.grad(model(tokens, tokens)[1], list(model.parameters())))
    for mine, again in zip(*found, strict=True):
        assert torch.equal(mine, again)


def test_it_steps_aside_for_what_it_does_not_compute() -> None:
    x = torch.zeros(1, 4, 16)
    for switches in ({"bias": True}, {"dropout": 0.1}, {"activation": "relu2"}):
        block = Block(16, 2, **{"dropout": 0.0, "bias": False} | switches)
        assert not feed_forward.suits(block.ln_2, block.mlp, x), switches
    block = Block(16, 2, 0.1, False)
    assert feed_forward.suits(block.ln_2, block.eval().mlp, x), "dropout of an evaluation"
    with torch.no_grad():
        assert not feed_forward.suits(block.ln_2, block.mlp, x), "nothing is kept, so nothing is saved"
    with torch.autocast("cpu", torch.bfloat16):
        assert not feed_forward.suits(block.ln_2, block.mlp, x)
    assert not feed_forward.suits(block.ln_2, block.mlp, x.double())
