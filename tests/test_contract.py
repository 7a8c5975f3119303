"""The contract: every field documented, bounds enforced at the right field, presets true to their sources."""

import ast
import math
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

import app.contract
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.dataset import DatasetSpec
from app.contract.metrics import KEY, METRICS
from app.contract.presets import MODEL_DECAY, PRESETS
from app.contract.schedule import decay_per_step, decay_share, learning_rate
from app.contract.states import MEANING, RunState

SECTIONS = RunConfig.model_fields


def refusals(config: dict) -> dict[tuple, str]:
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(config)
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


def test_every_field_has_title_help_and_unit_entry():
    for section, field in SECTIONS.items():
        assert field.title, section
        for key, setting in field.annotation.model_fields.items():
            assert setting.title, f"{section}.{key} has no title"
            assert setting.description.endswith("."), f"{section}.{key}: help is not a sentence"
            assert {"unit", "usual"} <= setting.json_schema_extra.keys(), f"{section}.{key}"


def test_defaults_are_a_valid_config_and_survive_json():
    config = RunConfig()
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"model": {"n_head": 5, "n_embd": 128}}, ("model", "n_embd")),
        ({"model": {"n_head": 5}}, ("model", "n_embd")),
        ({"schedule": {"lr": 1e-3, "min_lr": 2e-3}}, ("schedule", "min_lr")),
        ({"schedule": {"steps": 10, "warmup_steps": 11}}, ("schedule", "warmup_steps")),
        ({"schedule": {"warmup_steps": 50, "decay_steps": 20}}, ("schedule", "decay_steps")),
        ({"schedule": {"lr": math.inf}}, ("schedule", "lr")),
        ({"optim": {"weight_decay": math.nan}}, ("optim", "weight_decay")),
        ({"optim": {"weight_decay": -0.1}}, ("optim", "weight_decay")),
        ({"optim": {"gradient_clip": 1.0}}, ("optim", "gradient_clip")),
        ({"optim": {"optimizer": "adam_l2", "decay_coupling": "independent"}}, ("optim", "decay_coupling")),
        ({"optim": {"optimizer": "adam_l2", "adamc": True}}, ("optim", "adamc")),
        ({"optim": {"optimizer": "adam_l2", "cautious": True}}, ("optim", "cautious")),
        ({"optim": {"decay_coupling": "independent", "weight_decay": 1.0}}, ("optim", "decay_coupling")),
        ({"optim": {"decay_coupling": "independent", "adamc": True}}, ("optim", "adamc")),
        ({"model": {"n_head": 4, "n_embd": 12, "positions": "rope"}}, ("model", "positions")),
        ({"system": {"dtype": "float8"}}, ("system", "dtype")),
        ({"batch": {"micro_batch": 0}}, ("batch", "micro_batch")),
        ({"optimizer": {}}, ("optimizer",)),
    ],
)
def test_bad_values_are_refused_at_their_field(config, place):
    assert place in refusals(config)


def test_every_number_has_bounds_that_refuse_what_lies_outside():
    for section, field in SECTIONS.items():
        schema = field.annotation.model_json_schema()["properties"]
        for key, properties in schema.items():
            kinds = [properties, *properties.get("anyOf", [])]
            for kind in kinds:
                if kind.get("type") in ("integer", "number"):
                    top = kind.get("maximum", kind.get("exclusiveMaximum"))
                    assert top is not None, f"{section}.{key} has no upper bound"
                    assert (section, key) in refusals({section: {key: top + 1}})


def test_refusals_say_what_to_do():
    messages = refusals({"model": {"n_head": 6, "n_embd": 100}, "schedule": {"lr": 1e-3, "min_lr": 1.0}})
    assert "multiple of the 6 heads; try 102" in messages["model", "n_embd"]
    assert "between 0 and 0.001" in messages["schedule", "min_lr"]
    shared = refusals({"batch": {"accumulation": 3}, "system": {"devices": 2}})["system",]
    assert "batch.accumulation) of 3" in shared
    assert "2 devices (system.devices); try 4" in shared


