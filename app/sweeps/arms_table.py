"""One row for each arm of a sweep: its losses with t-intervals, its paired differences, and what its λ did. Pure."""

import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from app import decay, decay_outlook, inference
from app.contract.config import RunConfig
from app.sweeps.arms import STEPS, VARIANT, WEIGHT_DECAY, key_of, name_of, order_of
from app.sweeps.told import say

Row = dict[str, Any]
Data = Mapping[str, Any]


def config_of(data: Data, run: Mapping[str, Any]) -> RunConfig:
    """The whole configuration, put together from what all runs share and what is the run's own."""
    sections: dict[str, dict[str, Any]] = {}
    for field, value in {**data["common"], **run["fields"]}.items():
        section, _, key = field.partition(".")
        if section in RunConfig.model_fields and field != "data.sha256":
            sections.setdefault(section, {})[key] = value
    return RunConfig.model_validate(sections)


@functools.lru_cache(maxsize=1024)
def outlook_of(config: RunConfig) -> decay_outlook.Outlook:
    """Seeds share it, and a page that is drawn again needs it again."""
    return decay_outlook.outlook(config)


def rows(data: Data) -> list[Row]:
    """An arm a row, in the order of its values, without comparisons yet."""
    runs = data["runs"]
    found = []
    for arm in order_of(run["arm"] for run in runs):
        own = [run for run in runs if key_of(run["arm"]) == key_of(arm)]
        found.append(_row(data, arm, own))
    return found


def _row(data: Data, arm: dict[str, Any], own: Sequence[Mapping[str, Any]]) -> Row:
    finals = {run["seed"]: run["final"] for run in own if run["final"] is not None}
    found = inference.mean(list(finals.values())) if finals else None
    config = config_of(data, own[0])
    row: Row = {
        "key": key_of(arm), "label": name_of(arm), "arm": arm, "runs": [run["run"] for run in own],
        "planned": len(own), "n": len(finals), "finals": {str(seed): value for seed, value in finals.items()},
        "diverged": sum(run["diverged"] for run in own),
        "waiting": sum(not run["ended"] for run in own),
        "lacking": sum(run["ended"] and run["final"] is None and not run["diverged"] for run in own),
        "mean": found.mean if found else None, "sd": found.sd if found else None,
        "low": found.low if found else None, "high": found.high if found else None,
        "paired": None, "unpaired": None, "mixed": None, "windows": None, "chance": None, "reading": None, "reading_text": "",
    }  # fmt: skip
    return row | _decay(data, config, own[0]) | _measured(own)


def _decay(data: Data, config: RunConfig, run: Mapping[str, Any]) -> Row:
    """Λ, timescales, what is left of the start, how many updates are averaged: from the configuration alone."""
    outlook = outlook_of(config)
    total = decay.total_decay(config.schedule, config.optim)
    steps = decay.timescale_steps(config.schedule.lr, decay.coupled(config.schedule, config.optim))
    tokens = steps * run["tokens_per_step"]
    unique = data["dataset"]["train_tokens"]
    return {
        "weight_decay": config.optim.weight_decay, "lr": config.schedule.lr, "steps": config.schedule.steps,
        "total_decay": total, "init_keep": decay.init_keep(total), "averaged": outlook.averaged,
        "timescale_steps": _finite(steps), "timescale_tokens": _finite(tokens),
        "timescale_epochs": _finite(tokens / unique) if unique else None,
        "verdict": str(getattr(v := decay.judge(total, config.optim.weight_decay), "value", v)),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _measured(own: Sequence[Mapping[str, Any]]) -> Row:
    """Means over the runs that reached their end."""
    done = [run for run in own if run["final"] is not None]
    rms: dict[str, list[float]] = {}
    gaps = []
    for run in done:
        for group, curve in run.get("groups", {}).get("rms", {}).items():
            if curve["y"] and curve["y"][-1] is not None:
                rms.setdefault(group, []).append(curve["y"][-1])
        train = run["evaluations"]["train"]
        if train and train[-1] is not None:
            gaps.append(run["final"] - train[-1])
    gap = inference.mean(gaps) if gaps else None
    return {
        "rms": {group: sum(values) / len(values) for group, values in rms.items()},
        "gap": gap.mean if gap else None, "gap_low": gap.low if gap else None, "gap_high": gap.high if gap else None,
        "clipped": _mean(run["clipped"] for run in done), "skipped": _mean(run["skipped"] for run in done),
    }  # fmt: skip


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def reference(found: Sequence[Row], spec: Mapping[str, Any], data: Data) -> Row | None:
    """The arm asked for; else λ = 0 at the base's other values; else the first; of them one with the most runs."""
    asked = spec.get("reference")
    sound = [row for row in found if row["n"]]
    if asked:
        for row in found:
            if key_of(row["arm"]) == key_of(asked):
                return row
    if not sound:
        return found[0] if found else None
    base = {**RunConfig().flat(), **_flat(spec.get("config") or {}), **data["common"]}
    zero = [row for row in sound if row["arm"].get(WEIGHT_DECAY) == 0]

    def unlike(row: Row) -> int:
        return sum(base.get(field) != value for field, value in row["arm"].items() if field != WEIGHT_DECAY)

    return min(zero or sound, key=lambda row: (-row["n"], unlike(row) if zero else 0))


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, part in config.items() if isinstance(part, Mapping) for key, value in part.items()}  # fmt: skip


