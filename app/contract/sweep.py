"""SweepSpec: an experiment of many runs, as the form, the REST API, the command line and a YAML file give it.

A grid crosses its factors (and variants) with seeds. Within a seed index all arms share initial weights and order of
data, so that they are compared in pairs. A search draws its arms one after another instead.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, field_validator
from pydantic_core.core_schema import ValidationInfo

from app.contract import ids
from app.contract.setting import Section, refuse, setting

MOST_RUNS = 1000
"""Of one sweep: beyond it nobody has looked at the cost."""
MOST_FACTORS = 6
MOST_VALUES = 100


class SweepState(StrEnum):
    """The only states a sweep can be in; app/sweeps/ is the only writer."""

    running = "running"  #: some of its runs wait or train, or a search has arms still to draw
    paused = "paused"  #: nothing of it is given to workers; what trained was saved
    cancelled = "cancelled"  #: what had not ended was stopped
    finished = "finished"  #: all its runs have ended


Value = StrictBool | StrictInt | StrictFloat | StrictStr


class Factor(Section):
    """One field of the configuration and the values that it takes: a list, or so many between two ends."""

    field: str = setting(
        ..., "Field", "Any field of a run's configuration, as optim.weight_decay or schedule.lr.", min_length=1, max_length=80
    )  # fmt: skip
    values: tuple[Value, ...] = setting((), "Values", "What it is set to, one arm each.", max_length=MOST_VALUES)
    low: float | None = setting(None, "From", "The lowest value, where no list is given.", ge=-1e12, le=1e12)
    high: float | None = setting(None, "To", "The highest value, where no list is given.", ge=-1e12, le=1e12)
    points: int | None = setting(None, "Points", "How many values between the two; a search draws its own.", ge=2, le=MOST_VALUES)  # fmt: skip
    spacing: Literal["log", "linear"] = setting(
        "log", "Spacing", "log: equal ratios between neighbours. linear: equal differences."
    )
    zero: bool = setting(False, "And 0", "Also 0, which has no place on a logarithmic scale.")

    @field_validator("zero")
    @classmethod
    def _values_or_ends(cls, zero: bool, info: ValidationInfo) -> bool:
        values, low, high = (info.data.get(name) for name in ("values", "low", "high"))
        if values is None or "low" not in info.data or "high" not in info.data:
            return zero  # has been refused already
        if values and (low is not None or high is not None):
            raise refuse("values_and_ends", "Give either values or low and high, not both.", at="values")
        if values and zero:
            raise refuse("zero_in_values", "Write 0 among the values; `zero` goes with low and high.")
        if not values and (low is None or high is None):
            raise refuse("no_values", "Give values, or low and high.")
        if low is not None and high is not None:
            if low >= high:
                raise refuse("ends_swapped", "low ({low}) must be below high ({high}).", low=low, high=high)
            if info.data.get("spacing") == "log" and low <= 0:
                raise refuse(
                    "log_of_zero", "Equal ratios need low above 0; give low above 0 and zero: true, or spacing: linear."
                )
        return zero


class Variant(Section):
    """A named set of fields that change together: “AdamC” is optim.adamc = true."""

    name: str = setting(..., "Name", "What it is called in tables and charts.", min_length=1, max_length=60)
    set: dict[str, Value | None] = setting(
        {}, "Settings", "Fields and their values, as {optim.optimizer: adam_l2}; none: the base as it is."
    )


class Search(Section):
    """Arms that are drawn one after another instead of a grid. Never for λ by early loss: see `method`."""

    method: Literal["random", "tpe", "halving"] = setting(
        "random", "Method",
        "random: independent draws. tpe: draws near what was good so far (Optuna). halving: many short runs, of which the best are trained again with more steps, each with its own whole schedule; for learning rate and size, never for λ.",
    )  # fmt: skip
    trials: int = setting(12, "Trials", "Arms that are drawn in all; for halving, on the first rung.", ge=2, le=MOST_RUNS)  # fmt: skip
    at_once: int = setting(2, "At once", "Arms that wait or train at the same time; tpe learns from those that ended.", ge=1, le=64)  # fmt: skip
    seed: int = setting(0, "Seed of the search", "The same seed and results give the same arms.", ge=0, le=2**31 - 1)
    factor: int = setting(3, "Keep one in", "halving: of so many arms of a rung one goes on, to so many times the steps.", ge=2, le=10)  # fmt: skip
    rungs: int = setting(3, "Rungs", "halving: rungs in all; the last one has the whole run's steps.", ge=2, le=6)


class SweepSpec(Section):
    """The body of POST /api/v1/sweeps, and the content of a sweep's YAML file."""

    name: str | None = setting(None, "Name", "For people.", min_length=1, max_length=200)
    preset: str | None = setting(None, "Preset", "Starting point; `config` is merged over it.", max_length=200)
    config: dict[str, Any] = setting({}, "Configuration", "What all arms share: any part of a run's configuration.")
    factors: tuple[Factor, ...] = setting((), "Factors", "What varies; arms are all combinations.", max_length=MOST_FACTORS)  # fmt: skip
    variants: tuple[Variant, ...] = setting((), "Variants", "Named sets of settings, crossed with the factors.", max_length=24)  # fmt: skip
    seeds: int = setting(
        3, "Seeds", "Runs of each arm. With one there is no interval; three are the least for a paired comparison.", usual="3 to 5", ge=1, le=100
    )  # fmt: skip
    seed_values: tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...] = setting(
        (), "Seed numbers", "The seeds themselves; empty: the configuration's seed and those after it.", max_length=100
    )
    floor_follows: bool = setting(
        True, "Floor follows the peak", "Arms of another peak learning rate keep the base's ratio of floor to peak."
    )
    order: Literal["seeds", "arms"] = setting(
        "seeds", "Order", "seeds: all arms of one seed, then the next, so that pairs are complete early. arms: all seeds of one arm first."
    )  # fmt: skip
    priority: int = setting(0, "Priority", "Among what waits, the higher goes first.", ge=-100, le=100)
    reuse: bool = setting(
        True, "Use runs that are there", "A run of exactly this configuration and data is taken in instead of being trained again."
    )  # fmt: skip
    reference: dict[str, Value] | None = setting(
        None, "Reference", "The arm that others are compared with; empty: λ = 0 where there is one, else the first arm."
    )  # fmt: skip
    delta: float = setting(
        0.005, "Relevant difference δ", "Smaller differences of the final validation loss count as none in practice.", unit="nats", usual="0.005", gt=0, le=10
    )  # fmt: skip
    search: Search | None = setting(None, "Search", "Draws arms instead of crossing a grid.")
    worker: str | None = setting(None, "Worker", "Only this worker may take its runs (w-02).", pattern=f"^{ids.PATTERN}$")  # fmt: skip
    tags: tuple[str, ...] = setting((), "Tags", "Of every run.", max_length=50)
    notes: str = setting("", "Notes", "Free text: what the sweep is to decide.", max_length=20_000)

    @field_validator("seed_values")
    @classmethod
    def _each_seed_once(cls, seeds: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
        if twice is not None:
            raise refuse(
                "seed_twice", "The seed {seed} stands there twice: a run repeated is no second measurement.", seed=twice
            )
        return seeds

    @field_validator("variants")
    @classmethod
    def _each_name_once(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        names = [variant.name for variant in variants]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise refuse("variant_twice", "There are two variants called “{name}”.", name=twice)
        return variants

    def seed_count(self) -> int:
        return len(self.seed_values) or self.seeds
