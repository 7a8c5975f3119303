"""A sweep's life: queued in order, paused, resumed, cancelled, grown; runs that are there are not trained again."""

import pytest
from domain import World

from app import runs, workers
from app.contract.sweep import SweepSpec
from app.errors import Conflict, Invalid, NotFound
from app.sweeps import cost, gather, launching, members, shapes, sharing, steering
from app.sweeps.analysis import analysis
from app.sweeps.launching import Addition
from app.sweeps.steering import SweepChange

WD = "optim.weight_decay"
GRID = {"preset": "tiny", "seeds": 2, "factors": [{"field": WD, "values": [0, 0.1]}]}


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def create(world, **fields):
    spec = SweepSpec.model_validate({**GRID, **fields})
    return world.write(lambda tx: launching.create(tx, spec, key=None, body_sha256="", now=world.now)[0].id)


def look(world, number=1):
    return world.write(lambda tx: shapes.sweep(tx, members.get(tx, f"x-{number:04d}")))


def steer(world, verb, number=1, *args):
    return world.write(lambda tx: verb(tx, members.get(tx, f"x-{number:04d}"), *args, now=world.now))


def train(world, final=3.0, outcome="finished", **fields):
    """The next run that a worker gets, to its end."""
    claim = world.claim()
    assert claim is not None
    steps = claim.config["schedule"]["steps"]
    world.post(claim, 1, columns={"val/loss": {"step": [0, steps], "value": [8.0, final]}, "train/loss": {"step": [steps], "value": [final]}})  # fmt: skip
    world.finish(claim, 1, outcome, **fields)
    return claim


def states(world, number=1):
    return look(world, number)["runs"]["states"]


def test_all_arms_of_a_seed_are_trained_before_the_next_seed(world):
    create(world)
    order = [(claim.config["system"]["seed"], claim.config["optim"]["weight_decay"]) for claim in (train(world) for _ in range(4))]  # fmt: skip
    assert order == [(1337, 0), (1337, 0.1), (1338, 0), (1338, 0.1)]
    assert look(world)["state"] == "finished"


def test_a_sweep_of_higher_priority_goes_first_even_when_it_came_later(world):
    create(world)
    create(world, config={"schedule": {"steps": 500}}, priority=5)
    assert world.claim().config["schedule"]["steps"] == 500
    steer(world, lambda tx, sweep, now: steering.change(tx, sweep, SweepChange(priority=9), now=now))
    assert world.claim().config["schedule"]["steps"] == 1000


def test_a_run_that_is_there_is_taken_in_and_not_trained_again(world):
    create(world)
    for _ in range(4):
        train(world)
    create(world, factors=[{"field": WD, "values": [0, 0.1, 1]}])
    shown = look(world, 2)
    assert [(one["label"], one["linked"]) for one in shown["members"] if one["seed_index"] == 0] == [("λ 1", False), ("λ 0", True), ("λ 0.1", True)]  # fmt: skip
    assert shown["runs"]["total"] == 6
    create(world, reuse=False)
    assert look(world, 3)["runs"]["linked"] == 0


def test_a_paused_sweep_gives_nothing_to_workers_and_resumes_where_it_was(world):
    create(world)
    claim = world.claim()
    world.points(claim, 1, 1, 2)
    steer(world, steering.pause)
    assert states(world) == {"queued": 3, "stopping": 1}
    assert world.claim(worker="two") is None
    with pytest.raises(Conflict, match="still being saved"):
        steer(world, steering.resume)
    world.finish(claim, 1, "paused")
    steer(world, steering.resume)
    assert states(world) == {"queued": 4}
    assert world.claim() is not None


def test_a_run_that_comes_back_to_the_queue_while_its_sweep_is_paused_waits_too(world):
    create(world)
    claim = world.claim()
    world.points(claim, 1, 1, 2)
    steer(world, steering.pause)
    world.finish(claim, 1, "paused")
    world.write(lambda tx: runs.resume(tx, members.of(tx, members.get(tx, "x-0001"))[0].run, now=world.now))  # fmt: skip
    world.sweep(1.0)
    assert world.claim() is None


def test_a_cancelled_sweep_stops_what_waits_and_can_be_resumed(world):
    create(world)
    train(world)
    steer(world, steering.cancel)
    assert states(world) == {"finished": 1, "stopped": 3}
    with pytest.raises(Conflict, match="Possible now: resume, delete"):
        steer(world, steering.pause)
    steer(world, steering.resume)
    assert states(world) == {"queued": 3, "finished": 1}


