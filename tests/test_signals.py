import math

import pytest
import torch

from app.contract.metrics import PARAMETER_GROUPS
from worker import optim, signals
from worker.model import GPT


def tiny(**switches) -> GPT:
    torch.manual_seed(0)
    return GPT(30, 8, 2, 2, 16, **switches)


def build(model: GPT, **recipe) -> torch.optim.Optimizer:
    plain = {
        "optimizer": "adamw", "peak": 1e-2, "weight_decay": 0.5, "decay_coupling": "lr",
        "adamc": False, "cautious": False, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "muon_momentum": 0.95, "muon_scale": 0.2,
    }  # fmt: skip
    return optim.build(model, **plain | recipe)


def test_every_tensor_is_in_one_metric_group() -> None:
    model = tiny(bias=True, tied_head=False)
    groups = signals.metric_groups(model)
    assert tuple(groups) == PARAMETER_GROUPS
    assert sum(len(tensors) for tensors in groups.values()) == len(list(model.parameters()))
    assert {"bias", "head"}.isdisjoint(signals.metric_groups(tiny()))


def test_rms_and_update_ratio_measure_what_they_say() -> None:
    model = tiny(bias=True)
    groups = signals.metric_groups(model)
    assert signals.rms(groups)["norm"] == 1.0
    watch = signals.Watch(groups, build(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.5
    values = watch.read()
    assert "update_ratio/bias" not in values, "all biases start at zero: there is nothing to be relative to"
    for group in set(groups) - {"bias"}:
        assert values[f"update_ratio/{group}"] == pytest.approx(0.5, abs=1e-6), group
        assert values[f"rotation/{group}"] == pytest.approx(0.0, abs=1e-3), "a longer vector points the same way"
    assert signals.rms(groups)["norm"] == pytest.approx(1.5)


@pytest.mark.parametrize("angle", [1e-4, 0.01, 1.0, 2.5])
def test_rotation_is_the_angle_even_where_the_cosine_is_one(angle: float) -> None:
    model = tiny()
    watch = signals.Watch(signals.metric_groups(model), build(model))
    with torch.no_grad():
        weight = model.transformer.h[0].mlp.c_fc.weight
        other = model.transformer.h[1].mlp.c_fc.weight
        # (w, v) turned within the group's own plane, spanned by (w, v) and (v, −w)
        w, v = weight.clone(), other.clone()
        weight.copy_(math.cos(angle) * w + math.sin(angle) * v)
        other.copy_(math.cos(angle) * v - math.sin(angle) * w)
    assert watch.read()["rotation/mlp.fc"] == pytest.approx(angle, rel=1e-3)


@pytest.mark.parametrize(
    "recipe", [{}, {"cautious": True}, {"optimizer": "muon"}, {"optimizer": "muon", "cautious": True}]
)
def test_without_gradients_all_of_the_update_is_decay(recipe) -> None:
    model = tiny()
    optimizer = build(model, **recipe)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optim.set_lr(optimizer, 1e-2)
    watch = signals.Watch(signals.metric_groups(model), optimizer)
    optimizer.step()
    values = watch.read()
    assert values["update_ratio/mlp.fc"] == pytest.approx(5e-3, rel=1e-3)
    for group in ("embedding", "attn.qkv", "attn.proj", "mlp.fc", "mlp.proj"):
        assert values[f"decay_share/{group}"] == pytest.approx(1.0, rel=1e-3), group
    assert "decay_share/norm" not in values, "it did not move"


@pytest.mark.parametrize("recipe", [{"cautious": True}, {"optimizer": "muon", "cautious": True}])
def test_the_active_share_of_cautious_decay_is_a_half_for_random_gradients(recipe) -> None:
    model = tiny()
    optimizer = build(model, **recipe)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optim.set_lr(optimizer, 1e-2)
    watch = signals.Watch(signals.metric_groups(model), optimizer)
    optimizer.step()
    values = watch.read()
    assert values["decay/active"] == pytest.approx(0.5, abs=0.03)
    assert 0 < values["decay_share/mlp.fc"] < 0.1
    assert "decay/active" not in signals.Watch(signals.metric_groups(model), build(model)).read()


def test_l2_in_the_gradient_has_no_decay_share() -> None:
    model = tiny()
    optimizer = build(model, optimizer="adam_l2")
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    watch = signals.Watch(signals.metric_groups(model), optimizer)
    optimizer.step()
    assert not [key for key in watch.read() if key.startswith("decay_share/")]
