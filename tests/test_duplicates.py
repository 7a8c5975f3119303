"""Equal documents by eight-byte keys, and the memory of keys that a removal needs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker import duplicates
from worker.duplicates import Seen, copies, grouped, key_of, normalised, normalised_key


def test_case_and_white_space_do_not_make_a_normalised_text_different():
    assert normalised("  A\tText \n\n with\u00a0BLANKS ") == "a text with blanks"
    assert normalised_key("Ein TEXT") == normalised_key("ein\n text")
    assert normalised_key("ein text") != normalised_key("eintext")


def test_a_key_is_blake2b_64_of_the_bytes():
    assert key_of(b"") == 0xE4A6A0577479B2B4  # hashlib.blake2b(b"", digest_size=8)


@given(st.lists(st.integers(0, 2**64 - 1).map(lambda n: n % 97 * 2**57), max_size=300), st.integers(0, 300))
def test_seen_remembers_what_a_set_remembers_also_after_an_interruption(keys, interrupted):
    seen, known = Seen(), set()
    for at, key in enumerate(keys):
        if at == interrupted:
            seen = Seen(seen.state().copy())
        assert seen.add(key) == (key not in known)
        known.add(key)
    assert len(seen) == len(known)
    assert seen.state().tolist() == sorted(known)


def test_seen_keeps_eight_bytes_a_key(monkeypatch):
    monkeypatch.setattr(duplicates, "RECENT", 50)
    seen = Seen()
    keys = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64).tolist()
    assert all(seen.add(key) for key in keys)
    assert not any(seen.add(key) for key in keys)
    assert seen.state().nbytes == 8000


def test_copies_are_the_documents_beyond_the_first_of_each_text():
    keys = np.array([5, 7, 5, 5, 9, 7], np.uint64)
    groups = grouped(keys)
    assert groups.first.tolist() == [True, True, False, False, True, False]
    found = copies(groups, np.array([10, 100, 10, 10, 1, 100]), "most repeated")
    assert (found.documents, found.tokens, found.most, found.example) == (3, 120, 3, "most repeated")
    assert found.share == 0.5
    assert found.token_share == 120 / 231


def test_no_documents_are_no_copies():
    found = copies(grouped(np.empty(0, np.uint64)), np.empty(0, np.int64))
    assert (found.documents, found.share, found.token_share) == (0, 0.0, 0.0)
