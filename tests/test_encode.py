"""Documents to ids: the split, end-of-text, order, and what an empty side is told."""

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_source import BAD, MadeSource
from numpy.typing import NDArray

from app.contract.dataset import DatasetSpec, Split
from worker import groups
from worker.encode import EmptySplit, Encoded, encode, in_order, unigram_entropy
from worker.journal import NullJournal
from worker.progress import Progress, Stopped
from worker.shards import text_hash, val_below
from worker.sources import Source, inspect
from worker.tokenizers import Bytes, Characters, Tokenizer
from worker.unfinished import Unfinished

DOCUMENTS = [f"document {i} – {'ü' * (i % 7)} {i * 7919}" for i in range(600)]


def encoded(out: Path, documents: list[str], tokenizer: Tokenizer, **given: object) -> Encoded:
    out.mkdir(exist_ok=True)
    path = out.parent / "source.txt"
    path.write_text("\f".join(documents))
    threads = given.pop("threads", 2)
    assert isinstance(threads, int)
    spec = DatasetSpec.model_validate({"name": "x", "kind": "builtin", **given})
    source = Source("text", [inspect("source.txt", path)])
    work = Unfinished(out)
    work.begin({})
    return encode(spec, source, tokenizer, work, threads=threads, progress=Progress(NullJournal()), shard_tokens=3000)


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


def test_a_source_without_text_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(
        EmptySplit, match="There is no text to train on: the source holds 3 documents, all of them empty"
    ):
        encoded(tmp_path / "out", ["", " ", "\n"], Bytes())


class Interrupting(Progress):
    """Asks for an end at its `at`-th sign; None: never."""

    def __init__(self, at: int | None) -> None:
        super().__init__(NullJournal())
        self._left = at

    def at(self, share: float, **counts: int) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise Stopped("requeue")


def attempt(folder: Path, units: list[list[str]], at: int | None, *, tail: bool) -> Encoded:
    spec = DatasetSpec.model_validate(
        {"name": "x", "kind": "builtin", "val_share": 0.4, "split": "tail" if tail else "hash"}
    )
    length = sum(len(text) for unit in units for text in unit if text != BAD)
    work = Unfinished(folder)
    if work.settled is None:
        work.begin({})
    return encode(
        spec, MadeSource(units), Bytes(), work, boundary=int(0.6 * length) if tail else None, threads=2,
        progress=Interrupting(at), shard_tokens=200,
    )  # fmt: skip


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def small_and_quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "GROUP_DOCUMENTS", 3)
        patch.setattr("os.fsync", lambda _: None)  # nobody cuts the power here, and hundreds of small shards are made
        yield


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([*DOCUMENTS[:40], "", BAD]), max_size=10), min_size=1, max_size=8),
    st.lists(st.integers(0, 12), max_size=4),
    st.booleans(),
)
def test_however_often_it_is_interrupted_the_bytes_and_the_counts_are_the_same(
    units: list[list[str]], stops: list[int], tail: bool
) -> None:
    units = [*units, [DOCUMENTS[i] for i in range(40)]]  # enough for both sides
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as parts:
        expected = attempt(Path(whole), units, None, tail=tail)
        for at in stops:
            with suppress(Stopped):
                attempt(Path(parts), units, at, tail=tail)
        made = attempt(Path(parts), units, None, tail=tail)
        assert files_in(Path(parts)) == files_in(Path(whole))
    assert made.counts.tolist() == expected.counts.tolist()
    assert made._replace(counts=expected.counts) == expected
    assert len(made.faults) == sum(unit.count(BAD) for unit in units)


def test_an_interrupted_attempt_does_not_do_again_what_was_finished(tmp_path: Path) -> None:
    units = [DOCUMENTS[i : i + 20] for i in range(0, 200, 20)]
    with pytest.raises(Stopped):
        attempt(tmp_path, units, 45, tail=False)
    done = len(Unfinished(tmp_path).notes)
    assert done >= 5
    units[:done] = [["something else that must not be read"]] * done
    made = attempt(tmp_path, units, None, tail=False)
    assert made.train.documents + made.val.documents == 200


@given(st.lists(st.lists(st.sampled_from(DOCUMENTS[:60]), max_size=8), min_size=1, max_size=6), st.randoms())
@settings(max_examples=25, deadline=None)
def test_a_documents_side_depends_on_its_text_alone_whatever_the_order_of_the_files(
    units: list[list[str]], random: Random
) -> None:
    units = [*units, DOCUMENTS[:60]]
    shuffled = random.sample(units, len(units))
    sides = []
    for order in (units, shuffled):
        with tempfile.TemporaryDirectory() as folder:
            made = attempt(Path(folder), order, None, tail=False)
            sides.append(
                [
                    sorted(Bytes().decode(ids_of(Path(folder), split)).split("<|endoftext|>")[1:])
                    for split in (made.train, made.val)
                ]
            )
    assert sides[0] == sides[1]
    assert not set(sides[0][0]) & set(sides[0][1])


def test_a_text_and_its_tail_are_in_one_piece_without_end_of_text(tmp_path: Path) -> None:
    units = [["one two ", "\n\n"], ["three ", "four five"]]
    made = attempt(tmp_path, units, None, tail=True)
    text = "one two \n\nthree four five"
    assert Bytes().decode(ids_of(tmp_path, made.train)) == text[: int(0.6 * len(text))]
    assert Bytes().decode(ids_of(tmp_path, made.val)) == text[int(0.6 * len(text)) :]
    assert (made.train.documents, made.val.documents, made.empty_documents) == (1, 1, 0)


def test_a_text_too_short_for_a_tail_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptySplit, match=r"too short: with val_share 0\.4 nothing is left for training"):
        attempt(tmp_path, [["a"]], None, tail=True)


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
