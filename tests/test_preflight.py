"""Pre-flight: the golden run's numbers, the model's own parameter count, and warnings that name the way out."""

import importlib.util
import json
import time
from dataclasses import asdict

import pytest

from app import preflight
from app.contract.config import ModelConfig, OptimConfig, RunConfig
from app.contract.dataset import Manifest
from app.contract.presets import PRESETS
from app.diagnosis.scaling import BESIROGLU, HOFFMANN
from tests.domain import manifest

GOLDEN = PRESETS["fineweb-40m"].config


def data(train: int = 1_000_000, val: int = 100_000) -> Manifest:
    return Manifest.model_validate(manifest(train, val))


def kinds(config: RunConfig, known: Manifest | None = None) -> set[str]:
    return {warning.kind for warning in preflight.preflight(config, known, None).warnings}


def changed(**sections) -> RunConfig:
    return RunConfig.model_validate(sections)


def test_the_golden_run():
    """science.md B.0: 40,953,216 parameters, 524,288 tokens a step, 6N + 12LdT = 299,983,104 FLOPs a token."""
    flight = preflight.preflight(GOLDEN, None, None)
    assert flight.vocab_size == 50_304
    assert flight.parameters == 40_953_216
    assert flight.parameters_without_embeddings == 21_243_264
    assert flight.parameters_decayed == 40_943_616
    assert flight.tokens_per_step == 524_288
    assert flight.total_tokens == 10_485_760_000
    assert flight.flops / flight.total_tokens == 299_983_104
    assert flight.checkpoint_bytes == 12 * 40_953_216
    assert flight.timescale_tokens == pytest.approx(5.24288e9)
    assert flight.decay_verdict == "informative"
    assert flight.epochs is None
    assert not flight.vocab_known


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed (worker extra)")
@pytest.mark.parametrize(
    "switches", [{}, {"bias": True}, {"tied_head": False}, {"tied_head": False, "positions": "rope"}]
)
def test_parameters_and_flops_are_those_of_the_workers_model(switches):
    from worker.model import GPT

    model = ModelConfig(n_layer=3, n_head=2, n_embd=32, block_size=16, **switches)
    built = GPT(128, **model.model_dump(exclude={"pad_vocab"}))
    counted = preflight.count_parameters(model, 128)
    assert (counted.total, counted.without_embeddings) == built.parameter_counts()[::2]
    assert counted.without_positions == built.parameter_counts()[1]
    decayed = preflight.preflight(changed(model=model.model_dump()), None, None).parameters_decayed
    wide = GPT(preflight.padded_vocab(50_257, True), **model.model_dump(exclude={"pad_vocab"}))
    assert decayed == sum(one.numel() for one in wide.parameters() if one.dim() >= 2)
    assert preflight.flops_per_token(model, 128) == built.flops_per_token()


def test_muons_checkpoint_has_one_moment_for_the_blocks_matrices():
    matrices = 12 * 12 * 384**2
    flight = preflight.preflight(GOLDEN.model_copy(update={"optim": OptimConfig(optimizer="muon")}), None, None)
    assert flight.checkpoint_bytes == 12 * 40_953_216 - 4 * matrices


def test_independent_decay_is_judged_by_what_it_takes_off():
    flight = preflight.preflight(changed(optim={"weight_decay": 1e-4, "decay_coupling": "independent"}), None, None)
    assert flight.effective_decay == pytest.approx(1e-4)
    assert flight.timescale_steps == pytest.approx(10_000)
    assert flight.total_decay == pytest.approx(0.1)


def test_l2_in_the_gradient_is_named_as_such():
    flight = preflight.preflight(changed(optim={"optimizer": "adam_l2"}), None, None)
    assert "decay_l2" in {warning.kind for warning in flight.warnings}
    assert (flight.decay_verdict, flight.timescale_steps) == ("none", None)


def test_the_dataset_gives_vocabulary_and_epochs():
    flight = preflight.preflight(changed(schedule={"steps": 1000}), data(train=1_024_000), None)
    assert (flight.vocab_size, flight.vocab_known) == (4096, True)
    assert flight.epochs == 2.0
    assert preflight.padded_vocab(65, True) == 128
    assert preflight.padded_vocab(65, False) == 65