def scope(found: Sequence[Row]) -> list[Row]:
    """The arms that may be compared with each other: of a search by halving, those of the highest rung that has values."""
    ended = [row for row in found if row["n"]]
    if not ended or not all(STEPS in row["arm"] for row in found):
        return list(found)
    most = max(row["arm"][STEPS] for row in ended)
    return [row for row in found if row["arm"][STEPS] == most]


def _seeds(row: Row) -> dict[str, float]:
    finals: dict[str, float] = row["finals"]
    return finals


def compare(found: Sequence[Row], against: Row, *, mixed: bool) -> None:
    """Fill in the differences from `against`: paired with Holm's correction, Welch's, Dunnett's, and how likely each is best."""
    with (
        warnings.catch_warnings()
    ):  # arms whose losses are all equal: scipy warns, and says NaN or infinity, shown as none
        warnings.simplefilter("ignore", RuntimeWarning)
        _compare(found, against)
        if mixed:
            _mixed(found, against)


def _compare(found: Sequence[Row], against: Row) -> None:
    others = [row for row in found if row is not against]
    for row in others:
        row["paired"] = _shown(inference.paired(_seeds(row), _seeds(against)))
        row["unpaired"] = _shown(inference.unpaired(list(_seeds(row).values()), list(_seeds(against).values())))
    tested = [row for row in others if row["paired"] and row["paired"]["p"] is not None]
    for row, p in zip(tested, inference.holm([row["paired"]["p"] for row in tested]), strict=True):
        row["paired"]["p_adjusted"] = p
    several = [row for row in others if row["n"] >= 2]
    if several and against["n"] >= 2:
        found_p = inference.dunnett([list(_seeds(row).values()) for row in several], list(_seeds(against).values()))
        for row, p in zip(several, found_p, strict=True):
            if row["unpaired"]:
                row["unpaired"]["p_dunnett"] = p if math.isfinite(p) else None
    sound = [row for row in found if row["n"]]
    if len(sound) > 1 and (chances := inference.chance_of_least([list(_seeds(row).values()) for row in sound])):
        for row, chance in zip(sound, chances, strict=True):
            row["chance"] = chance


def _mixed(found: Sequence[Row], against: Row) -> None:
    """Where arms lack some seeds, plain pairing drops runs: a mixed model keeps them."""
    values = {row["key"]: _seeds(row) for row in found if row["n"]}
    seeds = {seed for losses in values.values() for seed in losses}
    if against["key"] not in values or len(values) < 2 or len(seeds) < 2 or all(len(one) == len(seeds) for one in values.values()):  # fmt: skip
        return
    if sum(len(one) for one in values.values()) <= len(values) + 1:
        return
    for row in found:
        estimate = inference.mixed(values, against["key"]).get(row["key"])
        if estimate is not None:
            row["mixed"] = _shown(estimate)


def _shown(difference: inference.Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    plain = {
        name: value if value is None or math.isfinite(value) else None for name, value in difference._asdict().items()
    }
    return {**plain, "p_adjusted": None}


def read(found: Sequence[Row], against: Row, best: Row | None, delta: float, needed: Mapping[str, int | None]) -> None:
    """A few words for each row; `needed`: more pairs until an arm could be told from the best."""
    for row in found:
        row["reading"] = told = _reading(row, against, best, delta, needed)
        row["reading_text"] = told["text"]


def _worse(row: Row, best: Row | None, delta: float) -> bool:
    """Told apart from the best, where that is what rows are compared with: a measurement outweighs a rule of thumb."""
    found = row["paired"]
    told_apart = found is not None and found["p_adjusted"] is not None and found["p_adjusted"] < 0.05
    return best is not None and told_apart and row["mean"] - best["mean"] > delta


def _reading(row: Row, against: Row, best: Row | None, delta: float, needed: Mapping[str, int | None]) -> dict[str, Any]:  # fmt: skip
    if row["diverged"] and not row["n"]:
        return say("diverged: left out")
    if not row["n"]:
        return say("no value yet") if row["waiting"] else say("no final value")
    if best is not None and row is best:
        return say("lowest mean")
    if row["verdict"] == "inert" and VARIANT not in row["arm"]:
        return say("worse by more than δ, although Λ < 0.1") if _worse(row, best, delta) else say("inert: Λ < 0.1")
    if row["verdict"] == "over":
        return say("forgets its weights many times over")
    if needed.get(row["key"]):
        return say("not told from the best: %(n)s more pairs", n=("count", needed[row["key"]]))
    if row["n"] == 1:
        return say("one seed: no interval")
    if best is not None and row["mean"] - best["mean"] > delta:
        return say("worse by more than δ")
    return say("as good in practice") if best is not None else say("in the comparison")
