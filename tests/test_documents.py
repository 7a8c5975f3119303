"""Token files read as one stream, and where its documents are."""

import numpy as np
import pytest

from tests.prepared import EOT, dataset, ids_of
from worker.documents import Documents, Stream, in_groups

TEXTS = ["first", "a", "the third one", "zz"]


def stream(tmp_path, ids, shard_tokens=7):
    dataset(tmp_path, ids, ids[:1], shard_tokens=shard_tokens)
    return Stream(sorted(tmp_path.glob("train-*.bin")), "uint16")


def test_a_stream_reads_across_its_shards(tmp_path):
    ids = np.arange(100)
    found = stream(tmp_path, ids)
    assert len(found) == 100
    assert found.read(5, 23).tolist() == ids[5:23].tolist()
    assert found.read(40, 40).tolist() == []
    assert [(start, len(block)) for start, block in found.blocks(overlap=3, size=40)] == [(0, 43), (40, 43), (80, 20)]


@pytest.mark.parametrize("layout", ["plateau", "nanogpt"])
def test_documents_lie_between_end_of_texts_before_or_after_them(tmp_path, layout):
    found = stream(tmp_path, ids_of(TEXTS, layout))
    documents = Documents(found, EOT)
    assert documents.marked
    texts = [
        bytes(found.read(a, b).astype(np.uint8)).decode() for a, b in zip(documents.starts, documents.ends, strict=True)
    ]
    assert texts == TEXTS


def test_two_marks_in_a_row_are_an_empty_document_and_a_cut_one_counts(tmp_path):
    ids = ids_of(["ab", "", "cd"], "nanogpt")
    assert Documents(stream(tmp_path / "a", ids), EOT).lengths.tolist() == [2, 0, 2]
    assert Documents(stream(tmp_path / "b", ids[:-1]), EOT).lengths.tolist() == [2, 0, 2]
    assert Documents(stream(tmp_path / "c", ids_of(["ab", ""])), EOT).lengths.tolist() == [2, 0]


def test_a_stream_without_marks_has_no_documents(tmp_path):
    documents = Documents(stream(tmp_path, np.arange(50)), EOT)
    assert (documents.marked, len(documents)) == (False, 0)


def test_groups_hold_every_document_once_and_a_long_one_alone(tmp_path):
    documents = Documents(stream(tmp_path, ids_of(["x" * n for n in (3, 3, 50, 3, 3, 3)])), EOT)
    assert list(in_groups(documents, tokens=10)) == [(0, 2), (2, 3), (3, 5), (5, 6)]
