"""The rules that say which tensors decay, against the network itself and the golden counts of science.md."""

import importlib.util

import pytest
from pydantic import ValidationError

from app.contract.config import ModelConfig, RunConfig
from app.contract.decayed import chosen, idle
from app.contract.presets import PRESETS
from app.contract.tensors import tensors

MODEL = ModelConfig(n_layer=3, n_head=2, n_embd=32, block_size=16, bias=True)


def decayed_by(rule: str, pattern: str = "", model: ModelConfig = MODEL) -> set[str]:
    decays = chosen(rule, pattern)
    return {one.name for one in tensors(model, 128) if decays(one.name, len(one.shape))}


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed (worker extra)")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("positions", ["learned", "rope"])
@pytest.mark.parametrize("tied_head", [True, False])
def test_the_tensors_are_those_of_the_workers_model_in_its_order(bias, positions, tied_head):
    from worker.model import GPT
    from worker.signals import metric_groups

    model = MODEL.model_copy(update={"bias": bias, "positions": positions, "tied_head": tied_head})
    built = GPT(128, **model.model_dump(exclude={"pad_vocab"}))
    named = [(name, tuple(parameter.shape)) for name, parameter in built.named_parameters()]
    assert [tuple(one) for one in tensors(model, 128)] == named
    sizes = {group: sum(one.numel() for one in members) for group, members in metric_groups(built).items()}
    assert sizes == {group: sum(one.size for one in tensors(model, 128) if one.group == group) for group in sizes}


def test_the_golden_runs_decayed_tensors():
    """science.md B.0: decayed 50 tensors with 40,943,616 parameters, not decayed 25 with 9,600."""
    golden, decays = PRESETS["fineweb-40m"].config.model, chosen("weights")
    sides = {True: [], False: []}
    for one in tensors(golden, 50_304):
        sides[decays(one.name, len(one.shape))].append(one.size)
    assert [(len(side), sum(side)) for side in sides.values()] == [(50, 40_943_616), (25, 9_600)]


def test_nanogpts_shakespeare_has_eighteen_decayed_tensors():
    """science.md D.1: 18 decayed tensors with 802,944 parameters, 9 not decayed with 1,152."""
    model, decays = ModelConfig(n_layer=4, n_head=4, n_embd=128, block_size=64, pad_vocab=False), chosen("weights")
    sides = {True: [], False: []}
    for one in tensors(model, 65):
        sides[decays(one.name, len(one.shape))].append(one.size)
    assert [(len(side), sum(side)) for side in sides.values()] == [(18, 802_944), (9, 1_152)]


def test_each_rule_takes_what_its_help_says():
    names = {one.name for one in tensors(MODEL, 128)}
    assert decayed_by("all") == names
    assert names - decayed_by("weights") == {name for name in names if name.endswith(".bias") or ".ln_" in name}
    assert decayed_by("weights") - decayed_by("matrices") == {"transformer.wte.weight", "transformer.wpe.weight"}
    assert "lm_head.weight" in decayed_by("matrices", model=MODEL.model_copy(update={"tied_head": False}))


def test_of_several_patterns_the_last_that_fits_decides():
    assert decayed_by("pattern", "*.mlp.*, !*.bias") == {name for name in decayed_by("weights") if ".mlp." in name}
    assert decayed_by("pattern", "!*.bias *.mlp.c_fc.bias") == {f"transformer.h.{i}.mlp.c_fc.bias" for i in range(3)}
    assert idle("*.mlp.* *.mpl.* !lm_head.*", decayed_by("all")) == ["*.mpl.*", "!lm_head.*"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "Say which tensors decay"), (" , ", "Say which tensors decay"), ("*.(a|b)+", "is no pattern"),
        ("a!b", "is no pattern"), ("*.nothing", "matches none of this network's 27 tensors"),
        ("* !*", "matches none of this network's 27 tensors"), ("*.c_fc.bias", "matches none"), ("a " * 41, "At most 40"),
    ],
)  # fmt: skip
def test_a_pattern_that_cannot_be_meant_is_refused_with_the_way_out(pattern, message):
    with pytest.raises(ValidationError, match=message) as refused:
        RunConfig.model_validate({"optim": {"decayed": "pattern", "decay_pattern": pattern}})
    if "none" in message:
        assert "transformer.h.0.attn.c_attn.weight" in str(refused.value), "it shows what names look like"


def test_a_pattern_waits_while_another_rule_is_chosen():
    assert RunConfig.model_validate({"optim": {"decay_pattern": "*.nothing"}}).optim.decayed == "weights"


def test_a_hostile_pattern_takes_no_time():
    pattern = "*a" * 400 + "!"
    with pytest.raises(ValidationError, match="is no pattern"):
        RunConfig.model_validate({"optim": {"decayed": "pattern", "decay_pattern": pattern}})
    with pytest.raises(ValidationError, match="matches none"):
        RunConfig.model_validate(
            {"model": {"n_layer": 128}, "optim": {"decayed": "pattern", "decay_pattern": ("*t" * 450)[:950] + "x"}}
        )


def test_the_old_switch_is_still_understood():
    assert RunConfig.model_validate({"optim": {"decay_embeddings": False}}).optim.decayed == "matrices"
    merged = {"decayed": "weights", "decay_embeddings": False}  # a preset with a client's change over it
    assert RunConfig.model_validate({"optim": merged}).optim.decayed == "matrices"
    with pytest.raises(ValidationError):
        RunConfig.model_validate({"optim": {"decay_embeddings": "perhaps"}})


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), 1e9])
def test_an_impossible_decay_is_refused(value):
    with pytest.raises(ValidationError, match="weight_decay"):
        RunConfig.model_validate({"optim": {"weight_decay": value}})
