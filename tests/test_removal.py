"""Documents left out of a preparation: which ones, counted, and the same ones after an interruption."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_source import MadeSource
from pydantic import ValidationError

from app.contract.dataset import DatasetSpec, Removed
from worker.encode import EmptySplit, Encoded, encode
from worker.journal import NullJournal
from worker.progress import Progress, Stopped
from worker.removal import Removal, asked
from worker.shards import text_hash, val_below
from worker.tokenizers import Bytes
from worker.unfinished import Unfinished

VAL_SHARE = 0.3


def spec(**given: object) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": "x", "kind": "builtin", "val_share": VAL_SHARE, **given})


def in_val(text: str) -> bool:
    return text_hash(text.encode()) < val_below(VAL_SHARE)


def kept(texts: list[str], **given: object) -> tuple[list[str], Removed]:
    removal = Removal(spec(**given))
    for text in texts:
        removal.learn(text)
    return [text for text in texts if removal.keep(text)], removal.removed


def normal(text: str) -> str:
    return " ".join(text.lower().split())


TEXTS = st.lists(st.sampled_from(["one text", "One text", "one  text", "two", "TWO", "two ", "three", "four", "FOUR"]), max_size=30)  # fmt: skip


@given(TEXTS)
def test_exact_keeps_the_first_of_each_text(texts: list[str]) -> None:
    found, removed = kept(texts, drop_duplicates="exact")
    assert found == list(dict.fromkeys(texts))
    gone = len(texts) - len(found)
    assert removed.train_duplicates + removed.val_duplicates == gone
    assert removed.text_bytes == sum(len(text) for text in texts) - sum(len(text) for text in found)


@given(TEXTS, st.booleans())
def test_normalised_keeps_one_of_each_and_then_nothing_can_leak(texts: list[str], leaked: bool) -> None:
    found, removed = kept(texts, drop_duplicates="normalised", drop_leaked_val=leaked)
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(normal(text), text)
    assert found == list(first.values())
    assert removed.leaked_val == 0


@given(TEXTS, st.sampled_from(["none", "exact"]))
def test_leaked_validation_goes_wherever_its_twin_stands(texts: list[str], copies: str) -> None:
    found, removed = kept(texts, drop_leaked_val=True, drop_duplicates=copies)
    train = {normal(text) for text in texts if not in_val(text)}
    assert not any(in_val(text) and normal(text) in train for text in found)
    assert {text for text in texts if not in_val(text)} <= set(found)
    assert {text for text in texts if in_val(text) and normal(text) not in train} <= set(found)
    assert removed.leaked_val + removed.val_duplicates + removed.train_duplicates == len(texts) - len(found)


def test_nothing_is_asked_for_by_default() -> None:
    assert not asked(spec())
    assert asked(spec(drop_duplicates="exact"))
    assert asked(spec(drop_leaked_val=True))


@pytest.mark.parametrize("drop", [{"drop_duplicates": "exact"}, {"drop_leaked_val": True}])
@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"split": "tail"}, "knows no documents"),
        ({"kind": "tokens", "files": [{"name": "train.bin", "path": "/train.bin"}]}, "taken as they are"),
    ],
)
def test_where_there_are_no_documents_nothing_can_be_removed(drop: dict, source: dict, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        spec(**source, **drop)
    assert not asked(spec(**source))


def documents() -> list[str]:
    random = Random(5)
    new = [f"Document {i} says {random.random()}" for i in range(120)]
    return random.sample([*new, *new[:60], *(text.upper() for text in new[40:90])], 230)


def prepared(out: Path, progress: Progress, source: MadeSource, **given: object) -> Encoded:
    out.mkdir(exist_ok=True)
    work = Unfinished(out)
    if work.settled is None:
        work.begin({})
    return encode(spec(**given), source, Bytes(), work, threads=2, progress=progress)


def words(out: Path, made: Encoded) -> tuple[list[str], list[str]]:
    train, val = (
        Bytes().decode(np.concatenate([np.fromfile(out / shard.file, "<u2") for shard in split.shards])).split("<|endoftext|>")[1:]
        for split in (made.train, made.val)
    )  # fmt: skip
    return train, val


class Interrupted(Progress):
    """Stops after so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__(NullJournal())
        self.left = calls

    def at(self, share: float, *, documents: int = 0, text_bytes: int = 0, tokens: int = 0) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stopped("requeue")


@pytest.mark.parametrize("drop", [{"drop_duplicates": "exact"}, {"drop_duplicates": "normalised"}, {"drop_leaked_val": True}])  # fmt: skip
def test_a_preparation_leaves_out_what_it_says_and_counts_it(tmp_path: Path, drop: dict) -> None:
    texts = documents()
    source = MadeSource([texts[at : at + 23] for at in range(0, 230, 23)])
    made = prepared(tmp_path / "out", Progress(NullJournal()), source, **drop)
    expected, removed = kept(texts, **drop)
    train, val = words(tmp_path / "out", made)
    assert train == [text for text in expected if not in_val(text)]
    assert val == [text for text in expected if in_val(text)]
    assert made.removed == removed
    assert removed != Removed()
    assert made.train.documents + made.val.documents == len(expected)


@pytest.mark.parametrize("drop", [{"drop_duplicates": "normalised"}, {"drop_duplicates": "exact", "drop_leaked_val": True}])  # fmt: skip
def test_an_interruption_changes_neither_bytes_nor_counts(tmp_path: Path, drop: dict) -> None:
    texts = documents()
    source = MadeSource([texts[at : at + 23] for at in range(0, 230, 23)])
    whole = prepared(tmp_path / "whole", Progress(NullJournal()), source, **drop)
    for calls in (3, 240, 260, 470):
        try:
            prepared(tmp_path / "parts", Interrupted(calls), source, **drop)
        except Stopped:
            pass
        else:
            break
    assert Unfinished(tmp_path / "parts").notes  # it was in the middle of it
    parts = prepared(tmp_path / "parts", Progress(NullJournal()), source, **drop)
    assert parts.removed == whole.removed
    assert words(tmp_path / "parts", parts) == words(tmp_path / "whole", whole)
    assert (parts.train, parts.val) == (whole.train, whole.val)


def test_a_validation_split_that_is_all_leaked_is_told_so(tmp_path: Path) -> None:
    text = next(text for text in documents() if in_val(text) and not in_val(text.upper()))
    with pytest.raises(EmptySplit, match="all its 1 documents were removed as copies"):
        prepared(tmp_path / "out", Progress(NullJournal()), MadeSource([[text, text.upper()]]), drop_leaked_val=True)


def test_without_a_switch_copies_stay(tmp_path: Path) -> None:
    made = prepared(tmp_path / "out", Progress(NullJournal()), MadeSource([documents()]))
    assert made.removed is None
    assert made.train.documents + made.val.documents == 230
