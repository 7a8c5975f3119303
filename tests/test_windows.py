import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker import windows
from worker.batches import Batches, Tokens
from worker.windows import document_windows

EOT = 9


def written(folder: Path, ids: list[int], shards: int = 1) -> Tokens:
    paths = []
    for number, part in enumerate(np.array_split(np.array(ids, "<u2"), shards)):
        paths.append(folder / f"train-{number:03}.bin")
        paths[-1].write_bytes(part.tobytes())
    return Tokens(paths, "uint16")


def documents(lengths: list[int]) -> list[int]:
    """End-of-text, then the text, for each length (end-of-text included)."""
    return list(itertools.chain.from_iterable([EOT, *[1] * (length - 1)] for length in lengths))


def begins(folder: Path, lengths: list[int], T: int, **given: int) -> list[int]:
    return document_windows(written(folder, documents(lengths), **given), EOT, T, folder / "windows.bin").tolist()


def test_what_does_not_fit_begins_the_next_window(tmp_path: Path) -> None:
    # 0..4, 5..7, 8..12, 13..: the third document is cut by the first window of 10 and is read again, whole
    assert begins(tmp_path, [5, 3, 5, 6, 1], 10) == [0, 8, 9]


def test_a_document_longer_than_a_window_fills_windows_of_its_own(tmp_path: Path) -> None:
    # 0..24 in three windows; the third goes on with 25..27, is cut in the document at 28 (20 long): no use reading it again
    assert begins(tmp_path, [25, 3, 20, 4], 10) == [0, 10, 20, 30, 40, 41]


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    T=st.integers(2, 20),
    shards=st.integers(1, 3),
    leading=st.integers(0, 3),
    block=st.sampled_from([7, 1 << 20]),
)
def test_every_token_is_read_and_every_document_that_fits_is_whole(tmp_path_factory, lengths, T, shards, leading, block) -> None:  # fmt: skip
    """`leading`: tokens before the first end-of-text, as in nanoGPT's layout."""
    ids = [1] * leading + documents(lengths)
    if len(ids) < T + 1:
        return
    folder = tmp_path_factory.mktemp("documents")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(windows, "BLOCK_TOKENS", block)
        found = document_windows(written(folder, ids, shards), EOT, T, folder / "windows.bin").astype(int).tolist()
    inputs = len(ids) - 1  # the last token is a target only
    assert all(a < b for a, b in itertools.pairwise(found)), "in order, none twice"
    assert found[-1] + T <= inputs
    assert {at for begin in found for at in range(begin, begin + T)} == set(range(inputs))
    edges = [0, *(i for i, token in enumerate(ids) if token == EOT and i), len(ids)]
    for first, end in itertools.pairwise(edges):
        if end - first <= T:
            assert any(begin <= first and min(end, inputs) <= begin + T for begin in found), (first, end, found)
    ended = {begin + T for begin in found} | {inputs - T}
    assert all(begin in edges or begin in ended for begin in found), "at a document, or where the last one ended"


def test_the_second_time_the_file_is_read_and_not_made(tmp_path: Path) -> None:
    lengths = [4, 9, 3, 12, 5]
    first = begins(tmp_path, lengths, 8)
    made = (tmp_path / "windows.bin").stat().st_mtime_ns
    assert begins(tmp_path, lengths, 8) == first
    assert (tmp_path / "windows.bin").stat().st_mtime_ns == made
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_tokens_without_end_of_text_have_no_such_windows(tmp_path: Path) -> None:
    assert len(document_windows(written(tmp_path, [1] * 50), EOT, 8, tmp_path / "windows.bin")) == 0


@pytest.mark.parametrize("sampler", ["shuffled", "sequential", "random"])
def test_batches_draw_from_these_windows_alone(tmp_path: Path, sampler: str) -> None:
    tokens = written(tmp_path, documents([5, 3, 7, 6, 11, 2, 8, 30, 4, 4, 5]))
    found = document_windows(tokens, EOT, 8, tmp_path / "windows.bin")
    batches = Batches(tokens, 8, len(found), 1, sampler, seed=1, begins=found)
    epochs = [batches.starts(update, 0).tolist() for update in range(3)]
    assert all(set(epoch) <= set(found.tolist()) for epoch in epochs)
    if sampler != "random":
        assert all(sorted(epoch) == found.tolist() for epoch in epochs), "each once per epoch"
    assert (epochs[0] == found.tolist()) == (sampler == "sequential")
