"""nanoGPT's train.bin and val.bin as a dataset: the same bytes, and a manifest that says what they are."""

import contextlib
import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contract.dataset import DatasetSpec, Manifest
from worker import adopted, ranks, tokenizers
from worker.adopted import adopt
from worker.journal import Journal, NullJournal
from worker.prepare import run
from worker.progress import Progress
from worker.source_files import UnreadableSource, inspect

TEXT = "Friends, Romans, countrymen, lend me your ears; " * 40
CHARACTERS = sorted(set(TEXT))
Ranks = tokenizers.Ranks


def no_ranks(kind: str) -> Ranks:
    raise ranks.NoRanks(f"no {kind}")


def few_ranks(kind: str) -> Ranks:
    """A vocabulary of 256 bytes and end-of-text, as if it were GPT-2's."""
    return {bytes([b]): b for b in range(256)}


def adopted_from(folder: Path, find_ranks: Any = no_ranks, **how: Any) -> Manifest:
    files = [inspect(f"data/{path.name}", path) for path in sorted(folder.iterdir())]
    spec = DatasetSpec.model_validate({"name": "x", "kind": "tokens", "files": [{"name": "data", "path": str(folder)}]})
    out = folder.parent / "out"
    return adopt(spec, files, out, find_ranks=find_ranks, progress=Progress(NullJournal()), **how)


@pytest.fixture
def characters(tmp_path: Path) -> Path:
    """What nanoGPT's data/shakespeare_char/prepare.py writes, for a shorter text."""
    folder = tmp_path / "shakespeare_char"
    folder.mkdir()
    stoi = {character: i for i, character in enumerate(CHARACTERS)}
    ids = np.array([stoi[character] for character in TEXT], np.uint16)
    cut = int(len(TEXT) * 0.9)
    ids[:cut].tofile(folder / "train.bin")
    ids[cut:].tofile(folder / "val.bin")
    meta = {"vocab_size": len(stoi), "itos": dict(enumerate(CHARACTERS)), "stoi": stoi}
    with (folder / "meta.pkl").open("wb") as file:
        pickle.dump(meta, file)
    return folder


