"""The true sizes of a parquet column's pages, against what pyarrow itself wrote."""

import contextlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.parquet_pages import Damaged, PageSizes, sizes


def written(path: Path, values: list[str], **how: object) -> PageSizes:
    pq.write_table(pa.table({"n": [1] * len(values), "text": values}), path, **how)
    return sizes(path, pq.read_metadata(path).row_group(0).column(1))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip", "none"])
def test_a_dictionary_page_is_as_large_as_its_strings(tmp_path: Path, version: str, compression: str) -> None:
    found = written(tmp_path / "a", ["x" * 1000, "y" * 500] * 50, compression=compression, data_page_version=version)
    assert found.dictionary == 1500 + 2 * 4  # each value behind its length
    assert found.largest == found.dictionary


def test_a_plain_page_is_as_large_as_its_strings(tmp_path: Path) -> None:
    found = written(tmp_path / "a", ["x" * 700_000, "y" * 800_000], use_dictionary=False, data_page_version="2.0")
    assert found.dictionary == 0
    assert found.largest == pytest.approx(1_500_000, abs=1000)


def test_the_largest_of_many_pages_is_found(tmp_path: Path) -> None:
    values = ["a" * 10] * 500 + ["b" * 300_000] + ["c" * 10] * 500
    found = written(tmp_path / "a", values, use_dictionary=False, data_page_size=2000, write_statistics=True)
    assert found.largest == pytest.approx(300_000, rel=0.05)


@given(at=st.integers(0, 400), value=st.integers(0, 255))
def test_a_damaged_header_is_said_to_be_one_or_still_read(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a"
    written(path, [f"text {i}" for i in range(30)])
    chunk = pq.read_metadata(path).row_group(0).column(1)
    content = bytearray(path.read_bytes())
    content[min(chunk.dictionary_page_offset + at, len(content) - 1)] = value
    path.write_bytes(content)
    with contextlib.suppress(Damaged):
        assert sizes(path, chunk).largest >= 0
