"""From a sweep's specification to its runs: every combination of its values with every seed, each configuration checked. Pure."""

import difflib
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from app import launches
from app.contract.config import RunConfig
from app.contract.sweep import MOST_RUNS, Factor, SweepSpec
from app.errors import FieldError, Invalid, from_pydantic

WEIGHT_DECAY, LR, FLOOR, STEPS = "optim.weight_decay", "schedule.lr", "schedule.min_lr", "schedule.steps"
VARIANT = "variant"
FIXED = {
    "data.dataset": "arms on different data measure different things; make a sweep for each dataset",
    "system.seed": "seeds are given by `seeds` or `seed_values`, so that all arms have the same ones",
}
SHORT = {WEIGHT_DECAY: "λ", LR: "lr", FLOOR: "floor", STEPS: "steps", VARIANT: ""}
"""How a factor is called where there is little room."""
NOT_LEARNT_FROM = ("checkpoint.", "eval.sample_", "data.dataset")
"""Fields that leave what is learnt as it is; the dataset is compared by its content."""

Values = dict[str, Any]
"""{"optim.weight_decay": 0.1, "variant": "AdamC"}: one arm."""


class Planned(NamedTuple):
    """One run that the sweep needs."""

    arm: Values
    seed_index: int
    config: RunConfig


def plan(spec: SweepSpec) -> list[Planned]:
    """The runs of a grid, in the order in which they are to be trained. Raises Invalid with pointers into the spec."""
    base = base_of(spec)
    check_fields(spec)
    grid = [(factor.field, levels(factor, index)) for index, factor in enumerate(spec.factors)]
    count = math.prod([len(values) for _, values in grid]) * max(1, len(spec.variants)) * spec.seed_count()
    if count > MOST_RUNS:
        raise Invalid([FieldError("/factors", f"make {count:,} runs; a sweep has at most {MOST_RUNS:,}. Take fewer values or seeds")])  # fmt: skip
    if not grid and not spec.variants:
        raise Invalid([FieldError("/factors", "are empty and so are variants: nothing varies")])
    _check_levels(spec, base, grid)
    variants = [{VARIANT: one.name} for one in spec.variants] or [{}]
    combined = [
        {**variant, **dict(zip([field for field, _ in grid], values, strict=True))}
        for variant in variants
        for values in itertools.product(*(values for _, values in grid))
    ]
    if spec.reference is not None and key_of(spec.reference) not in {key_of(arm) for arm in combined}:
        wanted = name_of(combined[0])
        raise Invalid([FieldError("/reference", f"is none of the arms; name every factor, as in {wanted}")])
    return planned(spec, combined)


def planned(spec: SweepSpec, arms: Sequence[Values]) -> list[Planned]:
    """These arms with every seed. Raises Invalid for a combination that is no configuration, or two that are one."""
    base, numbers = base_of(spec), seeds(spec)
    configs = [[configure(spec, base, arm, seed) for seed in numbers] for arm in arms]
    known: dict[str, Values] = {}
    for arm, (config, *_) in zip(arms, configs, strict=True):
        twin = known.setdefault(identity(config), arm)
        if twin is not arm:
            raise Invalid([FieldError("/factors", f"“{name_of(twin)}” and “{name_of(arm)}” are the same configuration; drop one")])  # fmt: skip
    runs = [Planned(arm, index, row[index]) for arm, row in zip(arms, configs, strict=True) for index in range(len(numbers))]  # fmt: skip
    return runs if spec.order == "arms" else sorted(runs, key=lambda run: run.seed_index)


def base_of(spec: SweepSpec) -> RunConfig:
    """What all arms share. Raises Invalid (/preset, /config/…)."""
    return launches.resolve_config(launches.Launch(preset=spec.preset, config=spec.config))


def seeds(spec: SweepSpec) -> list[int]:
    """One a seed index: those given, or the configuration's own and those after it."""
    if spec.seed_values:
        return list(spec.seed_values)
    first = base_of(spec).system.seed
    return [(first + index) % 2**31 for index in range(spec.seeds)]


def configure(spec: SweepSpec, base: RunConfig, arm: Values, seed: int) -> RunConfig:
    """One run's whole configuration. Raises Invalid naming the arm."""
    changes: dict[str, Any] = {}
    if VARIANT in arm:
        changes |= next(one.set for one in spec.variants if one.name == arm[VARIANT])
    changes |= {field: value for field, value in arm.items() if field != VARIANT}
    if spec.floor_follows and LR in changes and FLOOR not in changes and isinstance(changes[LR], int | float):
        changes[FLOOR] = base.schedule.min_lr * changes[LR] / base.schedule.lr
    if spec.search is not None and spec.search.method == "halving" and STEPS in arm:
        share = arm[STEPS] / base.schedule.steps  # a rung has the whole schedule, in fewer steps
        changes.setdefault("schedule.warmup_steps", round(base.schedule.warmup_steps * share))
        if base.schedule.decay_steps is not None:
            changes.setdefault("schedule.decay_steps", max(1, round(base.schedule.decay_steps * share)))
    try:
        return RunConfig.model_validate(_with(base, {**changes, "system.seed": seed}))
    except ValidationError as error:
        found = from_pydantic(error, "/config", RunConfig)
        wrong = [FieldError(one.pointer, f"{one.message} (in the arm {name_of(arm)})") for one in found.errors]
        raise Invalid(wrong) from None


def _with(base: RunConfig, changes: Values) -> dict[str, Any]:
    sections: dict[str, Any] = {}
    for field, value in changes.items():
        section, _, key = field.partition(".")
        sections.setdefault(section, {})[key] = value
    return launches.merged(base.model_dump(), sections)


