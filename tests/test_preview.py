"""Example documents: the same for equal token files, whole from their start, small enough for a manifest."""

from pathlib import Path

import numpy as np

from app.contract.dataset import PreviewDocument, Shard, Split
from worker.preview import SPREAD, SPREAD_TOKENS, spread
from worker.tokenizers import Bytes

EOT = 256


def written(folder: Path, texts: list[str], split: str = "train") -> Split:
    """The texts in token files of one, with end-of-text before each."""
    ids = np.concatenate([np.array([EOT, *text.encode()], "<u2") for text in texts])
    (folder / f"{split}-000.bin").write_bytes(ids.tobytes())
    shard = Shard(file=f"{split}-000.bin", sha256="0" * 64, bytes=2 * len(ids), tokens=len(ids))
    return Split(tokens=len(ids), documents=len(texts), text_bytes=sum(map(len, texts)), shards=[shard])


def test_documents_from_all_over_both_splits_start_where_they_start(tmp_path: Path) -> None:
    train = written(tmp_path, [f"<train {i} {'x' * (i % 50)}>" for i in range(900)])
    val = written(tmp_path, [f"<val {i}>" for i in range(400)], "val")
    found = spread(tmp_path, train, val, "uint16", Bytes())
    assert len(found) == SPREAD
    assert all(one.text.startswith(f"<{one.split} ") and one.text.endswith(">") for one in found)
    assert {one.split for one in found} == {"train", "val"}
    assert all(one.characters == len(one.text) and one.chosen == "random" for one in found)
    assert found == spread(tmp_path, train, val, "uint16", Bytes())


def test_long_documents_are_cut_at_a_character_and_say_how_long_they_are(tmp_path: Path) -> None:
    train = written(tmp_path, ["a" + "é" * 400] * 3)
    val = written(tmp_path, ["b"], "val")
    found = spread(tmp_path, train, val, "uint16", Bytes())
    cut = [one for one in found if one.split == "train"]
    assert cut
    assert all(len(one.ids) == SPREAD_TOKENS - 1 for one in cut)  # 1 + 2·149 bytes; half an é is left out
    assert {one.characters for one in cut} == {401}


def test_few_documents_are_shown_once_each(tmp_path: Path) -> None:
    found = spread(tmp_path, written(tmp_path, ["one", "two"]), written(tmp_path, ["three"], "val"), "uint16", Bytes())
    assert len(found) == len({one.text for one in found}) <= 3


def test_without_end_of_text_the_places_themselves_are_shown(tmp_path: Path) -> None:
    ids = np.frombuffer(b"abcdefghij" * 600, "u1").astype("<u2")
    (tmp_path / "train-000.bin").write_bytes(ids.tobytes())
    shard = Shard(file="train-000.bin", sha256="0" * 64, bytes=2 * len(ids), tokens=len(ids))
    train = Split(tokens=len(ids), documents=1, text_bytes=len(ids), shards=[shard])
    nothing = Split(tokens=0, documents=0, text_bytes=0, shards=[])
    tokenizer = Bytes()
    tokenizer.eot = None  # type: ignore[assignment]
    found = spread(tmp_path, train, nothing, "uint16", tokenizer)
    assert [one.text[:1] for one in found] == list("a" * SPREAD)  # every 500th token from 250 on


def test_a_preview_of_single_characters_stays_below_200_kb(tmp_path: Path) -> None:
    train = written(tmp_path, ["€" * 5000] * 40)
    found = spread(tmp_path, train, written(tmp_path, ["v"], "val"), "uint16", Bytes())
    size = sum(len(PreviewDocument.model_dump_json(one, indent=1)) for one in found)
    assert size < 150_000
