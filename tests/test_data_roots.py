"""Which files of a worker's machine a dataset may be made of."""

from pathlib import Path

import pytest

from worker.data_roots import files_at
from worker.folders import CannotStart


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """root/{good.txt, sub/b.parquet, sub/a.parquet, sub/deep/c.parquet, sub/notes.csv}, outside/secret.txt."""
    for name in ("root/good.txt", "root/sub/b.parquet", "root/sub/a.parquet", "root/sub/deep/c.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "root/sub/notes.csv").write_text("x")
    (tmp_path / "root/sub/.hidden.parquet").write_text("x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.txt").write_text("x")
    return tmp_path / "root"


def test_a_file_under_a_root_is_taken_by_its_name(root: Path) -> None:
    assert files_at("mine", str(root / "good.txt"), [root], "text") == [("mine", (root / "good.txt").resolve())]


def test_a_folder_means_its_files_of_the_kind_sorted(root: Path) -> None:
    found = files_at("sub", str(root / "sub"), [root], "parquet")
    assert [name for name, _ in found] == ["sub/a.parquet", "sub/b.parquet", "sub/deep/c.parquet"]
    assert [path for _, path in found] == [(root / name).resolve() for name, _ in found]


def test_a_folder_without_such_files_says_what_is_there(root: Path) -> None:
    with pytest.raises(CannotStart, match=r"sub holds no file of kind text \(\.txt, .*there is 3 \.parquet, 1 \.csv"):
        files_at("sub", str(root / "sub"), [root], "text")


def test_what_lies_outside_is_refused_with_the_roots_and_the_way_out(root: Path) -> None:
    outside = root.parent / "outside"
    (root / "link.txt").symlink_to(outside / "secret.txt")
    for bad in (outside / "secret.txt", outside, root / "link.txt"):
        with pytest.raises(CannotStart, match=rf"{bad.name}.* is not under .*: {root}\. Move it there, or start"):
            files_at("x", str(bad), [root], "text")
    with pytest.raises(CannotStart, match="--data-root FOLDER"):
        files_at("x", str(root / "good.txt"), [], "text")


def test_going_up_is_refused_even_where_it_would_end_inside(root: Path) -> None:
    for bad in (f"{root}/../outside/secret.txt", f"{root}/sub/../good.txt", "../secret.txt"):
        with pytest.raises(CannotStart, match=r"goes up with \.\./"):
            files_at("x", bad, [root], "text")


def test_a_folder_with_a_link_that_leads_outside_is_refused_by_the_links_name(root: Path) -> None:
    (root / "sub/z.parquet").symlink_to(root.parent / "outside/secret.txt")
    with pytest.raises(CannotStart, match=r"sub/z\.parquet \(it is a link to .*secret\.txt\) is not under"):
        files_at("sub", str(root / "sub"), [root], "parquet")
    (root / "sub/z.parquet").unlink()
    (root / "sub/circle").symlink_to(root)
    with pytest.raises(CannotStart, match="circle is a link to a folder"):
        files_at("sub", str(root / "sub"), [root], "parquet")


def test_a_link_that_stays_inside_is_followed_as_the_hubs_cache_has_them(root: Path) -> None:
    (root / "sub/d.parquet").symlink_to(root / "good.txt")
    assert files_at("sub", str(root / "sub"), [root], "parquet")[2] == ("sub/d.parquet", (root / "good.txt").resolve())


def test_a_path_that_is_not_there_is_named(root: Path) -> None:
    for bad in (str(root / "none"), "~nobody-of-that-name/x"):
        with pytest.raises(CannotStart, match=str(root)):
            files_at("x", bad, [root], "text")
    with pytest.raises(CannotStart, match="NUL character"):
        files_at("x", "a\0b", [root], "text")
