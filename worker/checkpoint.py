"""Checkpoints on the worker's disk: written so that a crash at any instant leaves a whole one or none.

    runs/<run>/checkpoints/a<attempt>/step-00001200/
        model.safetensors      weights by name; the tied head once
        optimizer.safetensors  AdamW's moments by name, and the random generators' states (uint8)
        state.json             step, best, numeric path, the configuration: readable by a person
        manifest.json          sha256 and bytes of each file above; written last

Files go to a temporary folder, each is fsynced, the folder is renamed, and the folders above are
fsynced. The attempt's own folder keeps a stale process from overwriting what its successor wrote.
Nothing is pickled. Standard library only until tensors are touched: the agent, which never loads
torch, looks for checkpoints with this module.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
_ATTEMPT = re.compile(r"a(\d+)")
_STEP = re.compile(r"step-(\d{8,})")


class Damaged(Exception):
    """A checkpoint is incomplete or its bytes are not those that were written."""


class Found(NamedTuple):
    """A checkpoint with a manifest; its bytes are not verified yet."""

    attempt: int
    step: int
    path: Path
    manifest: dict[str, Any]

    @property
    def reasons(self) -> set[str]:
        """Why it is kept: start, interval, best, end, asked."""
        return set(self.manifest["reasons"])


def folder(run_dir: Path, attempt: int, step: int) -> Path:
    return run_dir / "checkpoints" / f"a{attempt}" / f"step-{step:08d}"


def save(
    run_dir: Path,
    attempt: int,
    step: int,
    *,
    model: "Mapping[str, Tensor]",
    optimizer: "Mapping[str, Tensor]",
    state: Mapping[str, Any],
    reasons: Iterable[str],
    **facts: Any,
) -> Found:
    """Write one checkpoint; `facts` (run, val_loss…) go into its manifest. Raises OSError where the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = folder(run_dir, attempt, step)
    temporary = path.with_name(f".{path.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in model.items()}, temporary / MODEL)
        save_file({name: tensor.detach().contiguous() for name, tensor in optimizer.items()}, temporary / OPTIMIZER)
        (temporary / STATE).write_text(json.dumps({"version": VERSION, "step": step, **state}, indent=1))
        files = [_describe(temporary / name) for name in (MODEL, OPTIMIZER, STATE)]
        manifest = {
            "version": VERSION, "attempt": attempt, "step": step, "kept": strongest(reasons), "reasons": sorted(reasons),
            "bytes": sum(file["bytes"] for file in files), "files": files, **facts,
        }  # fmt: skip
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1))
        for name in (MODEL, OPTIMIZER, STATE, MANIFEST):
            fsync(temporary / name)
        fsync(temporary)
        if path.exists():  # the same attempt at the same step: the newer one stands
            delete(path)
        temporary.rename(path)
    except SafetensorError as error:  # how safetensors reports a failed write
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(str(error)) from error
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for parent in path.parents[:3]:  # a<attempt>, checkpoints, the run's own folder
        fsync(parent)
    return Found(attempt, step, path, manifest)


def rewrite_reasons(checkpoint: Found, reasons: set[str]) -> Found:
    """The same checkpoint, kept for other reasons from now on; the manifest is replaced as a whole."""
    manifest = {**checkpoint.manifest, "kept": strongest(reasons), "reasons": sorted(reasons)}
    temporary = checkpoint.path / f".{MANIFEST}.new"
    temporary.write_text(json.dumps(manifest, indent=1))
    fsync(temporary)
    temporary.rename(checkpoint.path / MANIFEST)
    fsync(checkpoint.path)
    return checkpoint._replace(manifest=manifest)


def strongest(reasons: Iterable[str]) -> str:
    """The one reason that is shown."""
    return next(reason for reason in ("start", "end", "asked", "best", "interval") if reason in set(reasons))


def verify(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose every byte is as it was written; Damaged says what is not."""
    manifest = _manifest(path)
    for file in manifest["files"]:
        target = path / file["name"]
        if not target.is_file():
            raise Damaged(f"{target} is missing.")
        if target.stat().st_size != file["bytes"]:
            raise Damaged(f"{target} has {target.stat().st_size} bytes, {file['bytes']} were written.")
        if _sha256(target) != file["sha256"]:
            raise Damaged(f"{target} has changed since it was written.")
    return manifest


def found(run_dir: Path) -> list[Found]:
    """The run's checkpoints, oldest attempt and step first; half-written ones have no manifest and are not listed."""
    checkpoints: list[Found] = []
    for path in (run_dir / "checkpoints").glob("a*/step-*"):
        attempt, step = _ATTEMPT.fullmatch(path.parent.name), _STEP.fullmatch(path.name)
        if attempt and step:
            try:
                checkpoints.append(Found(int(attempt[1]), int(step[1]), path, _manifest(path)))
            except Damaged:
                continue
    return sorted(checkpoints, key=lambda c: (c.attempt, c.step))


def newest_verified(run_dir: Path, at_most: int | None = None) -> Path | None:
    """The newest checkpoint whose bytes verify, falling back over damaged ones; None when there is none.

    `at_most` leaves later steps out: the server may lack the points before a checkpoint it has not heard of.

    A later attempt's come before an earlier attempt's further ones: those belong to a past that was given up.
    """
    candidates = [each.path for each in found(run_dir) if at_most is None or each.step <= at_most]
    for path in reversed(candidates):
        try:
            verify(path)
        except Damaged:
            continue
        return path
    return None


def load(path: Path) -> "tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]":
    """(weights, moments and random states, state) of a verified checkpoint, on the CPU."""
    from safetensors.torch import load_file

    state: dict[str, Any] = json.loads((path / STATE).read_text())
    return load_file(path / MODEL), load_file(path / OPTIMIZER), state


def delete(path: Path) -> None:
    # Without its manifest a half-deleted checkpoint is nobody's candidate.
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path)


def surplus(checkpoints: list[Found], best_step: int, keep_last: int) -> tuple[list[Found], list[Found]]:
    """(to delete, no longer the best but kept) of the run's own past, oldest first.

    Kept: start and asked always, the best, the last `keep_last` of the others, and the newest whatever it is.
    """
    ordinary = [c for c in checkpoints if c.reasons & {"interval", "end"}][-keep_last:]
    gone, demoted = [], []
    for checkpoint in checkpoints[:-1]:
        is_best = "best" in checkpoint.reasons and checkpoint.step == best_step
        if is_best or checkpoint.reasons & {"start", "asked"}:
            continue
        if checkpoint not in ordinary:
            gone.append(checkpoint)
        elif "best" in checkpoint.reasons:
            demoted.append(checkpoint)
    return gone, demoted


def fsync(path: Path) -> None:
    """Have the kernel put a file's bytes, or a folder's entries, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise Damaged(f"{path / MANIFEST} cannot be read: {error}") from error
    if (
        not isinstance(manifest, dict)
        or manifest.get("version") != VERSION
        or not {"files", "reasons"} <= set(manifest)
    ):
        raise Damaged(f"{path / MANIFEST} is not the manifest of a checkpoint of version {VERSION}.")
    return manifest


def _describe(path: Path) -> dict[str, Any]:
    return {"name": path.name, "sha256": _sha256(path), "bytes": path.stat().st_size}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
