"""What a preparation's tokens follow from, as one hash: with an equal one nothing is prepared twice on a worker.

Neither names nor places are part of it: the same files under other names, or in another dataset, are the same data.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.contract.dataset import DatasetSpec, Manifest
from worker.shards import MANIFEST
from worker.source_files import SourceFile

RULES = 1
"""Raised whenever equal specs over equal files would give other tokens than before."""


def recipe_of(spec: DatasetSpec, files: Sequence[SourceFile]) -> str:
    asked = spec.model_dump(mode="json", exclude={"name", "files"})
    if spec.tokenizer.kind != "bpe":
        del asked["tokenizer"]["vocab_size"]
    content = {"rules": RULES, "spec": asked, "files": [[file.sha256, file.bytes] for file in files]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def prepared_before(home: Path, recipe: str) -> tuple[Path, Manifest] | None:
    """A dataset of this worker made by the same recipe, if all its files are still what its manifest says."""
    for path in sorted((home / "datasets").glob(f"*/{MANIFEST}")):
        content = path.read_bytes()
        if recipe.encode() not in content:
            continue
        manifest = Manifest.model_validate_json(content)
        if manifest.recipe == recipe and all(_is(path.parent / name, sha256) for name, sha256 in _files(manifest)):
            return path.parent, manifest
    return None


def take(folder: Path, manifest: Manifest, out: Path) -> None:
    """The files of a prepared dataset into `out` as well: links, which take no room, or copies where there are none."""
    out.mkdir(parents=True, exist_ok=True)
    for name, _ in _files(manifest):
        (out / name).unlink(missing_ok=True)
        try:
            os.link(folder / name, out / name)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(folder / name, out / name)


def _files(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(name, sha256) of every file besides the manifest."""
    if manifest.tokenizer.file is not None:
        yield manifest.tokenizer.file, manifest.tokenizer.sha256
    for shard in [*manifest.train.shards, *manifest.val.shards]:
        yield shard.file, shard.sha256


def _is(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False
