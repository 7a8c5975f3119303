"""The standard library as a dataset: always there, the same bytes every time."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from worker.builtin import NoStandardLibrary, file_name, modules, standard_library, write_parquet

FINEWEB = ["text", "id", "dump", "url", "date", "file_path", "language", "language_score", "token_count"]


def test_it_is_a_fineweb_parquet_of_the_modules_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    count = write_parquet(standard_library(), tmp_path / "a.parquet")
    write_parquet(standard_library(), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert file.schema_arrow.names == FINEWEB
    assert file.metadata.num_rows == count > 200
    assert all(file.metadata.row_group(i).num_rows <= 1000 for i in range(file.metadata.num_row_groups))
    rows = file.read().to_pylist()
    by_path = {row["file_path"]: row["text"] for row in rows}
    assert "class JSONEncoder" in by_path["json/encoder.py"]
    assert sum(len(row["text"]) for row in rows) > 3e6


def test_tests_packages_and_build_files_are_left_out() -> None:
    paths = [path for path, _ in modules(standard_library())]
    assert paths == sorted(paths)
    parts = {part for path in paths for part in path.split("/")}
    assert not parts & {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__"}
    assert not [path for path in paths if "_sysconfigdata" in path or path.startswith("config-")]


def test_what_is_not_text_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("x = 'é'\n")
    (tmp_path / "declared.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    (tmp_path / "undeclared.py").write_bytes(b"x = '\xe9'\n" * 3)
    (tmp_path / "empty.py").touch()
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere")
    assert dict(modules(tmp_path)) == {
        "good.py": "x = 'é'\n",
        "declared.py": "# -*- coding: latin-1 -*-\nx = 'é'\n",
    }


def test_a_python_without_source_text_is_told_so(tmp_path: Path) -> None:
    target = tmp_path / file_name()
    with pytest.raises(NoStandardLibrary, match=r"no \.py files under .* Run the worker with a Python that has them"):
        write_parquet(tmp_path / "python311.zip", target)
    assert not target.exists()


def test_more_than_a_row_group_is_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.builtin.ROW_GROUP", 3)
    for i in range(7):
        (tmp_path / f"m{i}.py").write_text(f"x = {i}\n")
    assert write_parquet(tmp_path, tmp_path / "a.parquet") == 7
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.num_row_groups == 3
