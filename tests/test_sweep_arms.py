"""From a specification to runs: what is paired, and what is refused with the field that is to blame."""

import pytest
from pydantic import ValidationError

from app.cli import spec_file
from app.cli.rest import CliError
from app.contract.sweep import SweepSpec
from app.errors import Invalid
from app.sweeps import arms, search
from app.sweeps.search import Trial

WD, LR = "optim.weight_decay", "schedule.lr"


def plan(**fields):
    return arms.plan(SweepSpec.model_validate({"preset": "tiny", **fields}))


def refused(**fields):
    with pytest.raises(Invalid) as caught:
        plan(**fields)
    return {one.pointer: one.message for one in caught.value.errors}


def grid(field, *values):
    return {"field": field, "values": list(values)}


def test_every_combination_meets_every_seed_and_arms_of_one_seed_share_it():
    runs = plan(factors=[grid(WD, 0, 0.1, 1), grid(LR, 1e-3, 2e-3)], seeds=2)
    assert len(runs) == 12
    assert [run.seed_index for run in runs] == [0] * 6 + [1] * 6  # seed by seed: pairs are complete early
    assert {run.config.system.seed for run in runs if run.seed_index == 1} == {1338}
    assert len({arms.key_of(run.arm) for run in runs}) == 6


def test_the_order_can_be_arm_by_arm():
    runs = plan(factors=[grid(WD, 0, 1)], seeds=2, order="arms")
    assert [(run.arm[WD], run.seed_index) for run in runs] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_grid_of_weight_decay_is_evenly_spaced_in_its_logarithm_with_zero_set_apart():
    runs = plan(factors=[{"field": WD, "low": 0.01, "high": 1, "points": 5, "zero": True}], seeds=1)
    assert [run.arm[WD] for run in runs] == [0, 0.01, 0.03162, 0.1, 0.3162, 1.0]


def test_the_floor_of_the_learning_rate_follows_the_peak():
    low, high = plan(factors=[grid(LR, 1e-5, 1e-2)], seeds=1)
    assert low.config.schedule.min_lr == pytest.approx(1e-6)  # the base's is above this peak
    assert high.config.schedule.min_lr == pytest.approx(1e-3)


def test_variants_change_several_fields_at_once():
    variants = [{"name": "AdamW"}, {"name": "L2", "set": {"optim.optimizer": "adam_l2"}}]
    runs = plan(variants=variants, factors=[grid(WD, 0.1, 1)], seeds=1)
    assert [arms.name_of(run.arm) for run in runs] == ["AdamW · λ 0.1", "AdamW · λ 1", "L2 · λ 0.1", "L2 · λ 1"]
    assert runs[2].config.optim.optimizer == "adam_l2"


def test_a_decay_that_is_negative_or_absurd_is_named_by_its_place():
    found = refused(factors=[grid(WD, -1, 0.1, 1e9)])
    assert set(found) == {"/factors/0/values/0", "/factors/0/values/2"}
    assert "at least 0" in found["/factors/0/values/0"]
    assert "at most 1000" in found["/factors/0/values/2"]


def test_nan_is_no_value():
    with pytest.raises(ValidationError, match="finite"):
        SweepSpec.model_validate({"factors": [grid(WD, float("nan"))]})


def test_a_million_runs_are_refused_with_the_limit_named_before_any_is_made():
    three = [
        {"field": field, "low": 0.01, "high": 0.9, "points": 100} for field in (WD, "model.dropout", "optim.beta1")
    ]
    assert refused(factors=three, seeds=1) == {
        "/factors": "make 1,000,000 runs; a sweep has at most 1,000. Take fewer values or seeds"
    }


def test_seeds_that_repeat_are_refused():
    with pytest.raises(ValidationError, match="7 stands there twice"):
        SweepSpec.model_validate({"factors": [grid(WD, 0)], "seed_values": [7, 8, 7]})


def test_arms_on_different_data_or_scored_differently_are_refused():
    found = refused(factors=[grid("data.dataset", "a", "b"), grid("eval.windows", 10, 20), grid("system.seed", 1, 2)])
    assert "different data" in found["/factors/0/field"]
    assert "scored alike" in found["/factors/1/field"]
    assert "seed_values" in found["/factors/2/field"]


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"factors": [grid("weight_decay", 1)]}, "/factors/0/field", "did you mean optim.weight_decay"),
        ({"factors": [grid(WD, 1), grid(WD, 2)]}, "/factors/1/field", "a factor already"),
        ({"factors": [grid(WD, 1, 1.0)]}, "/factors/0/values/1", "twice"),
        ({}, "/factors", "nothing varies"),
        ({"factors": [grid(WD, 0, 1)], "reference": {WD: 2}}, "/reference", "none of the arms"),
        ({"factors": [{"field": WD, "low": 0.1, "high": 1}]}, "/factors/0/points", "missing"),
        ({"preset": "tinny", "factors": [grid(WD, 1)]}, "/preset", "did you mean tiny"),
        ({"config": {"optim": {"beta": 1}}, "factors": [grid(WD, 1)]}, "/config/optim/beta", "did you mean beta"),
        ({"variants": [{"name": "x", "set": {"optim.adamx": True}}]}, "/variants/0/set/optim.adamx", "adamc"),
    ],
)
def test_bad_input_names_its_field_and_the_way_out(fields, pointer, words):
    found = refused(**fields)
    assert words in found[pointer]


