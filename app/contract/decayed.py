"""Which tensors decay: the rules a run chooses from, each a pure function of a tensor's name and dimensions."""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

Decays = Callable[[str, int], bool]
"""(name, dimensions) -> whether the tensor decays."""

RULES = ("weights", "matrices", "all", "pattern")
EMBEDDINGS = ("transformer.wte.weight", "transformer.wpe.weight")
MOST_PATTERNS = 40
_WORD = re.compile(r"!?[A-Za-z0-9_.*?-]+")


def chosen(rule: str, pattern: str = "") -> Decays:
    """weights: everything of two dimensions, as nanoGPT and llm.c decay. matrices: the same without both embedding
    tables (an untied head is a matrix; a tied one is the token embedding). all: biases and norms too. pattern: the
    last of `pattern` that a name fits decides, and a name that fits none does not decay."""
    assert rule in RULES, f"{rule} is none of {', '.join(RULES)}"
    if rule == "weights":
        return lambda name, dims: dims >= 2
    if rule == "matrices":
        return lambda name, dims: dims >= 2 and name not in EMBEDDINGS
    if rule == "all":
        return lambda name, dims: True
    wanted = words(pattern)
    return lambda name, dims: next((word[0] != "!" for word in reversed(wanted) if _fits(name, word)), False)


def words(pattern: str) -> list[str]:
    """["*.mlp.*", "!*.bias"] of "*.mlp.*, !*.bias"; ! takes tensors out again."""
    return pattern.replace(",", " ").split()


def unreadable(pattern: str) -> str | None:
    """The first word that can be no pattern, or None. Globs, not regular expressions: none takes long to match."""
    return next((word for word in words(pattern) if not _WORD.fullmatch(word)), None)


def idle(pattern: str, names: Iterable[str]) -> list[str]:
    """The words that no name fits: probably misspelt."""
    known = list(names)
    return [word for word in words(pattern) if not any(_fits(name, word) for name in known)]


def _fits(name: str, word: str) -> bool:
    return fnmatchcase(name, word.removeprefix("!"))
