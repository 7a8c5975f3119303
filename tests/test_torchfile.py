"""Files of torch.save: read as data. What would run is refused, and has not run."""

import contextlib
import os
import pickle
import random
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.torchfile import Described, TorchFile, Unreadable, build


class Runs:
    """An object whose unpickling calls something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def archive(path: Path, pickled: bytes, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for key, content in entries.items():
            file.writestr(f"archive/data/{key.removeprefix('n')}", content)
    return path


def test_values_and_tensors_come_back_as_torch_saved_them(tmp_path: Path) -> None:
    shared = torch.randn(3, 4)
    content = {
        "model": OrderedDict(a=shared, b=shared.t(), half=torch.randn(5).half(), scalar=torch.tensor(2.5)),
        "numbers": [1, -70_000, 2**40, 0.25, True, None],
        "nested": {"betas": (0.9, 0.95), 3: "text", "empty": [{}, [], ()]},
    }
    torch.save(content, tmp_path / "file.pt")
    with TorchFile(tmp_path / "file.pt") as file:
        read = file.content
        assert {key: read[key] for key in ("numbers", "nested")} == {key: content[key] for key in ("numbers", "nested")}
        for name, tensor in content["model"].items():
            assert torch.equal(file.tensor(read["model"][name]), tensor), name
        assert read["model"]["a"].storage == read["model"]["b"].storage


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_the_pickle_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "it-ran"
    evil = {"model": {}, "model_args": {}, "iter_num": 1, "config": [Runs(os.system, f"touch {marker}")]}
    path = archive(tmp_path / "ckpt.pt", pickle.dumps(evil, protocol))
    with pytest.raises(Unreadable, match=r"system|torch\.save does not write"):
        TorchFile(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes()[path.read_bytes().index(b"\x80") :])  # the fixture itself is dangerous
    assert marker.exists()


@pytest.mark.parametrize(
    "call",
    [
        Runs(eval, "1"), Runs(getattr, "", "join"), Runs(__import__, "os"), Runs(pickle.loads, b"N."), Runs(os.getcwd),
        Runs(torch.load, "other.pt"), Runs(torch.hub.load, "a/b", "c"), Runs(bytearray, 1 << 40), Runs(OrderedDict, [("a", 1)]),
    ],
)  # fmt: skip
def test_no_function_is_called_whatever_its_name(call: Runs) -> None:
    with pytest.raises(Unreadable):
        build(pickle.dumps({"a": call}, 2))


def test_what_is_no_such_file_is_named(tmp_path: Path) -> None:
    for content, told in (
        (b"", "not a whole zip archive"),
        (pickle.dumps({}), "not a whole zip archive"),
    ):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(Unreadable, match=told):
            TorchFile(tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        file.writestr("a/other", b"")
    with pytest.raises(Unreadable, match=r"no data\.pkl"):
        TorchFile(tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", b"\x80\x02" + b"N" * 100_000)
    with pytest.raises(Unreadable, match="compressed"):
        TorchFile(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("size", "stride", "offset", "told"),
    [
        ((1 << 40,), (0,), 0, "does not fit"),  # terabytes of one number
        ((4,), (2,), 0, "does not fit"),
        ((4,), (1,), 2, "does not fit"),
        ((2,), (1,), 0, None),
    ],
)
def test_a_tensor_never_reaches_beyond_its_bytes(
    tmp_path: Path, size: tuple[int, ...], stride: tuple[int, ...], offset: int, told: str | None
) -> None:
    torch.save({"a": torch.arange(5.0)}, tmp_path / "x.pt")
    with TorchFile(tmp_path / "x.pt") as file:
        described = Described(file.content["a"].storage, offset, size, stride)
        if told is None:
            assert file.tensor(described).tolist() == [0, 1]
        else:
            with pytest.raises(Unreadable, match=told):
                file.tensor(described)


def test_flipped_bytes_of_a_tensor_are_noticed(tmp_path: Path) -> None:
    torch.save({"a": torch.full((64,), 1.5)}, tmp_path / "x.pt")
    content = bytearray((tmp_path / "x.pt").read_bytes())
    content[content.index(b"\x00\x00\xc0\x3f") + 3] ^= 1
    (tmp_path / "x.pt").write_bytes(content)
    with TorchFile(tmp_path / "x.pt") as file, pytest.raises(Unreadable, match=re.escape("data/0 is damaged")):
        file.tensor(file.content["a"])


PICKLE = pickle.dumps({"a": [1, 2.5, "x", (True, None)], "b": {1: 2}}, 2)


@given(st.binary(max_size=60) | st.tuples(st.integers(2, len(PICKLE) - 1), st.integers(0, 255)))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_it_crash(change: Any) -> None:
    broken = bytearray(PICKLE)
    if isinstance(change, bytes):
        broken = bytearray(b"\x80\x02" + change)
    else:
        broken[change[0]] = change[1]
    with contextlib.suppress(Unreadable):  # any other exception fails
        build(bytes(broken))


def test_no_flipped_bytes_of_the_archive_make_it_crash(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3), "b": ["text", 1]}, tmp_path / "x.pt")
    whole, rng = (tmp_path / "x.pt").read_bytes(), random.Random(0)
    for _ in range(300):
        broken = bytearray(whole)
        for _ in range(rng.choice((1, 1, 4))):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        (tmp_path / "x.pt").write_bytes(broken)
        with contextlib.suppress(Unreadable), TorchFile(tmp_path / "x.pt") as file:
            if isinstance(file.content, dict) and isinstance(file.content.get("a"), Described):
                file.tensor(file.content["a"])
