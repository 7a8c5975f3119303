"""Which tensors decay, as a table: science.md B.0's counts, groups of which a part decays, and who moves what."""

import pytest

from app.contract.config import RunConfig
from app.contract.presets import PRESETS
from app.decay_groups import table

GOLDEN = PRESETS["fineweb-40m"].config


def of(**optim):
    return table(RunConfig.model_validate({"model": {"n_layer": 3, "bias": True}, "optim": optim}), 4096)


def test_the_golden_runs_table():
    """science.md B.0: 50 tensors with 40,943,616 decayed, 25 with 9,600 not; wte 19,316,736, wpe 393,216, LN 25 × 384."""
    found = table(GOLDEN, 50_304)
    assert (found.tensors, found.parameters) == (50, 40_943_616)
    assert (found.of_tensors, found.of_parameters) == (75, 40_953_216)
    rows = {one.group: (one.tensors, one.parameters, one.weight_decay, one.lr) for one in found.groups}
    assert rows["embedding"] == (2, 19_316_736 + 393_216, 0.1, 1e-3)
    assert rows["norm"] == (25, 9_600, 0.0, 1e-3)
    blocks = sum(rows[group][1] for group in ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj"))
    assert blocks == 21_233_664
    assert [one.per_step for one in found.groups] == pytest.approx([1e-4] * 5 + [0.0])
    assert sum(one.parameters for one in found.kinds) == found.of_parameters


def test_a_group_of_which_a_part_decays_stands_there_twice():
    found = of(decayed="pattern", decay_pattern="transformer.wte.weight *.mlp.*")
    rows = {(one.group, one.decays): one.tensors for one in found.groups}
    assert rows[("embedding", True)] == rows[("embedding", False)] == 1
    assert rows[("bias", True)] == 6, "the six of the MLPs"
    kinds = {one.name: one for one in found.kinds}
    assert kinds["transformer.h.*.mlp.c_fc.weight"].tensors == 3
    assert kinds["transformer.h.*.mlp.c_fc.weight"].decays
    assert not kinds["transformer.wpe.weight"].decays


def test_all_is_everything_and_a_misspelt_word_is_named():
    assert of(decayed="all").everything
    assert not of(decayed="weights").everything
    assert of(decayed="pattern", decay_pattern="*").everything
    assert of(decayed="pattern", decay_pattern="*.mlp.* *.atn.*").idle_patterns == ("*.atn.*",)


def test_muon_moves_the_blocks_matrices_and_nothing_else():
    movers = {(one.group, one.moved_by) for one in of(optimizer="muon", decayed="all").groups}
    assert {group for group, mover in movers if mover == "muon"} == {"attn.qkv", "attn.proj", "mlp.fc", "mlp.proj"}


def test_l2_takes_no_share_off_and_independent_decay_takes_off_itself():
    assert {one.per_step for one in of(optimizer="adam_l2").groups if one.decays} == {None}
    independent = of(decay_coupling="independent", weight_decay=1e-4)
    assert {one.per_step for one in independent.groups if one.decays} == {1e-4}
