import json
from pathlib import Path

import pytest
from tiny_data import Run, run_config, write_dataset

from app.contract.config import RunConfig
from worker.corpus import Corpus


def test_other_data_than_the_run_has_trained_on_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.until_killed(5)
    manifest = run.dataset / "manifest.json"
    manifest.write_text(manifest.read_text().replace("walk", "talk"))
    assert run.attempt(2, resume=run.checkpoint(0)) == 1
    assert "not the one this run has trained on" in run.frames("l", 2)[-1][2]


@pytest.mark.parametrize("damage", ["shorter", "changed", "gone"])
def test_damaged_token_files_are_refused(tmp_path: Path, damage: str) -> None:
    run = Run(tmp_path)
    shard = run.dataset / "train-001.bin"
    content = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        shard.write_bytes(content[:-2] if damage == "shorter" else content[:-2] + bytes((content[-2] ^ 1, content[-1])))
    assert run.attempt() == 1
    assert "train-001.bin" in run.frames("l")[-1][2]
    assert run.telemetry()["reason"] == "error"


def test_a_dataset_too_small_for_the_context_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, model={"block_size": 1024})
    assert run.attempt() == 1
    assert "Choose a smaller context or more data" in run.frames("l")[-1][2]


def test_the_embedding_is_padded_to_a_multiple_of_64_when_asked(tmp_path: Path) -> None:
    corpus = Corpus(write_dataset(tmp_path), RunConfig.model_validate(run_config()))
    assert (corpus.vocab_size(padded=True), corpus.vocab_size(padded=False)) == (64, 50)


def test_both_splits_are_measured_on_the_same_number_of_windows(tmp_path: Path) -> None:
    # val has 1,200 tokens: 74 windows of 16 and a target
    corpus = Corpus(write_dataset(tmp_path), RunConfig.model_validate(run_config(eval={"windows": 200})))
    assert {len(starts) for _, starts in corpus.eval_windows(0).values()} == {74}


def mark_documents(dataset: Path, eot: int = 0) -> None:
    """Say that `eot`, which the walk passes every 25 tokens or so, is end-of-text."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["tokenizer"]["eot"] = eot
    (dataset / "manifest.json").write_text(json.dumps(manifest))


def test_boundaries_that_nothing_marks_cannot_be_respected(tmp_path: Path) -> None:
    run = Run(tmp_path, data={"boundaries": "respect"})
    assert run.attempt() == 1
    assert "No end-of-text stands in this dataset's token files" in run.frames("l")[-1][2]
    mark_documents(run.dataset, eot=49)
    corpus = Corpus(run.dataset, RunConfig.model_validate(run.config))
    assert len(corpus.batches.begins) == (run.dataset / "windows-16.bin").stat().st_size // 8


def test_evaluation_windows_are_the_datasets_whatever_a_run_reads(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    mark_documents(dataset)
    found = []
    for data in ({}, {"boundaries": "respect"}, {"sampler": "sequential"}, {"sampler": "random"}):
        config = RunConfig.model_validate(run_config(data=data, system={"seed": len(found)}))
        found.append({key: starts.tolist() for key, (_, starts) in Corpus(dataset, config).eval_windows(7).items()})
    assert all(one == found[0] for one in found)


def test_a_run_that_respects_boundaries_goes_on_bit_for_bit(tmp_path: Path) -> None:
    sections = {"data": {"boundaries": "respect"}, "checkpoint": {"every": 6}, "model": {"positions": "rope"}}
    whole, cut = Run(tmp_path / "whole", **sections), Run(tmp_path / "cut", **sections)
    for run in (whole, cut):
        mark_documents(run.dataset)
    assert whole.attempt() == 0
    cut.until_killed(8)
    assert cut.attempt(2, resume=cut.checkpoint(6)) == 0
    straight, resumed = whole.points(), cut.points(2)
    assert [resumed[step]["train/loss"] for step in range(7, 13)] == [
        straight[step]["train/loss"] for step in range(7, 13)
    ]
    ignoring = Run(tmp_path / "ignoring", model={"positions": "rope"})
    assert ignoring.attempt() == 0
    assert ignoring.points()[12]["val/loss"] != straight[12]["val/loss"]
