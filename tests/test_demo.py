"""The demo: queued once, into an empty database only, two runs apart in nothing but a λ that matters."""

import pytest

from app import decay, demo, runs
from app.contract.config import RunConfig
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.db.close()


def test_an_empty_database_gets_the_dataset_and_two_runs_that_differ_in_decay_alone(world):
    assert world.write(lambda tx: demo.ensure_demo(tx, 1.0)) == ["demo λ = 0", "demo λ = 3"]
    a, b = world.run("r-0001"), world.run("r-0002")
    assert [difference.field for difference in runs.config_difference(a, b)] == ["optim.weight_decay"]
    assert a.tags == b.tags == ["demo"]
    config = RunConfig.model_validate(b.config)
    assert decay.judge(decay.total_decay(config.schedule, config.optim), 3.0) == "informative"
    assert world.claim().kind == "prepare"


def test_a_second_start_and_a_database_in_use_are_left_alone(world):
    world.write(lambda tx: demo.ensure_demo(tx, 1.0))
    assert world.write(lambda tx: demo.ensure_demo(tx, 2.0)) == []
    assert world.count("SELECT count(*) FROM runs") == 2


def test_a_database_with_a_dataset_gets_no_demo(world):
    world.ready()
    assert world.write(lambda tx: demo.ensure_demo(tx, 1.0)) == []