def test_fineweb_preset_is_the_recipe_of_524288_tokens_a_step():
    config = PRESETS["fineweb-40m"].config
    assert config.tokens_per_step == 524_288
    assert config.total_tokens == 10_485_760_000
    assert (config.optim.beta2, config.optim.weight_decay, config.model.dropout, config.model.bias) == (
        0.99,
        0.1,
        0.1,
        False,
    )


def rate(update: int) -> float:
    schedule = PRESETS["fineweb-40m"].config.schedule
    return learning_rate(
        update, lr=schedule.lr, min_lr=schedule.min_lr, warmup_steps=schedule.warmup_steps, decay_steps=schedule.steps
    )


@pytest.mark.parametrize(("update", "lr"), [(10_000, 5.6812e-4), (14_500, 2.6540e-4), (20_000, 1e-4)])
def test_cosine_gives_the_published_run_its_rates(update, lr):
    """Golden values: nanoGPT's get_lr with the 40M recipe's numbers, computed by hand to five digits."""
    assert rate(update) == pytest.approx(lr, rel=5e-5)


def test_warmup_rises_linearly_and_meets_the_peak():
    assert rate(0) == pytest.approx(1e-3 / 501)
    assert rate(499) == pytest.approx(1e-3 * 500 / 501)
    assert rate(500) == pytest.approx(1e-3)
    assert learning_rate(0, lr=1.0, min_lr=0.1, warmup_steps=0, decay_steps=1) == 1.0


STEPS = {"lr": 1e-3, "min_lr": 1e-4, "warmup_steps": 100, "decay_steps": 1000}


@pytest.mark.parametrize(
    ("shape", "update", "lr"),
    [
        # By hand: linear falls 9e-4 over the 900 updates from 100 on, 1e-6 each; wsd falls over the last 30 %, 3e-6 each.
        ("linear", 100, 1e-3), ("linear", 101, 0.999e-3), ("linear", 550, 5.5e-4), ("linear", 1000, 1e-4), ("linear", 2000, 1e-4),
        ("wsd", 99, 1e-3 * 100 / 101), ("wsd", 700, 1e-3), ("wsd", 701, 0.997e-3), ("wsd", 850, 5.5e-4), ("wsd", 1000, 1e-4),
        ("constant", 0, 1e-3 / 101), ("constant", 100, 1e-3), ("constant", 999, 1e-3), ("constant", 5000, 1e-3),
        ("cosine", 550, 5.5e-4), ("cosine", 325, 1e-4 + 4.5e-4 * (1 + 2**-0.5)),
    ],
)  # fmt: skip
def test_every_shape_gives_the_rates_of_its_formula(shape, update, lr):
    assert learning_rate(update, **STEPS, shape=shape, cooldown=0.3) == pytest.approx(lr, rel=1e-12)


def test_a_cool_down_longer_than_the_run_begins_after_the_warm_up():
    assert learning_rate(100, **STEPS, shape="wsd", cooldown=1.0) == 1e-3
    assert learning_rate(550, **STEPS, shape="wsd", cooldown=1.0) == pytest.approx(5.5e-4)
    assert learning_rate(999, **STEPS, shape="wsd", cooldown=0.0) == 1e-3


@pytest.mark.parametrize(
    ("shape", "at_start", "at_quarter"), [("constant", 1, 1), ("linear", 1, 0.75), ("cosine", 1, 0.5 + 8**-0.5)]
)
def test_the_decay_schedule_falls_to_zero_or_stays(shape, at_start, at_quarter):
    shares = [decay_share(update, shape=shape, decay_steps=1000) for update in (0, 250, 1000, 2000)]
    assert shares[:2] == pytest.approx([at_start, at_quarter])
    assert shares[2:] == ([1, 1] if shape == "constant" else [0, 0])


