"""The quality report's job: asked for when a dataset becomes ready, offered, followed, accepted, asked for again."""

import pytest

from app import datasets, reports
from app.contract.quality import DatasetReport
from app.errors import Conflict
from tests.domain import World, manifest
from tests.small_report import small_report


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


@pytest.fixture
def claim(world):
    """The claim of the report that a finished preparation asks for."""
    world.write(lambda tx: datasets.ensure_builtin(tx, world.now))
    world.finish(world.claim(), 0, summary=manifest())
    return world.claim()


def stands(world: World) -> DatasetReport:
    def fn(tx) -> DatasetReport:
        found = reports.of(datasets.get(tx, datasets.BUILTIN))
        assert found is not None
        return found

    return world.write(fn)


def ask(world: World) -> None:
    world.write(lambda tx: reports.ask(tx, datasets.get(tx, datasets.BUILTIN), now=world.now))


def test_a_dataset_that_becomes_ready_is_read_by_the_worker_that_prepared_it(world):
    world.write(lambda tx: datasets.ensure_builtin(tx, world.now))
    assert world.write(lambda tx: reports.of(datasets.get(tx, datasets.BUILTIN))) is None
    world.finish(world.claim("one"), 0, summary=manifest())
    assert (stands(world).state, stands(world).detail) == ("queued", "waiting for a worker")
    assert world.claim("two") is None
    claim = world.claim("one")
    assert (claim.kind, claim.dataset, claim.manifest, claim.name) == ("report", "d-0001", manifest(), "python-stdlib")
    assert (stands(world).state, stands(world).detail) == ("reading", "being read by one")


def test_its_progress_is_not_the_preparations(world, claim):
    world.post(claim, 1, telemetry={"phase": "text", "share": 0.25, "documents": 7})
    world.post(claim, 2, telemetry={"share": 0.5})
    progress = stands(world).progress
    assert (progress.phase, progress.share, progress.documents) == ("text", 0.5, 7)
    assert world.write(lambda tx: datasets.get(tx, datasets.BUILTIN).progress) == {}


def test_the_result_names_the_manifest_that_was_read(world, claim):
    world.finish(claim, 0, summary=small_report().model_dump(mode="json"))
    found = stands(world)
    assert (found.state, found.made_at) == ("ready", world.now)
    assert found.result is not None
    assert found.result.manifest_sha256 == datasets.manifest_sha256(manifest())
    assert found.result.train.tokens == small_report().train.tokens
    assert world.claim() is None


def test_the_last_result_stays_while_it_is_read_again(world, claim):
    world.finish(claim, 0, summary=small_report().model_dump(mode="json"))
    ask(world)
    assert (stands(world).state, stands(world).result is None) == ("queued", False)
    again = world.claim("two")  # asked for by a person: any worker
    assert again.kind == "report"
    with pytest.raises(Conflict, match="being read already"):
        ask(world)
    world.finish(again, 0, "failed", exit=1, log_tail=["train-000.bin is missing"])
    found = stands(world)
    assert (found.state, found.detail) == ("failed", "exit 1: train-000.bin is missing")
    assert found.result is not None


def test_asking_again_opens_a_waiting_report_to_every_worker(world):
    world.write(lambda tx: datasets.ensure_builtin(tx, world.now))
    world.finish(world.claim("one"), 0, summary=manifest())
    ask(world)
    assert world.claim("two").kind == "report"
    assert world.count("SELECT count(*) FROM jobs WHERE kind = 'report'") == 1


def test_only_a_ready_dataset_can_be_read(world):
    world.write(lambda tx: datasets.ensure_builtin(tx, world.now))
    with pytest.raises(Conflict, match="The dataset is queued"):
        ask(world)


def test_a_report_that_is_none_fails_and_says_where(world, claim):
    world.finish(claim, 0, summary={"train": {}})
    assert stands(world).state == "failed"
    assert "not usable: train.tokens: Field required" in stands(world).detail


def test_a_worker_told_to_leave_puts_it_back_in_the_queue(world, claim):
    world.finish(claim, 0, "requeue", exit=75)
    assert stands(world).state == "queued"
    assert world.claim("two").kind == "report"


def test_a_silent_worker_is_replaced_until_too_many_have_vanished(world, claim):
    for _ in range(2):
        world.silence(60 + 300 + 60)
        assert "did not come back" in stands(world).detail
        assert world.claim("two").kind == "report"
    world.silence(60 + 300 + 60)
    assert (stands(world).state, stands(world).detail) == ("failed", "Its worker vanished 3 times while reading it.")
    assert world.claim() is None


def test_deleting_the_dataset_ends_its_reading(world, claim):
    world.write(lambda tx: datasets.delete(tx, datasets.get(tx, datasets.BUILTIN), now=world.now))
    assert world.count("SELECT count(*) FROM jobs WHERE kind = 'report' AND state = 'claimed'") == 0
