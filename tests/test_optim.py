import torch

from app.contract.metrics import PARAMETER_GROUPS
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


def test_without_decay_embeddings_only_the_embeddings_change_sides() -> None:
    with_them, without = (optim.parameter_groups(tiny(), 0.1, switch) for switch in (True, False))
    assert set(with_them[0]["names"]) - set(without[0]["names"]) == set(optim.EMBEDDINGS)
    assert set(without[1]["names"]) - set(with_them[1]["names"]) == set(optim.EMBEDDINGS)


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


def test_every_tensor_is_in_one_metric_group() -> None:
    model = tiny()
    groups = optim.metric_groups(model)
    assert tuple(groups) == PARAMETER_GROUPS
    assert sum(len(tensors) for tensors in groups.values()) == len(list(model.parameters()))
    assert "bias" not in optim.metric_groups(tiny(bias=False))


def test_rms_and_update_ratio_measure_what_they_say() -> None:
    model = tiny()
    groups = optim.metric_groups(model)
    before = optim.snapshot(groups)
    assert optim.rms(groups)["norm"] == 1.0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.5
    ratios = optim.update_ratios(groups, before)
    assert "bias" not in ratios, "all biases start at zero: there is nothing to be relative to"
    for group, ratio in ratios.items():
        assert abs(ratio - 0.5) < 1e-6, group
    assert abs(optim.rms(groups)["norm"] - 1.5) < 1e-6


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