def test_time_comes_from_the_speed_measured_for_this_shape():
    config = PRESETS["tiny"].config
    speeds = {"L4 C128 T128 B12 float32": 10_000.0, "L4 C128 T128 B24 float32": 1.0}
    assert preflight.preflight(config, None, speeds).seconds == 1000 * 12 * 128 / 10_000
    assert preflight.preflight(config, None, {}).seconds is None
    bf16 = config.model_copy(update={"system": config.system.model_copy(update={"dtype": "bfloat16"})})
    assert preflight.measured_speed(bf16, speeds) is None


@pytest.mark.parametrize(
    ("sections", "known", "kind"),
    [
        ({"optim": {"weight_decay": 0.01}}, None, "decay_inert"),
        ({"optim": {"weight_decay": 100.0}}, None, "decay_over"),
        ({"optim": {"weight_decay": 1000.0}, "schedule": {"lr": 1.0}}, None, "decay_step"),
        ({"optim": {"decayed": "all"}}, None, "decay_all"),
        ({"optim": {"decayed": "pattern", "decay_pattern": "*"}}, None, "decay_all"),
        ({"optim": {"decayed": "matrices"}}, None, "decay_tied"),
        ({"optim": {"decayed": "pattern", "decay_pattern": "*.mlp.* *.mpl.*"}}, None, "decay_pattern_idle"),
        ({"optim": {"optimizer": "adam_l2"}}, None, "decay_l2"),
        ({"schedule": {"steps": 50_000}}, None, "few_checkpoints"),
        ({"schedule": {"steps": 100}}, None, "few_tokens"),
        ({}, data(val=100), "data_too_small"),
        ({"schedule": {"steps": 5000}}, data(), "many_epochs"),
        ({}, data(val=2000), "few_windows"),
    ],
)
def test_warnings(sections, known, kind):
    assert kind in kinds(changed(**sections), known)


def test_a_sensible_run_has_no_warning_about_decay():
    assert not {kind for kind in kinds(GOLDEN) if kind.startswith("decay")}


def test_an_inert_decay_is_told_what_would_be_visible():
    config = changed(optim={"weight_decay": 0.01})
    [text] = [one.text for one in preflight.preflight(config, None, None).warnings if one.kind == "decay_inert"]
    assert "λ = 0.01 cannot matter" in text
    assert "λ ≥ " in text
    louder = float(text.rpartition("λ ≥ ")[2].split()[0])
    assert preflight.preflight(changed(optim={"weight_decay": louder * 1.01}), None, None).total_decay >= 0.49


def test_the_longest_run_is_answered_at_once_and_fits_into_json():
    began = time.process_time()
    flight = preflight.preflight(changed(schedule={"steps": 100_000_000}, optim={"weight_decay": 0.0}), data(), {})
    assert time.process_time() - began < 1, "not one evaluation a step"
    json.dumps(asdict(flight), allow_nan=False)


def test_memory_by_part_and_on_each_device():
    config = PRESETS["gpt2-124m"].config
    flight = preflight.preflight(config, None, None)
    assert (flight.memory_device, flight.memory_fits) == ("cuda", ())
    assert flight.memory.weights == 4 * flight.parameters
    assert flight.memory_bytes == sum(flight.memory.parts().values())
    card = {"kind": "cuda", "name": "a small card", "memory_gib": 6.0}
    flight = preflight.preflight(config, None, None, [card])
    [text] = [warning.text for warning in flight.warnings if warning.kind == "memory_too_large"]
    assert "a small card's 6.0 GiB: it does not fit. Micro-batch 6 with accumulation 80 is the same step." in text
    json.dumps(asdict(flight), allow_nan=False)


def test_memory_is_no_worry_where_one_device_has_enough_of_it():
    cards = [{"kind": "cuda", "name": str(gib), "memory_gib": gib} for gib in (6.0, 80.0)]
    flight = preflight.preflight(PRESETS["gpt2-124m"].config, None, None, cards)
    assert [fit.verdict for fit in flight.memory_fits] == ["too_large", "fits"]
    assert not [warning for warning in flight.warnings if warning.kind.startswith("memory")]


def test_a_fork_is_told_about_the_steps_that_are_left():
    config = RunConfig.model_validate({"schedule": {"steps": 1000, "lr": 1e-3, "min_lr": 1e-3, "warmup_steps": 0}})
    whole = preflight.preflight(config, None, {})
    rest = preflight.preflight(config, None, {}, first_step=900)
    assert (rest.steps, rest.first_step, whole.steps) == (100, 900, 1000)
    assert rest.total_tokens == 100 * config.tokens_per_step
    assert rest.total_decay == pytest.approx(100 * 1e-3 * 0.1)
    assert whole.total_decay == pytest.approx(1000 * 1e-3 * 0.1)
    assert rest.flops == pytest.approx(whole.flops / 10)
    assert rest.tokens_per_parameter == whole.tokens_per_parameter, "the weights have seen those before it as well"
    assert "decay_inert" not in [warning.kind for warning in rest.warnings]


