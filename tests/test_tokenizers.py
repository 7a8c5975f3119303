"""Text to ids and back: byte pairs learnt here, GPT-2's, bytes, characters."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rustbpe
from hypothesis import given
from hypothesis import strategies as st
from tiktoken_ext.openai_public import r50k_pat_str

from worker import builtin
from worker.ranks import PUBLISHED
from worker.tokenizers import WORDS, BytePairs, Bytes, Characters, Tokenizer, load, read_ranks, save, train_bpe

SAMPLE = "for x in range(3):\n    print('naïve', x)\n\n\n\u65e5\u672c\u8a9e 🙂 end<|endoftext|>\r\n\t"


@pytest.fixture(scope="module")
def library() -> list[str]:
    """Real text: a fifth of the standard library's modules."""
    texts = [text for _, text in builtin.modules(builtin.standard_library())]
    assert len(texts) > 100
    return texts[::5]


@pytest.fixture(scope="module")
def learnt(library: list[str]) -> BytePairs:
    return train_bpe(library, 1024)


def each(learnt: BytePairs, text: str) -> list[Tokenizer]:
    return [learnt, Bytes(), Characters(text, with_eot=True)]


def test_tiktoken_gives_the_ids_of_the_trainer_itself(library: list[str], learnt: BytePairs) -> None:
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(library), vocab_size=1023, pattern=r50k_pat_str)
    for text in [*library[:60], SAMPLE]:
        assert learnt.encode(text).tolist() == trainer.encode(text)


def test_the_asked_for_size_counts_end_of_text_which_is_the_last_id(learnt: BytePairs) -> None:
    assert (learnt.vocab_size, learnt.eot) == (1024, 1023)


def test_a_small_text_gives_a_smaller_vocabulary() -> None:
    small = train_bpe(["abc abc"], 4096)
    assert 257 < small.vocab_size < 300
    assert small.eot == small.vocab_size - 1
    assert small.decode(small.encode("abc cab")) == "abc cab"
    assert train_bpe([], 4096).vocab_size == 257


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_decoding_gives_the_text_back(learnt: BytePairs, text: str) -> None:
    for tokenizer in each(learnt, text):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert (ids < tokenizer.vocab_size).all()


def test_end_of_text_in_a_document_is_ordinary_text(learnt: BytePairs) -> None:
    for tokenizer in each(learnt, SAMPLE):
        ids = tokenizer.encode("<|endoftext|>").tolist()
        assert tokenizer.eot not in ids
        assert len(ids) >= 7


def test_end_of_text_shows_when_it_is_decoded(learnt: BytePairs) -> None:
    for tokenizer in each(learnt, "ab"):
        assert tokenizer.eot is not None
        ids = [*tokenizer.encode("a"), tokenizer.eot, *tokenizer.encode("b")]
        assert tokenizer.decode(ids) == "a<|endoftext|>b"
        assert tokenizer.pieces(ids) == ["a", "<|endoftext|>", "b"]


def test_pieces_of_plain_text_join_to_it_and_parts_of_a_character_show_as_bytes(learnt: BytePairs) -> None:
    text = "def naive(x):\n    return x"
    for tokenizer in each(learnt, text):
        assert "".join(tokenizer.pieces(tokenizer.encode(text))) == text
    assert Bytes().pieces(Bytes().encode("é")) == ["\\xc3", "\\xa9"]


def test_a_saved_tokenizer_loads_as_the_same_one(learnt: BytePairs, tmp_path: Path) -> None:
    characters = Characters(SAMPLE, with_eot=False)
    for tokenizer in (learnt, Bytes(), characters):
        folder = tmp_path / tokenizer.kind
        folder.mkdir()
        info = save(tokenizer, folder)
        again = load(info, folder)
        assert again.encode(SAMPLE).tolist() == tokenizer.encode(SAMPLE).tolist()
        assert (again.vocab_size, again.eot) == (info.vocab_size, info.eot) == (tokenizer.vocab_size, tokenizer.eot)
        assert (info.file is None) == (tokenizer.kind == "bytes")
        if info.file:
            assert hashlib.sha256((folder / info.file).read_bytes()).hexdigest() == info.sha256


def test_a_damaged_vocabulary_is_not_loaded(learnt: BytePairs, tmp_path: Path) -> None:
    info = save(learnt, tmp_path)
    (tmp_path / "tokenizer.tiktoken").write_bytes(b"IQ== 0\n")
    with pytest.raises(AssertionError, match="is not the file the manifest names"):
        load(info, tmp_path)


