import numpy as np
import pytest
import torch

from worker import optim
from worker.model import GPT
from worker.muon import COEFFICIENTS, ROUNDS, orthogonal


def by_singular_values(matrix: np.ndarray) -> np.ndarray:
    """U·p(S)·Vᵀ with the quintic applied to the singular values themselves: what the products must come to."""
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / (np.linalg.norm(matrix) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        s = a * s + b * s**3 + c * s**5
    return u @ np.diag(s) @ v


@pytest.mark.parametrize("shape", [(16, 16), (64, 16), (16, 64)])
def test_newton_schulz_is_the_quintic_of_the_singular_values(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_allclose(orthogonal(torch.from_numpy(matrix)).numpy(), by_singular_values(matrix), atol=1e-9)


def test_every_direction_moves_alike() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 48, 32, dtype=torch.float64)))
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_two_updates_by_hand() -> None:
    torch.manual_seed(0)
    model = GPT(30, 8, 1, 2, 16).double()
    recipe = {"weight_decay": 0.25, "decay_coupling": "lr", "adamc": False, "cautious": False}
    adam = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8}
    optimizer = optim.build(model, optimizer="muon", peak=0.5, muon_momentum=0.9, muon_scale=0.2, **recipe, **adam)
    weights = {
        name: p.detach().numpy().copy()
        for name, p in model.named_parameters()
        if name.startswith("transformer.h.") and p.dim() == 2
    }
    momentum = {name: np.zeros_like(weight) for name, weight in weights.items()}
    for lr in (0.5, 0.125):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        for name in weights:
            gradient = model.get_parameter(name).grad.numpy()
            momentum[name] = 0.9 * momentum[name] + 0.1 * gradient
            nesterov = 0.1 * gradient + 0.9 * momentum[name]
            parts = np.split(nesterov, 3) if "c_attn" in name else [nesterov]  # query, key and value apart
            update = np.concatenate([0.2 * max(part.shape) ** 0.5 * by_singular_values(part) for part in parts])
            weights[name] = weights[name] * (1 - lr * 0.25) - lr * update
        optim.set_lr(optimizer, lr)
        optimizer.step()
    for name, weight in weights.items():
        np.testing.assert_allclose(model.get_parameter(name).detach().numpy(), weight, atol=1e-9, err_msg=name)


def test_an_update_has_about_adamws_rms() -> None:
    torch.manual_seed(0)
    for shape in ((64, 64), (256, 64), (64, 256)):
        rms = (0.2 * max(shape) ** 0.5 * orthogonal(torch.randn(shape))).square().mean().sqrt().item()
        assert rms == pytest.approx(0.2, rel=0.2), shape


def test_a_matrix_without_gradient_stays_finite() -> None:
    assert torch.equal(orthogonal(torch.zeros(4, 8)), torch.zeros(4, 8))
