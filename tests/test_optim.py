import pytest
import torch

from app.contract.decayed import EMBEDDINGS, chosen
from app.contract.schedule import decay_per_step
from worker import optim
from worker.model import GPT


def tiny(bias: bool = True) -> GPT:
    torch.manual_seed(0)
    return GPT(30, 8, 2, 2, 16, bias=bias)


def test_a_step_with_zero_gradient_shrinks_decayed_weights_by_exactly_lr_times_decay() -> None:
    lr, decay = 0.25, 0.125  # exact in binary, so that the product is
    model = tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    groups = optim.parameter_groups(model, decay)
    optimizer = optim.adamw(groups, lr, (0.9, 0.95), 1e-8)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - lr * decay if name in groups[0]["names"] else 1.0
        assert torch.equal(parameter, before[name] * factor), name


def test_matrices_decay_and_nothing_else() -> None:
    decayed, spared = optim.parameter_groups(tiny(), 0.1)
    assert all(p.dim() >= 2 for p in decayed["params"])
    assert all(p.dim() == 1 for p in spared["params"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_by_matrices_only_the_embeddings_change_sides() -> None:
    with_them, without = (optim.parameter_groups(tiny(), 0.1, chosen(rule)) for rule in ("weights", "matrices"))
    assert set(with_them[0]["names"]) - set(without[0]["names"]) == set(EMBEDDINGS)
    assert set(without[1]["names"]) - set(with_them[1]["names"]) == set(EMBEDDINGS)


def test_groups_keep_the_order_of_the_model() -> None:
    # science.md W12: list(set()) orders by address, and a state loaded by position lands on other tensors
    model = tiny()
    names = [name for name, _ in model.named_parameters()]
    for group in optim.parameter_groups(model, 0.1):
        assert group["names"] == [name for name in names if name in group["names"]]


def test_moments_survive_a_round_trip_and_the_new_decay_and_betas_count() -> None:
    # science.md P21: torch's load_state_dict brings the saved λ and betas back over those a resume asks for
    def train(model: GPT, optimizer: torch.optim.AdamW, seeds: range) -> None:
        for seed in seeds:
            torch.manual_seed(seed)
            x, y = torch.randint(30, (2, 4, 8)).unbind()
            model(x, y)[1].backward()
            optimizer.step()
            optimizer.zero_grad()

    straight = tiny()
    optimizer = optim.adamw(optim.parameter_groups(straight, 0.1), 1e-3, (0.9, 0.95), 1e-8)
    train(straight, optimizer, range(3))
    saved_weights = {name: p.detach().clone() for name, p in straight.named_parameters()}
    saved = {name: tensor.clone() for name, tensor in optim.moments(optimizer).items()}

    resumed = tiny()
    with torch.no_grad():
        for name, parameter in resumed.named_parameters():
            parameter.copy_(saved_weights[name])
    other = optim.adamw(optim.parameter_groups(resumed, 0.5), 1e-3, (0.8, 0.99), 1e-8)
    optim.load_moments(other, saved)
    assert [group["weight_decay"] for group in other.param_groups] == [0.5, 0.0]
    assert all(group["betas"] == (0.8, 0.99) for group in other.param_groups)

    for group, theirs in zip(other.param_groups, optimizer.param_groups, strict=True):
        group["weight_decay"], group["betas"] = theirs["weight_decay"], theirs["betas"]
    train(straight, optimizer, range(3, 6))
    train(resumed, other, range(3, 6))
    for name, parameter in resumed.named_parameters():
        assert torch.equal(parameter, straight.get_parameter(name)), name


def test_before_the_first_update_there_are_no_moments() -> None:
    optimizer = optim.adamw(optim.parameter_groups(tiny(), 0.1), 1e-3, (0.9, 0.95), 1e-8)
    assert optim.moments(optimizer) == {}


def test_weights_under_random_gradients_settle_at_the_equilibrium_rms() -> None:
    # science.md A.2: RMS = √(lr/(2λ)) for noise-dominated gradients; D.5 asks for 2 %
    lr, decay, size = 1e-3, 1.0, 10_000
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(100, 100))
    optimizer = optim.adamw([{"params": [weight], "weight_decay": decay}], lr, (0.9, 0.999), 1e-8)
    for _ in range(2500):  # the squared norm relaxes with time 1/(2·lr·λ) = 500 steps
        weight.grad = torch.randn_like(weight)
        optimizer.step()
    rms = (weight.square().sum() / size).sqrt().item()
    assert abs(rms / (lr / (2 * decay)) ** 0.5 - 1) < 0.02


RECIPE = {
    "optimizer": "adamw", "peak": 0.5, "weight_decay": 0.25, "decay_coupling": "lr", "adamc": False,
    "cautious": False, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "muon_momentum": 0.95, "muon_scale": 0.2,
}  # fmt: skip


def one_update(lr: float, gradient: float, share: float = 1.0, untied: bool = False, **recipe):
    """(before, after) by name of one update at `lr` with random gradients of this size, in float64."""
    torch.manual_seed(0)
    model = GPT(30, 8, 2, 2, 16, bias=True, tied_head=not untied).double()
    optimizer = optim.build(model, **RECIPE | recipe)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) * gradient
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    optim.set_decay_share(optimizer, share)
    optim.set_lr(optimizer, lr)
    optimizer.step()
    return before, gradients, {name: p.detach() for name, p in model.named_parameters()}, optimizer