@pytest.mark.parametrize(
    "text", [" " * 1_100_000 + "x", "\t\n" * 600_000 + "x", "a" * 1_000_000], ids=["blanks", "lines", "a"]
)
def test_long_runs_of_one_kind_are_encoded_too(learnt: BytePairs, text: str) -> None:
    assert learnt.decode(learnt.encode(text)) == text


def test_characters_are_ids_in_code_point_order() -> None:
    plain = Characters("cab🙂", with_eot=False)
    assert plain.encode("abc🙂").tolist() == [0, 1, 2, 3]
    assert (plain.vocab_size, plain.eot) == (4, None)
    assert Characters("cab", with_eot=True).eot == 3


@pytest.mark.parametrize("unknown", ["d", "\x00", "🙂", "\U0010ffff"])
def test_a_character_outside_the_vocabulary_is_named(unknown: str) -> None:
    with pytest.raises(ValueError, match=r"is not one of this vocabulary's 3 characters"):
        Characters("abc", with_eot=True).encode("ab" + unknown)


def test_bytes_have_257_entries() -> None:
    assert (Bytes().vocab_size, Bytes().eot) == (257, 256)
    assert Bytes().encode("Aé").tolist() == [65, 0xC3, 0xA9]
    assert Bytes().encode("").dtype == np.uint32


def test_gpt2_gives_the_published_ids_and_keeps_its_file_to_the_byte(data_folder: Path, tmp_path: Path) -> None:
    gpt2 = BytePairs(read_ranks((data_folder / "gpt2.tiktoken").read_bytes()), "gpt2")
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert (gpt2.vocab_size, gpt2.eot) == (50257, 50256)
    shakespeare = (data_folder / "tinyshakespeare.txt").read_text()
    assert len(gpt2.encode(shakespeare)) == 338_025  # nanoGPT's readme: 301,966 + 36,059
    assert gpt2.decode(gpt2.encode(shakespeare)) == shakespeare
    info = save(gpt2, tmp_path)
    assert info.sha256 == PUBLISHED["gpt2"].sha256
    assert info.padded_vocab_size == 50_304


def test_byte_pairs_learnt_from_fineweb_are_the_trainers_own_on_every_document(data_folder: Path) -> None:
    texts: list[str] = []
    for path in sorted((data_folder / "fineweb").glob("*.parquet"))[:3]:
        texts += pq.read_table(path, columns=["text"])["text"].to_pylist()
    lines = [line for path in (data_folder / "multilingual").glob("*.txt") for line in path.read_text().splitlines()]
    assert len(lines) > 500
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(texts[:200]), vocab_size=4095, pattern=r50k_pat_str)
    learnt = train_bpe(texts[:200], 4096)
    assert learnt.vocab_size == 4096
    for text in [*texts, *lines]:
        assert learnt.encode(text).tolist() == trainer.encode(text)


def test_ways_of_cutting_words_sizes_and_end_of_text_are_tiktokens_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiktoken_ext import openai_public

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})
    for kind, words in WORDS.items():
        theirs = openai_public.ENCODING_CONSTRUCTORS[kind]()
        assert words.pattern == theirs["pat_str"]
        assert words.eot == theirs["special_tokens"]["<|endoftext|>"]
        assert words.vocab_size == theirs.get("explicit_n_vocab", max(theirs["special_tokens"].values()) + 1)


PROSE = st.lists(
    st.sampled_from([*"aZé9_.,'!\"/-\n\r\t \u00a0\u2003\u0301字🙂", "  ", "\n\n", "'s", "the", "12345", "\x1c"]),
    max_size=40,
)


@pytest.mark.parametrize("kind", ["gpt2", *WORDS])
@given(PROSE)
def test_a_text_cut_at_its_seams_has_the_ids_of_the_whole(learnt: BytePairs, kind: str, parts: list[str]) -> None:
    tokenizer = BytePairs(read_ranks(learnt.file()[1]), kind)
    assert tokenizer.seam is not None
    text = "".join(parts)
    cuts = [0, *(match.start() for match in tokenizer.seam.finditer(text)), len(text)]
    pieces = [tokenizer.encode(text[a:b]) for a, b in pairwise(cuts)]
    assert np.concatenate(pieces).tolist() == tokenizer.encode(text).tolist()


def test_ids_that_stand_for_no_text_are_shown_by_their_number(learnt: BytePairs) -> None:
    successor = BytePairs(read_ranks(learnt.file()[1]), "cl100k_base")
    assert (successor.eot, successor.vocab_size) == (100_257, 100_277)
    assert successor.decode([97, 100_257, 100_260]) == f"{learnt.decode([97])}<|endoftext|><|100260|>"
    assert successor.pieces([100_256]) == ["<|100256|>"]
