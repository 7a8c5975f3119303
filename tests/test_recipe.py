"""Nothing is prepared twice on a worker, and nothing else is taken for it."""

from pathlib import Path

from preparations import Told, check_files, prepared, some_documents, spec_of

from worker import datasets
from worker.progress import Progress


def test_what_was_prepared_before_on_this_worker_is_taken_under_the_new_name(tmp_path: Path) -> None:
    texts = some_documents(tmp_path / "texts.parquet")
    home = tmp_path / "home"
    spec = spec_of("parquet", texts, tokenizer={"kind": "bpe", "vocab_size": 300})
    first = prepared(tmp_path / "out", spec, texts, home=home)
    _, kept = datasets.adopt(tmp_path / "out", home)
    copied = tmp_path / "copy.parquet"
    copied.write_bytes(texts.read_bytes())
    told = Told()
    again = prepared(
        tmp_path / "again", spec.model_copy(update={"name": "y", "files": spec_of("parquet", copied).files}), copied,
        home=home, progress=Progress(told),
    )  # fmt: skip
    assert told.came_by == "reused"
    assert {frame["phase"] for frame in told.all} == {"reading"}
    last = told.all[-1]
    whole = first.train, first.val
    assert (last["share"], last["mb_per_s"], last["eta_s"]) == (1.0, None, None), "nothing was read, so no speed"
    assert (last["documents"], last["tokens"]) == tuple(
        sum(getattr(one, of) for one in whole) for of in ("documents", "tokens")
    )
    assert (again.spec.name, again.sources[0]["name"]) == ("y", "copy.parquet")
    assert (again.train, again.val, again.recipe) == (first.train, first.val, first.recipe)
    check_files(tmp_path / "again", again)
    assert (tmp_path / "again" / "train-000.bin").samefile(kept / "train-000.bin")
    other = prepared(tmp_path / "other", spec.model_copy(update={"val_share": 0.2}), texts, home=home)
    assert other.recipe != first.recipe
    (kept / "train-000.bin").unlink()
    (kept / "train-000.bin").write_bytes((kept / "val-000.bin").read_bytes())
    prepared(tmp_path / "third", spec, texts, home=home, progress=Progress(told))
    assert told.came_by == "new", "a damaged dataset was taken"
    check_files(tmp_path / "third", first)
