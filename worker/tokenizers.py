"""Tokenizers: text to ids and back, and the file each is kept in.

Byte pairs (learnt here or GPT-2's) run in tiktoken, bytes and characters in numpy. No text is special:
"<|endoftext|>" in a document is seven ordinary tokens, the end-of-text id is only ever put there by us.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

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


class Tokenizer(Protocol):
    """What preparing and sampling need of a tokenizer; encode may be called from many threads."""

    kind: str
    vocab_size: int  #: entries in use, end-of-text included
    eot: int | None

    def encode(self, text: str) -> Ids: ...

    def decode(self, ids: Sequence[int] | Ids) -> str: ...

    def pieces(self, ids: Sequence[int] | Ids) -> list[str]:
        """The text each id stands for, on its own; a part of a character shows as its bytes (\\xe2)."""
        ...

    def file(self) -> tuple[str, bytes] | None:
        """Name and content of the vocabulary's file; None where the kind says it all."""
        ...


class BytePairs:
    """Byte pair encoding by tiktoken with GPT-2's way of cutting text into words; end-of-text is the last id."""

    def __init__(self, ranks: Ranks, kind: str = "bpe") -> None:
        self.kind = kind
        self.eot: int | None = len(ranks)
        self.vocab_size = len(ranks) + 1
        self._ranks = ranks
        self._encoding = tiktoken.Encoding(
            kind,
            pat_str=r50k_pat_str,
            mergeable_ranks=ranks,
            special_tokens={END_OF_TEXT: len(ranks)},
            explicit_n_vocab=self.vocab_size,
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
        return self._encoding.decode([int(i) for i in ids])

    def pieces(self, ids: Sequence[int] | Ids) -> list[str]:
        return [self._encoding.decode_single_token_bytes(int(i)).decode(errors="backslashreplace") for i in ids]

    def file(self) -> tuple[str, bytes]:
        return "tokenizer.tiktoken", write_ranks(self._ranks)


class Bytes:
    """The 256 values of a byte of UTF-8, and end-of-text."""

    kind = "bytes"
    vocab_size = 257
    eot: int | None = 256

    def encode(self, text: str) -> Ids:
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint32)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        end_of_text = END_OF_TEXT.encode()
        return b"".join(end_of_text if i == 256 else bytes([i]) for i in map(int, ids)).decode(errors="replace")

    def pieces(self, ids: Sequence[int] | Ids) -> list[str]:
        return [END_OF_TEXT if i == 256 else bytes([i]).decode(errors="backslashreplace") for i in map(int, ids)]

    def file(self) -> None:
        return None


class Characters:
    """Each distinct character of a text, in code point order; end-of-text last, if there is one."""

    kind = "characters"

    def __init__(self, characters: Iterable[str], *, with_eot: bool) -> None:
        self._characters = sorted(set(characters))
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
        return Characters(stored["characters"], with_eot=stored["eot"] is not None)
    return BytePairs(read_ranks(content), info.kind)
