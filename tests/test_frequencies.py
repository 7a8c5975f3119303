"""Token frequencies: entropies against their formulas, and the noise that a random split shows."""

import numpy as np
import pytest

from worker import frequencies
from worker.documents import Stream
from worker.frequencies import Cells, bigram_entropy, divergence, entropy_nats, likeness, vocabulary_use

V = 100


def stream(tmp_path, ids):
    (tmp_path / "ids").write_bytes(np.asarray(ids, "<u2").tobytes())
    return Stream([tmp_path / "ids"], "uint16")


def test_the_entropy_of_equal_frequencies_is_their_logarithm():
    assert entropy_nats(np.full(8, 3)) == pytest.approx(np.log(8))
    assert entropy_nats(np.array([5, 0])) == 0.0


def test_the_bigram_entropy_is_what_the_token_before_leaves_open(tmp_path):
    assert bigram_entropy(stream(tmp_path, [1, 2] * 500), V)[0] == pytest.approx(0.0, abs=1e-12)
    ids = np.random.default_rng(0).integers(0, 4, 40_000)
    found, tokens = bigram_entropy(stream(tmp_path, ids), V)
    assert found == pytest.approx(np.log(4), abs=1e-3)
    assert tokens == 39_999
    assert bigram_entropy(stream(tmp_path, []), V) == (None, 0)


def test_the_divergence_is_jensen_shannons_in_nats():
    p, q = np.array([1.0, 0.0, 0.0]), np.array([0.0, 5.0, 5.0])
    assert divergence(p, q) == pytest.approx(np.log(2))
    assert divergence(p, p * 7) == 0.0
    p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    m = (p + q) / 2
    expected = (p * np.log(p / m)).sum() / 2 + (q * np.log(q / m)).sum() / 2
    assert divergence(p, q) == pytest.approx(expected)


def test_vocabulary_use_counts_the_seen_the_rare_and_the_unknown():
    train, val = np.array([50, 9, 0, 0]), np.array([1, 1, 4, 0])
    found = vocabulary_use(train, val, beyond=2)
    assert (found.entries, found.seen, found.never_seen, found.rare) == (4, 2, 2, 1)
    assert (found.val_only_tokens, found.beyond) == (4, 2)


def compared(in_val, documents, by_documents=True):
    """Likeness of documents (id arrays) split by `in_val`."""
    train = [ids for ids, val in zip(documents, in_val, strict=True) if not val]
    val = [ids for ids, val in zip(documents, in_val, strict=True) if val]
    cells = Cells(sum(map(len, train)), sum(map(len, val)), V)
    counts = []
    keys = np.random.default_rng(9).integers(0, 2**64, len(documents), dtype=np.uint64)
    for side, of in ((train, keys[: len(train)]), (val, keys[len(train) :])):
        counts.append(np.bincount(np.concatenate(side), minlength=V))
        for ids, cell in zip(side, cells.deal(of), strict=True):
            cells.add(ids, np.full(len(ids), cell))
    return likeness(counts[0], counts[1], cells, by_documents=by_documents)


def topical(count, seed):
    """Documents that each use some tokens far more than others, as real ones do."""
    random = np.random.default_rng(seed)
    return [random.choice(V, 300, p=random.dirichlet(np.full(V, 0.1))) for _ in range(count)]


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_a_random_split_lies_within_its_noise(share):
    documents = topical(2000, 1)
    z = []
    for seed in range(5):
        in_val = np.random.default_rng(seed).random(2000) < share
        found = compared(in_val, documents)
        z.append((found.distance - found.noise) / found.noise_sd)
    assert abs(np.mean(z)) < 1.5
    assert max(np.abs(z)) < 4.0


def test_a_split_by_topic_lies_beyond_it():
    random = np.random.default_rng(3)
    tilted = [random.choice(V, 300, p=random.dirichlet(np.linspace(0.02, 0.2, V))) for _ in range(200)]
    found = compared(np.arange(2000) >= 1800, [*topical(1800, 2), *tilted])
    assert found.distance > found.noise_99
    assert (found.distance - found.noise) / found.noise_sd > 4


def test_too_little_to_deal_has_no_noise_level():
    assert compared(np.array([False, True]), topical(2, 4)) is None


def test_every_id_of_a_block_knows_its_document_or_passage(tmp_path):
    from tests.prepared import EOT, ids_of
    from worker.documents import Documents

    ids = ids_of(["ab", "c", "def"])
    documents = Documents(stream(tmp_path, ids), EOT)
    whole = frequencies.unit_of_each(0, ids, documents)
    assert whole.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]
    parts = [frequencies.unit_of_each(at, ids[at : at + 4], documents) for at in (0, 4, 8)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert frequencies.unit_of_each(2040, np.zeros(10), None).tolist() == [0] * 8 + [1] * 2


def test_the_most_frequent_tokens_are_named_with_their_share():
    counts = np.array([5, 0, 80, 5, 10])
    found = frequencies.top_tokens(counts, lambda id: "abcde"[id])
    assert [(one.text, one.count, one.share) for one in found] == [
        ("c", 80, 0.8),
        ("e", 10, 0.1),
        ("a", 5, 0.05),
        ("d", 5, 0.05),
    ]
    assert len(frequencies.top_tokens(np.arange(1, 100), str)) == frequencies.TOP
