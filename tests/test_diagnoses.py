"""The stored diagnosis: made after evaluations, kept for the list, told when its verdict changes, and no work when nothing did."""

import numpy as np
import pytest
from domain import World
from made_report import REPORT
from sqlalchemy import select

from app import appending, diagnoses, reports, runs
from app.contract import ids
from app.contract.quality import DatasetReport
from app.diagnoses import Watch
from app.run_query import RunQuery
from app.tables import Dataset, Diagnosis, Run


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready(train=50_000_000, val=5_000_000)
    yield world
    world.db.close()


def evaluated(world: World, losses, every: int = 100, **schedule) -> str:
    """A run under way whose k-th evaluation gave losses[k]."""
    steps = {"steps": 10_000, "warmup_steps": 100, "shape": "constant", **schedule}
    run = world.launch(config={"schedule": steps, "eval": {"every": every}})
    claim = world.claim()
    at = (np.arange(len(losses)) * every).tolist()
    columns = {
        "val/loss": {"step": at, "value": list(losses)},
        "val/loss_se": {"step": at, "value": [0.002] * len(losses)},
    }
    world.post(claim, 1, columns=columns)
    return run


def flat(count: int = 30, rise: float = 0.0):
    return (3.3 + 0.002 * np.random.default_rng(0).standard_normal(count) + rise * np.arange(count)).tolist()


def stored(world: World, run: str) -> Diagnosis | None:
    with world.db.read() as tx:
        return tx.session.get(Diagnosis, ids.parse("run", run))


def made(world: World, run: str) -> Diagnosis:
    found = diagnoses.of(world.db, ids.parse("run", run), now=world.now)
    world.write(lambda tx: None)  # it is kept behind the reader's back: wait for that
    return found


def test_a_verdict_is_kept_for_the_list_and_its_filter(world):
    plateau = evaluated(world, flat())
    falling = evaluated(world, flat(rise=-0.02))
    assert (made(world, plateau).verdict, made(world, falling).verdict) == ("plateau", "improving")
    assert stored(world, plateau).headline.startswith("Flat")
    for query, found in (("diagnosis=plateau", [plateau]), ("diagnosis!=plateau", [falling])):
        with world.db.read() as tx:
            assert [ids.show("run", run.id) for run in runs.find(tx, RunQuery(text=query)).rows] == found


def test_a_reader_gets_what_is_kept_until_there_is_a_new_evaluation(world):
    run = evaluated(world, flat())
    first = made(world, run)
    world.now += 5
    assert made(world, run).at == first.at
    world.write(lambda tx: appending.append(tx.raw, 1, {"val/loss": (np.array([2950]), np.array([3.3]))}))
    assert made(world, run).at == world.now


def test_steps_alone_make_it_stale_after_a_while_only(world):
    run = evaluated(world, flat())
    first = made(world, run).at
    world.write(lambda tx: setattr(tx.session.get_one(Run, 1), "step", 2990))
    world.now += diagnoses.SETTLED_S - 1
    assert made(world, run).at == first
    world.now += 2
    assert made(world, run).at == world.now


def test_another_verdict_is_an_event_and_the_same_one_is_none(world):
    run = evaluated(world, flat())
    made(world, run)
    world.write(lambda tx: appending.append(tx.raw, 1, {"val/loss": (np.array([2950]), np.array([3.3]))}))
    made(world, run)
    later = np.arange(3000, 9000, 100)
    world.write(lambda tx: appending.append(tx.raw, 1, {"val/loss": (later, 3.3 + (later - 3000) * 1e-4)}))
    made(world, run)
    told = world.events(run, "verdict")
    assert [text.split(".")[0] for text, _ in told] == ["plateau", "plateau → worsening"]
    assert told[1][1] == {"from": "plateau", "to": "worsening", "rule": "D01", "level": "warn"}


