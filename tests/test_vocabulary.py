"""What byte pairs and characters are learnt from."""

from pathlib import Path

import pytest

from app.contract.dataset import DatasetSpec, SourceFile, TokenizerSpec
from worker.journal import NullJournal
from worker.progress import Progress
from worker.shards import text_hash, val_below
from worker.sources import Source, inspect
from worker.tokenizers import Ranks, Tokenizer
from worker.vocabulary import SAMPLE_DOCUMENT_MAX, Sample, choose


def no_ranks(_: str) -> Ranks:
    raise AssertionError("nobody asked for GPT-2's ranks")


def chosen(kind: str, source: Source, **given: object) -> Tokenizer:
    files = (SourceFile(name="a.txt", path="a.txt"),)
    spec = DatasetSpec(
        name="x", kind="text", files=files, tokenizer=TokenizerSpec.model_validate({"kind": kind, **given})
    )
    return choose(spec, source, no_ranks, Progress(NullJournal()))


def source_of(tmp_path: Path, text: str) -> Source:
    path = tmp_path / "a.txt"
    path.write_text(text)
    return Source("text", [inspect("a.txt", path)])


def test_a_sample_is_the_texts_with_the_smallest_hashes_in_whatever_order_they_come() -> None:
    texts = [f"{i:04}" * 25 for i in range(500)]  # of 100 characters each
    there, back = Sample(room=2_000), Sample(room=2_000)
    for text in texts:
        there.add(text_hash(text.encode()), text)
    for text in reversed(texts):
        back.add(text_hash(text.encode()), text)
    smallest = sorted(texts, key=lambda text: text_hash(text.encode()) & 0xFFFFFFFF)[:20]
    assert list(there.texts()) == list(back.texts()) == smallest


def test_a_sample_with_room_takes_everything_once() -> None:
    sample = Sample(room=10_000)
    for i in range(60):
        sample.add(text_hash(b"%d" % (i % 30)), str(i % 30))
    assert sorted(sample.texts(), key=int) == [str(i) for i in range(30)]


def test_a_sample_is_bounded_even_for_huge_documents() -> None:
    sample = Sample(room=3_000_000)
    for i in range(9):
        sample.add(text_hash(b"%d" % i), str(i) * 5_000_000)
    texts = list(sample.texts())
    assert [len(text) for text in texts] == [SAMPLE_DOCUMENT_MAX] * 3


def test_byte_pairs_are_learnt_from_train_documents_only(tmp_path: Path) -> None:
    documents = [
        f"{word} {word}" for word in ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
    ]
    below = val_below(0.1)
    train = next(d for d in documents if text_hash(d.encode()) >= below)
    held_out = next(d for i in range(1000) if text_hash((d := f"zulu{i} zulu{i}").encode()) < below)
    tokenizer = chosen("bpe", source_of(tmp_path, f"{train}\f{held_out}"))
    assert len(tokenizer.encode(train)) == 2
    assert len(tokenizer.encode(held_out)) > 6


def test_characters_are_those_of_both_sides(tmp_path: Path) -> None:
    words = [f"{chr(0x4E00 + i)} word" for i in range(200)]
    source = source_of(tmp_path, "\f".join(words))
    tokenizer = chosen("characters", source)
    assert tokenizer.vocab_size == 200 + len(set(" word")) + 1
    assert all((tokenizer.encode(word) < tokenizer.vocab_size).all() for word in words)


def test_passages_of_one_text_have_no_end_of_text_among_their_characters(tmp_path: Path) -> None:
    assert chosen("characters", source_of(tmp_path, "one\n\ntwo")).eot is None


@pytest.mark.parametrize("kind", ["bytes", "gpt2"])
def test_a_given_vocabulary_does_not_read_the_documents(tmp_path: Path, kind: str) -> None:
    gone = tmp_path / "a.txt"
    source = source_of(tmp_path, "text")
    gone.unlink()
    spec = DatasetSpec(name="x", kind="builtin", tokenizer=TokenizerSpec.model_validate({"kind": kind}))
    tokenizer = choose(spec, source, lambda _: {bytes([b]): b for b in range(256)}, Progress(NullJournal()))
    assert tokenizer.vocab_size == 257
