"""Runs: launched once per key, moved only along the table, never told what their state does not allow."""

import itertools

import pytest

from app import runs
from app.contract.states import RunState
from app.errors import Conflict, Invalid, NotFound
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def act(world: World, run: str, verb: str) -> None:
    world.write(lambda tx: getattr(runs, verb)(tx, runs.get(tx, run), now=world.now))


def refusals(world: World, **fields) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        world.launch(**fields)
    return {error.pointer: error.message for error in caught.value.errors}


def test_a_launch_stores_the_whole_configuration_and_names_the_run(world):
    run = world.run(world.launch(preset="tiny", config={"optim": {"weight_decay": 0.3}, "data": {"dataset": "d-0001"}}))
    assert run.name == "tiny python-stdlib wd0.3"
    assert run.config["optim"]["weight_decay"] == 0.3
    assert run.config["optim"]["beta2"] == 0.99  # the preset's
    assert run.config["data"]["dataset"] == "python-stdlib"
    assert (run.state, run.steps) == ("queued", 1000)


def test_bad_fields_are_named_where_they_stand(world):
    assert "at most 10" in refusals(world, config={"schedule": {"lr": 11}})["/config/schedule/lr"]
    assert "did you mean warmup_steps" in refusals(world, config={"schedule": {"warmup": 1}})["/config/schedule/warmup"]
    assert "/config/schedule" in refusals(world, config={"schedule": 5})
    assert "There are: tiny, modern, shakespeare" in refusals(world, preset="huge")["/preset"]
    assert "builtin, python-stdlib" in refusals(world, config={"data": {"dataset": "moby"}})["/config/data/dataset"]
    assert "no worker w-09" in refusals(world, worker="w-09")["/worker"]
    assert "no run r-0099" in refusals(world, cloned_from="r-0099")["/cloned_from"]
    assert "has only 100,000" in refusals(world, config={"model": {"block_size": 131072}})["/config/model/block_size"]
    assert world.count("SELECT count(*) FROM runs") == 0


def test_the_same_key_and_body_give_the_same_run_for_a_day_and_another_body_is_refused(world):
    first = world.launch(key="k", name="a")
    assert world.launch(key="k", name="a") == first
    assert list(refusals(world, key="k", name="b")) == ["/Idempotency-Key"]
    world.now += 25 * 3600
    assert world.launch(key="k", name="b") != first


def test_every_illegal_move_is_refused_and_every_legal_one_leaves_an_event(world):
    for before, after in itertools.product(RunState, RunState):
        run = world.launch()
        world.write(lambda tx, run=run, before=before: setattr(runs.get(tx, run), "state", before.value))

        def move(tx, run=run, after=after):
            runs.transition(tx, runs.get(tx, run), after, reason="because", detail="evidence", now=world.now)

        if after in runs.LEGAL[before]:
            world.write(move)
            text, data = world.events(run, "state")[-1]
            assert (text, data["from"], data["to"], data["reason"]) == ("evidence", before, after, "because")
        else:
            with pytest.raises(Conflict, match=f"it cannot become {after}"):
                world.write(move)


def test_what_is_offered_is_possible_and_what_is_not_offered_is_refused(world):
    verbs = ("stop", "pause", "resume", "save", "evaluate", "terminate", "kill", "trash")
    for outcome, verb in itertools.product(("paused", "stopped", "failed", "finished", None), verbs):
        run = world.launch()
        if outcome is not None:
            world.finish(world.claim(), 0, outcome)
        if verb in runs.actions(world.run(run)):
            act(world, run, verb)
        else:
            with pytest.raises(Conflict, match="Possible now: "):
                act(world, run, verb)
        world.write(lambda tx: tx.raw.execute("UPDATE jobs SET state = 'done'"))


def test_a_queued_run_stops_at_once_and_its_job_is_gone(world):
    run = world.launch()
    act(world, run, "stop")
    row = world.run(run)
    assert (row.state, row.detail) == ("stopped", "stopped before it started")
    assert row.ended_at == world.now
    assert world.claim() is None


def test_a_stopped_run_resumes_with_a_new_attempt(world):
    run = world.launch()
    claim = world.claim()
    world.points(claim, 1, 5)
    world.checkpoint(claim, 2, 5)
    world.finish(claim, 2, "stopped")
    act(world, run, "resume")
    assert world.run(run).ended_at is None
    again = world.claim()
    assert (again.run, again.attempt, again.resume["step"]) == (run, 2, 5)


def test_the_trash_keeps_everything_and_gives_it_back(world):
    run = world.launch()
    act(world, run, "trash")
    assert world.run(run).state == "stopped"
    assert world.claim() is None
    with world.db.read() as tx:
        assert runs.find(tx, runs.RunQuery()).total == 0
        assert runs.find(tx, runs.RunQuery(place="trash")).total == 1
    with pytest.raises(Conflict, match="in the trash"):
        act(world, run, "resume")
    world.write(lambda tx: runs.restore(tx, runs.get(tx, run)))
    assert world.run(run).deleted_at is None


def test_labels_change_and_the_baseline_is_pinned_until_it_is_trashed(world):
    run = world.launch()
    labels = runs.Labels(name="  a \n b ", tags=["x", " x ", "y"], notes="")
    world.write(lambda tx: runs.patch(tx, runs.get(tx, run), name=labels.name, tags=labels.tags, notes=labels.notes))
    row = world.run(run)
    assert (row.name, row.tags, row.notes) == ("a b", ["x", "y"], "")
    world.write(lambda tx: runs.pin_baseline(tx, runs.get(tx, run)))
    assert world.write(lambda tx: runs.baseline(tx).id) == row.id
    act(world, run, "trash")
    assert world.write(runs.baseline) is None


def test_the_difference_of_two_runs_names_only_what_differs(world):
    a = world.run(world.launch())
    b = world.run(world.launch(config={"optim": {"weight_decay": 1.0}}))
    assert runs.config_difference(a, b) == [("optim.weight_decay", 0.1, 1.0)]


def test_an_unknown_run_is_not_found(world):
    for text in ("r-0099", "5", "../etc", "r-" + "9" * 19, ""):
        with world.db.read() as tx, pytest.raises(NotFound):
            runs.get(tx, text)
