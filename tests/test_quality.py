"""The whole report over small datasets whose truth is known, and over real ones."""

import numpy as np
import pytest

from app.contract.dataset import Manifest
from app.contract.quality import QualityReport
from tests.prepared import EOT, dataset, ids_of, sentences
from worker import rereading
from worker.journal import NullJournal
from worker.progress import Progress, Stopped
from worker.quality import NO_MARKS, NO_TEXT, report
from worker.tokenizers import Bytes


def read(folder, manifest: Manifest, tokenizer=None, progress=None) -> QualityReport:
    return report(folder, manifest, tokenizer or Bytes(), progress or Progress(NullJournal()))


def numbers(found: QualityReport) -> dict:
    return found.model_dump(exclude={"cpu_s", "wall_s", "peak_mb"})


@pytest.fixture(scope="module")
def texts():
    """(train, val): 40 copies, 10 of them in capitals, one near copy of train in val, two leaked, one of them normalised."""
    new = sentences(300, seed=1)
    train = [*new[:200], *new[:30], *(text.upper() for text in new[30:40])]
    near = " ".join([*new[50].split()[:-2], "an", "end"])
    val = [*new[200:250], near, new[60], f"\n{new[70].title()}  "]
    return train, val


@pytest.fixture(scope="module")
def made(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("data")
    return folder, dataset(folder, ids_of(texts[0]), ids_of(texts[1]), shard_tokens=50_000, empty_documents=3)


def test_the_counts_are_those_of_the_texts(made, texts):
    found = read(*made)
    for split, of in ((found.train, texts[0]), (found.val, texts[1])):
        assert split.documents == len(of)
        assert (split.characters, split.bytes) == (sum(map(len, of)), sum(len(text.encode()) for text in of))
        assert split.tokens == split.bytes + len(of)
        assert split.distinct_tokens == sum(len(text.encode()) for text in set(of))
        assert sum(split.lengths.documents) == len(of)
        assert split.lengths.quantiles["max"] == max(len(text) for text in of)
    assert found.extremes.empty_documents == 3
    assert found.missing == {}
    assert found.vocabulary.seen == len({*"".join(texts[0]).encode()}) + 1


def test_copies_are_found_exactly_and_after_normalising(made, texts):
    found = read(*made)
    lengths = {text: len(text) for text in texts[0]}
    assert found.exact.documents == 30 + 1  # the leaked one equals one of train
    assert found.exact.tokens == sum(lengths[text] for text in [*texts[0][:30], texts[1][-2]])
    assert found.exact.most == 2
    assert found.exact.example in {text[:160] for text in texts[0]}
    assert found.normalised.documents == 31 + 10 + 1
    assert (found.near.compared, found.near.documents, found.near.sampled) == (251, 1, False)
    assert (found.near.val_documents, found.near.val_in_train) == (51, 1)
    assert found.near.examples[0][0] == texts[0][50][:160]


def test_leaks_are_found_by_document_and_by_window(made, texts):
    found = read(*made)
    assert (found.leakage.documents, found.leakage.normalised_documents) == (1, 2)
    assert found.leakage.share == 1 / 53
    shared = len(texts[1][-2]) + len(texts[1][-3])  # the leaked and the near copy
    assert found.leakage.window_share == pytest.approx(shared / found.val.tokens, abs=0.01)
    assert {one.level for one in found.findings if one.key == "leakage"} == {"warning"}


def test_order_layout_blocks_and_shards_change_nothing(tmp_path, made, texts, monkeypatch):
    plain = numbers(read(*made))
    monkeypatch.setattr(rereading, "TEXT_TOKENS", 1000)
    manifest = dataset(tmp_path, ids_of(texts[0], "nanogpt"), ids_of(texts[1], "nanogpt"), empty_documents=3)
    other = numbers(report(tmp_path, manifest, Bytes(), Progress(NullJournal()), block_tokens=4096))
    assert other["leakage"]["window_share"] == pytest.approx(plain["leakage"]["window_share"], abs=1e-3)
    for key in ("exact", "normalised", "near", "extremes", "vocabulary"):
        assert other[key] == plain[key]
    for split in ("train", "val"):
        assert other[split] == plain[split]


def test_files_without_marks_are_told_as_far_as_they_can_be(tmp_path):
    text = " ".join(sentences(400, seed=2))
    ids = Bytes().encode(text).astype(np.uint16)
    found = read(tmp_path, dataset(tmp_path, ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :]))
    assert (found.train.documents, found.exact, found.near, found.extremes) == (None, None, None, None)
    assert found.leakage.documents is None
    assert {"documents", "exact", "near", "lengths"} <= found.missing.keys()
    assert set(found.missing.values()) == {NO_MARKS}
    assert found.train.characters + found.val.characters == len(text)
    assert found.likeness.unit == "passages"
    assert found.entropy.unigram == pytest.approx(np.log(27), abs=0.2)  # letters drawn alike, and the blank
    assert found.leakage.window_share is not None