def test_seeds_and_values_added_later_make_only_what_is_missing(world):
    create(world)
    for _ in range(4):
        train(world)
    addition = Addition.model_validate({"seeds": 1, "factors": [{"field": WD, "values": [1.0]}]})
    assert steer(world, lambda tx, sweep, now: launching.add(tx, sweep, addition, now=now)) == 5
    assert look(world)["state"] == "running"
    with pytest.raises(Invalid) as caught:
        steer(world, lambda tx, sweep, now: launching.add(tx, sweep, addition, now=now))
    assert caught.value.errors[0].pointer == "/factors/0/values"


def test_the_end_of_a_run_that_no_worker_reports_ends_the_sweep_as_well(world):
    create(world, seeds=1, factors=[{"field": WD, "values": [0.5]}])
    world.write(lambda tx: runs.stop(tx, members.of(tx, members.get(tx, "x-0001"))[0].run, now=world.now))  # fmt: skip
    world.sweep(1.0)
    assert look(world)["state"] == "finished"


def test_a_search_draws_its_next_arm_when_one_ends(world):
    factors = [{"field": "schedule.lr", "low": 1e-4, "high": 1e-2}]
    create(world, seeds=1, factors=factors, search={"method": "tpe", "trials": 4, "at_once": 1})
    seen = []
    for final in (3.0, 2.9, 3.1, 2.8):
        assert look(world)["runs"]["total"] == len(seen) + 1
        seen.append(train(world, final).config["schedule"]["lr"])
    assert len(set(seen)) == 4
    assert look(world)["state"] == "finished"


def test_halving_trains_the_best_of_a_rung_again_with_more_steps(world):
    factors = [{"field": "schedule.lr", "low": 1e-4, "high": 1e-2}]
    create(world, seeds=1, factors=factors, search={"method": "halving", "trials": 4, "factor": 2, "rungs": 2})
    rung = {}
    for final in (3.0, 2.9, 3.1, 2.8):
        claim = train(world, final)
        rung[final] = claim.config["schedule"]
    assert {schedule["steps"] for schedule in rung.values()} == {500}
    onward = [train(world, 2.5).config["schedule"] for _ in range(2)]
    assert {schedule["lr"] for schedule in onward} == {rung[2.8]["lr"], rung[2.9]["lr"]}
    assert {schedule["steps"] for schedule in onward} == {1000}
    assert look(world)["state"] == "finished"


def test_a_diverged_run_is_counted_in_the_analysis(world):
    create(world)
    train(world, 3.0)
    train(world, 3.1, "failed", reason="non_finite")
    train(world, 3.2)
    train(world, 3.3)

    def said(tx):
        return analysis(gather.gather(tx, members.get(tx, "x-0001")))

    found = world.write(said)
    assert found["runs"]["diverged"] == 1
    assert [row["n"] for row in found["arms"]] == [2, 1]
    assert found["comparable"]["ok"], found["comparable"]


def test_the_cost_counts_what_is_there_and_knows_time_only_from_measured_speed(world):
    spec = SweepSpec.model_validate(GRID)
    with world.db.read() as tx:
        before = cost.estimate(tx, spec)
    assert (before["runs"], before["new"], before["seconds"]) == (4, 4, None)
    assert before["tokens"] == 4 * 1000 * 12 * 128
    create(world)
    claim = train(world)
    world.write(lambda tx: workers.record_speed(tx, 1, "L4 C128 T128 B12 float32", 1536.0))  # fmt: skip
    with world.db.read() as tx:
        after = cost.estimate(tx, SweepSpec.model_validate(GRID | {"factors": [{"field": WD, "values": [0, 0.1, 1]}]}))
    assert claim is not None
    assert (after["runs"], after["new"], after["there"]) == (6, 2, 4)
    assert after["seconds"] == pytest.approx(2 * 1000)


def test_the_same_key_and_body_give_the_same_sweep(world):
    spec = SweepSpec.model_validate(GRID)
    first, again = (world.write(lambda tx: launching.create(tx, spec, key="k", body_sha256="b", now=world.now)) for _ in range(2))  # fmt: skip
    assert (first[1], again[1]) == (True, False)
    assert first[0].id == again[0].id
    with pytest.raises(Invalid):
        world.write(lambda tx: launching.create(tx, spec, key="k", body_sha256="other", now=world.now))


def test_a_link_works_until_it_is_revoked_and_only_its_hash_is_kept(world):
    create(world)
    share, secret = steer(world, sharing.make)
    assert world.write(lambda tx: sharing.open_(tx, secret).name)
    assert world.count("SELECT count(*) FROM shares WHERE sha256 = ? OR sha256 LIKE ?", secret, f"%{secret}%") == 0
    steer(world, lambda tx, sweep, now: sharing.revoke(tx, sweep, share.id, now=now))
    for wrong in (secret, "nonsense"):
        with pytest.raises(NotFound, match="revoked, or never was"):
            world.write(lambda tx, wrong=wrong: sharing.open_(tx, wrong))
