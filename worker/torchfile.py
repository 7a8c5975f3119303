"""What torch.save wrote, read as data: nothing in the file is run, and what a file of plain tensors never holds is refused.

Such a file is a zip archive of data/<key>, the raw bytes of each storage, and data.pkl, a pickle that names them. Its plain
instructions are carried out by worker/plain_pickle.py, those that describe tensors here. A call is answered for
three names, which are compared as text and never imported; every other instruction or name ends the reading.
"""

import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from worker.plain_pickle import Machine, Unreadable, expect

__all__ = ["Described", "TorchFile", "Unreadable", "build"]

LARGEST_PICKLE = 64 << 20
"""Bytes: GPT-2 XL's checkpoint with its optimiser has 0.3 million."""

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_REBUILD = "torch._utils _rebuild_tensor_v2"
_ORDERED = "collections OrderedDict"
_BROKEN_ZIP = (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError)  # what zipfile raises for odd bytes
_NAMES = {_REBUILD, _ORDERED, *(f"torch {storage}" for storage in _DTYPES)}


class Name(NamedTuple):
    """A name that the pickle asks for; only its text."""

    text: str


class Storage(NamedTuple):
    key: str  #: its bytes are data/<key>
    dtype: torch.dtype
    numel: int


class Described(NamedTuple):
    """A tensor that has not been read yet: a view of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class TorchFile:
    """An open file: `content` with Described in the place of tensors, tensor() for those that are wanted."""

    def __init__(self, path: Path) -> None:
        """Raises Unreadable; OSError where there is no such file."""
        try:
            self._archive = zipfile.ZipFile(path)
        except _BROKEN_ZIP:
            raise Unreadable(
                f"{path.name} is not a whole zip archive: cut short, or written by a torch older than 1.6. Load it with torch and save it again."
            ) from None
        try:
            self.content = self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._archive.close()

    def tensor(self, described: Described) -> torch.Tensor:
        """The tensor, on the CPU and contiguous. Raises Unreadable where it reaches beyond its storage."""
        storage, offset, size, stride = described
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        # Never larger than what the file holds: a stride of 0 could make terabytes of one number.
        if math.prod(size) > storage.numel or last >= storage.numel:
            raise Unreadable(f"A tensor of size {size} does not fit into its {storage.numel} numbers.")
        content = self._bytes(f"data/{storage.key}", storage.numel * storage.dtype.itemsize)
        whole = torch.frombuffer(bytearray(content), dtype=storage.dtype)
        return whole.as_strided(size, stride, offset).clone(memory_format=torch.contiguous_format)

    def _read(self) -> Any:
        pickles = [name for name in self._archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Unreadable("The archive is none of torch.save: it has no data.pkl.")
        self._folder = pickles[0].removesuffix("data.pkl")
        if f"{self._folder}byteorder" in self._archive.namelist() and self._bytes("byteorder", 6) != b"little":
            raise Unreadable("The file was written on a machine with another byte order.")
        if self._archive.getinfo(pickles[0]).file_size > LARGEST_PICKLE:
            raise Unreadable("The description of its tensors is too large to be one.")
        return build(self._bytes("data.pkl"))

    def _bytes(self, name: str, length: int | None = None) -> bytes:
        """One entry, whole, with its checksum compared."""
        try:
            entry = self._archive.getinfo(self._folder + name)
        except KeyError:
            raise Unreadable(f"The archive lacks {name}.") from None
        # torch stores without compressing, so that no entry is larger than the file it comes from.
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise Unreadable(f"{name} is compressed or encrypted, which torch.save never does.")
        if length is not None and entry.file_size != length:
            raise Unreadable(f"{name} has {entry.file_size} bytes, {length} are described.")
        try:
            return self._archive.read(entry)
        except (*_BROKEN_ZIP, OSError) as error:
            raise Unreadable(f"{name} is damaged: {error}") from error


def build(pickled: bytes) -> Any:
    """What a pickle of plain values and tensors describes. Raises Unreadable at the first thing that is neither."""
    return _Machine().run(pickled)


class _Machine(Machine):
    """The plain instructions, and those that torch.save describes tensors with."""

    foreign = "which torch.save does not write"

    def other(self, instruction: str, argument: Any, position: int | None) -> None:
        match instruction:
            case "GLOBAL":
                if argument not in _NAMES:
                    raise Unreadable(
                        f"The file asks for {argument.replace(' ', '.')[:100]}, which no checkpoint of plain tensors needs. It was not run."
                    )
                self.stack.append(Name(argument))
            case "BINPERSID":
                self.stack.append(_storage(self.stack.pop()))
            case "REDUCE":
                name, arguments = self.take(2)
                self.stack.append(_called(name, arguments))
            case "BUILD":  # the _metadata of a module's dictionary, which is of no use here
                target, _ = self.take(2)
                expect(isinstance(target, dict), "state for something that has none")
                self.stack.append(target)
            case _:
                super().other(instruction, argument, position)


def _storage(identity: Any) -> Storage:
    kind, name, key, _, numel = identity  # the fourth is the device it was on
    expect(kind == "storage" and isinstance(name, Name), "a reference that is no storage")
    expect(isinstance(key, str) and key.isdecimal() and _counts(numel), "a storage without a number")
    return Storage(key, _DTYPES[name.text.removeprefix("torch ")], numel)


def _called(name: Any, arguments: Any) -> Any:
    expect(isinstance(name, Name) and isinstance(arguments, tuple), "a call of something that is no name")
    if name.text == _ORDERED and not arguments:
        return {}  # keeps its order, too
    expect(name.text == _REBUILD and len(arguments) in (6, 7), "a call that makes no tensor")
    storage, offset, size, stride = arguments[:4]
    expect(isinstance(storage, Storage) and isinstance(size, tuple) and isinstance(stride, tuple), "no tensor")
    expect(_counts(offset, *size, *stride) and len(size) == len(stride) <= 8 and 0 not in size, "no tensor's shape")
    return Described(storage, offset, size, stride)


def _counts(*numbers: Any) -> bool:
    return all(type(number) is int and 0 <= number < 1 << 48 for number in numbers)
