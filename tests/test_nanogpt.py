"""Pasted nanoGPT configs: read, mapped, reported; never executed, never a crash."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import nanogpt
from app.contract.config import RunConfig
from app.contract.presets import PRESETS

SHAKESPEARE_CPU = """python train.py config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 \\
    --log_interval=1 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 \\
    --lr_decay_iters=2000 --dropout=0.0"""
"""nanoGPT's README, "I only have a macbook"."""

GPT2 = """
# config for training GPT-2 (124M) down to very nice loss of ~2.85 on 1 node of 8X A100 40GB
wandb_log = True
wandb_project = 'owt'
batch_size = 12
block_size = 1024
gradient_accumulation_steps = 5 * 8
# this makes total number of tokens be 300B
max_iters = 600000
lr_decay_iters = 600000
eval_interval = 1000
eval_iters = 200
log_interval = 10
weight_decay = 1e-1
"""


def read(text: str) -> tuple[RunConfig, dict[str, str]]:
    config, report = nanogpt.parse(text)
    return RunConfig.model_validate(config), dict(report)


def test_the_readmes_cpu_command():
    config, report = read(SHAKESPEARE_CPU)
    assert (config.model.n_layer, config.model.n_embd, config.model.block_size, config.model.dropout) == (4, 128, 64, 0)
    assert (config.batch.micro_batch, config.schedule.steps, config.schedule.decay_steps) == (12, 2000, None)
    assert (config.system.device, config.system.compile, config.eval.windows) == ("cpu", "off", 240)
    assert (config.optim.beta2, config.schedule.warmup_steps) == (0.99, 100)  # the named file's
    assert report["config/train_shakespeare_char.py"] == "starts from the preset Shakespeare"


def test_a_config_file_over_nanogpts_defaults_is_our_gpt2_preset():
    config, report = read(GPT2)
    preset = PRESETS["gpt2-124m"].config
    assert config.model == preset.model
    assert config.batch == preset.batch
    assert config.schedule == preset.schedule
    assert config.optim == preset.optim
    assert config.data.sampler == "random"
    assert config.eval.windows == 200 * 12
    assert report["gradient_accumulation_steps"] == "batch.accumulation = 40"
    assert report["wandb_log"].startswith("not needed")


@pytest.mark.parametrize("name", nanogpt._NAMES)
def test_every_name_of_nanogpt_has_an_answer(name):
    report = dict(nanogpt.parse(f"{name} = 1").report)
    assert "not a setting of nanoGPT" not in report[name]


@pytest.mark.parametrize(
    ("line", "name", "became"),
    [
        ("gradient_clip = 1.0", "gradient_clip", "did you mean grad_clip?"),
        ("dtype = 'float16'", "dtype", "system.dtype = auto: float16"),
        ("dtype = 'bfloat16'", "dtype", "system.dtype = bfloat16"),
        ("device = 'cuda:1'", "device", "system.device = cuda"),
        ("decay_lr = False", "decay_lr", "stays at its peak"),
        ("init_from = 'gpt2-xl'", "init_from", "not offered"),
        ("n_layer = 6.5", "n_layer", "not taken: 6.5 is not a whole number"),
        ("bias = 'yes'", "bias", "is not True or False"),
        ("max_iters = 6e5", "max_iters", "schedule.steps = 600000"),
        ("learning_rate = -1e-3", "learning_rate", "schedule.lr = -0.001"),
        ("batch_size = 2**70", "batch_size", "not read"),
        ("n_layer = 9*9999999999999999", "n_layer", "not read"),
        ("n_layer = 1/0", "n_layer", "not read"),
        ("n_embd = __import__('os').system('false')", "n_embd", "not read"),
        ("n_layer = 6; n_head = 5", "n_head", "model.n_head = 5"),
        ("x: int = 5", "x", "not a setting of nanoGPT"),
    ],
)
def test_a_line_and_what_becomes_of_it(line, name, became):
    assert became in dict(nanogpt.parse(line).report)[name]


def test_a_constant_rate_is_a_floor_at_the_peak():
    config, _ = read("learning_rate = 3e-4\ndecay_lr = False\n")
    assert config.schedule.min_lr == config.schedule.lr == 3e-4


def test_names_set_above_may_be_used():
    config, _ = read("max_iters = 5000\nlr_decay_iters = max_iters\nwarmup_iters = max_iters // 50\n")
    assert (config.schedule.steps, config.schedule.decay_steps, config.schedule.warmup_steps) == (5000, None, 100)


def test_one_line_that_cannot_be_read_costs_only_itself():
    config, report = nanogpt.parse("n_layer = 6\nn_head = (\nn_embd = 768\nimport os\n")
    assert (config["model"]["n_layer"], config["model"]["n_embd"]) == (6, 768)
    assert ("n_head = (", "not read: only lines of the form name = value are") in report


def test_nothing_to_read_is_said():
    assert nanogpt.parse("").config == {}
    assert "no settings were found" in nanogpt.parse("hello world").report[-1][1]
    assert "was not read" in nanogpt.parse("#" * 60_000).report[0][1]


@given(st.text(max_size=200) | st.text(alphabet="()[]{}+-*/=._ \n\\'\"#n_layer5train.py --", max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_text_makes_it_crash(text):
    nanogpt.parse(text)
