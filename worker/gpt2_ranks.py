"""GPT-2's byte-pair ranks, from files that are already on this machine; never from the network.

tiktoken.get_encoding is not asked: where its cache is empty it downloads, without a time limit, and where a
cached file is damaged it deletes it. Its cache files are read here directly and believed by their sha256.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from worker.tokenizers import Ranks, read_ranks

RANKS_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
# tiktoken's names: sha1 of the address a file came from. The first is r50k_base.tiktoken, whose ranks are
# GPT-2's; the second the vocab.bpe that get_encoding("gpt2") fetches, the same vocabulary as a list of merges.
CACHED_RANKS = "0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4"
CACHED_MERGES = "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"


class NoRanks(Exception):
    """GPT-2's ranks are not on this machine, or the file that was named is another one."""


def gpt2_ranks(environ: Mapping[str, str], worker_home: Path) -> Ranks:
    """$PLATEAU_GPT2_RANKS, else gpt2.tiktoken in the worker's home, else tiktoken's caches; raises NoRanks."""
    if given := environ.get("PLATEAU_GPT2_RANKS"):
        return _named(Path(given).expanduser(), "PLATEAU_GPT2_RANKS names")
    own = worker_home / "gpt2.tiktoken"
    if own.is_file():
        return _named(own, "The worker found")
    for folder in _cache_folders(environ):
        if content := _read(folder / CACHED_RANKS, RANKS_SHA256):
            return read_ranks(content)
        if content := _read(folder / CACHED_MERGES, MERGES_SHA256):
            return read_merges(content)
    raise NoRanks(
        f"GPT-2's vocabulary is not on this worker, and nothing is downloaded. Put the file gpt2.tiktoken (also "
        f"known as r50k_base.tiktoken, sha256 {RANKS_SHA256}) at {own}, or name its place in $PLATEAU_GPT2_RANKS. "
        "Or choose the tokenizer bpe (learnt from your text), bytes or characters: they need no file."
    )


def read_merges(content: bytes) -> Ranks:
    """Ranks from a vocab.bpe: the 256 bytes in GPT-2's order, then each merge of two tokens, in the file's order."""
    printable = [b for b in range(256) if chr(b).isprintable() and chr(b) != " "]
    order = printable + [b for b in range(256) if b not in printable]
    # A byte that does not print is written as a letter from U+0100 on.
    byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(order[len(printable) :])}
    ranks = {bytes([b]): rank for rank, b in enumerate(order)}
    for merge in content.decode().split("\n")[1:-1]:  # the first line is the version, the last is empty
        ranks[bytes(byte_of[letter] for letter in merge.replace(" ", ""))] = len(ranks)
    return ranks


def _named(path: Path, found: str) -> Ranks:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NoRanks(f"{found} {path}, which cannot be read: {error.strerror}.") from error
    if (digest := hashlib.sha256(content).hexdigest()) != RANKS_SHA256:
        raise NoRanks(
            f"{found} {path}, which is not GPT-2's gpt2.tiktoken: its sha256 is {digest}, not {RANKS_SHA256}."
        )
    return read_ranks(content)


def _read(path: Path, sha256: str) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def _cache_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if folder := environ.get(name):
            yield Path(folder)
    yield Path(tempfile.gettempdir()) / "data-gym-cache"
