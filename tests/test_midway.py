import json
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import quote

import torch
from tiny_data import VOCAB, Run, write_dataset

from app.contract.config import EvalConfig
from app.contract.dataset import Manifest
from app.contract.sampling import SampleSettings
from worker import tokenizers
from worker.commands import Commands, spoken
from worker.journal import Journal, read
from worker.midway import Midway
from worker.model import GPT
from worker.processes import Alone
from worker.train import Training

LETTERS = "".join(chr(0x41 + i) for i in range(VOCAB))
DROPOUT = {"model": {"dropout": 0.2}}
EVERY_FOUR = {"eval": {"sample_every": 4, "sample_prompt": "ABC", "sample_tokens": 30}}


def with_letters(folder: Path) -> Path:
    """The tiny dataset with a tokenizer: a letter for each of its tokens."""
    data = write_dataset(folder / "data")
    info = tokenizers.save(tokenizers.Characters(LETTERS, with_eot=False), data)
    manifest = json.loads((data / "manifest.json").read_text()) | {"tokenizer": info.model_dump()}
    (data / "manifest.json").write_text(json.dumps(manifest))
    return folder


def losses(run: Run) -> dict[int, tuple[float | None, float | None]]:
    return {step: (values.get("train/loss"), values.get("val/loss")) for step, values in run.points().items()}


def test_a_run_that_writes_has_the_losses_of_one_that_does_not_to_the_last_bit(tmp_path: Path) -> None:
    silent = Run(with_letters(tmp_path / "silent"), **DROPOUT)
    writing = Run(with_letters(tmp_path / "writing"), **DROPOUT, **EVERY_FOUR)
    commands = Commands()
    commands.put(*spoken({"command": "sample", "sample": 7, "settings": {"prompt": "A", "tokens": 40}}).split())
    assert silent.attempt() == writing.attempt(commands=commands) == 0
    assert losses(silent) == losses(writing)


def test_texts_of_every_fourth_step_are_told_with_their_settings(tmp_path: Path) -> None:
    run = Run(with_letters(tmp_path), **EVERY_FOUR)
    assert run.attempt() == 0
    events = run.events("sample")
    assert [event.step for event in events] == [0, 4, 8, 12]
    texts = [event.data["written"] for event in events]
    assert all(text.startswith("ABC") and len(text) == 33 and set(text) <= set(LETTERS) for text in texts)
    assert len(set(texts)) > 1, "the weights changed, so does the text"
    assert events[0].data["settings"] == SampleSettings(prompt="ABC", tokens=30, seed=1337).model_dump()


def test_what_is_asked_for_is_written_in_pieces_and_closed(tmp_path: Path) -> None:
    run, commands = Run(with_letters(tmp_path)), Commands()
    told = {"prompt": "A B, “C”\n%", "samples": 2, "tokens": 5}
    good = {"command": "sample", "sample": 8, "settings": {"prompt": "AB", "samples": 2, "tokens": 5}}
    for command in ({"command": "sample", "sample": 7, "settings": told}, good):
        commands.put(*spoken(command).split())
    commands.put("sample", "9", quote("not json"))
    assert run.attempt(commands=commands) == 0
    failed, *pieces, closed = run.events("sample")
    assert failed.data["sample"] == 7
    assert "' ' is not one of" in failed.data["error"]
    assert {piece.data["sample"] for piece in pieces} == {8}
    texts = ["".join(piece.data["written"] for piece in pieces if piece.data["index"] == index) for index in (0, 1)]
    assert [len(text) for text in texts] == [7, 7]
    assert texts[0] != texts[1]
    assert closed.data == {"sample": 8, "done": True}


def test_a_prompt_that_cannot_be_written_costs_one_alarm_and_no_step(tmp_path: Path) -> None:
    run = Run(with_letters(tmp_path), eval={"sample_every": 4, "sample_prompt": "ß"})
    assert run.attempt() == 0
    (alarm,) = run.events("alarm")
    assert "'ß' is not one of this vocabulary's 50 characters" in alarm.text
    assert max(run.points()) == 12


def test_of_several_processes_only_the_first_writes(tmp_path: Path) -> None:
    model = GPT(VOCAB, 16, 1, 2, 16)
    folder = write_dataset(with_letters(tmp_path) / "data")
    journal = Journal(tmp_path / "a1.journal")
    config = EvalConfig(sample_every=4, sample_prompt="ABC", sample_tokens=5)
    info = Manifest.model_validate_json((folder / "manifest.json").read_bytes()).tokenizer
    follower = Midway(model, nullcontext, info, folder, config, 1, journal, writes=False)
    drawn = torch.get_rng_state()
    follower.regular(4)
    follower.asked(4, ["7", quote(SampleSettings(prompt="A").model_dump_json())])
    journal.close()
    assert read(tmp_path / "a1.journal", 0)[0] == []
    assert torch.equal(torch.get_rng_state(), drawn)


def test_the_second_of_two_processes_trains_on_without_a_sample_of_its_own(tmp_path: Path) -> None:
    class Second(Alone):
        rank = 1

    run = Run(with_letters(tmp_path), **EVERY_FOUR)
    journal = Journal(run.journal())
    training = Training(run.folder, run.job(), journal, Commands(), Second())
    training.load()
    assert not training.midway.writes
    journal.close()
