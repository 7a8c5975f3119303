"""Files of a dataset on the Hugging Face hub, brought here by its own library, where that is installed and there is a network.

Neither is ever needed for anything else. The library works in a thread of its own while this one watches: a stop is obeyed
at once, progress is told, and where no byte arrives for STALL_S the end is a sentence, not a hang. What has arrived
stays in the folder, and the next attempt goes on from there.
"""

import fnmatch
import importlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from app.contract.dataset import HubSpec
from app.contract.file_kinds import ENDINGS
from worker.progress import Progress
from worker.source_files import SourceFile, UnreadableSource
from worker.sources import Kind

ANSWER_S = 15.0
STALL_S = 120.0
LOOK_S = 0.2
SPARE_BYTES = 1 << 30
_MOST_NAMED = 5
_BY_HAND = "Or download the files yourself, put them under one of the worker's data roots, and name them there."
_LIBRARIES_OF_THE_NETWORK = (
    "huggingface_hub",
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "requests",
    "urllib3",
    "hf_xet",
)
R = TypeVar("R")


class Fetched(NamedTuple):
    folder: Path  #: of this commit alone; to be removed once what was made of it is whole
    kind: Kind
    commit: str  #: what the revision meant
    names: list[str]  #: owner/name/path, one for each file
    paths: list[Path]
    sha256: list[str | None]  #: as the hub tells it; None for small files, which it knows by another hash

    def verify(self, found: Sequence[SourceFile]) -> None:
        """Raise UnreadableSource for a file that is not the one of the hub; it is removed, so that it is fetched anew."""
        for file, told in zip(found, self.sha256, strict=True):
            if told is not None and file.sha256 != told:
                file.path.unlink(missing_ok=True)
                raise UnreadableSource(
                    f"{file.name} did not arrive as it is on the hub. Try again: it is fetched anew."
                )


def bring(asked: HubSpec, root: Path, progress: Progress) -> Fetched:
    """The files that match, in a folder below `root`, which is the same for every attempt at the same commit.

    Raises UnreadableSource with the way out.
    """
    library = _library()
    progress.phase("fetching")
    told = _watched(
        lambda: library.HfApi().dataset_info(
            asked.repo, revision=asked.revision, files_metadata=True, timeout=ANSWER_S
        ),
        asked, progress, lambda: 0, 1,
    )  # fmt: skip
    wanted = sorted(
        (file for file in told.siblings or () if fnmatch.fnmatchcase(file.rfilename, asked.pattern)),
        key=lambda file: str(file.rfilename),
    )
    names = [str(file.rfilename) for file in wanted]
    kind = _kind(asked, names, [str(file.rfilename) for file in told.siblings or ()])
    total = sum(int(file.size or 0) for file in wanted)
    commit = str(told.sha)
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise UnreadableSource(f"The hub calls the commit of {asked.repo} {commit[:60]!r}, which is none.")
    folder = root / f"{asked.repo.replace('/', '--')}@{commit[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    missing = total - _bytes_below(folder)
    if shutil.disk_usage(folder).free < missing + SPARE_BYTES:
        raise UnreadableSource(
            f"The files that match {asked.pattern} have {total / 1e9:,.1f} GB, of which {missing / 1e9:,.1f} GB are "
            "still to come; the worker's disk has no room for them. Choose fewer by a narrower pattern, or free some space."
        )
    paths = []
    for name in names:
        if (folder / name).is_file():  # the library moves it to this name when it is whole
            paths.append(folder / name)
            continue

        def fetch(name: str = name) -> str:
            return str(
                library.hf_hub_download(
                    asked.repo, name, repo_type="dataset", revision=commit, local_dir=folder, etag_timeout=ANSWER_S
                )
            )

        paths.append(Path(_watched(fetch, asked, progress, lambda: _bytes_below(folder), total)))
    return Fetched(
        folder,
        kind,
        commit,
        [f"{asked.repo}/{name}" for name in names],
        paths,
        [getattr(file.lfs, "sha256", None) if file.lfs else None for file in wanted],
    )