def test_an_unknown_vocabulary_leaves_what_ids_tell(made):
    folder, manifest = made
    found = report(folder, manifest, None, Progress(NullJournal()))
    assert (found.train.characters, found.compression, found.normalised, found.near) == (None, None, None, None)
    assert found.missing["characters"] == NO_TEXT
    assert found.exact.documents == 31


def test_ids_beyond_the_vocabulary_are_a_finding_not_a_crash(tmp_path):
    ids = ids_of(sentences(40))
    ids[100] = 40_000
    found = read(tmp_path, dataset(tmp_path, ids, ids_of(sentences(5))))
    assert found.vocabulary.beyond == 1
    assert "beyond the vocabulary" in found.findings[0].text
    assert found.train.characters is None


@pytest.mark.parametrize("val", [[], [EOT]])
def test_an_empty_validation_split_is_no_special_case(tmp_path, val):
    found = read(tmp_path, dataset(tmp_path, ids_of(sentences(40)), np.array(val, np.uint16)))
    assert found.leakage.window_share is None
    assert found.likeness is None
    assert "likeness" in found.missing


def test_beyond_a_number_of_documents_only_a_sample_is_compared(made, monkeypatch):
    monkeypatch.setattr(rereading, "COMPARED_DOCUMENTS", 100)
    found = read(*made)
    assert found.near.sampled
    assert 50 < found.near.compared <= 100
    assert "a sample of" in next(one.text for one in found.findings if one.key == "near")
    assert found.normalised.documents == 42  # of all


def test_a_long_document_is_compared_by_its_start_and_counted_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(rereading, "WHOLE_TOKENS", 5000)
    monkeypatch.setattr(rereading, "TEXT_TOKENS", 2000)
    long = " ".join(sentences(20, words=300))
    found = read(tmp_path, dataset(tmp_path, ids_of([long, *sentences(40, seed=3)]), ids_of(sentences(8, seed=4))))
    assert found.train.characters == len(long) + sum(map(len, sentences(40, seed=3)))
    assert found.extremes.longest == len(long)


def test_it_stops_when_told(made):
    progress = Progress(NullJournal())
    progress.stop = "requeue"
    with pytest.raises(Stopped, match="requeue"):
        read(*made, progress=progress)


def test_the_report_survives_json(made):
    found = read(*made)
    assert QualityReport.model_validate_json(found.model_dump_json()) == found


def test_real_batches_repeat_what_their_readme_says(tmp_path, data_folder):
    import pyarrow.parquet as pq

    from worker import tokenizers

    read_texts = [pq.read_table(path, columns=["text"])["text"].to_pylist() for path in sorted((data_folder / "fineweb").glob("*.parquet"))]  # fmt: skip
    texts = [text for batch in read_texts for text in batch]
    tokenizer = tokenizers.BytePairs(tokenizers.read_ranks((data_folder / "gpt2.tiktoken").read_bytes()), "gpt2")
    encoded = [tokenizer.encode(text).astype(np.uint16) for text in texts]
    mark = np.array([tokenizer.eot], np.uint16)
    rows = np.random.default_rng(2357).random(len(texts)) < 0.1  # nanoGPT's way: by row, so that copies leak

    def side(of):
        return np.concatenate([part for ids, val in zip(encoded, rows, strict=True) if val == of for part in (mark, ids)])  # fmt: skip

    info = {"kind": "gpt2", "vocab_size": tokenizer.vocab_size, "eot": tokenizer.eot, "sha256": "ab" * 32}
    found = read(tmp_path, dataset(tmp_path, side(False), side(True), tokenizer=info), tokenizer)
    distinct = dict(zip(texts, map(len, encoded), strict=True))
    assert len(distinct) == 1400
    assert found.exact.documents == 600
    total = sum(map(len, encoded))
    assert found.exact.tokens == total - sum(distinct.values())
    assert found.exact.token_share == pytest.approx(0.2974, abs=1e-4)
    in_train = {text for text, val in zip(texts, rows, strict=True) if not val}
    leaked = sum(val and text in in_train for text, val in zip(texts, rows, strict=True))
    assert found.leakage.documents == leaked > 60
    leaked_tokens = sum(
        len(ids) for text, ids, val in zip(texts, encoded, rows, strict=True) if val and text in in_train
    )
    assert found.leakage.window_share == pytest.approx(leaked_tokens / found.val.tokens, abs=0.01)
    assert found.entropy.unigram == pytest.approx(7.6, abs=0.1)  # data.md, part 5
    assert {"leakage", "duplicates", "windows"} <= {one.key for one in found.findings if one.level == "warning"}
