"""What is known of a run from elsewhere: its log, its config and what people supply, put together; what is missing is named."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from app import nanogpt
from app.contract.config import RunConfig
from app.foreign.log import NOTES, Note
from app.preflight import count_parameters

ASKS = ("train_tokens", "val_tokens", "device", "vocab_size", "parameters", "tokens_per_step", "steps", "config")
"""What can be asked for, in the order of the form; config stands for the file or the command line."""
SAID = ("not read", "not taken", "not a setting", "this file is not known", "not given", "the text has more")
"""How a line of the config's report begins that a person should see."""
_NEUTRAL: dict[str, Any] = {
    "schedule.min_lr": 0.0, "schedule.warmup_steps": 0, "schedule.decay_steps": None, "model.n_head": 1,
}  # fmt: skip
"""Of fields nobody told, where the default does not go with what was told."""
MOST_NOTES = 200


class Account(NamedTuple):
    config: RunConfig  #: defaults where nothing is known
    known: tuple[str, ...]  #: flat fields of the configuration that were told
    facts: dict[str, Any]
    asks: tuple[str, ...]
    notes: tuple[Note, ...]
    steps: int  #: planned, or as far as the log goes
    state: str  #: finished, stopped or failed
    reason: str | None
    detail: str


def account(
    log: Mapping[str, Any], *, config: str = "", args: str = "", supplied: Mapping[str, Any] | None = None
) -> Account:
    """`log` as Log.as_json gives it. Never raises on odd text: what is not understood is in the notes."""
    supplied = {key: value for key, value in (supplied or {}).items() if value is not None}
    notes = [Note(one["kind"], one["values"]) for one in log["notes"]]
    texts = [text for text in (log["config"], log["command"], config, args) if text.strip()]
    reading = nanogpt.parse(*texts) if texts else nanogpt.Reading({}, [])
    notes += [
        Note("config", {"text": name or "…", "value": became})
        for name, became in reading.report
        if became.startswith(SAID)
    ]
    last = int(log["last_step"])
    told = {section: dict(fields) for section, fields in reading.config.items()}
    made = _config(told, supplied.get("steps") or last, notes)
    if _contradicted(log["facts"], made, "model" in told):
        told.pop("model")
        notes.append(Note("shape", {"count": log["facts"]["parameters_printed"]}))
    known = tuple(f"{section}.{field}" for section, fields in told.items() for field in fields)
    known += ("model.tied_head", "model.zero_init") * bool(texts and "model" in told)  # nanoGPT has no switch for them
    facts = _facts(log, made, set(known)) | supplied
    planned = made.schedule.steps if "schedule.steps" in known else facts.get("steps")
    state, reason, detail = _end(log, planned)
    return Account(made, known, facts, _asks(facts, set(known)), tuple(notes[:MOST_NOTES]), planned or max(1, last), state, reason, detail)  # fmt: skip


def imported(found: Account) -> dict[str, Any]:
    """telemetry["imported"]: what the diagnosis and the run's page read."""
    return {
        "known": list(found.known),
        "facts": found.facts,
        "asks": list(found.asks),
        "notes": [
            {"kind": one.kind, "values": one.values, "text": one.text} for one in found.notes if one.kind in NOTES
        ],
    }


def _config(told: dict[str, dict[str, Any]], steps: int, notes: list[Note]) -> RunConfig:
    """A whole configuration; what RunConfig refuses is taken out of `told` and noted."""
    base = RunConfig().model_dump()
    base["schedule"]["steps"] = min(max(1, steps), 100_000_000)
    for _ in range(60):
        merged = {section: fields | told.get(section, {}) for section, fields in base.items()}
        try:
            return RunConfig.model_validate(merged)
        except ValidationError as error:
            for one in error.errors():
                section, field = (*map(str, one["loc"]), "", "")[:2]
                if field in told.get(section, {}):
                    value = told[section].pop(field)
                    notes.append(Note("refused", {"text": f"{section}.{field} = {value!r:.40}", "value": one["msg"]}))
                elif f"{section}.{field}" in _NEUTRAL and base[section][field] != _NEUTRAL[f"{section}.{field}"]:
                    base[section][field] = _NEUTRAL[f"{section}.{field}"]
                else:
                    told.pop(section, None)
    return RunConfig()


def _contradicted(facts: Mapping[str, Any], config: RunConfig, told: bool) -> bool:
    """Whether the model that the log counted cannot have this shape: then the shape is another script's default."""
    printed, width = facts.get("parameters_printed"), config.model.n_embd
    if not printed or not told:
        return False
    rows = (printed - count_parameters(config.model, 2).without_embeddings) / width
    rounding = 6e4 / width  # nanoGPT prints hundredths of a million
    vocab = facts.get("vocab_size")
    return abs(rows - vocab) > rounding + 64 if vocab else not 16 - rounding <= rows <= 400_000


def _facts(log: Mapping[str, Any], config: RunConfig, known: set[str]) -> dict[str, Any]:
    told: dict[str, Any] = dict(log["facts"])
    printed, everything = told.pop("parameters_printed", None), told.pop("parameters_all", None)
    shape = {"model.n_layer", "model.n_embd", "model.block_size"}
    if everything:
        told["parameters"] = everything
    elif printed:  # nanoGPT leaves out the positions' table
        told["parameters"] = printed + config.model.block_size * config.model.n_embd * shape.issubset(known)
    if {"batch.micro_batch", "batch.accumulation", "model.block_size"} <= known:
        told.setdefault("tokens_per_step", config.tokens_per_step)
    if log["resumes"]:
        told["resumed_at"] = list(log["resumes"])
    if log["log_every"]:
        told["log_every"] = log["log_every"]
    return told


def _asks(facts: Mapping[str, Any], known: set[str]) -> tuple[str, ...]:
    have = {key for key in ASKS if facts.get(key) is not None}
    if "schedule.steps" in known:
        have.add("steps")
    if {"schedule.lr", "optim.weight_decay"} <= known:
        have.add("config")
    shape = {"model.n_layer", "model.n_embd", "model.block_size"} <= known
    if shape and "vocab_size" in have:
        have.add("parameters")
    return tuple(key for key in ASKS if key not in have)


def _end(log: Mapping[str, Any], planned: int | None) -> tuple[str, str | None, str]:
    """(state, reason, one sentence) as the log shows them."""
    last = int(log["last_step"])
    if ending := log["ending"]:
        kind, text = ending
        if kind == "stopped":
            return "stopped", None, f"interrupted at step {last:,}"
        return "failed", kind, text
    if not log["finite"]:
        return "failed", "non_finite", f"the last loss, at step {last:,}, is not a number"
    if planned and last + (log["log_every"] or 1) < planned:
        return "stopped", None, f"the log ends at step {last:,} of {planned:,}"
    return "finished", None, f"the log ends at step {last:,}"