@pytest.mark.parametrize(
    ("steps", "per_parameter", "hoffmann", "besiroglu"),
    [(10_000, 129.3, 3.522, 3.487), (14_500, 187.4, 3.445, 3.413), (20_000, 258.5, 3.385, 3.357)],
)
def test_tokens_per_parameter_and_the_laws_of_the_golden_run(steps, per_parameter, hoffmann, besiroglu):
    """science.md B.0: 129.3, 187.4 and 258.5 tokens a parameter, N = 40.56M; expected losses 3.522/3.487, 3.445/3.413, 3.385/3.357."""
    config = GOLDEN.model_copy(update={"schedule": GOLDEN.schedule.model_copy(update={"steps": steps})})
    flight = preflight.preflight(config, None, None)
    assert flight.parameters_without_positions == 40_560_000
    assert flight.tokens_per_parameter == pytest.approx(per_parameter, abs=0.05)
    laws = [law.loss(flight.parameters_without_positions, flight.total_tokens) for law in (HOFFMANN, BESIROGLU)]
    assert laws == pytest.approx([hoffmann, besiroglu], abs=1e-3)


@pytest.mark.parametrize(("unique", "worth", "penalty"), [(700_000_000, 5.80e9, 0.053), (100_000_000, 1.63e9, 0.38)])
def test_what_repetition_costs_the_golden_run(unique, worth, penalty):
    """science.md B.0, 14,500 steps: U = .7B ⇒ 10.9 epochs, D' = 5.80B, loss +.053; U = .1B ⇒ 1.63B, +.38."""
    config = GOLDEN.model_copy(update={"schedule": GOLDEN.schedule.model_copy(update={"steps": 14_500})})
    flight = preflight.preflight(config, data(train=unique, val=10_000_000), None)
    assert flight.epochs == pytest.approx(7_602_176_000 / unique)
    assert flight.repetition.worth == pytest.approx(worth, rel=2e-3)
    assert flight.repetition_penalty == pytest.approx(penalty, abs=5e-3)
    assert preflight.preflight(config, data(train=10**11), None).repetition_penalty == 0


def test_the_numbers_are_objects_in_json():
    shown = preflight.as_json(preflight.preflight(GOLDEN, data(train=700_000_000, val=10_000_000), None))
    json.dumps(shown, allow_nan=False)
    assert shown["repetition"]["advice"] == "diminishing"
    assert shown["decayed"]["groups"][0]["group"] == "embedding"
    assert [one["key"] for one in shown["decay_priors"]["laws"]] == ["wang", "power_lines", "nanochat"]
    assert shown["decay_outlook"]["left"][-1] == pytest.approx(0.3337, abs=1e-4)
    assert [one["kind"] for one in shown["warnings"]] == ["many_epochs"]


def test_the_largest_run_that_can_be_asked_for_is_answered():
    config = changed(
        model={"n_layer": 128, "n_embd": 16384, "n_head": 128, "block_size": 131072},
        batch={"micro_batch": 4096, "accumulation": 65536}, schedule={"steps": 100_000_000}, optim={"decayed": "all"},
    )  # fmt: skip
    json.dumps(preflight.as_json(preflight.preflight(config, data(), None)), allow_nan=False)


def test_equilibria_are_left_open_for_muon():
    flight = preflight.preflight(changed(optim={"optimizer": "muon"}), None, None)
    assert (flight.rms_equilibrium, flight.rotation_equilibrium) == (None, None)
    assert preflight.preflight(GOLDEN, None, None).rotation_equilibrium == pytest.approx(0.003244, rel=1e-3)


def test_too_few_devices_are_told_before_the_run_would_wait_for_them() -> None:
    two = changed(system={"devices": 2}, batch={"accumulation": 2})

    def told(most: int | None) -> list[str]:
        found = preflight.preflight(two, None, None, most_devices=most).warnings
        return [one.text for one in found if one.kind == "too_few_devices"]

    assert told(None) == told(2) == []
    assert "the 2 devices that this run asks for; the largest that is there has 1" in told(1)[0]
    assert "none is there" in told(0)[0]
    alone = preflight.preflight(GOLDEN, None, None, most_devices=0).warnings
    assert "too_few_devices" not in [one.kind for one in alone]