@pytest.mark.parametrize(
    "recipe", [{}, {"adamc": True}, {"decay_coupling": "independent"}, {"cautious": True}, {"optimizer": "muon"},
               {"optimizer": "muon", "adamc": True, "cautious": True}],
)  # fmt: skip
@pytest.mark.parametrize("lr", [0.5, 0.125, 0.0])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_without_gradients_an_update_takes_off_the_share_of_the_formula(recipe, lr: float, share: float) -> None:
    # science.md D.5, and A.2 for AdamC: normalised layers decay by λ·lr²/lr_max, embeddings by lr·λ
    before, _, after, optimizer = one_update(lr, 0.0, share, **recipe)
    coupling = recipe.get("decay_coupling", "lr")
    for name, old in before.items():
        corrected = recipe.get("adamc", False) and name.startswith("transformer.h.")
        a = decay_per_step(lr, 0.25 * share, peak=0.5, coupling=coupling, adamc=corrected) if old.dim() == 2 else 0.0
        torch.testing.assert_close(after[name], old * (1 - a), rtol=1e-12, atol=1e-18, msg=name)
    matrix = decay_per_step(lr, 0.25 * share, peak=0.5, coupling=coupling, adamc=recipe.get("adamc", False))
    assert optim.effective_decay(optimizer) == pytest.approx(matrix, rel=1e-12)


def test_a_first_adamw_update_is_the_formulas() -> None:
    before, gradients, after, _ = one_update(0.125, 1.0)
    for name, old in before.items():
        u = 0.125 * gradients[name] / (gradients[name].abs() + 1e-8)  # m̂ = g and v̂ = g² at the first update
        a = 0.125 * 0.25 if old.dim() == 2 else 0.0
        torch.testing.assert_close(after[name], old * (1 - a) - u, rtol=1e-9, atol=1e-12, msg=name)


def test_l2_goes_through_the_moments_and_is_normalised_away() -> None:
    before, gradients, after, optimizer = one_update(0.125, 1e-3, optimizer="adam_l2")
    for name, old in before.items():
        g = gradients[name] + (0.25 * old if old.dim() == 2 else 0.0)
        torch.testing.assert_close(after[name], old - 0.125 * g / (g.abs() + 1e-8), rtol=1e-9, atol=1e-12, msg=name)
    assert optim.effective_decay(optimizer) is None


def test_cautious_decay_spares_weights_that_the_update_grows() -> None:
    before, gradients, after, _ = one_update(0.125, 1.0, cautious=True)
    for name, old in before.items():
        u = 0.125 * gradients[name] / (gradients[name].abs() + 1e-8)
        a = 0.125 * 0.25 * (u * old >= 0) if old.dim() == 2 else 0.0
        torch.testing.assert_close(after[name], old - u - a * old, rtol=1e-9, atol=1e-12, msg=name)


