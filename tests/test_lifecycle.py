"""What becomes of runs and datasets when workers claim, end, fall silent or come back."""

import pytest

from app import runs
from app.errors import UnsupportedProtocol
from tests.domain import SHA, World, manifest


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


def act(world: World, run: str, verb: str) -> None:
    world.write(lambda tx: getattr(runs, verb)(tx, runs.get(tx, run), now=world.now))


def test_a_worker_of_another_protocol_is_told_what_to_upgrade(world):
    with pytest.raises(UnsupportedProtocol, match="upgrade the server"):
        world.claim(protocol=2)
    with pytest.raises(UnsupportedProtocol, match="upgrade the worker"):
        world.claim(protocol=0)


def test_a_run_waits_for_its_dataset_and_starts_when_it_is_ready(world):
    run = world.launch()
    assert world.run(run).detail == "waiting for dataset python-stdlib (queued)"
    prepare = world.claim()
    assert (prepare.kind, prepare.config["kind"], prepare.dataset) == ("prepare", "builtin", "d-0001")
    assert world.run(run).detail == "waiting for dataset python-stdlib (preparing)"
    world.post(prepare, 1, telemetry={"phase": "tokens", "share": 0.5}, log=[{"at": 1, "text": "half"}])
    assert world.claim() is None
    world.finish(prepare, 1, summary=manifest())
    assert world.run(run).detail == ""
    train = world.claim()
    assert (train.run, train.kind, train.manifest) == (run, "train", manifest())
    assert train.resume is None
    assert train.store == str(world.settings.store)


def test_a_failed_preparation_leaves_its_runs_waiting_and_says_so(world):
    run = world.launch()
    prepare = world.claim()
    world.finish(prepare, 0, "failed", exit=1, log_tail=["Traceback", "ValueError: no column text", ""])
    row = world.run(run)
    assert row.state == "queued"
    assert "preparation failed: exit 1: ValueError: no column text" in row.detail
    assert world.claim() is None


def test_a_manifest_that_is_none_fails_the_dataset(world):
    world.launch()
    world.finish(world.claim(), 0, summary={"version": 1})
    assert world.count("SELECT count(*) FROM datasets WHERE state = 'failed' AND detail LIKE '%manifest%'") == 1


@pytest.mark.parametrize(
    ("outcome", "fields", "state", "reason"),
    [
        ("finished", {}, "finished", None),
        ("stopped", {}, "stopped", None),
        ("paused", {}, "paused", None),
        ("requeue", {"exit": 75}, "queued", None),
        ("failed", {"exit": 1, "log_tail": ["KeyError: 'x'"]}, "failed", "error"),
        ("failed", {"exit": 4, "reason": "oom"}, "failed", "oom"),
        ("failed", {"exit": 3, "reason": "non_finite"}, "failed", "non_finite"),
        ("failed", {"exit": 9, "reason": "gremlins"}, "failed", "error"),
    ],
)
def test_each_outcome_leads_to_its_state(world, outcome, fields, state, reason):
    world.ready()
    run = world.launch()
    claim = world.claim()
    world.points(claim, 1, 1)
    world.finish(claim, 1, outcome, **fields)
    row = world.run(run)
    assert (row.state, row.reason) == (state, reason)
    assert world.count("SELECT count(*) FROM attempts WHERE outcome = ? AND last_step = 1", outcome) == 1
    assert world.count("SELECT count(*) FROM jobs WHERE kind = 'train' AND state = 'queued'") == (state == "queued")


def test_a_finished_run_leaves_its_speed_with_the_worker(world):
    world.ready()
    world.launch(preset="tiny")
    claim = world.claim()
    world.points(claim, 1, 1, key="train/tok_per_s", telemetry={"dtype": "float32"})
    world.finish(claim, 1)
    assert world.worker().speeds == {"L4 C128 T128 B12 float32": 9.0}


def test_silence_loses_a_run_and_a_word_within_the_grace_brings_it_back(world):
    world.ready()
    run = world.launch()
    claim = world.claim()
    world.points(claim, 1, 5)
    world.silence(120)
    row = world.run(run)
    assert (row.state, row.detail) == ("lost", "no word from its worker for 60 s, at step 5")
    world.points(claim, 2, 6)
    assert world.run(run).state == "running"


def test_after_the_grace_a_lost_run_goes_on_where_its_checkpoint_is(world):
    world.ready()
    run = world.launch()
    claim = world.claim("one")
    world.points(claim, 1, 5)
    world.checkpoint(claim, 2, 4)
    world.silence(120)
    world.silence(360)
    row = world.run(run)
    assert row.state == "queued"
    assert "checkpoint of step 4, which worker w-0001 holds" in row.detail
    assert world.claim("two") is None
    again = world.claim("one")
    assert (again.attempt, again.resume["step"], again.files) == (2, 4, [])


