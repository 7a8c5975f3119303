"""app/foreign/printed.py: the lines of nanoGPT's versions, llm.c and its relatives, with the steps that they mean."""

import pytest

from app.foreign.account import account
from app.foreign.reader import read_bytes

NANOGPT = """Overriding config with config/train_shakespeare_char.py:
# train a miniature character-level shakespeare model
import os
eval_interval = 250 # keep frequent because we'll overfit
max_iters = 5000

Overriding: batch_size = 12
tokens per iteration will be: 16,384
found vocab_size = 65 (inside data/shakespeare_char/meta.pkl)
Initializing a new model from scratch
number of parameters: 10.65M
/usr/lib/python3/torch/cuda/amp.py:1: FutureWarning: deprecated
num decayed parameter tensors: 26, with 10,740,096 parameters
num non-decayed parameter tensors: 13, with 4,992 parameters
compiling the model... (takes a ~minute)
\x1b[32mstep 0: train loss 4.2874, val loss 4.2823\x1b[0m
iter 0: loss 4.2654, time 34567.89ms, mfu -100.00%
  0%|          | 0/5000 [00:00<?, ?it/s]\r 10%|█         | 500/5000\riter 10: loss 3.1461, time 19.02ms, mfu 19.59%
100%|██████████| 200/200 [00:08<00:00, 24.1it/s]step 250: train loss 1.9654, val loss 2.0690
saving checkpoint to out-shakespeare-char
"""


def test_nanogpt_with_warnings_bars_and_colours():
    log, curves = read_bytes(NANOGPT.encode())
    found = curves.all()
    assert found["val/loss"][0].tolist() == [0, 250]
    assert found["val/loss"][1].tolist() == [4.2823, 2.0690]
    assert found["train/loss"][0].tolist() == [1, 11]  # printed after updates 0 and 10
    assert found["train/mfu"][0].tolist() == [11]
    assert found["train/mfu"][1].tolist() == pytest.approx([0.1959])
    assert found["train/tok_per_s"][1].tolist() == pytest.approx([16384 / 34.56789, 16384 / 0.01902])
    assert (log.facts["vocab_size"], log.facts["parameters_all"], log.facts["pretrained"]) == (65, 10_745_088, False)
    assert (log.facts["train_loss_is"], log.facts["mfu_peak_flops"], log.log_every) == ("last micro-batch", 312e12, 10)
    noise = [note for note in log.notes if note.kind == "noise"]
    assert [note.values["line"] for note in noise] == [12], noise


def test_the_config_that_nanogpt_prints_is_read_and_its_code_is_not_run():
    found = account(read_bytes(NANOGPT.encode())[0].as_json())
    assert (found.config.schedule.steps, found.config.eval.every, found.config.batch.micro_batch) == (5000, 250, 12)
    assert any("import os: not read" in note.text for note in found.notes)


@pytest.mark.parametrize(
    ("line", "key", "step", "value"),
    [
        ("step 500: train loss 3.1, val loss 3.2", "val/loss", 500, 3.2),
        ("step 500: train loss 3,10, val loss 3,25", "val/loss", 500, 3.25),
        ("step 500: train loss ٣٫١, val loss ٣٫٢", "val/loss", 500, 3.2),
        ("iter 500: loss 3.5, time 5.5s", "train/step_ms", 501, 5500.0),
        ("iter 500: loss 3.5", "train/loss", 501, 3.5),
        ("s:250 tel:3.9", "val/loss", 250, 3.9),
        ("s:250 eval:0.2854", "val/hellaswag", 250, 0.2854),
        ("s:250 trl:4.01 lr:0.000214 norm:0.87", "train/grad_norm", 251, 0.87),
        ("250 val 3.9506", "val/loss", 250, 3.9506),
        ("250 train 3.955029", "train/loss", 251, 3.955029),
        ("step   250 | loss: 3.955 | lr 8.5714e-07 | norm: 15.3353 | dt: 90.55ms | tok/sec: 48000.00", "train/lr", 251, 8.5714e-07),
        ("step  250/19560 | loss 9.12 (+nanz)| norm 2.3 (+nanz)| lr 1.2e-05 | 100.50 ms | 54.5% bf16 MFU | 5216793 tok/s", "train/tok_per_s", 250, 5216793.0),
        ("step:250/5100 val_loss:3.2774 train_time:150ms step_avg:149.15ms", "val/loss", 250, 3.2774),
    ],
)  # fmt: skip
def test_each_kind_of_line_gives_its_metric_at_the_step_of_finished_updates(line, key, step, value):
    loss = "" if "loss" in line or "tel" in line or "tr" in line or " val " in line else "s:0 tel:11.0\n"
    _, curves = read_bytes(f"{loss}{line}\n".encode())
    steps, values = curves[key]
    assert (steps.tolist(), values.tolist()) == ([step], [pytest.approx(value)])


@pytest.mark.parametrize(
    ("tail", "state", "reason"),
    [
        ("", "stopped", None),
        ("Traceback (most recent call last):\n  File 'x'\nKeyboardInterrupt\n", "stopped", None),
        ("Traceback (most recent call last):\n  File 'x'\nValueError: no\n", "failed", "error"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried\n", "failed", "oom"),
        ("step 5000: train loss 1, val loss 1.5\n", "finished", None),
    ],
)
def test_how_a_log_ends_is_how_its_run_ended(tail, state, reason):
    found = account(read_bytes((NANOGPT + tail).encode())[0].as_json())
    assert (found.state, found.reason) == (state, reason)