def test_the_watch_makes_what_is_missing_and_then_leaves_the_database_alone(world, monkeypatch):
    runs_ = [evaluated(world, flat()) for _ in range(diagnoses.AT_ONCE + 1)]
    watch = Watch(world.db)
    watch.look(world.now)
    assert stored(world, runs_[0]) is None, "the newest come first"
    watch.look(world.now)
    with world.db.read() as tx:
        assert len(tx.session.scalars(select(Diagnosis)).all()) == len(runs_)
    watch.look(world.now)  # sees its own writes, finds nothing stale
    monkeypatch.setattr(diagnoses, "_STALE", "this is no SQL")
    watch.look(world.now)
    claim_of_nobody = evaluated(world, flat(3))
    monkeypatch.undo()
    watch.look(world.now)
    assert stored(world, claim_of_nobody).verdict == "not enough data"


def test_a_run_that_cannot_be_read_keeps_no_other_from_its_diagnosis(world, monkeypatch):
    broken, sound = evaluated(world, flat()), evaluated(world, flat())
    world.write(lambda tx: tx.raw.execute("UPDATE runs SET config = '{\"model\": 7}' WHERE id = 1"))
    watch = Watch(world.db)
    watch.look(world.now)
    assert stored(world, sound).verdict == "plateau"
    assert stored(world, broken) is None


def test_the_end_of_a_run_makes_it_stale(world):
    run = evaluated(world, flat(), steps=2900)
    before = made(world, run).signature
    world.write(lambda tx: runs.transition(tx, tx.session.get_one(Run, 1), runs.S.finished, now=world.now))
    assert made(world, run).signature != before


def test_sql_and_python_write_the_same_signature(world):
    run = evaluated(world, flat())
    with world.db.read() as tx:
        sql = f"SELECT {diagnoses._signature_sql()} FROM runs LEFT JOIN series ON series.run_id = runs.id AND key = 'val/loss'"
        sql += " LEFT JOIN datasets ON datasets.id = runs.dataset_id"
        assert tx.raw.execute(sql).fetchone()[0] == diagnoses.signature(tx, runs.get(tx, run))


def test_a_report_on_its_data_makes_the_diagnosis_of_a_run_that_is_over_stale(world):
    run = evaluated(world, flat(), steps=2900)
    world.write(lambda tx: runs.transition(tx, tx.session.get_one(Run, 1), runs.S.finished, now=world.now))
    watch = Watch(world.db)
    watch.look(world.now)
    watch.look(world.now)
    before = stored(world, run)
    world.now += 100
    world.write(lambda tx: reports.ask(tx, tx.session.get_one(Dataset, 1), now=world.now))
    watch.look(world.now)
    assert stored(world, run).at == before.at, "a report that is only asked for says nothing"
    leaking = REPORT | {"leakage": REPORT["leakage"] | {"window_share": 0.05}}
    done = DatasetReport.model_validate({"state": "ready", "result": leaking, "made_at": world.now})
    world.write(lambda tx: reports._set(tx, tx.session.get_one(Dataset, 1), done))
    watch.look(world.now)
    assert stored(world, run).at == world.now
    assert made(world, run).at == world.now
    assert "D15" in {one["rule"] for one in stored(world, run).findings if one["level"] == "warn"}


def test_a_run_that_dies_before_its_first_evaluation_is_diagnosed_too(world):
    run = world.launch(config={"schedule": {"steps": 100}})
    claim = world.claim()
    world.post(claim, 1, columns={"train/loss": {"step": [1, 2, 3], "value": [8.3, 9.0, "NaN"]}})
    watch = Watch(world.db)
    watch.look(world.now)
    assert stored(world, run) is None, "it is under way and has no evaluation yet"
    world.finish(claim, 1, "failed", exit=3, reason="non_finite")
    watch.look(world.now)
    found = stored(world, run)
    assert (found.verdict, found.level, found.rule) == ("not finite", "critical", "D13")
