"""Documents to ids: the split, end-of-text, order, and what an empty side is told."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.contract.dataset import DatasetSpec, Split
from worker.encode import EmptySplit, Encoded, encode, in_order, unigram_entropy
from worker.journal import NullJournal
from worker.progress import Progress, Stopped
from worker.shards import text_hash, val_below
from worker.sources import Source, inspect
from worker.tokenizers import Bytes, Characters, Tokenizer

DOCUMENTS = [f"document {i} – {'ü' * (i % 7)} {i * 7919}" for i in range(600)]


def encoded(out: Path, documents: list[str], tokenizer: Tokenizer, **given: object) -> Encoded:
    out.mkdir(exist_ok=True)
    path = out.parent / "source.txt"
    path.write_text("\f".join(documents))
    threads = given.pop("threads", 2)
    assert isinstance(threads, int)
    spec = DatasetSpec.model_validate({"name": "x", "kind": "builtin", **given})
    source = Source("text", [inspect("source.txt", path)])
    return encode(spec, source, tokenizer, out, threads=threads, progress=Progress(NullJournal()), shard_tokens=3000)


def ids_of(out: Path, split: Split) -> NDArray[np.uint32]:
    return np.concatenate([np.fromfile(out / shard.file, "<u2") for shard in split.shards]).astype(np.uint32)


@pytest.mark.parametrize("layout", ["plateau", "nanogpt"])
def test_each_side_holds_its_documents_in_order_with_end_of_text(tmp_path: Path, layout: str) -> None:
    out = tmp_path / "out"
    made = encoded(out, DOCUMENTS, Bytes(), layout=layout, val_share=0.2)
    below = val_below(0.2)
    sides = (
        [d for d in DOCUMENTS if text_hash(d.encode()) >= below],
        [d for d in DOCUMENTS if text_hash(d.encode()) < below],
    )
    for split, documents in zip((made.train, made.val), sides, strict=True):
        texts = [("{}<|endoftext|>" if layout == "nanogpt" else "<|endoftext|>{}").format(d) for d in documents]
        assert Bytes().decode(ids_of(out, split)) == "".join(texts)
        assert split.documents == len(documents)
        assert split.text_bytes == sum(len(d.encode()) for d in documents)
        assert split.tokens == split.text_bytes + split.documents
    assert len(made.train.shards) > 3
    assert made.counts.sum() == made.train.tokens
    assert made.counts[256] == made.train.documents


def test_the_files_are_the_same_bytes_on_any_number_of_threads(tmp_path: Path) -> None:
    one = encoded(tmp_path / "one", DOCUMENTS, Bytes(), threads=1)
    three = encoded(tmp_path / "three", DOCUMENTS, Bytes(), threads=3)
    assert one.train == three.train
    assert one.val == three.val


def test_equal_texts_are_never_on_both_sides(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = encoded(out, DOCUMENTS * 3, Bytes(), val_share=0.5)
    train, val = (set(Bytes().decode(ids_of(out, split)).split("<|endoftext|>")) for split in (made.train, made.val))
    assert train & val == {""}
    assert train | val == {*DOCUMENTS, ""}


def test_empty_documents_are_dropped_and_counted(tmp_path: Path) -> None:
    made = encoded(tmp_path / "out", [*DOCUMENTS, "", " \n\t"], Bytes())
    assert made.empty_documents == 2
    assert made.train.documents + made.val.documents == 600


def test_without_an_end_of_text_documents_follow_each_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    tokenizer = Characters("".join(DOCUMENTS), with_eot=False)
    made = encoded(out, DOCUMENTS, tokenizer)
    kept = [d for d in DOCUMENTS if text_hash(d.encode()) >= val_below(0.1)]
    assert tokenizer.decode(ids_of(out, made.train)) == "".join(kept)


def test_a_vocabulary_past_65536_is_written_in_four_bytes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    characters = "".join(chr(code) for code in range(0x20, 0x11000) if not 0xD800 <= code < 0xE000)
    made = encoded(out, [*DOCUMENTS, chr(0x10FFF)], Characters(characters, with_eot=True))
    shard = made.train.shards[0]
    assert shard.bytes == 4 * shard.tokens == (out / shard.file).stat().st_size


@pytest.mark.parametrize(("side", "way"), [("training", "Lower val_share"), ("validation", "Raise val_share")])
def test_an_empty_side_is_refused_with_what_to_do(tmp_path: Path, side: str, way: str) -> None:
    in_val = [d for d in DOCUMENTS if text_hash(d.encode()) < val_below(0.5)]
    other = [d for d in DOCUMENTS if d not in in_val]
    one_sided = in_val[:7] if side == "training" else other[:7]
    with pytest.raises(EmptySplit, match=rf"No document fell to {side}: there are 7, .*val_share 0\.5.*{way}"):
        encoded(tmp_path / "out", one_sided, Bytes(), val_share=0.5)
    assert not list((tmp_path / "out").iterdir())


def test_a_source_without_text_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(EmptySplit, match="There is no text to train on: 3 documents, all of them empty"):
        encoded(tmp_path / "out", ["", " ", "\n"], Bytes())


def test_a_stop_in_the_middle_leaves_no_unfinished_file(tmp_path: Path) -> None:
    path = tmp_path / "source.txt"
    path.write_text("\f".join(DOCUMENTS))
    progress = Progress(NullJournal())
    progress.stop = "stopped"
    spec = DatasetSpec(name="x", kind="builtin")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Stopped):
        encode(spec, Source("text", [inspect("s", path)]), Bytes(), out, threads=2, progress=progress)
    assert not list(out.iterdir())


def test_results_come_in_order_and_only_a_few_items_are_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 50:
            taken += 1
            yield taken

    def work(item: int) -> int:
        time.sleep(0.002 if item % 2 else 0)
        return item

    for expected, result in enumerate(in_order(work, items(), threads=3), start=1):
        assert result == expected
        assert taken - result <= 6


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda item: 1 // item, [1, 0, 1], threads=2))


def test_unigram_entropy_of_equal_counts_is_the_log_of_their_number() -> None:
    assert unigram_entropy(np.array([5, 5, 5, 5, 0])) == pytest.approx(math.log(4))
    assert unigram_entropy(np.array([0, 9])) == 0