def test_a_checkpoint_on_the_server_lets_any_worker_go_on(world):
    world.ready()
    world.launch()
    claim = world.claim("one")
    world.points(claim, 1, 5)
    world.checkpoint(claim, 2, 4)
    world.write(
        lambda tx: tx.raw.execute(
            "INSERT INTO artifacts (sha256, bytes, kind, on_server, created_at) VALUES (?, 7, 'checkpoint', 1, 0)",
            (SHA,),
        )
    )
    world.finish(claim, 2, "requeue", exit=75)
    again = world.claim("two")
    assert again.resume["step"] == 4
    assert [file.name for file in again.files] == ["model.safetensors"]


def test_two_attempts_lost_at_the_same_step_are_poison(world):
    world.ready()
    run = world.launch()
    for _ in range(2):
        claim = world.claim()
        world.points(claim, 1, 7)
        world.silence(120)
        world.silence(360)
    row = world.run(run)
    assert (row.state, row.reason) == ("failed", "poison")


def test_a_person_who_resumes_a_poisoned_run_gives_it_a_clean_slate(world):
    world.ready()
    run = world.launch()
    for state in ("queued", "failed"):
        world.points(world.claim(), 1, 7)
        world.silence(120)
        world.silence(360)
        assert world.run(run).state == state
    act(world, run, "resume")
    world.points(world.claim(), 1, 7)
    world.silence(120)
    world.silence(360)
    assert world.run(run).state == "queued"


def test_a_run_whose_workers_vanish_three_times_fails(world):
    world.ready()
    run = world.launch()
    for attempt in range(3):
        claim = world.claim()
        world.points(claim, 1, 7 + attempt)
        world.silence(120)
        world.silence(360)
    row = world.run(run)
    assert (row.state, row.reason) == ("failed", "lost")


def test_a_preparation_whose_worker_vanishes_is_queued_again_and_fails_the_third_time(world):
    world.launch()
    for attempt in range(3):
        assert world.claim().kind == "prepare", attempt
        world.silence(500)
    assert world.claim() is None
    assert "vanished 3 times" in world.run("r-0001").detail


def test_a_stop_reaches_the_worker_and_its_end_is_stopped(world):
    world.ready()
    run = world.launch()
    claim = world.claim()
    world.points(claim, 1, 1)
    act(world, run, "stop")
    assert world.run(run).state == "stopping"
    assert world.post(claim, 2).commands == [{"id": 1, "command": "stop"}]
    world.finish(claim, 2, "requeue", exit=75)  # a SIGTERM that came at the same time does not undo the stop
    assert world.run(run).state == "stopped"


def test_a_stop_overrules_a_pause_and_a_second_stop_terminates_and_a_third_kills(world):
    world.ready()
    run = world.launch()
    claim = world.claim()
    for verb in ("pause", "stop", "stop", "stop", "stop"):
        act(world, run, verb)
    assert [one["command"] for one in world.post(claim, 1).commands] == ["pause", "stop", "terminate", "kill"]
    world.finish(claim, 1, "paused")
    assert world.run(run).state == "stopped"


def test_stopping_a_run_whose_worker_never_answers_ends_after_the_grace(world):
    world.ready()
    run = world.launch()
    world.points(world.claim(), 1, 3)
    world.silence(120)
    act(world, run, "stop")
    assert world.run(run).state == "stopping"
    world.silence(500)
    row = world.run(run)
    assert (row.state, row.detail) == ("stopped", "stopped at step 3; its worker did not answer")


def test_a_changed_dataset_refuses_to_go_on_and_the_next_job_is_given_instead(world):
    world.ready()
    run = world.launch()
    other = world.launch()
    claim = world.claim()
    world.points(claim, 1, 9)
    world.finish(claim, 1, "paused")
    world.ready(train=2_000_000)
    world.finish(world.claim(), 0, "paused")
    act(world, run, "resume")
    act(world, other, "resume")
    assert world.claim().run == other
    row = world.run(run)
    assert (row.state, row.reason) == ("failed", "error")
    assert row.detail.startswith("dataset changed since step 9")


def test_an_outside_client_feeds_its_run_and_is_never_replaced(world):
    world.ready()
    run = world.launch(source="external")
    row = world.run(run)
    assert row.state == "starting"
    assert world.claim() is None
    world.silence(700)
    assert world.run(run).state == "lost"
    assert world.count("SELECT count(*) FROM jobs WHERE state = 'queued'") == 0


def test_the_same_claim_again_changes_nothing(world):
    world.ready()
    run = world.launch()
    world.claim(key="same-key-1")
    before = world.events(run, "state")
    world.claim(key="same-key-1")
    assert world.events(run, "state") == before


def test_a_run_that_ends_says_which_checkpoint_is_left_of_it(world):
    world.ready()
    for step, kept in ((None, ""), (20, "; its newest checkpoint is of step 20"), (50, ", checkpoint kept")):
        run = world.launch()
        claim = world.claim()
        world.points(claim, 1, 50)
        if step is not None:
            world.checkpoint(claim, 2, step)
        world.finish(claim, 1 if step is None else 2, "stopped")
        assert world.run(run).detail == f"stopped at step 50{kept}"