def _library() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise UnreadableSource(
            "The Hugging Face hub is reached by the library huggingface_hub, which is not installed on this worker: "
            f"pip install huggingface_hub. {_BY_HAND}"
        ) from None


def _kind(asked: HubSpec, names: Sequence[str], there: Sequence[str]) -> Kind:
    """What the files are, by their names. Raises UnreadableSource for none, for other files and for a mixture."""
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UnreadableSource(f"{asked.repo} has a file {name!r}, which no worker may write.")
    if not names:
        some = ", ".join(there[:_MOST_NAMED]) + (
            f" and {len(there) - _MOST_NAMED:,} more" if len(there) > _MOST_NAMED else ""
        )
        raise UnreadableSource(f"No file of {asked.repo} matches {asked.pattern}. There is: {some or 'nothing'}.")
    kinds: tuple[Kind, ...] = ("parquet", "jsonl", "text")
    for kind in kinds:
        if all(name.lower().endswith(ENDINGS[kind]) for name in names):
            return kind
    raise UnreadableSource(
        f"The {len(names):,} files of {asked.repo} that match {asked.pattern} are not all parquet, all JSON lines or all "
        f"text: {', '.join(names[:_MOST_NAMED])}. Give a narrower pattern, such as *.parquet."
    )


def _watched(work: Callable[[], R], asked: HubSpec, progress: Progress, arrived: Callable[[], int], total: int) -> R:
    """work() in a thread, watched. Raises UnreadableSource for what it ends in, or where nothing arrives any more."""
    done: list[R] = []
    wrong: list[Exception] = []

    def guarded() -> None:
        try:
            done.append(work())
        except Exception as error:  # whatever it is: judged below, in the thread that was waiting for it
            wrong.append(error)

    thread = threading.Thread(target=guarded, name="hub", daemon=True)
    thread.start()
    before, since = -1, time.monotonic()
    while thread.is_alive():
        thread.join(LOOK_S)
        here = arrived()
        progress.at(min(1.0, here / max(total, 1)), text_bytes=here)
        if here != before:
            before, since = here, time.monotonic()
        elif time.monotonic() - since > STALL_S:
            raise UnreadableSource(
                f"Nothing has come from the hub for {STALL_S:.0f} s. Try again later: what has arrived is kept. {_BY_HAND}"
            )
    if wrong:
        raise _told(wrong[0], asked) from wrong[0]
    return done[0]


def _told(error: Exception, asked: HubSpec) -> Exception:
    """A library's error as a sentence; known by its name, because the library itself may be any version."""
    family = {kind.__name__ for kind in type(error).__mro__}
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    if "GatedRepoError" in family:
        return UnreadableSource(
            f"{asked.repo} is given only to those who accepted its terms: accept them on its page, then sign the worker in with `hf auth login` or $HF_TOKEN."
        )
    if "RepositoryNotFoundError" in family:
        return UnreadableSource(
            f"The hub has no dataset {asked.repo}, or it is private: then sign the worker in with `hf auth login` or $HF_TOKEN."
        )
    if "RevisionNotFoundError" in family:
        return UnreadableSource(f"{asked.repo} has no branch, tag or commit {asked.revision}.")
    if "OfflineModeIsEnabled" in family:
        return UnreadableSource(f"The worker's $HF_HUB_OFFLINE says not to use the network; unset it. {_BY_HAND}")
    if isinstance(error, OSError) or modules & set(_LIBRARIES_OF_THE_NETWORK):
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300].rstrip(".")
        return UnreadableSource(
            f"{asked.repo} could not be fetched from the hub: {reason}. Has this worker a network? "
            f"Try again: what has arrived is kept. {_BY_HAND}"
        )
    return error


def _bytes_below(folder: Path) -> int:
    """Bytes on the disk, unfinished files included."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # moved to its final name between the two looks
            continue
    return total
