"""What a step is on each axis: the run's own tokens through a fork, epochs, the clock over attempts."""

import numpy as np
import pytest

from app import appending, axes, figures
from app.tables import Attempt, Event, Run, Worker
from tests.domain import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.ready(train=2_000_000)
    yield world
    world.db.close()


def machine():
    return Worker(id=1, instance="one", name="one", created_at=0.0, last_seen=0.0)


def x(world, axis, *steps, run=1):
    with world.db.read() as tx:
        return axes.ruler(tx, run, axis)(np.array(steps)).tolist()


def test_a_fork_with_another_batch_counts_its_parents_tokens_and_then_its_own(world):
    world.launch()
    per_step = 4096.0

    def fork(tx):
        tx.session.get_one(Run, 1).telemetry = {"first_step": 500, "first_tokens": 1_000_000}
        steps = np.arange(501, 601)
        appending.append(
            tx.raw,
            1,
            {"x/tokens": (steps, 1_000_000 + (steps - 500) * per_step), "val/loss": (np.array([500]), np.array([3.0]))},
        )

    world.write(fork)
    assert x(world, "tokens", 500, 501, 600) == [1_000_000, 1_004_096, 1_409_600]
    assert x(world, "epochs", 500, 600) == [0.5, 0.7048]
    with world.db.read() as tx:
        chart = figures.chart(tx, [1], ["x/tokens"], "tokens", 1_100_000, 1_200_000)["runs"]["r-0001"]["x/tokens"]
    assert (chart["step"][0], chart["step"][-1]) == (524, 549), "a window in tokens finds the fork's own steps"


def test_the_clock_follows_each_attempt(world):
    world.launch()

    def lived(tx):
        tx.session.add(machine())
        tx.session.flush()
        steps = np.arange(1, 201)
        appending.append(tx.raw, 1, {"x/wall_s": (steps, steps * 2.0)})
        for number, first, start in ((1, None, 1000.0), (2, 100, 9000.0)):
            tx.session.add(
                Attempt(run_id=1, number=number, worker_id=1, claim_id=f"c{number}", started_at=start, first_step=first)
            )
        # heard late at step 50, promptly at step 80: news is never early
        for number, step, at in ((1, 50, 5200.0), (1, 80, 5160.0), (2, 100, 9230.0)):
            tx.session.add(Event(run_id=1, attempt=number, at=at, step=step, kind="checkpoint", text="", data={}))

    world.write(lived)
    assert x(world, "clock", 1, 100, 101, 200) == [5002, 5200, 9232, 9430]
    assert x(world, "clock", 50, run=1) == [5100]


def test_what_a_run_does_not_tell_is_nan(world):
    world.launch()
    world.points(world.claim(), 1, 1, 2)
    for axis in ("tokens", "epochs", "wall_s", "clock", "flops"):
        assert np.isnan(x(world, axis, 1, 2)).all(), axis
    assert x(world, "step", 1, 2) == [1, 2]


@pytest.mark.parametrize("axis", axes.AXES)
def test_a_window_on_any_axis_holds_its_points_and_a_neighbour_on_each_side(world, axis):
    world.launch()

    def write(tx):
        steps = np.arange(1, 5001)
        tx.session.add(machine())
        tx.session.flush()
        tx.session.add(Attempt(run_id=1, number=1, worker_id=1, claim_id="c", started_at=1000.0))
        columns = {"a/b": steps * 1.0, "x/tokens": steps * 400.0, "x/wall_s": steps * 0.5, "x/flops": steps * 1e9}
        appending.append(tx.raw, 1, {key: (steps, y) for key, y in columns.items()})

    world.write(write)
    factor = {"step": 1, "tokens": 400, "epochs": 2e-4, "wall_s": 0.5, "clock": 0.5, "flops": 1e9}[axis]
    (start,) = x(world, axis, 0)
    with world.db.read() as tx:
        curve = figures.chart(tx, [1], ["a/b"], axis, start + 100.2 * factor, start + 103.2 * factor)["runs"]["r-0001"][
            "a/b"
        ]
    assert curve["step"] == [100, 101, 102, 103, 104]
    assert curve.get("x", curve["step"]) == pytest.approx([start + step * factor for step in curve["step"]])
