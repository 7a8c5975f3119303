"""How large the pages of a parquet column really are, read from their headers without decompressing anything.

Source of the format: parquet.thrift and the Thrift compact protocol. A page header is a struct whose fields 1 to 3 are the
page's type, its decompressed and its compressed size; the compressed bytes follow it.
"""

import mmap
from pathlib import Path
from typing import Any, NamedTuple

DICTIONARY_PAGE = 2
_MOST_PAGES = 1_000_000
_DEEPEST = 16


class Damaged(Exception):
    """A column chunk whose pages cannot be followed; the message completes "cannot be read: "."""


class PageSizes(NamedTuple):
    largest: int  #: decompressed bytes of the largest page
    dictionary: int  #: of the dictionary, to which any number of rows may refer; 0 where there is none


def sizes(path: Path, chunk: Any) -> PageSizes:
    """Of one column chunk, given pyarrow's ColumnChunkMetaData. Raises Damaged."""
    starts = [chunk.data_page_offset]
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        starts.append(chunk.dictionary_page_offset)
    position = min(starts)
    end = position + chunk.total_compressed_size
    largest = dictionary = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if not 0 < position <= end <= len(content):
            raise Damaged("its pages lie outside the file")
        for _ in range(_MOST_PAGES):
            if position >= end:
                break
            reader = _Compact(content, position, end)
            header = reader.numbers()
            kind, decompressed, compressed = (header.get(field, -1) for field in (1, 2, 3))
            if decompressed < 0 or compressed < 0:
                raise Damaged(f"no page begins at byte {position:,}")
            largest = max(largest, decompressed)
            if kind == DICTIONARY_PAGE:
                dictionary = max(dictionary, decompressed)
            position = reader.position + compressed
    return PageSizes(largest, dictionary)


class _Compact:
    """A cursor over one struct in Thrift's compact protocol."""

    def __init__(self, content: mmap.mmap, position: int, end: int) -> None:
        self.position = position
        self._content = content
        self._end = end

    def numbers(self, depth: int = 0) -> dict[int, int]:
        """The struct's integer fields; everything else in it is passed over."""
        if depth > _DEEPEST:
            raise Damaged("a page header is nested too deeply")
        found: dict[int, int] = {}
        field = 0
        while (head := self._byte()) != 0:
            kind, delta = head & 15, head >> 4
            field = field + delta if delta else self._zigzag()
            if kind in (4, 5, 6):  # i16, i32, i64
                found[field] = self._zigzag()
            else:
                self._skip(kind, depth)
        return found

    def _skip(self, kind: int, depth: int) -> None:
        match kind:
            case 1 | 2:  # true, false: in the head itself
                pass
            case 3:
                self._byte()
            case 4 | 5 | 6:
                self._varint()
            case 7:
                self._pass_over(8)
            case 8:
                self._pass_over(self._varint())
            case 9 | 10:
                head = self._byte()
                count = head >> 4 if head >> 4 != 15 else self._varint()
                for _ in range(min(count, self._end - self.position + 1)):
                    if head & 15 in (1, 2):
                        self._byte()
                    else:
                        self._skip(head & 15, depth + 1)
            case 12:
                self.numbers(depth + 1)
            case _:
                raise Damaged(f"no page header at byte {self.position:,}")

    def _byte(self) -> int:
        if self.position >= self._end:
            raise Damaged("a page header is cut short")
        self.position += 1
        return self._content[self.position - 1]

    def _pass_over(self, count: int) -> None:
        self.position += count
        if self.position > self._end:
            raise Damaged("a page header is cut short")

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise Damaged("a page header holds a number that is none")
        return value | byte << shift

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
