"""app/foreign/table.py: CSV of any country, W&B's exports, and columns that do not say what they are of."""

import pytest

from app.foreign.log import NotALog
from app.foreign.reader import read_bytes


def table(text: str):
    log, curves = read_bytes(text.encode())
    return log, {key: (steps.tolist(), values.tolist()) for key, (steps, values) in curves.all().items()}


@pytest.mark.parametrize(
    "text",
    [
        "step,train/loss,val/loss\n0,4.5,4.25\n100,,3.5\n1000,3,3.125\n",
        "step;train/loss;val/loss\n0;4,5;4,25\n100;;3,5\n1.000;3;3,125\n",
        "iter\ttrain_loss\tvalid loss\n0\t4.5\t4.25\n100\t\t3.5\n1000\t3\t3.125\n",
        '"Step","train/loss","val/loss"\r\n"0","4.5","4.25"\r\n"100","","3.5"\r\n"1,000","3","3.125"\r\n',
        "# made by hand\n\nstep | train/loss | val/loss\n0 | 4.5 | 4.25\n100 | nan? | 3.5\n1000 | 3 | 3.125\n",
    ],
)
def test_delimiters_and_decimal_commas_are_recognised(text):
    _, found = table(text)
    assert found["val/loss"] == ([0, 100, 1000], [4.25, 3.5, 3.125])


def test_a_wandb_export_is_its_first_run_without_the_ranges():
    text = '"Step","a-run - val/loss","a-run - val/loss__MIN","a-run - val/loss__MAX","other - val/loss"\n"0","4.5","4","5","9"\n"250","3.5","3","4","9"\n'
    log, found = table(text)
    assert (log.format, found) == ("wandb", {"val/loss": ([0, 250], [4.5, 3.5])})
    assert [note.values for note in log.notes if note.kind == "runs"] == [{"text": "a-run"}]


def test_wandbs_own_counter_is_not_taken_where_there_is_an_iteration():
    _, found = table("Step,run - iter,run - val/loss\n0,0,4\n1,2000,3\n")
    assert found["val/loss"] == ([0, 2000], [4.0, 3.0])


@pytest.mark.parametrize(("stride", "key"), [(128, "val/loss"), (1, "train/loss")])
def test_a_column_loss_is_of_evaluations_where_it_is_sparse_and_that_is_said(stride, key):
    log, found = table("step,lr,loss\n" + "".join(f"{2176 + stride * i},0.0003,{4 - i / 10}\n" for i in range(5)))
    assert key in found
    assert [note.kind for note in log.notes] == ["ambiguous"]


def test_a_training_loss_beside_every_validation_loss_is_an_evaluation():
    log, found = table("step,train_loss,val_loss\n0,4,4.1\n500,3,3.1\n")
    assert "eval/train_loss" in found
    assert "train/loss" not in found
    assert [note.kind for note in log.notes] == ["evaluated"]


def test_any_other_column_of_numbers_is_kept_and_the_rest_is_named():
    log, found = table("step,val/loss,Grad Norm/Layer 1,entropy,epoch,_timestamp\n0,4,1,2,0,17\n1,3,1,2,0,17\n")
    assert {"grad_norm/layer_1", "elsewhere/entropy"} < found.keys()
    assert [note.values["text"] for note in log.notes if note.kind == "columns"] == ["epoch, _timestamp"]


def test_percentages_of_mfu_become_shares_and_words_are_counted():
    log, found = table("iter,val/loss,mfu\n0,4,10.5\n100,three,11\n,2,1\n")
    assert found["train/mfu"][1] == [0.105, 0.11]
    assert {note.kind: note.values["line"] for note in log.notes} == {"cells": 3, "rows": 4}


def test_rows_in_no_order_are_refused_with_the_way_out():
    with pytest.raises(NotALog, match="sort a table by its steps"):
        table("step,val/loss\n" + "".join(f"{step},{step / 10}\n" for step in range(100, 0, -1)))
