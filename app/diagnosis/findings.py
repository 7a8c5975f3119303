"""What a rule says: a verdict with its evidence, how sure it is, what would change it, and the experiment that would decide."""

import math
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple


class Level(StrEnum):
    """How much a finding asks for."""

    critical = "critical"  #: the run is broken or about to be
    warn = "warn"  #: something is wrong with what the numbers mean, or costs much
    info = "info"  #: worth knowing
    ok = "ok"  #: looked at and found healthy
    unknown = "unknown"  #: not enough data; `needs` says how much is missing


class Evidence(NamedTuple):
    """One number the verdict stands on."""

    name: str  #: "slope of the validation loss"
    value: float
    unit: str = ""  #: "nats per e-fold of tokens"
    low: float | None = None  #: its interval, where it has one
    high: float | None = None
    limit: str = ""  #: what it is held against: "improving below −0.05"


class Experiment(NamedTuple):
    """A run that would decide the question; the page turns it into a pre-filled form, REST into a launch."""

    kind: str  #: anneal_probe, lr_half, lr_double, more_data, larger_model, decay_sweep, longer_eval, fixed_windows, fork_best
    question: str  #: what its outcome will say
    changes: dict[str, Any]  #: flat configuration fields: {"schedule.lr": 5e-4}; a list where a sweep tries several
    steps: int  #: how many more steps it trains
    fork: bool = False  #: starts from the run's checkpoint


class Mark(NamedTuple):
    """Where on the chart the evidence is."""

    first_step: int
    last_step: int
    text: str


@dataclass(frozen=True)
class Finding:
    """One rule's answer. Sentences are for people; `evidence` has the numbers."""

    rule: str  #: D01 to D21
    subject: str  #: what it is about, a few words: "Plateau"
    verdict: str  #: a word: improving, plateau, inconclusive, …
    level: Level
    sentence: str
    evidence: tuple[Evidence, ...] = ()
    confidence: str = "medium"  #: high, medium, low
    because: str = ""  #: why not more, or why so high
    would_change: str = ""  #: what would change this verdict
    advice: str = ""
    needs: str = ""  #: for Level.unknown: what is missing, and how much of it
    missing: tuple[str, ...] = ()  #: facts that somebody could still supply: "train_tokens"
    experiment: Experiment | None = None
    marks: tuple[Mark, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; None for a number that is not finite, which JSON has no word for."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def plural(count: float, noun: str) -> str:
    """As in: 1 spike, 1,204 spikes."""
    return f"{count:,.0f} {noun}" if count == 1 else f"{count:,.0f} {noun}s"


ORDER = ("D13", "D12", "D10", "D11", "D20", "D15", "D14", "D21", "D03", "D01")
"""What comes first where several fire; the others follow by number."""

_WEIGHT = {level: place for place, level in enumerate(Level)}


def ordered(findings: list[Finding]) -> list[Finding]:
    """Most urgent first: by level, then in ORDER. A broken run is told before a noisy one, whatever the noise."""

    def place(finding: Finding) -> tuple[int, int, str]:
        rank = ORDER.index(finding.rule) if finding.rule in ORDER else len(ORDER)
        return _WEIGHT[finding.level], rank, finding.rule

    return sorted(findings, key=place)


def headline(found: list[Finding]) -> Finding | None:
    """What a run is called by: broken, else over-fitting, else what D01 says of its plateau."""
    broken = [one for one in found if one.level is Level.critical]
    fitting = [one for one in found if one.rule == "D03" and one.level is Level.warn]
    return next(iter([*broken, *fitting, *(one for one in found if one.rule == "D01")]), None)


def called(head: Finding | None) -> str:
    """The headline's verdict as a word that says by itself what is wrong."""
    if head is None:
        return "not enough data"
    return "unstable" if head.level is Level.critical and head.rule in ("D10", "D11", "D12") else head.verdict
