"""Files of the store that nothing refers to are found and deleted; whatever is needed or young stays."""

import os
from pathlib import Path

import pytest

from app import artifacts, datasets, leftovers
from app.contract.dataset import DatasetSpec
from tests.domain import SHA, World

DAY_S = 24 * 3600.0
LONG_AGO = 10.0


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.now = 10 * DAY_S
    yield world
    world.db.close()


def stored(world: World, digit: str, size: int = 100, at: float = LONG_AGO) -> Path:
    """A complete upload whose name is that digit 64 times."""
    sha256 = digit * 64
    file = artifacts.path(world.settings.store, sha256)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    sql = "INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, ?, 'upload', 1, ?)"
    world.write(lambda tx: tx.raw.execute(sql, (sha256, size, at)))
    return file


def clean(world: World, **given: float) -> leftovers.Cleaned:
    return leftovers.clean(world.db, world.settings.store, now=world.now, **given)


def test_an_upload_that_became_no_dataset_goes_and_one_that_did_stays(world):
    orphan, used = stored(world, "a", 700), stored(world, "b")
    spec = DatasetSpec.model_validate({"name": "x", "kind": "text", "files": [{"name": "b", "sha256": "b" * 64}]})
    world.write(lambda tx: datasets.create(tx, spec, now=world.now))
    assert clean(world) == (1, 700)
    assert (orphan.exists(), used.exists()) == (False, True)
    assert clean(world) == (0, 0)
    assert world.count("SELECT on_server FROM artifacts WHERE sha256 = ?", "a" * 64) == 0


def test_a_young_upload_is_left_until_it_is_asked_for(world):
    young = stored(world, "a", at=world.now - 3600)
    assert clean(world).files == 0
    assert young.exists()
    assert clean(world, older_than_s=60).files == 1


def test_pieces_of_uploads_that_broke_off_go(world):
    incoming = world.settings.store / "incoming"
    incoming.mkdir(parents=True)
    old, young = incoming / f"{'c' * 64}.part", incoming / f"{'d' * 64}.part"
    for part, age_s in ((old, 2 * DAY_S), (young, 60.0)):
        part.write_bytes(b"x" * 50)
        os.utime(part, (world.now - age_s,) * 2)
    assert clean(world) == (1, 50)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_file_that_a_worker_on_this_disk_still_has_frees_nothing(world):
    file = stored(world, "a", 700)
    os.link(file, world.settings.home / "a-workers")
    assert clean(world) == (1, 0)


def test_the_files_of_a_checkpoint_stay(world):
    world.ready()
    world.launch()
    claim = world.claim()
    file = stored(world, "a")
    sql = "UPDATE artifacts SET sha256 = ? WHERE sha256 = ?"
    world.write(lambda tx: tx.raw.execute(sql, (SHA, "a" * 64)))
    kept = artifacts.path(world.settings.store, SHA)
    kept.parent.mkdir(exist_ok=True)
    file.rename(kept)
    world.checkpoint(claim, 1, 5)
    assert clean(world).files == 0
    assert kept.exists()
