"""Tokenizers: text to ids and back, and the file each is kept in.

Byte pairs (learnt here, GPT-2's or its successors') run in tiktoken, bytes and characters in numpy. No text is
special: "<|endoftext|>" in a document is seven ordinary tokens, the end-of-text id is only ever put there by us.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import rustbpe
import tiktoken
from numpy.typing import NDArray
from tiktoken_ext.openai_public import r50k_pat_str

from app.contract.dataset import TokenizerInfo
from worker.shards import write_whole

Ids = NDArray[np.uint32]
Ranks = dict[bytes, int]
END_OF_TEXT = "<|endoftext|>"
PART_CHARACTERS = 100_000

# How tiktoken.get_encoding's vocabularies cut a text into words; reading them there would load their ranks too.
_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BEFORE_BLANK = re.compile(r"(?<=\S)(?=[ \n])")
_BEFORE_BLANK_AFTER_WORD = re.compile(r"(?<=\S)(?= )|(?<=[^\W_])(?=\n)")


class Words(NamedTuple):
    """What sets one kind of byte pairs apart, but for its ranks."""

    pattern: str  #: how a text is cut into words, for tiktoken
    seam: re.Pattern[str]  #: where no word goes across: a text cut there has the ids of the whole
    eot: int | None = None  #: None: right after the ranks
    vocab_size: int | None = None  #: as tiktoken counts, with special tokens never used here; None: ranks and eot


GPT2_WORDS = Words(r50k_pat_str, _BEFORE_BLANK)
WORDS = {
    "p50k_base": Words(r50k_pat_str, _BEFORE_BLANK, 50_256, 50_281),
    # These take line ends after punctuation into its word.
    "cl100k_base": Words(_CL100K, _BEFORE_BLANK_AFTER_WORD, 100_257, 100_277),
    "o200k_base": Words(_O200K, _BEFORE_BLANK_AFTER_WORD, 199_999, 200_019),
}


class Tokenizer(Protocol):
    """What preparing and sampling need of a tokenizer; encode may be called from many threads."""

    kind: str
    vocab_size: int  #: entries in use, end-of-text included
    eot: int | None
    seam: re.Pattern[str] | None  #: where a text may be cut and keep its ids; None: anywhere

    def encode(self, text: str) -> Ids: ...

    def decode(self, ids: Sequence[int] | Ids) -> str: ...

    def pieces(self, ids: Sequence[int] | Ids) -> list[str]:
        """The text each id stands for, on its own; a part of a character shows as its bytes (\\xe2)."""
        ...

    def bytes_of(self, id: int) -> bytes:
        """The text one id stands for, as UTF-8; it may be a part of a character."""
        ...

    def file(self) -> tuple[str, bytes] | None:
        """Name and content of the vocabulary's file; None where the kind says it all."""
        ...


class BytePairs:
    """Byte pair encoding by tiktoken; text is cut into words as GPT-2 does unless `kind` has a way of its own."""

    def __init__(self, ranks: Ranks, kind: str = "bpe") -> None:
        words = WORDS.get(kind, GPT2_WORDS)
        eot = len(ranks) if words.eot is None else words.eot
        self.kind = kind
        self.eot: int | None = eot
        self.seam: re.Pattern[str] | None = words.seam
        self.vocab_size = words.vocab_size or len(ranks) + 1
        self._ranks = ranks
        self._encoding = tiktoken.Encoding(
            kind, pat_str=words.pattern, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: eot}
        )

    def encode(self, text: str) -> Ids:
        # The fastest of tiktoken's calls, and it lets go of the GIL: threads scale.
        try:
            return self._encoding.encode_to_numpy(text, disallowed_special=())
        except ValueError:
            # A run of a million blanks (found by trying: 999,774) is too deep for its regex engine.
            starts = range(0, len(text), PART_CHARACTERS)
            parts = [text[start : start + PART_CHARACTERS] for start in starts]
            return np.concatenate([self._encoding.encode_to_numpy(part, disallowed_special=()) for part in parts])

    def decode(self, ids: Sequence[int] | Ids) -> str:
        given = ids.tolist() if isinstance(ids, np.ndarray) else [int(i) for i in ids]  # a sixth faster than one by one
        try:
            return self._encoding.decode(given)
        except KeyError:
            return b"".join(map(self.bytes_of, given)).decode(errors="replace")

    def pieces(self, ids: Sequence[int] | Ids) -> list[str]:
        return [self.bytes_of(int(i)).decode(errors="backslashreplace") for i in ids]

    def bytes_of(self, id: int) -> bytes:
        try:
            return self._encoding.decode_single_token_bytes(id)
        except KeyError:  # special tokens of cl100k_base and its like, which stand for no text
            return f"<|{id}|>".encode()

    def file(self) -> tuple[str, bytes]:
        return "tokenizer.tiktoken", write_ranks(self._ranks)


