"""The built-in dataset: the interpreter's own standard library as a parquet file in FineWeb's columns.

It is on every machine that can run a worker, so the first run needs no network and no file. One document a
module. Left out: tests, the parts few people have (idlelib, lib2to3), installed packages, and what the build
generated (config-*, _sysconfigdata*), which holds the paths of one machine. The same interpreter gives the
same bytes.
"""

import os
import platform
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 1000
LEFT_OUT = frozenset({"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"})
# FineWeb's columns. token_count there is GPT-2's; here it is null, because it is not known without that vocabulary.
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("id", pa.string()),
        ("dump", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("file_path", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float64()),
        ("token_count", pa.int64()),
    ]
)


class NoStandardLibrary(Exception):
    """This Python carries no source text (it is zipped, frozen or stripped)."""


def standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def file_name() -> str:
    return f"python-{platform.python_version()}-stdlib.parquet"


def write_parquet(root: Path, target: Path) -> int:
    """Write the text under `root` to `target`; returns the number of documents."""
    version = platform.python_version()
    count = 0
    with pq.ParquetWriter(target, SCHEMA, compression="zstd") as writer:
        rows: list[dict[str, object]] = []
        for relative, text in modules(root):
            rows.append(
                {
                    "text": text,
                    "id": f"python-{version}/{relative}",
                    "dump": f"python-{version}",
                    "url": f"https://github.com/python/cpython/blob/v{version}/Lib/{relative}",
                    "date": "",  # a file's time is its installation's, not the text's
                    "file_path": relative,
                    "language": "en",
                    "language_score": 1.0,
                    "token_count": None,
                }
            )
            count += 1
            if len(rows) == ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                rows.clear()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    if count == 0:
        target.unlink()
        raise NoStandardLibrary(
            f"This Python ({version}) carries no source text: there are no .py files under {root}. The built-in "
            "dataset is made of them. Run the worker with a Python that has them, or give a text or parquet file."
        )
    return count


def modules(root: Path) -> Iterator[tuple[str, str]]:
    """Each module's path relative to `root`, with forward slashes and in sorted order, and its text."""
    paths = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in LEFT_OUT and not name.startswith("config-")]
        wanted = [name for name in names if name.endswith(".py") and not name.startswith("_sysconfigdata")]
        paths += [Path(folder, name).relative_to(root).as_posix() for name in wanted]
    for relative in sorted(paths):
        try:
            with tokenize.open(root / relative) as file:  # as Python itself: UTF-8, or what the file declares
                text = file.read()
        except (OSError, SyntaxError, UnicodeDecodeError):  # dangling link, wrong or absent coding line: not text
            continue
        if text:
            yield relative, text
