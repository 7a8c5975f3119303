"""Cool-downs: the learning rate and the decay of the changed configuration against those of the one it came from."""

import pytest

from app import cooldown
from app.contract.config import RunConfig
from app.contract.schedule import decay_share, learning_rate


def configured(**sections: dict[str, object]) -> RunConfig:
    schedule = {"steps": 1000, "lr": 1e-3, "min_lr": 1e-4, "warmup_steps": 100} | sections.pop("schedule", {})
    return RunConfig.model_validate({"schedule": schedule, **sections})


def cooled(config: RunConfig, step: int, steps: int) -> RunConfig:
    plain = config.model_dump()
    return RunConfig.model_validate(
        plain | {key: plain[key] | part for key, part in cooldown.changes(config, step, steps).items()}
    )


def rate(config: RunConfig, update: int) -> float:
    s = config.schedule
    return learning_rate(
        update, lr=s.lr, min_lr=s.min_lr, warmup_steps=s.warmup_steps, decay_steps=s.decay_steps or s.steps,
        shape=s.shape, cooldown=s.cooldown,
    )  # fmt: skip


@pytest.mark.parametrize("shape", ["constant", "wsd"])
def test_from_the_constant_phase_only_the_fall_is_new(shape):
    before = configured(schedule={"shape": shape})
    after = cooled(before, 400, 50)
    assert (after.schedule.steps, after.schedule.lr, after.schedule.warmup_steps) == (450, 1e-3, 100)
    assert [rate(after, update) for update in range(401)] == [rate(before, update) for update in range(401)]
    for update in range(400, 451):
        assert rate(after, update) == pytest.approx(1e-3 * (450 - update) / 50, abs=1e-18)


@pytest.mark.parametrize(
    ("shape", "step"), [("cosine", 400), ("linear", 700), ("wsd", 900), ("cosine", 30), ("cosine", 1000)]
)
def test_from_a_moving_rate_it_falls_from_the_rate_in_force(shape, step):
    before = configured(schedule={"shape": shape})
    after = cooled(before, step, 80)
    at = rate(before, step)
    assert at > 0
    for update in range(step, step + 81):
        assert rate(after, update) == pytest.approx(at * (step + 80 - update) / 80, abs=1e-15)


@pytest.mark.parametrize(("step", "steps"), [(1, 1), (7, 3), (999, 1), (12_345, 678), (3_000_000, 333_333)])
def test_the_fall_begins_exactly_at_the_checkpoint_whatever_the_share_rounds_to(step, steps):
    after = cooled(configured(schedule={"shape": "constant", "warmup_steps": 0}), step, steps)
    assert rate(after, step - 1) == rate(after, step) == 1e-3
    assert rate(after, step + 1) == pytest.approx(1e-3 * (1 - 1 / steps))
    assert rate(after, step + steps) == 0


def test_a_decay_with_a_schedule_of_its_own_stays_at_what_was_in_force():
    before = configured(optim={"weight_decay": 0.2, "decay_schedule": "cosine"})
    after = cooled(before, 500, 100)
    assert after.optim.decay_schedule == "constant"
    assert after.optim.weight_decay == 0.2 * decay_share(500, shape="cosine", decay_steps=1000) == pytest.approx(0.1)
    assert "optim" not in cooldown.changes(configured(), 500, 100)


def test_a_share_is_one_of_the_whole_run():
    assert [cooldown.steps_of(0.1, step) for step in (900, 450, 3)] == [100, 50, 1]
    assert cooldown.steps_of(0.5, 400) == 400