def test_the_shards_are_the_files_bytes_and_the_manifest_counts_them(characters: Path) -> None:
    manifest = adopted_from(characters)
    out = characters.parent / "out"
    for split, name in ((manifest.train, "train.bin"), (manifest.val, "val.bin")):
        content = (characters / name).read_bytes()
        (shard,) = split.shards
        assert (out / shard.file).read_bytes() == content
        assert (shard.sha256, split.tokens) == (hashlib.sha256(content).hexdigest(), len(content) // 2)
        assert split.text_bytes == split.tokens
    assert manifest.split_rule == "given"
    assert (manifest.tokenizer.vocab_size, manifest.tokenizer.eot) == (len(CHARACTERS), None)
    assert manifest.bytes_per_token == 1
    train = TEXT[: int(len(TEXT) * 0.9)]
    shares = np.array([train.count(character) / len(train) for character in CHARACTERS])
    assert manifest.unigram_entropy == pytest.approx(-(shares * np.log(shares))[shares > 0].sum())
    tokenizer = tokenizers.load(manifest.tokenizer, out)
    assert tokenizer.decode(np.fromfile(out / manifest.val.shards[0].file, "<u2")) == TEXT[len(train) :]
    assert [one.text for one in manifest.preview if one.chosen == "first"] == [TEXT[:1500]]
    assert [one for one in manifest.preview if one.chosen == "random"]
    assert Manifest.model_validate_json((out / "manifest.json").read_bytes()) == manifest


def test_the_shakespeare_of_nanogpt_has_its_counts(tmp_path: Path, data_folder: Path) -> None:
    text = (data_folder / "tinyshakespeare.txt").read_text()
    folder = tmp_path / "data"
    folder.mkdir()
    names = sorted(set(text))
    stoi = {character: i for i, character in enumerate(names)}
    ids = np.array([stoi[character] for character in text], np.uint16)
    ids[:1_003_854].tofile(folder / "train.bin")
    ids[1_003_854:].tofile(folder / "val.bin")
    (folder / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": 65, "itos": dict(enumerate(names)), "stoi": stoi}))
    manifest = adopted_from(folder)
    # nanoGPT, data/shakespeare_char/readme.md: 1,003,854 and 111,540 tokens, 65 characters
    assert (manifest.train.tokens, manifest.val.tokens) == (1_003_854, 111_540)
    assert manifest.tokenizer.vocab_size == 65


def test_shards_of_a_long_file_join_to_it(characters: Path) -> None:
    manifest = adopted_from(characters, shard_tokens=500)
    parts = [(characters.parent / "out" / shard.file).read_bytes() for shard in manifest.train.shards]
    assert len(parts) == 4
    assert b"".join(parts) == (characters / "train.bin").read_bytes()


def test_an_order_of_characters_that_is_not_sorted_is_kept(characters: Path) -> None:
    names = "".join(reversed(CHARACTERS))
    (characters / "meta.pkl").write_bytes(pickle.dumps({"itos": dict(enumerate(names))}))
    manifest = adopted_from(characters)
    tokenizer = tokenizers.load(manifest.tokenizer, characters.parent / "out")
    assert tokenizer.decode([0, 1, 2]) == names[:3]
    assert list(tokenizer.encode(names[:3])) == [0, 1, 2]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickles_is_read(characters: Path, protocol: int) -> None:
    content = pickle.loads((characters / "meta.pkl").read_bytes())
    (characters / "meta.pkl").write_bytes(pickle.dumps(content, protocol))
    assert adopted_from(characters).tokenizer.vocab_size == len(CHARACTERS)


def test_without_meta_the_tokens_are_gpt2s_and_end_of_text_ends_documents(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train.bin", "val.bin"):
        np.array([*b"one", 256, *"zwö".encode(), 256], np.uint16).tofile(folder / name)
    manifest = adopted_from(folder, few_ranks)
    assert (manifest.train.documents, manifest.train.tokens, manifest.train.text_bytes) == (2, 9, 7)
    assert (manifest.tokenizer.kind, manifest.tokenizer.vocab_size) == ("gpt2", 257)
    assert [one.text for one in manifest.preview if one.chosen == "first"] == ["one", "zwö"]
    with pytest.raises(ranks.NoRanks):
        adopted_from(folder)


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_in_a_meta_pkl_is_run(characters: Path, protocol: int) -> None:
    marker = characters.parent / "ran"
    (characters / "meta.pkl").write_bytes(pickle.dumps({"itos": Runs(marker)}, protocol))
    with pytest.raises(UnreadableSource, match=r"data/meta\.pkl is not the meta\.pkl .* It was not run"):
        adopted_from(characters)
    assert not marker.exists()
    pickle.loads((characters / "meta.pkl").read_bytes())  # the fixture itself is dangerous
    assert marker.exists()


def write(name: str, content: bytes) -> Any:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (write("train.bin", b"\0\0\0"), r"data/train\.bin has 3 bytes, which is no whole number of uint16 tokens"),
        (write("val.bin", b""), r"data/val\.bin has 0 bytes"),
        (
            lambda folder: (folder / "val.bin").unlink(),
            r"val\.bin is missing; there is data/meta\.pkl, data/train\.bin",
        ),
        (write("extra.bin", b"\0\0"), r"data/extra\.bin is none of train\.bin, val\.bin and meta\.pkl"),
        (write("val.bin", b"\x01\0\xe8\x03"), r"data/val\.bin: token 1 is 1000, but data/meta\.pkl has \d+ entries"),
        (write("meta.pkl", b"not a pickle"), "is damaged"),
        (write("meta.pkl", pickle.dumps([1, 2])), "it has no itos"),
        (write("meta.pkl", pickle.dumps({"itos": {0: "a", 1: "a"}})), "a character of its own"),
        (write("meta.pkl", pickle.dumps({"itos": {0: "word"}})), "a character of its own"),
        (write("meta.pkl", pickle.dumps({"itos": {1: "a"}})), "from 0 to 0"),
        (write("meta.pkl", pickle.dumps({"itos": {0: "a"}, "vocab_size": 5})), "its vocab_size is 5"),
    ],
)
def test_what_cannot_be_adopted_is_named_with_the_reason(characters: Path, spoil: Any, sentence: str) -> None:
    spoil(characters)
    with pytest.raises(UnreadableSource, match=sentence):
        adopted_from(characters)
    assert not (characters.parent / "out" / "manifest.json").exists()


def test_an_id_beyond_gpt2_asks_for_the_meta_pkl(characters: Path) -> None:
    (characters / "meta.pkl").unlink()
    np.array([1, 2, 300], np.uint16).tofile(characters / "train.bin")
    with pytest.raises(UnreadableSource, match=r"token 2 is 300, but GPT-2 has 257 entries\. Give the meta\.pkl"):
        adopted_from(characters, few_ranks)


def test_a_file_that_changes_while_it_is_read_is_named(characters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = tokenizers.save

    def rewriting(*given: Any) -> Any:
        (characters / "val.bin").write_bytes(bytes(200))
        return save(*given)

    monkeypatch.setattr(tokenizers, "save", rewriting)
    with pytest.raises(UnreadableSource, match=r"data/val\.bin changed while it was read"):
        adopted_from(characters)


def test_two_files_of_one_name_are_refused(characters: Path) -> None:
    train = inspect("a/train.bin", characters / "train.bin")
    with pytest.raises(UnreadableSource, match=r"two files train\.bin: a/train\.bin and b/train\.bin"):
        adopted.by_name([train, train._replace(name="b/train.bin")])


def test_the_program_adopts_a_folder_by_the_names_the_agent_gives(characters: Path) -> None:
    job = characters.parent / "job"
    job.mkdir()
    spec = {"name": "x", "kind": "tokens", "files": [{"name": "char", "path": str(characters)}]}
    paths = sorted(characters.iterdir())
    config = {
        "dataset": "d-0001", "spec": spec, "out": str(job / "out"),
        "files": [str(path) for path in paths], "names": [f"char/{path.name}" for path in paths],
    }  # fmt: skip
    (job / "config.json").write_text(json.dumps(config))
    with contextlib.closing(Journal(job / "journal" / "a1.journal")) as told:
        assert run(job, told, Progress(told)) == 0
    manifest = Manifest.model_validate_json((job / "out" / "manifest.json").read_bytes())
    assert [source["name"] for source in manifest.sources] == ["char/meta.pkl", "char/train.bin", "char/val.bin"]
    assert manifest.split_rule == "given"
