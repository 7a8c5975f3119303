"""app/foreign_runs.py: a log becomes a run; a long one behind the reader's back, a growing one through the batches' route."""

import pytest
from conftest import wait_until

from app import foreign_runs, runs
from app.contract import ids
from app.contract.elsewhere import FactsChange, LogImport
from app.errors import Conflict, Invalid
from app.foreign.log import NotALog
from app.foreign_runs import Behind
from tests.domain import World
from tests.foreign_logs import GOLDEN_ARGS, VAL, golden


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.behind = Behind(world.db, lambda: world.now)
    yield world
    world.behind.stop()
    world.db.close()


def take_in(world, data=None, **asked):
    number = foreign_runs.take_in(
        world.db,
        world.settings.store,
        LogImport.model_validate(asked),
        data=data,
        clock=lambda: world.now,
        behind=world.behind,
    )
    return ids.show("run", number)


def stored(world, data: bytes) -> str:
    import hashlib

    sha = hashlib.sha256(data).hexdigest()
    (folder := world.settings.store / sha[:2]).mkdir(parents=True)
    (folder / sha).write_bytes(data)
    return sha


def values(world, run, key="val/loss"):
    with world.db.read() as tx:
        from app import series

        return series.read(tx.raw, ids.parse("run", run), key).value.tolist()


def test_the_40m_log_as_pasted_text_is_a_run_with_ten_evaluations(world):
    run = take_in(world, text=golden(), args=GOLDEN_ARGS)
    row = world.run(run)
    assert (row.source, row.state, row.detail) == ("imported", "stopped", "the log ends at step 14,501 of 20,000")
    assert (values(world, run), row.best_val, row.best_step) == (VAL, 3.5546, 14_000)
    assert (row.step, row.steps, row.dataset_id, row.config["schedule"]["lr"]) == (14_501, 20_000, None, 1e-3)
    assert row.telemetry["imported"]["asks"] == ["train_tokens", "val_tokens", "device", "vocab_size"]


def test_facts_are_supplied_later_and_taken_back(world):
    run = take_in(world, text=golden())
    before = world.run(run).updated_at

    def supply(**change):
        body = FactsChange.model_validate(change)
        world.write(lambda tx: foreign_runs.supply(tx, runs.get(tx, run), body, now=world.now))
        return world.run(run).telemetry["imported"]

    assert supply(facts={"train_tokens": "7e8", "device": "RTX 4070"})["facts"]["train_tokens"] == 700_000_000
    assert world.run(run).updated_at > before
    assert "config" not in supply(args=GOLDEN_ARGS)["asks"]
    assert world.run(run).steps == 20_000
    after = supply(facts={"device": None})
    assert "device" in after["asks"]
    assert after["facts"]["train_tokens"] == 700_000_000
    assert world.events(run, "facts")[0][0] == "supplied: train_tokens = 700000000, device = RTX 4070"


def test_a_run_of_this_server_has_no_facts_to_supply(world):
    world.ready()
    run = world.launch()
    with pytest.raises(Conflict, match="is not from elsewhere"):
        world.write(lambda tx: foreign_runs.supply(tx, runs.get(tx, run), FactsChange(), now=1.0))


def test_a_refused_log_leaves_no_run(world):
    with pytest.raises(NotALog):
        take_in(world, text="nothing")
    with pytest.raises(Invalid, match="is missing"):
        take_in(world)
    with pytest.raises(Invalid, match="is no file that was uploaded"):
        take_in(world, sha256="0" * 64)
    assert world.count("SELECT count(*) FROM runs") == 0


def test_a_long_log_is_read_behind_the_clients_back_with_its_resumes(world, monkeypatch):
    monkeypatch.setattr(foreign_runs, "SMALL", 100)
    text = "".join(f"iter {step}: loss {3 + step / 1e6}\n" for step in [*range(12_000), *range(11_000, 13_000)])
    run = take_in(world, sha256=stored(world, text.encode()), name="long")
    wait_until(lambda: world.run(run).state == "finished")
    assert world.run(run).detail == "the log ends at step 13,000"
    assert values(world, run, "train/loss") == [3 + step / 1e6 for step in range(13_000)]
    assert [step for _, step in _resumes(world, run)] == [11_000]


def _resumes(world, run):
    with world.db.read() as tx:
        return tx.raw.execute(
            "SELECT text, step FROM events WHERE run_id = ? AND kind = 'resume'", (ids.parse("run", run),)
        ).fetchall()


def test_a_long_log_that_is_none_fails_with_the_reason_and_a_stopped_server_says_so(world, monkeypatch):
    monkeypatch.setattr(foreign_runs, "SMALL", 100)
    run = take_in(world, sha256=stored(world, b"no loss here\n" * 50))
    wait_until(lambda: world.run(run).state == "failed")
    assert "No loss was found in its 50 lines" in world.run(run).detail
    number = world.write(lambda tx: foreign_runs._begin(tx, LogImport(name="half"), now=world.now).id)
    world.write(lambda tx: foreign_runs.interrupted(tx, now=world.now))
    half = world.run(ids.show("run", number))
    assert (half.state, half.detail) == ("failed", "The server stopped while it read the log; import it again.")


def test_a_growing_log_is_an_external_run_that_a_client_feeds(world):
    facts = {"tokens_per_step": 512, "fixed_eval": False}
    run = take_in(
        world,
        live=True,
        name="grows",
        log={"facts": facts, "format": "nanogpt"},
        args="python train.py --max_iters=100",
    )
    row = world.run(run)
    assert (row.source, row.state, row.steps, row.dataset_id) == ("external", "starting", 100, None)
    assert row.telemetry["imported"]["facts"] == facts | {"tokens_per_step": 512}
    with world.db.read() as tx:
        claim = foreign_runs.claim(tx, runs.get(tx, run), 60.0)
    assert claim is not None

    class Held:
        job, claim_id, attempt = claim["job"], claim["claim_id"], claim["attempt"]

    world.points(Held, 1, 1, 2, key="val/loss")
    world.post(Held, 2, events=[{"kind": "resume", "step": 1, "data": {"first_step": 1}}])
    world.finish(Held, 2, "finished")
    assert (world.run(run).state, values(world, run)) == ("finished", [9.0])
