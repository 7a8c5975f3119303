"""Runs on several devices: whose turn it is, what the others may take meanwhile, and what a waiting run is told."""

import pytest

from app import lifecycle
from app.contract.protocol import DeviceInfo, WorkerInfo
from tests.domain import World

TWO = {"batch": {"accumulation": 2}, "system": {"devices": 2}}


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready()
    yield world
    world.db.close()


def claim(world, free, devices=2, name="pair"):
    cpus = [DeviceInfo(kind="cpu", name="it")] * devices
    info = WorkerInfo(name=name, instance=f"instance-{name}", devices=cpus)
    request = world.request(name, free_devices=free).model_copy(update={"worker": info})
    return world.write(lambda tx: lifecycle.claim(tx, request, now=world.now, settings=world.settings))


def test_a_run_for_two_devices_gets_its_turn_before_later_runs_for_one(world):
    first, big, small = world.launch(), world.launch(config=TWO), world.launch()
    running = claim(world, free=2)
    assert running.run == first
    assert claim(world, free=1) is None, "the free device is kept for the run whose turn it is"
    assert world.run(big).detail == "waiting until 2 devices of one worker are free"
    assert world.run(small).detail == ""
    world.finish(running, 0, "stopped")
    both = claim(world, free=2)
    assert (both.run, both.config["system"]["devices"]) == (big, 2)
    world.finish(both, 0, "stopped")
    assert claim(world, free=2).run == small


def test_a_run_that_a_worker_cannot_hold_stands_in_nobodys_way_and_says_what_it_needs(world):
    big, small = world.launch(config=TWO), world.launch()
    assert claim(world, free=1, devices=1, name="single").run == small
    assert world.run(big).detail == "waiting for a worker with 2 devices (the largest so far has 1)"
    assert claim(world, free=0) is None
    assert world.run(big).detail == "waiting until 2 devices of one worker are free"
    assert claim(world, free=2).run == big


def test_what_a_resumed_run_goes_on_from_stays_said_while_it_waits(world):
    run = world.launch(config=TWO)
    held = claim(world, free=2)
    world.points(held, 1, 1, 2)
    world.checkpoint(held, 2, step=2)
    world.finish(held, 2, "requeue", exit=75)
    assert claim(world, free=1) is None
    said = world.run(run).detail
    assert "goes on from the checkpoint of step 2, which worker w-0001 holds; " in said
    assert said.endswith("; waiting until 2 devices of w-0001 are free")
    assert claim(world, free=1) is None
    assert world.run(run).detail == said


def test_a_run_whose_process_was_killed_goes_on_until_it_happens_twice_at_one_step(world):
    run = world.launch(config=TWO)
    for steps, state in (((1, 2), "queued"), ((), "queued"), ((), "failed")):
        held = claim(world, free=2)
        if steps:
            world.points(held, 1, *steps)
        world.finish(held, 1 if steps else 0, "requeue", exit=-9, reason="killed")
        assert world.run(run).state == state
    assert world.run(run).reason == "poison"
    assert "two attempts in a row ended at step 0 with a process killed" in world.run(run).detail
    assert world.count("SELECT count(*) FROM attempts WHERE outcome = 'killed'") == 3