def test_decay_per_step_is_coupled_independent_or_corrected():
    assert decay_per_step(5e-4, 0.1, peak=1e-3) == pytest.approx(5e-5)
    assert decay_per_step(5e-4, 1e-4, peak=1e-3, coupling="independent") == 1e-4
    assert decay_per_step(5e-4, 0.1, peak=1e-3, adamc=True) == pytest.approx(2.5e-5)  # λ·lr²/lr_max


def test_a_config_stored_before_the_switches_existed_means_what_it_meant():
    stored = {
        "model": {
            "n_layer": 4,
            "n_head": 4,
            "n_embd": 128,
            "block_size": 128,
            "dropout": 0.0,
            "bias": False,
            "pad_vocab": True,
        },
        "schedule": {"steps": 1000, "lr": 1e-3, "min_lr": 1e-4, "warmup_steps": 50, "decay_steps": None},
        "optim": {"weight_decay": 0.1, "decay_embeddings": True, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "clip": 1.0},
    }
    config = RunConfig.model_validate(stored)
    assert (config.schedule.shape, config.optim.optimizer, config.optim.decay_coupling) == ("cosine", "adamw", "lr")
    assert (config.optim.decay_schedule, config.optim.decayed) == ("constant", "weights")
    stored["optim"]["decay_embeddings"] = False
    assert RunConfig.model_validate(stored).optim.decayed == "matrices"
    assert (config.optim.adamc, config.optim.cautious) == (False, False)
    model = config.model
    assert (model.activation, model.positions, model.tied_head, model.softcap) == ("gelu", "learned", True, 0)
    assert (model.qk_norm, model.zero_init) == (False, False)


def test_every_preset_is_a_starting_point_that_validates():
    for key, preset in PRESETS.items():
        assert preset.key == key
        assert preset.title
        assert preset.summary
        assert preset.origin
        assert RunConfig.model_validate(preset.config.model_dump()) == preset.config


def test_every_published_decay_names_its_source():
    assert len(MODEL_DECAY) >= 12
    assert all(record.source and record.weight_decay for record in MODEL_DECAY)


def test_every_state_has_a_meaning():
    assert set(MEANING) == set(RunState)
    assert {state.value for state in RunState} == {
        "queued", "starting", "running", "stopping", "paused", "lost", "finished", "failed", "stopped",
    }  # fmt: skip


def test_metric_keys_match_their_pattern():
    for metric in METRICS:
        assert KEY.fullmatch(metric.key if not metric.key.endswith("/") else metric.key + "attn.qkv"), metric.key


@pytest.mark.parametrize(
    "text", ["r-0214/..", "R-1", "r-", "r--1", "214", "d-0001", "r-0001\n", "r-٣", "r-" + "9" * 30]
)
def test_only_ids_of_the_noun_parse(text):
    assert ids.parse("run", text) is None


def test_ids_round_trip():
    assert ids.show("run", 214) == "r-0214"
    assert ids.parse("run", "r-0214") == 214
    assert ids.parse("run", ids.show("run", 123_456)) == 123_456


def test_a_dataset_needs_files_unless_it_is_built_in():
    with pytest.raises(ValidationError, match="upload at least one"):
        DatasetSpec(name="x", kind="text")
    with pytest.raises(ValidationError, match="not both"):
        DatasetSpec.model_validate(
            {"name": "x", "kind": "text", "files": [{"name": "a", "sha256": "0" * 64, "path": "/a"}]}
        )
    assert DatasetSpec(name="python-stdlib", kind="builtin").tokenizer.kind == "bpe"


def test_contract_needs_only_pydantic_and_the_standard_library():
    for path in Path(app.contract.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                assert top in sys.stdlib_module_names | {"pydantic", "pydantic_core"} or name.startswith(
                    "app.contract"
                ), (path, name)