def levels(factor: Factor, index: int) -> list[Any]:
    """A grid's values of one factor: as listed, or spaced between its ends to four digits."""
    if factor.values:
        return list(factor.values)
    assert factor.low is not None, "the contract demands ends where there are no values"
    assert factor.high is not None, "the contract demands ends where there are no values"
    if factor.points is None:
        raise Invalid([FieldError(f"/factors/{index}/points", "is missing: how many values between low and high?")])
    if factor.spacing == "log":
        ratio = (factor.high / factor.low) ** (1 / (factor.points - 1))
        spaced = [factor.low * ratio**i for i in range(factor.points)]
    else:
        spaced = [factor.low + (factor.high - factor.low) * i / (factor.points - 1) for i in range(factor.points)]
    whole = type(RunConfig().flat()[factor.field]) is int
    rounded = [round(value) if whole else float(f"{value:.4g}") for value in spaced]
    return list(dict.fromkeys([0.0, *rounded] if factor.zero else rounded))


def check_fields(spec: SweepSpec) -> None:
    """Raises Invalid for fields that do not exist, stand twice, or must not vary."""
    wrong: list[FieldError] = []
    taken: set[str] = set()
    for index, factor in enumerate(spec.factors):
        pointer = f"/factors/{index}/field"
        if message := _unfit(factor.field):
            wrong.append(FieldError(pointer, message))
        elif factor.field in taken:
            wrong.append(FieldError(pointer, f"{factor.field} is a factor already; put its values together"))
        taken.add(factor.field)
    for index, variant in enumerate(spec.variants):
        for field in variant.set:
            if message := _unfit(field):
                wrong.append(FieldError(f"/variants/{index}/set/{field}", message))
            elif field in taken:
                wrong.append(FieldError(f"/variants/{index}/set/{field}", f"{field} is a factor of this sweep as well"))
    if wrong:
        raise Invalid(wrong)


def _unfit(field: str) -> str:
    """Why this field cannot vary between arms; "" where it can."""
    known = RunConfig().flat()
    if field not in known:
        last = [name for name in known if name.endswith(f".{field}")]
        near = last or difflib.get_close_matches(field, known, n=1)
        return f"“{field[:60]}” is not a field of a configuration" + (f"; did you mean {near[0]}?" if near else "")
    if field in FIXED:
        return FIXED[field]
    if field.startswith("system."):
        return "the way numbers are computed is fixed for all arms by the sweep's first run"
    if field.startswith("eval."):
        return "all arms have to be scored alike: set it in `config`"
    if field.startswith("checkpoint."):
        return "changes nothing that is learnt: set it in `config`"
    return ""


def _check_levels(spec: SweepSpec, base: RunConfig, grid: Sequence[tuple[str, Sequence[Any]]]) -> None:
    """Each value by itself, so that a wrong one is named and not a combination."""
    wrong: list[FieldError] = []
    for index, (field, values) in enumerate(grid):
        for place, value in enumerate(values):
            pointer = f"/factors/{index}/values/{place}" if spec.factors[index].values else f"/factors/{index}/low"
            if values.index(value) != place:
                wrong.append(FieldError(pointer, f"{value:g} stands there twice" if isinstance(value, float) else f"{value} stands there twice"))  # fmt: skip
                continue
            wrong += _refusals(base, {field: value}, {field: pointer})
    for index, variant in enumerate(spec.variants):
        places = {field: f"/variants/{index}/set/{field}" for field in variant.set}
        wrong += _refusals(base, dict(variant.set), places)
    if wrong:
        raise Invalid(wrong[:50])


def _refusals(base: RunConfig, changes: Values, pointers: dict[str, str]) -> Iterator[FieldError]:
    """What the configuration has against these values themselves; checks across fields are for whole arms."""
    try:
        RunConfig.model_validate(_with(base, changes))
    except ValidationError as error:
        for one in from_pydantic(error, "", RunConfig).errors:
            field = ".".join(one.pointer.strip("/").split("/")[:2])
            if field in pointers:
                yield FieldError(pointers[field], one.message)


def spell(value: Any) -> str:
    """A value as one would type it: 6e-4, 0.1, on."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float) and value and not 1e-3 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def name_of(arm: Values) -> str:
    """ "λ 0.1 · lr 1e-3"."""
    parts = (f"{SHORT.get(field, field.rpartition('.')[2])} {spell(value)}".strip() for field, value in arm.items())
    return " · ".join(parts)


def key_of(arm: Values) -> str:
    """The same arm, the same text: 0 and 0.0 are one value, the order of fields does not count."""
    plain = {field: float(value) if type(value) in (int, float) else value for field, value in arm.items()}
    return json.dumps(plain, sort_keys=True, ensure_ascii=False)


def identity(config: RunConfig) -> str:
    """A hash that two configurations share when they learn the same from the same data."""
    plain = {
        key: float(value) if type(value) in (int, float) else value
        for key, value in config.flat().items()
        if not key.startswith(NOT_LEARNT_FROM)
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def order_of(arms: Iterable[Values]) -> list[Values]:
    """Each arm once, by its values: numbers ascending, words as they first came."""
    seen = {key_of(arm): arm for arm in arms}
    words: dict[str, list[Any]] = {}
    for arm in seen.values():
        for field, value in arm.items():
            if type(value) not in (int, float) and value not in words.setdefault(field, []):
                words[field].append(value)

    def place(arm: Values) -> list[tuple[str, float]]:
        return [
            (field, float(value) if type(value) in (int, float) else words[field].index(value))
            for field, value in sorted(arm.items(), key=lambda one: (one[0] != VARIANT, one[0] == WEIGHT_DECAY, one[0]))
        ]

    return sorted(seen.values(), key=place)
