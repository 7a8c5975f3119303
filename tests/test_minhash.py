"""Near duplicates: recall on altered copies as design data.md measured it, and nothing found where nothing is."""

import itertools
import random

import numpy as np
import pytest

from tests.prepared import sentences
from worker.duplicates import normalised
from worker.minhash import PERMUTATIONS, THRESHOLD, clusters, shingles, signatures


def signed(texts):
    return signatures([normalised(text).encode() for text in texts])


def five_words(text):
    words = normalised(text).split()
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def test_shingles_are_equal_where_five_words_are():
    texts = ["a bb ccc dddd e ff", "x a bb ccc dddd e y", "a bb", "a bb", "bb a", "é ü ß 日本 語 x"]
    hashes, offsets = shingles([text.encode() for text in texts])
    assert np.diff(offsets).tolist() == [2, 3, 1, 1, 1, 2]
    of = [set(hashes[a:b].tolist()) for a, b in itertools.pairwise(offsets)]
    assert len(of[0] & of[1]) == 1
    assert of[2] == of[3] != of[4]
    assert len(set().union(*of)) == 2 + 3 - 1 + 1 + 1 + 2


def test_a_text_has_the_same_shingles_whatever_stands_before_it():
    texts = [text.encode() for text in sentences(40)]
    alone, _ = shingles(texts[-1:])
    hashes, offsets = shingles(texts)
    assert hashes[int(offsets[-2]) :].tolist() == alone.tolist()


def test_signatures_estimate_the_jaccard_similarity():
    texts = sentences(30, words=400, seed=3)
    for kept in (0.9, 0.7, 0.5):
        cut = [" ".join(text.split()[: int(400 * kept)]) for text in texts]
        true = [len(five_words(a) & five_words(b)) / len(five_words(a) | five_words(b)) for a, b in zip(texts, cut, strict=True)]  # fmt: skip
        found = (signed(texts) == signed(cut)).mean(axis=1)
        assert np.abs(found - true).mean() < 0.05  # one estimate's standard error is 0.044 at worst
        assert abs((found - true).mean()) < 0.03


ALTERED = {
    # How a copy is altered -> the recall that data.md found for 5 words, 128 permutations in 32 bands
    "upper case and blanks": (lambda words, draw: [word.upper() + "  " for word in words], 1.0),
    "1 % of words changed": (lambda words, draw: [word if draw() > 0.01 else "other" for word in words], 1.0),
    "3 % of words changed": (lambda words, draw: [word if draw() > 0.03 else "other" for word in words], 1.0),
    "header and footer": (lambda words, draw: ["from", "the", "wire", *words, "all", "rights", "reserved"], 1.0),
    "80 % kept": (lambda words, draw: words[: len(words) * 4 // 5], 1.0),
    "first half": (lambda words, draw: words[: len(words) // 2 + 10], 0.86),
}  # fmt: skip


@pytest.mark.parametrize("way", ALTERED)
def test_altered_copies_are_found(way):
    alter, recall = ALTERED[way]
    draw = random.Random(4)
    texts = sentences(150, words=300, seed=5)
    copies = [" ".join(alter(text.split(), draw.random)) for text in texts]
    leaders, _ = clusters(signed([*texts, *copies]))
    found = (leaders[150:] == np.arange(150)).mean()
    assert found >= recall - 0.08
    assert (leaders[:150] == np.arange(150)).all()  # no false pair among the originals


def test_different_texts_are_not_near():
    leaders, joined = clusters(signed(sentences(500, seed=6)))
    assert leaders.tolist() == list(range(500))
    assert joined == []


def test_a_pair_below_the_threshold_is_dropped_although_a_band_agrees():
    of = np.arange(2 * PERMUTATIONS, dtype=np.uint32).reshape(2, PERMUTATIONS)
    of[1, :8] = of[0, :8]
    assert clusters(of)[0].tolist() == [0, 1]
    of[1, : int(PERMUTATIONS * THRESHOLD)] = of[0, : int(PERMUTATIONS * THRESHOLD)]
    assert clusters(of)[0].tolist() == [0, 0]


def test_a_chain_of_near_copies_is_one_group_led_by_its_first():
    words = sentences(1, words=600, seed=7)[0].split()
    texts = [" ".join(words[start : start + 300]) for start in (0, 60, 120, 180)]
    assert clusters(signed(["something else entirely", *texts]))[0].tolist() == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("count", [1, 2])
def test_few_and_short_texts_are_no_special_case(count):
    assert signed(["word"] * count).shape == (count, PERMUTATIONS)
    assert clusters(signed(["word"] * count))[0].tolist() == [0] * count


def test_real_documents_altered_are_found_as_data_md_says(data_folder):
    import pyarrow.parquet as pq

    read = [pq.read_table(path, columns=["text"])["text"].to_pylist() for path in sorted((data_folder / "fineweb").glob("*.parquet"))[:3]]  # fmt: skip
    texts = list(dict.fromkeys(text for batch in read for text in batch))
    draw = random.Random(8)
    copies = [" ".join(word if draw.random() > 0.03 else "other" for word in text.split()) for text in texts]
    leaders, _ = clusters(signed([*texts, *copies]))
    assert (leaders[len(texts) :] == leaders[: len(texts)]).mean() == 1.0
    assert len(np.unique(leaders[: len(texts)])) == len(texts)
