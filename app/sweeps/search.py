"""Arms that are drawn one after another: at random, by TPE, or by successive halving. The only place that knows Optuna.

The study is rebuilt from the sweep's runs each time; nothing of Optuna's is stored.

Halving compares runs only within a rung, and each rung has its own whole schedule (warm-up, then down to the floor, in
fewer steps): a short run cut out of a long schedule stands at a high learning rate, where a low final loss does not show.
λ is never screened so: a strong decay looks worse while the learning rate is high and gains as it falls (science.md A.5),
so that an early loss would drop the very arms that end best.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from app.contract.config import RunConfig
from app.contract.sweep import Factor, SweepSpec
from app.errors import FieldError, Invalid
from app.sweeps.arms import STEPS, VARIANT, WEIGHT_DECAY, Values, check_fields, configure, key_of

NEVER_EARLY = (
    "λ is not screened by halving: strong decay looks worse while the learning rate is high and gains as it falls, so short"
    " runs would drop the arms that end best. Search it with method random or tpe, or as a grid"
)
TRIES = 50
"""Draws for one arm that is not there yet."""


class Trial(NamedTuple):
    """An arm that was drawn before."""

    arm: Values
    value: float | None  #: mean final validation loss; None while it trains, inf where it diverged or failed


def check(spec: SweepSpec, base: RunConfig) -> None:
    """Raises Invalid for a search that cannot be made."""
    assert spec.search is not None, "there is no search"
    check_fields(spec)
    wrong: list[FieldError] = []
    if not spec.factors and not spec.variants:
        wrong.append(FieldError("/factors", "are empty and so are variants: nothing varies"))
    for index, factor in enumerate(spec.factors):
        if factor.zero:
            wrong.append(FieldError(f"/factors/{index}/zero", "a search draws between low and high; list values to have 0 among them"))  # fmt: skip
        if spec.search.method == "halving" and factor.field == WEIGHT_DECAY:
            wrong.append(FieldError(f"/factors/{index}/field", NEVER_EARLY))
        if spec.search.method == "halving" and factor.field == STEPS:
            wrong.append(FieldError(f"/factors/{index}/field", "halving sets the steps of its rungs itself"))
    for index, variant in enumerate(spec.variants):
        if spec.search.method == "halving" and WEIGHT_DECAY in variant.set:
            wrong.append(FieldError(f"/variants/{index}/set/{WEIGHT_DECAY}", NEVER_EARLY))
    if spec.search.method == "halving" and rung_steps(spec, base)[0] < 10:
        wrong.append(FieldError("/search/rungs", f"the first rung would have {rung_steps(spec, base)[0]} steps; take fewer rungs or longer runs"))  # fmt: skip
    if wrong:
        raise Invalid(wrong)
    for index, factor in enumerate(spec.factors):
        for end in factor.values or (factor.low, factor.high):
            try:
                configure(spec, base, {factor.field: _plain(factor, end)}, base.system.seed)
            except Invalid as error:
                raise Invalid([FieldError(f"/factors/{index}", one.message) for one in error.errors]) from None


def rung_steps(spec: SweepSpec, base: RunConfig) -> list[int]:
    """Steps of each rung, the last one the whole run's."""
    assert spec.search is not None, "there is no search"
    return [
        max(1, round(base.schedule.steps / spec.search.factor**below)) for below in range(spec.search.rungs - 1, -1, -1)
    ]


def total(spec: SweepSpec, base: RunConfig) -> list[tuple[int, int]]:
    """(arms, steps) of each stage that the search will come to: what it costs at most."""
    assert spec.search is not None, "there is no search"
    if spec.search.method != "halving":
        return [(spec.search.trials, base.schedule.steps)]
    stages, arms = [], spec.search.trials
    for steps in rung_steps(spec, base):
        stages.append((arms, steps))
        arms = math.ceil(arms / spec.search.factor)
    return stages


