"""Published byte-pair ranks (GPT-2's and its successors'): found on this machine by their sha256, else downloaded in bounded time.

tiktoken.get_encoding is not asked: where its cache is empty it downloads without a time limit, and where a
cached file is damaged it deletes it. Its cache files are read here directly and believed by their hash.
"""

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from worker.shards import write_whole
from worker.tokenizers import Ranks, read_ranks


class NoRanks(Exception):
    """A vocabulary's ranks are not on this machine and cannot be had, or the file that was named is another one."""


class Unreachable(Exception):
    """A download failed; the message says how, as the end of a sentence."""


class Published(NamedTuple):
    """A vocabulary's file as tiktoken knows it."""

    url: str
    sha256: str

    @property
    def cached_as(self) -> str:
        """Its name in tiktoken's cache folder."""
        return hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


_BASE = "https://openaipublic.blob.core.windows.net"
_R50K = Published(
    f"{_BASE}/encodings/r50k_base.tiktoken", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
)
PUBLISHED = {
    "gpt2": _R50K,  # r50k_base's ranks are GPT-2's
    "r50k_base": _R50K,
    "p50k_base": Published(
        f"{_BASE}/encodings/p50k_base.tiktoken", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"
    ),
    "cl100k_base": Published(
        f"{_BASE}/encodings/cl100k_base.tiktoken", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
    ),
    "o200k_base": Published(
        f"{_BASE}/encodings/o200k_base.tiktoken", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
    ),
}
# What tiktoken.get_encoding("gpt2") fetches: the same vocabulary as a list of merges.
MERGES = Published(
    f"{_BASE}/gpt-2/encodings/main/vocab.bpe", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
)


def find(
    kind: str, environ: Mapping[str, str], worker_home: Path, download: Callable[[str], bytes] | None = None
) -> Ranks:
    """The ranks of a published vocabulary; raises NoRanks.

    Looked for in $PLATEAU_GPT2_RANKS (gpt2 only), the worker's home, tiktoken's caches and the whisper package;
    what `download` then brings (it may raise Unreachable) is kept in the worker's home.
    """
    published = PUBLISHED[kind]
    gpt2 = published is _R50K
    if gpt2 and (given := environ.get("PLATEAU_GPT2_RANKS")):
        return _named(Path(given).expanduser(), published, "PLATEAU_GPT2_RANKS names")
    own = worker_home / ("gpt2.tiktoken" if gpt2 else published.name)
    if own.is_file():
        return _named(own, published, "The worker found")
    folders = list(_cache_folders(environ))
    for path in [*(folder / published.cached_as for folder in folders), *(_whispers() if gpt2 else ())]:
        if content := _read(path, published.sha256):
            return read_ranks(content)
    for folder in folders if gpt2 else ():
        if content := _read(folder / MERGES.cached_as, MERGES.sha256):
            return read_merges(content)
    try:
        if download is None:
            raise Unreachable("nothing was to be downloaded")
        content = download(published.url)
        if hashlib.sha256(content).hexdigest() != published.sha256:
            raise Unreachable(f"what came has another sha256, {hashlib.sha256(content).hexdigest()}")
    except Unreachable as error:
        merges = f" (there, {MERGES.name} as {MERGES.cached_as} serves too)" if gpt2 else ""
        raise NoRanks(
            f"The vocabulary {kind} is not on this worker and could not be downloaded: {error}. Fetch {published.url} "
            f"(sha256 {published.sha256}) elsewhere and put it at {own}, or into tiktoken's cache folder {folders[0]} "
            f"as {published.cached_as}{merges}. Or choose the tokenizer bpe (learnt from your text), bytes or "
            "characters: they need no file."
        ) from error
    worker_home.mkdir(parents=True, exist_ok=True)
    write_whole(own, content)
    return read_ranks(content)


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


def _named(path: Path, published: Published, found: str) -> Ranks:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NoRanks(f"{found} {path}, which cannot be read: {error.strerror}.") from error
    if (digest := hashlib.sha256(content).hexdigest()) != published.sha256:
        raise NoRanks(
            f"{found} {path}, which is not {published.name}: its sha256 is {digest}, not {published.sha256}. "
            f"Remove it, or put the file from {published.url} in its place."
        )
    return read_ranks(content)


def _read(path: Path, sha256: str) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def _cache_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where tiktoken keeps what it has downloaded, first where it would look itself; an empty name turns its cache off."""
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if folder := environ.get(name):
            yield Path(folder)
    yield Path(tempfile.gettempdir()) / "data-gym-cache"


def _whispers() -> Iterator[Path]:
    """openai-whisper carries GPT-2's ranks; finding the package does not import it."""
    spec = importlib.util.find_spec("whisper")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(folder) / "assets" / "gpt2.tiktoken"