class Bytes:
    """The 256 values of a byte of UTF-8, and end-of-text."""

    kind = "bytes"
    vocab_size = 257
    eot: int | None = 256
    seam: re.Pattern[str] | None = None

    def encode(self, text: str) -> Ids:
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint32)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        end_of_text = END_OF_TEXT.encode()
        return b"".join(end_of_text if i == 256 else bytes([i]) for i in map(int, ids)).decode(errors="replace")

    def pieces(self, ids: Sequence[int] | Ids) -> list[str]:
        return [END_OF_TEXT if i == 256 else bytes([i]).decode(errors="backslashreplace") for i in map(int, ids)]

    def bytes_of(self, id: int) -> bytes:
        return END_OF_TEXT.encode() if id == 256 else bytes([id])

    def file(self) -> None:
        return None


class Characters:
    """Each distinct character of a text, in code point order or as given; end-of-text last, if there is one."""

    kind = "characters"
    seam: re.Pattern[str] | None = None

    def __init__(self, characters: Iterable[str], *, with_eot: bool, in_order: bool = False) -> None:
        self._characters = list(characters) if in_order else sorted(set(characters))
        self.eot: int | None = len(self._characters) if with_eot else None
        self.vocab_size = len(self._characters) + with_eot
        self._names = [*self._characters, END_OF_TEXT]
        codes = np.array([ord(character) for character in self._characters], np.uint32)
        self._unknown = len(self._names)
        # A table over all code points up to the largest: 4.5 MB at worst, one look-up a character.
        self._table = np.full(int(codes.max(initial=0)) + 2, self._unknown, np.uint32)
        self._table[codes] = np.arange(len(codes), dtype=np.uint32)

    def encode(self, text: str) -> Ids:
        """Raises ValueError for a character that is not in the vocabulary."""
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        ids = self._table[np.minimum(codes, len(self._table) - 1)]  # the last entry is unknown
        if (unknown := np.flatnonzero(ids == self._unknown)).size:
            raise ValueError(
                f"{text[unknown[0]]!r} is not one of this vocabulary's {len(self._characters)} characters."
            )
        return ids

    def decode(self, ids: Sequence[int] | Ids) -> str:
        return "".join(self.pieces(ids))

    def pieces(self, ids: Sequence[int] | Ids) -> list[str]:
        return [self._names[int(i)] for i in ids]

    def bytes_of(self, id: int) -> bytes:
        return self._names[id].encode()

    def file(self) -> tuple[str, bytes]:
        content = {"kind": self.kind, "characters": "".join(self._characters), "eot": self.eot}
        return "tokenizer.json", json.dumps(content, indent=1).encode() + b"\n"


def train_bpe(texts: Iterable[str], vocab_size: int) -> BytePairs:
    """Learn a vocabulary of `vocab_size` entries, end-of-text included; a small text gives fewer."""
    assert vocab_size >= 257, f"{vocab_size} entries cannot hold 256 bytes and end-of-text"
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(texts), vocab_size=vocab_size - 1, pattern=r50k_pat_str)
    return BytePairs({bytes(token): rank for token, rank in trainer.get_mergeable_ranks()})


def write_ranks(ranks: Ranks) -> bytes:
    """The .tiktoken format: base64 of the token, a space, its rank, a line each."""
    in_order = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(b"%b %d\n" % (base64.b64encode(token), rank) for token, rank in in_order)


def read_ranks(content: bytes) -> Ranks:
    # Not tiktoken.load: it would copy even a local file into a cache folder outside our home.
    lines = (line.split() for line in content.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def save(tokenizer: Tokenizer, folder: Path) -> TokenizerInfo:
    name, content = tokenizer.file() or (None, tokenizer.kind.encode())
    if name is not None:
        write_whole(folder / name, content)
    return TokenizerInfo(
        kind=tokenizer.kind,
        vocab_size=tokenizer.vocab_size,
        padded_vocab_size=-(-tokenizer.vocab_size // 64) * 64,
        eot=tokenizer.eot,
        sha256=hashlib.sha256(content).hexdigest(),
        file=name,
    )


def load(info: TokenizerInfo, folder: Path) -> Tokenizer:
    if info.kind == "bytes":
        return Bytes()
    assert info.file is not None, f"a {info.kind} tokenizer without a file"
    content = (folder / info.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == info.sha256, f"{info.file} is not the file the manifest names"
    if info.kind == "characters":
        stored = json.loads(content)
        return Characters(stored["characters"], with_eot=stored["eot"] is not None, in_order=True)
    return BytePairs(read_ranks(content), info.kind)