def following(spec: SweepSpec, base: RunConfig, trials: Sequence[Trial]) -> list[Values]:
    """The arms to be trained next; none while enough are under way, or when the search is over."""
    assert spec.search is not None, "there is no search"
    if spec.search.method == "halving":
        return _climb(spec, base, trials)
    waiting = sum(trial.value is None for trial in trials)
    free = min(spec.search.at_once - waiting, spec.search.trials - len(trials))
    return _draw(spec, trials, max(0, free))


def _climb(spec: SweepSpec, base: RunConfig, trials: Sequence[Trial]) -> list[Values]:
    """The first rung, or the best of a rung that has ended, with the steps of the next."""
    assert spec.search is not None, "there is no search"
    rungs = rung_steps(spec, base)
    if not trials:
        return [{**arm, STEPS: rungs[0]} for arm in _draw(spec, (), spec.search.trials)]
    steps = max(trial.arm[STEPS] for trial in trials)
    here = [trial for trial in trials if trial.arm[STEPS] == steps]
    if steps == rungs[-1] or any(trial.value is None for trial in here):
        return []
    sound = sorted((trial for trial in here if math.isfinite(trial.value or math.inf)), key=lambda trial: trial.value or 0.0)  # fmt: skip
    onward = rungs[rungs.index(steps) + 1]
    return [{**trial.arm, STEPS: onward} for trial in sound[: math.ceil(len(here) / spec.search.factor)]]


def _draw(spec: SweepSpec, trials: Sequence[Trial], count: int) -> list[Values]:
    """So many arms that are not there yet; fewer where the space holds no more."""
    assert spec.search is not None, "there is no search"
    if count == 0:
        return []
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = _space(spec)
    seed = (
        spec.search.seed * 1_000_003 + len(trials) * 7919 + 17
    ) % 2**31  # another each time, the same after a restart
    sampler: optuna.samplers.BaseSampler = (
        optuna.samplers.TPESampler(seed=seed, constant_liar=True) if spec.search.method == "tpe" else optuna.samplers.RandomSampler(seed=seed)
    )  # fmt: skip
    study = optuna.create_study(sampler=sampler)
    states = optuna.trial.TrialState
    for trial in trials:
        params = {name: value for name, value in trial.arm.items() if name in space}
        study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions=space, value=trial.value,
                state=states.RUNNING if trial.value is None else states.COMPLETE,
            )
        )  # fmt: skip
    known = {key_of(trial.arm) for trial in trials}
    ends = {one.field: (one.low, one.high) for one in spec.factors if one.low is not None and one.high is not None}
    found: list[Values] = []
    for _ in range(TRIES * count):
        arm = {name: _short(value, ends.get(name)) for name, value in study.ask(space).params.items()}
        if key_of(arm) not in known:
            known.add(key_of(arm))
            found.append(arm)
        if len(found) == count:
            break
    return found


def _space(spec: SweepSpec) -> dict[str, Any]:
    """Optuna's distributions; ends are spelt with the digits that a draw is rounded to, so that both fit."""
    from optuna import distributions as d

    space: dict[str, Any] = {}
    if spec.variants:
        space[VARIANT] = d.CategoricalDistribution([one.name for one in spec.variants])
    for factor in spec.factors:
        if factor.values:
            space[factor.field] = d.CategoricalDistribution(list(factor.values))
        elif type(RunConfig().flat()[factor.field]) is int:
            low, high = _plain(factor, factor.low), _plain(factor, factor.high)
            space[factor.field] = d.IntDistribution(low, high, log=factor.spacing == "log")
        else:
            assert factor.low is not None, "the contract demands ends where there are no values"
            assert factor.high is not None, "the contract demands ends where there are no values"
            low, high = factor.low * (1 - 1e-3), factor.high * (1 + 1e-3)
            space[factor.field] = d.FloatDistribution(low, high, log=factor.spacing == "log")
    return space


def _plain(factor: Factor, value: Any) -> Any:
    whole = type(RunConfig().flat()[factor.field]) is int
    return round(value) if whole and isinstance(value, float) else value


def _short(value: Any, ends: tuple[float, float] | None) -> Any:
    """Four digits: enough to tell arms apart, few enough to read."""
    if not isinstance(value, float) or ends is None:
        return value
    return min(max(float(f"{value:.4g}"), ends[0]), ends[1])
