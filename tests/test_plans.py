"""What each experiment changes and from where it starts: learning rates, steps and costs worked out by hand."""

import pytest

from app.contract.config import RunConfig
from app.contract.schedule import learning_rate
from app.experiments.plans import UNTOLD, Impossible, Known, Saved, plan, prior_decay
from app.preflight import flops_per_token

CONFIG = RunConfig.model_validate({
    "schedule": {"steps": 10_000, "warmup_steps": 100, "lr": 1e-3, "min_lr": 1e-4}, "eval": {"every": 500, "windows": 200},
})  # fmt: skip
CHECKPOINTS = (Saved("c-0003", 6000, 3.2), Saved("c-0002", 4000, 3.1), Saved("c-0001", 0, 8.3))
KNOWN = Known(step=6200, active=True, checkpoints=CHECKPOINTS, parameters=4_000_000, val_windows=600, vocab=4096)


def rate(config: RunConfig, update: int) -> float:
    s = config.schedule
    return learning_rate(update, lr=s.lr, min_lr=s.min_lr, warmup_steps=s.warmup_steps, decay_steps=s.decay_steps or s.steps,
                         shape=s.shape, cooldown=s.cooldown)  # fmt: skip


def changed(made) -> RunConfig:
    whole = CONFIG.model_dump()
    for path, value in made.changes.items():
        section, name = path.split(".")
        whole[section][name] = value
    return RunConfig.model_validate(whole)


def test_an_anneal_probe_starts_from_the_newest_checkpoint_and_takes_a_tenth_of_the_run():
    made = plan("anneal_probe", CONFIG, KNOWN)
    assert (made.checkpoint.id, made.cooldown, made.steps) == ("c-0003", 667, 667)  # 667 of 6,667 steps


def test_a_probe_of_half_the_rate_has_half_the_parents_rate_at_each_step_and_ends_where_it_is_evaluated():
    made = plan("lr_half", CONFIG, KNOWN)
    after = changed(made)
    assert made.checkpoint.step == 6000
    assert (after.schedule.steps, made.steps) == (6500, 500)
    for update in (6000, 6250, 6499):
        assert rate(after, update) == pytest.approx(rate(CONFIG, update) / 2)


def test_of_a_run_that_has_ended_the_probe_stays_within_what_it_can_be_compared_with():
    ended = KNOWN._replace(step=6100, active=False)
    made = plan("lr_double", CONFIG, ended)
    assert (made.checkpoint.step, changed(made).schedule.steps) == (4000, 4500)
    alone = plan("lr_double", CONFIG, ended._replace(checkpoints=CHECKPOINTS[:1]))
    assert (alone.checkpoint, alone.steps) == (None, 10_000)
    assert "whole run again" in alone.note


def test_after_a_jump_it_starts_before_it_and_goes_beyond():
    made = plan("lr_half", CONFIG, KNOWN._replace(before=5800, active=False))
    assert made.checkpoint.step == 4000
    assert changed(made).schedule.steps == 6500  # 5,800 and 5 % of the run, at an evaluation


def test_a_larger_model_has_twice_the_parameters_at_the_same_cost():
    made = plan("larger_model", CONFIG, KNOWN)
    after = changed(made)
    assert after.model.n_embd**2 / CONFIG.model.n_embd**2 == pytest.approx(2, rel=0.15)
    assert after.model.n_embd // after.model.n_head == CONFIG.model.n_embd // CONFIG.model.n_head
    cost = [flops_per_token(one.model, 4096) * one.total_tokens for one in (CONFIG, after)]
    assert cost[1] == pytest.approx(cost[0], rel=0.02)


def test_a_sweep_is_centred_on_the_prior_with_zero_and_the_runs_own_decay():
    # 10,000 steps of 2,048 tokens, 5.12 a parameter: τ = 1.084·5.12^−.527 = 0.458 of the run, λ = 1/(1e-3·0.458·1e4) = 0.218
    assert prior_decay(CONFIG, KNOWN) == pytest.approx(0.218, abs=0.002)
    made = plan("decay_sweep", CONFIG, KNOWN)
    assert made.factors == {"optim.weight_decay": [0.0, 0.02, 0.07, 0.1, 0.2, 0.7]}
    assert made.seeds == 3
    asked = plan("decay_sweep", CONFIG, KNOWN, {"optim.weight_decay": [0, 0.3, 1]})
    assert asked.factors == {"optim.weight_decay": [0.0, 0.1, 0.3, 1.0]}


def test_a_longer_evaluation_uses_what_the_split_has_and_refuses_where_that_is_all():
    made = plan("longer_eval", CONFIG, KNOWN)
    assert (made.changes["eval.windows"], made.steps) == (600, 1)
    assert rate(changed(made), 6000) == rate(CONFIG, 6000)
    assert plan("longer_eval", CONFIG, KNOWN, {"eval.windows": 400}).changes["eval.windows"] == 400
    with pytest.raises(Impossible, match="Every window"):
        plan("longer_eval", CONFIG, KNOWN._replace(val_windows=200))


def test_the_best_checkpoint_is_gone_on_from_with_what_the_rule_asks_for():
    made = plan("fork_best", CONFIG, KNOWN, {"optim.weight_decay": 0.3, "schedule.steps": 7})
    assert (made.checkpoint.id, made.changes, made.steps) == ("c-0002", {"optim.weight_decay": 0.3}, 6000)


@pytest.mark.parametrize("kind", ["anneal_probe", "longer_eval", "fork_best"])
def test_without_a_checkpoint_the_reason_is_said(kind):
    with pytest.raises(Impossible, match="checkpoint"):
        plan(kind, CONFIG, KNOWN._replace(checkpoints=()))


def test_windows_are_fixed_only_where_they_are_not():
    with pytest.raises(Impossible, match="already"):
        plan("fixed_windows", CONFIG, KNOWN)
    drawn = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"sampler": "nanogpt"})})
    made = plan("fixed_windows", drawn, KNOWN._replace(fixed=False))
    assert (made.changes["data.sampler"], made.steps, made.checkpoint.step) == ("random", 1000, 6000)


def test_a_run_from_elsewhere_is_made_anew_once_its_dataset_is_named():
    made = plan("larger_model", CONFIG, KNOWN._replace(elsewhere=True, checkpoints=()))
    assert made.note.startswith("Name the dataset")


@pytest.mark.parametrize("kind", ["lr_half", "lr_double", "more_data", "larger_model", "decay_sweep", "fixed_windows"])
def test_a_run_whose_settings_nobody_told_is_not_made_again_by_defaults(kind):
    known = Known(step=6200, active=False, checkpoints=(), elsewhere=True, fixed=False)
    assert "Name the dataset" in plan(kind, CONFIG, known).note
    with pytest.raises(Impossible, match="settings are not known") as refused:
        plan(kind, CONFIG, known._replace(told=False))
    assert str(refused.value) == UNTOLD