def test_two_arms_that_are_one_configuration_are_refused():
    same = [{"name": "a"}, {"name": "b", "set": {"checkpoint.every": 5}}]
    assert "changes nothing that is learnt" in refused(variants=same)["/variants/1/set/checkpoint.every"]
    assert "same configuration" in refused(variants=[{"name": "a"}, {"name": "b"}])["/factors"]


def test_an_identity_ignores_what_is_not_learnt_from():
    (run,) = plan(factors=[grid(WD, 0.1)], seeds=1)
    saved_more = run.config.model_copy(update={"checkpoint": run.config.checkpoint.model_copy(update={"every": 7})})
    other = run.config.model_copy(update={"system": run.config.system.model_copy(update={"seed": 3})})
    assert arms.identity(saved_more) == arms.identity(run.config) != arms.identity(other)


# --- searches ---------------------------------------------------------------------------------------------------


def searched(method, **fields):
    factors = [{"field": LR, "low": 1e-4, "high": 1e-2}, grid("model.n_layer", 2, 4)]
    return SweepSpec.model_validate({"preset": "tiny", "seeds": 1, "factors": factors, "search": {"method": method, "trials": 9, **fields}})  # fmt: skip


def go_through(spec):
    """All arms of a search whose loss is least at lr 1e-3."""
    base, trials = arms.base_of(spec), []
    search.check(spec, base)
    while drawn := search.following(spec, base, trials):
        trials += [Trial(arm, abs(arms.base_of(spec).schedule.lr - arm[LR]) * 100) for arm in drawn]
    return trials


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_search_draws_its_trials_two_at_a_time_and_the_same_ones_after_a_restart(method):
    first, again = go_through(searched(method)), go_through(searched(method))
    assert len(first) == 9
    assert [trial.arm for trial in first] == [trial.arm for trial in again]
    assert len({arms.key_of(trial.arm) for trial in first}) == 9
    assert all(1e-4 <= trial.arm[LR] <= 1e-2 for trial in first)


def test_while_arms_train_no_more_are_drawn_than_may_train_at_once():
    spec = searched("tpe", at_once=2)
    base = arms.base_of(spec)
    waiting = [Trial({LR: 1e-3, "model.n_layer": 2}, None), Trial({LR: 2e-3, "model.n_layer": 2}, None)]
    assert search.following(spec, base, waiting) == []


def test_each_rung_of_halving_has_its_own_whole_schedule_and_the_best_go_on():
    spec = searched("halving")
    trials = go_through(spec)
    steps = [trial.arm["schedule.steps"] for trial in trials]
    assert {count: steps.count(count) for count in steps} == {111: 9, 333: 3, 1000: 1}
    assert search.total(spec, arms.base_of(spec)) == [(9, 111), (3, 333), (1, 1000)]
    best = min(trials[:9], key=lambda trial: trial.value)
    assert trials[-1].arm[LR] == best.arm[LR]
    short = arms.configure(spec, arms.base_of(spec), trials[0].arm, 1)
    assert (short.schedule.steps, short.schedule.decay_steps) == (111, None)  # it falls to its floor within the rung
    assert short.schedule.warmup_steps == round(50 * 0.111)


def test_halving_refuses_weight_decay_and_says_why():
    spec = SweepSpec.model_validate({"preset": "tiny", "factors": [{"field": WD, "low": 0.01, "high": 1}], "search": {"method": "halving"}})  # fmt: skip
    with pytest.raises(Invalid) as caught:
        search.check(spec, arms.base_of(spec))
    (error,) = caught.value.errors
    assert error.pointer == "/factors/0/field"
    assert "gains as it falls" in error.message


# --- the YAML file ----------------------------------------------------------------------------------------------


def test_a_yaml_file_reads_numbers_as_people_write_them(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("preset: tiny\nconfig: {schedule: {lr: 1e-3}, system: {compile: off}}\nfactors:\n  - {field: optim.weight_decay, values: [0, .1, 1e0]}\n")  # fmt: skip
    found = spec_file.read(path)
    assert found["config"] == {"schedule": {"lr": 0.001}, "system": {"compile": "off"}}
    assert found["factors"][0]["values"] == [0, 0.1, 1.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("factors: [{values: [.nan]}]", r"factors.0.values.0: nan is not a finite number"),
        ("- a\n- b", "must hold a mapping"),
        ("a: [1\nb: 2", r"not YAML, line \d"),
        ("a: !!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_a_bad_yaml_file_is_refused_with_its_place(tmp_path, text, words):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(CliError, match=words):
        spec_file.read(path)
