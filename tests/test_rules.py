"""All rules together: the golden run, whatever a log may hold, and what a million points cost."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loss_curves import GOLDEN_SCHEDULE, golden, synthetic

from app.contract.learning import OptimConfig, ScheduleConfig
from app.diagnosis import rules
from app.diagnosis.findings import ORDER, Finding, Level
from app.diagnosis.observations import Curve, Observations, Relative
from app.diagnosis.rules import diagnose

KEYS = (
    "train/loss", "val/loss", "val/loss_se", "eval/train_loss", "eval/train_loss_se", "train/lr", "train/grad_norm", "train/loss_scale",
    "train/skipped", "train/tok_per_s", "train/step_ms", "train/mfu", "x/wall_s", "noise/grad_sq_micro", "noise/grad_sq_batch",
    "update_ratio/mlp.fc", "rms/attn.qkv",
)  # fmt: skip


def by_rule(found: list[Finding]) -> dict[str, Finding]:
    assert len({one.rule for one in found}) == len(found)
    return {one.rule: one for one in found}


def test_the_golden_run_gets_the_verdicts_that_are_right_for_it() -> None:
    found = by_rule(diagnose(golden()))
    said = {rule: (one.verdict, one.level) for rule, one in found.items()}
    assert said["D01"] == ("improving", Level.ok)
    assert said["D02"] == ("refused", Level.unknown)
    assert "3.53 to 3.56" in found["D02"].sentence
    assert said["D03"] == ("not over-fitting", Level.ok)
    assert said["D04"] == ("repeats", Level.info)
    assert said["D05"] == ("small for its tokens", Level.info)
    assert said["D06"] == ("not too high", Level.ok)
    assert said["D09"] == ("high floor", Level.info)
    assert said["D14"] == ("noisy", Level.warn)
    assert said["D15"] == ("offset", Level.warn)
    assert said["D16"] == ("usual", Level.ok)
    assert said["D19"] == ("informative", Level.ok)


def test_findings_come_most_urgent_first() -> None:
    broken = golden(**{"train/loss": Curve(np.arange(9_001, 9_004), np.array([3.6, np.nan, np.nan]))})
    found = diagnose(broken)
    assert [one.rule for one in found[:3]] == ["D13", "D15", "D14"]
    levels = [list(Level).index(one.level) for one in found]
    assert levels == sorted(levels)
    ranks = [ORDER.index(one.rule) for one in found if one.level == Level.ok and one.rule in ORDER]
    assert ranks == sorted(ranks)


def test_every_answer_says_what_would_change_it_and_unknown_ones_what_they_need() -> None:
    for run in (
        golden(),
        synthetic(),
        Observations({}, step=0),
        Observations({"train/loss": Curve(np.array([1]), np.array([9.0]))}, step=1),
    ):
        for one in diagnose(run):
            assert one.would_change, one.rule
            assert one.confidence in ("high", "medium", "low")
            assert bool(one.needs) == (one.level == Level.unknown), one
            assert all(hasattr(run, name) for name in one.missing)


values = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-1, 12),
    st.sampled_from([0.0, 3.5, float("nan"), float("inf"), -1e308, 1e308, 5e-324]),
)


@st.composite
def curves(draw: st.DrawFn) -> dict[str, Curve]:
    made = {}
    for key in draw(st.lists(st.sampled_from(KEYS), unique=True)):
        kind = draw(st.sampled_from(["few", "many"]))
        if kind == "few":
            points = draw(st.lists(values, max_size=30))
        else:  # a long one from a seed, with a few values of any kind in it
            rng = np.random.default_rng(draw(st.integers(0, 99)))
            points = (
                draw(st.floats(0, 5))
                + draw(st.sampled_from([0.0, 0.05, 3.0])) * rng.standard_normal(draw(st.integers(100, 700)))
            ).tolist()
            for place in draw(st.lists(st.integers(0, 99), max_size=4)):
                points[place] = draw(values)
        first, every = draw(st.integers(0, 40)), draw(st.sampled_from([1, 1, 7, 100, 10**9]))
        made[key] = Curve(first + every * np.arange(len(points)), np.array(points, float))
    return made


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


counts = maybe(st.integers(0, 10**13))
shares = maybe(st.floats(0, 1))
facts = st.fixed_dictionaries(
    {"step": st.integers(0, 10**8)},
    optional={
        "steps": maybe(st.integers(1, 10**8)), "ended": st.booleans(), "failed": st.sampled_from([None, "non_finite", "oom"]),
        "first_step": st.integers(0, 10**6), "pretrained": maybe(st.booleans()),
        "schedule": maybe(st.builds(
            ScheduleConfig, steps=st.integers(100, 10**8), lr=st.floats(1e-12, 10), min_lr=st.just(0.0), warmup_steps=st.integers(0, 100),
            decay_steps=maybe(st.integers(101, 10**8)), shape=st.sampled_from(["cosine", "linear", "wsd", "constant"]), cooldown=st.floats(0, 1),
        )),
        "optim": maybe(st.builds(
            OptimConfig, weight_decay=st.floats(0, 1000), beta2=st.floats(0, 0.999999), clip=st.floats(0, 100),
            optimizer=st.sampled_from(["adamw", "muon", "adam_l2"]),
        )),
        "tokens_per_step": counts, "micro_batch": counts, "accumulation": counts, "block_size": counts, "parameters": counts,
        "parameters_no_embedding": counts, "n_layer": counts, "n_head": counts, "n_embd": counts, "vocab_size": counts, "train_tokens": counts,
        "val_tokens": counts, "eval_windows": counts, "eval_every": counts, "peak_flops": maybe(st.floats(0, 1e16)),
        "mfu_peak_flops": maybe(st.floats(0, 1e16)), "same_shape_mfu": st.lists(st.floats(0, 2), max_size=3).map(tuple),
        "dropout": shares, "duplicate_share": shares, "leak_share": shares, "split_distance": shares, "split_noise": shares,
        "unigram_entropy": maybe(st.floats(0, 12)), "split_rule": st.sampled_from([None, "hash", "tail", "given"]),
        "fixed_eval": maybe(st.booleans()), "train_loss_is": st.sampled_from(["batch mean", "last micro-batch"]),
        "train_loss_mode": st.sampled_from(["train", "eval"]), "dtype": st.sampled_from([None, "float16", "bfloat16", "float32"]),
        "device": st.sampled_from([None, "cpu", "NVIDIA A100-SXM4-80GB", "Potato"]), "tied_head": maybe(st.booleans()),
        "resumed_at": st.lists(st.integers(0, 10**6), max_size=3).map(tuple), "replays_data": st.booleans(),
        "checkpoint_steps": st.lists(st.integers(0, 10**6), max_size=3).map(tuple), "asked_difference": maybe(st.floats(1e-6, 1)),
        "relatives": st.lists(st.builds(Relative, st.integers(0, 10**12), st.integers(0, 10**12), st.floats()), max_size=3).map(tuple),
    },
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(curves(), facts)
def test_no_log_makes_it_raise_and_every_answer_is_json(made: dict[str, Curve], known: dict) -> None:
    found = diagnose(Observations(made, **known))
    assert found
    json.dumps([one.as_json() for one in found], allow_nan=False)


def test_a_rule_is_named_by_its_place_and_one_that_cannot_reckon_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(_: Observations) -> None:
        raise OverflowError

    numbers = [one.rule for one in diagnose(golden()) if one.rule != "D12"]
    assert set(numbers) <= {f"D{number:02d}" for number in range(1, 22)}
    monkeypatch.setattr(rules, "RULES", (rules.RULES[0], too_large))
    found = by_rule(diagnose(golden()))
    assert found["D01"].verdict == "improving"
    assert (found["D02"].level, found["D02"].subject) == (Level.unknown, "Out of range")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 3.2, 1e99])
def test_a_curve_of_one_value_only_is_no_trouble(value: float) -> None:
    for count in (1, 2, 64, 300):
        curve = Curve(np.arange(1, count + 1), np.full(count, value))
        run = Observations(
            dict.fromkeys(KEYS, curve), step=count, steps=2 * count, schedule=GOLDEN_SCHEDULE, optim=OptimConfig()
        )
        json.dumps([one.as_json() for one in diagnose(run)], allow_nan=False)
