"""nanoGPT's ckpt.pt, made here as its train.py makes it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from worker import nanogpt, optim
from worker.model import GPT
from worker.torchfile import Unreadable

ARGS = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "bias": False, "vocab_size": 11, "dropout": 0.1}


def trained(**changes: Any) -> tuple[GPT, torch.optim.Optimizer]:
    """A model after two updates by an optimiser that is made as nanoGPT's configure_optimizers makes it."""
    torch.manual_seed(0)
    model = GPT(**{**ARGS, **changes})
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    for _ in range(2):
        model(*torch.randint(11, (2, 3, 8)))[1].backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def content(model: GPT, optimizer: torch.optim.Optimizer, /, **changes: Any) -> dict[str, Any]:
    """The dictionary that nanoGPT's train.py saves."""
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "model_args": dict(ARGS),
        "iter_num": 2,
        "best_val_loss": torch.tensor(1.75),
        "config": {"learning_rate": 1e-3, "max_iters": 4, "dataset": "shakespeare_char", "compile": False},
    } | changes


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_weights_and_moments_are_read_by_name(tmp_path: Path, prefix: str) -> None:
    model, optimizer = trained()
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    torch.save(content(model, optimizer, model=state), tmp_path / "ckpt.pt")
    read = nanogpt.read(tmp_path / "ckpt.pt")
    parameters = dict(model.named_parameters())
    assert list(read.weights) == list(parameters)
    assert all(torch.equal(read.weights[name], parameter) for name, parameter in parameters.items())
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            assert torch.equal(read.moments[f"{key}/{name}"], value), (key, name)
    assert (read.model_args, read.step, read.best_val) == (ARGS, 2, 1.75)
    assert read.settings["dataset"] == "shakespeare_char"


def test_masks_of_old_versions_are_left_out_and_biases_recognised(tmp_path: Path) -> None:
    model, optimizer = trained(bias=True)
    state = model.state_dict() | {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8)}
    args = {key: value for key, value in ARGS.items() if key != "bias"}
    torch.save(content(model, optimizer, model=state, model_args=args), tmp_path / "ckpt.pt")
    read = nanogpt.read(tmp_path / "ckpt.pt")
    assert read.model_args["bias"] is True
    assert list(read.weights) == [name for name, _ in model.named_parameters()]


def test_what_is_written_torch_loads_and_an_optimiser_goes_on_with(tmp_path: Path) -> None:
    model, optimizer = trained()
    torch.save(content(model, optimizer), tmp_path / "theirs.pt")
    read = nanogpt.read(tmp_path / "theirs.pt")
    nanogpt.write(tmp_path / "ours.pt", read, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, decay=0.1)
    theirs, ours = (torch.load(tmp_path / name, weights_only=True) for name in ("theirs.pt", "ours.pt"))
    assert list(ours["model"]) == list(theirs["model"])
    assert ours["model"]["lm_head.weight"].data_ptr() == ours["model"]["transformer.wte.weight"].data_ptr()
    assert [g["params"] for g in ours["optimizer"]["param_groups"]] == [
        g["params"] for g in theirs["optimizer"]["param_groups"]
    ]
    again, other = trained()
    again.load_state_dict(ours["model"])
    other.load_state_dict(ours["optimizer"])
    for resumed, by in ((model, optimizer), (again, other)):
        torch.manual_seed(5)
        resumed.eval()(*torch.randint(11, (2, 3, 8)))[1].backward()
        by.step()
    pairs = zip(model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs), "the next update is the same to the last bit"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.pt", "theirs.pt"]


def test_a_checkpoint_before_the_first_update_has_no_moments(tmp_path: Path) -> None:
    model, optimizer = trained()
    empty = {**optimizer.state_dict(), "state": {}}
    torch.save(content(model, optimizer, optimizer=empty, best_val_loss=1e9), tmp_path / "ckpt.pt")
    read = nanogpt.read(tmp_path / "ckpt.pt")
    assert (read.moments, read.best_val) == ({}, None)


def untied(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "lm_head.weight": torch.zeros(11, 16)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.pop("model_args"), "train.py did not write it"),
        (lambda c: c.update(model_args=ARGS | {"n_layer": 3}), r"transformer\.h\.2\..* is None; a model of its sizes has"),
        (lambda c: c.update(model_args=ARGS | {"vocab_size": 12}), r"wte\.weight is \(11, 16\); .* has \(12, 16\)"),
        (lambda c: c.update(model_args=ARGS | {"n_head": 3}), "16 is not a multiple of the 3 heads"),
        (lambda c: c.update(model_args=ARGS | {"n_layer": 10**9}), "which is no size"),
        (lambda c: c.update(model=untied(c["model"])), "head is not tied"),
        (lambda c: c.update(iter_num=-1), "iter_num is -1"),
        (lambda c: c["optimizer"]["param_groups"].pop(), "two groups"),
        (lambda c: c["optimizer"]["state"].pop(3), "not AdamW with a moment for each tensor: 3"),
        (lambda c: c["optimizer"]["state"][0].update(exp_avg=torch.zeros(2)), "exp_avg/transformer.wte.weight does not fit"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_name(tmp_path: Path, change: Any, told: str) -> None:
    changed = content(*trained())
    change(changed)
    torch.save(changed, tmp_path / "ckpt.pt")
    with pytest.raises(Unreadable, match=told):
        nanogpt.read(tmp_path / "ckpt.pt")


def test_positions_are_those_of_our_own_groups() -> None:
    model, optimizer = trained(bias=True)
    named = [name for group in optim.parameter_groups(model, 0.1) for name in group["names"]]
    by_identity = {id(parameter): name for name, parameter in model.named_parameters()}
    assert named == [by_identity[id(p)] for group in optimizer.param_groups for p in group["params"]]