def test_an_untied_head_is_a_matrix_and_decays_where_embeddings_do_not() -> None:
    before, _, after, _ = one_update(0.125, 0.0, untied=True, decays=chosen("matrices"))
    assert torch.equal(after["transformer.wte.weight"], before["transformer.wte.weight"])
    assert torch.allclose(after["lm_head.weight"], before["lm_head.weight"] * (1 - 0.125 * 0.25))


@pytest.mark.parametrize(
    "recipe", [{"optimizer": "muon"}, {"cautious": True}, {"adamc": True}, {"optimizer": "adam_l2"}]
)
def test_every_optimiser_goes_on_to_the_bit_from_its_saved_moments(recipe) -> None:
    def train(model: GPT, optimizer: torch.optim.Optimizer, seeds: range) -> None:
        for seed in seeds:
            torch.manual_seed(seed)
            x, y = torch.randint(30, (2, 4, 8)).unbind()
            model(x, y)[1].backward()
            optim.set_lr(optimizer, 1e-2)
            optimizer.step()
            optimizer.zero_grad()

    straight, resumed = tiny(), tiny()
    first, second = (optim.build(model, **RECIPE | recipe) for model in (straight, resumed))
    train(straight, first, range(3))
    saved = {name: tensor.clone() for name, tensor in optim.moments(first).items()}
    resumed.load_state_dict(straight.state_dict())
    optim.load_moments(second, saved)
    train(straight, first, range(3, 6))
    train(resumed, second, range(3, 6))
    for name, parameter in resumed.named_parameters():
        assert torch.equal(parameter, straight.get_parameter(name)), name


def test_a_fork_to_another_optimiser_takes_the_moments_that_fit() -> None:
    adam, muon = (optim.build(tiny(), **RECIPE | {"optimizer": which}) for which in ("adamw", "muon"))
    for group in adam.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    adam.step()
    optim.load_moments(muon, optim.moments(adam))
    loaded = {name.partition("/")[2] for name in optim.moments(muon)}
    assert "transformer.wte.weight" in loaded
    assert not any(name.endswith("c_fc.weight") for name in loaded), "Muon's momentum starts at zero"


def test_a_resume_takes_its_own_lambda_and_betas_for_muon_too() -> None:
    # science.md P21
    optimizer = optim.build(tiny(), **RECIPE | {"optimizer": "muon", "weight_decay": 0.5, "beta2": 0.99})
    optim.load_moments(optimizer, {})
    optim.set_lr(optimizer, 1e-3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.5, 0.0]
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3}
    assert {group["betas"] for group in optimizer.param_groups[1:]} == {(0.9, 0.99)}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("how", [{}, {"adamc": True}, {"cautious": True}])
def test_the_rule_says_what_shrinks_whoever_moves_it(optimizer: str, how) -> None:
    decays = chosen("pattern", "*.mlp.*.weight *.ln_1.weight transformer.wpe.weight")
    before, _, after, made = one_update(0.5, 0.0, optimizer=optimizer, decays=decays, **how)
    for name, old in before.items():
        a = 0.5 * 0.25 if decays(name, old.dim()) else 0.0
        torch.testing.assert_close(after[name], old * (1 - a), rtol=1e-12, atol=1e-18, msg=name)
    assert optim.effective_decay(made) == 0.125
    if optimizer == "muon":
        muons = {name for group in made.param_groups if group.get("muon") for name in group["names"]}
        assert muons == {name for name, old in before.items() if ".h." in name and old.dim() == 2}, "decayed or not"


def test_where_embeddings_alone_decay_their_share_is_the_effective_one() -> None:
    _, _, _, made = one_update(0.5, 0.0, decays=chosen("pattern", "transformer.wte.weight"), adamc=True)
    assert optim.effective_decay(made) == 0.125
