"""The experiments that a run's diagnosis leads to, each with its question, its cost and the form that it opens.

First those that a finding asks for, in the findings' order, then every other kind that the run allows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from sqlalchemy import select

from app import checkpoints, preflight, workers
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.states import ACTIVE, DatasetState
from app.db import Tx
from app.experiments.kinds import KINDS, Kind
from app.experiments.plans import SETTINGS, Impossible, Known, Plan, Saved, plan
from app.tables import Dataset, Run

SWEEP_FORM = "/sweeps/new"
JUMPS = ("D10", "D11", "D13")
"""Rules of something that happened at a step: a probe has to start before it."""
NO_RULE = "D00"
"""In tokens, where no finding asks for the experiment."""


class Offer(NamedTuple):
    """One experiment as a button: `plan` is None where it is not possible, and `why` says so."""

    kind: Kind
    question: str
    rule: str  #: the finding that asks for it; "" where none does
    verdict: str
    plan: Plan | None
    why: str
    tokens: int  #: that it trains on, in all its runs
    seconds: float | None  #: an estimate, from the run's own speed
    url: str  #: the form, filled in


def offers(tx: Tx, run: Run, findings: Sequence[dict[str, Any]], verdict: str = "") -> list[Offer]:
    config, known = RunConfig.model_validate(run.config), known_of(tx, run)
    speed = _speed(tx, run, config)
    asked: dict[str, dict[str, Any]] = {}
    for finding in findings:
        if (wanted := finding.get("experiment")) and wanted["kind"] in KINDS:
            asked.setdefault(wanted["kind"], finding)
    order = [*asked, *(kind for kind in KINDS if kind not in asked)]
    return [_offer(run, config, known, speed, KINDS[kind], asked.get(kind), verdict) for kind in order]


def _offer(
    run: Run,
    config: RunConfig,
    known: Known,
    speed: float | None,
    kind: Kind,
    finding: dict[str, Any] | None,
    verdict: str,
) -> Offer:
    experiment = (finding or {}).get("experiment") or {}
    rule = finding["rule"] if finding else ""
    question = str(experiment.get("question") or kind.claim)
    said = finding["verdict"] if finding else verdict
    if kind.key == "lr_half" and rule in JUMPS and finding and finding["marks"]:
        known = known._replace(before=finding["marks"][-1]["first_step"])
    try:
        made = plan(kind.key, config, known, experiment.get("changes"))
    except Impossible as error:
        return Offer(kind, question, rule, said, None, str(error), 0, None, "")
    after = _changed(config, made)
    runs = made.seeds * len(next(iter(made.factors.values()))) if made.factors else 1
    tokens = made.steps * after.tokens_per_step * runs
    seconds = None
    if speed:
        vocab = known.vocab
        dearer = preflight.flops_per_token(after.model, vocab) / preflight.flops_per_token(config.model, vocab)
        seconds = tokens / speed * dearer
        if kind.key == "longer_eval":  # a forward pass over all windows, at the start and after its one step
            seconds += 2 * after.eval.windows * after.model.block_size / (3 * speed)
    token = f"{ids.show('run', run.id)}.{rule or NO_RULE}.{kind.key}"
    return Offer(kind, question, rule, said, made, made.note, tokens, seconds, form_url(run, made, token))


def form_url(run: Run, made: Plan, token: str) -> str:
    """The launch, fork or sweep form with everything filled in; `experiment` is what it will remember."""
    fields: dict[str, Any] = {"experiment": token, **made.changes}
    if made.factors is not None:
        (field, values), *_ = made.factors.items()
        grid = {"factor": field, "values": " ".join(f"{value:g}" for value in values), "seeds": made.seeds}
        return SWEEP_FORM + "?" + urlencode({"from": ids.show("run", run.id), **grid, **fields})
    if made.checkpoint is not None:
        place: dict[str, Any] = {"fork": made.checkpoint.id}
        if made.cooldown:
            place["cooldown"] = made.cooldown
    else:
        place = {"from": ids.show("run", run.id)}
    return "/runs/new?" + urlencode({key: "" if value is None else value for key, value in (place | fields).items()})


def known_of(tx: Tx, run: Run) -> Known:
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None
    manifest = dataset.manifest if dataset else None
    told = run.telemetry
    imported = told.get("imported") or {}
    saved = [Saved(ids.show("checkpoint", one.id), one.step, one.val_loss) for one in checkpoints.listing(tx, run.id)]
    tokens = manifest["tokenizer"]["vocab_size"] if manifest else preflight.GPT2_VOCAB
    return Known(
        step=run.step,
        active=run.state in ACTIVE,
        checkpoints=saved,
        parameters=told.get("parameters"),
        val_windows=manifest["val"]["tokens"] // run.config["model"]["block_size"] if manifest else None,
        larger_data=_larger_data(tx, dataset),
        fixed=imported.get("facts", {}).get("fixed_eval") is not False and run.config["data"]["sampler"] != "nanogpt",
        elsewhere=bool(imported),
        told=not imported or set(SETTINGS).issubset(imported.get("known", ())),
        vocab=int(told.get("vocab_size") or preflight.padded_vocab(tokens, run.config["model"]["pad_vocab"])),
    )


def _larger_data(tx: Tx, dataset: Dataset | None) -> str | None:
    """The ready dataset of the same vocabulary with the most text beyond this one's."""
    if dataset is None or dataset.manifest is None:
        return None
    mine = dataset.manifest
    query = select(Dataset).where(
        Dataset.state == DatasetState.ready.value, Dataset.deleted_at.is_(None), Dataset.id != dataset.id
    )
    larger = [
        (one.manifest["train"]["tokens"], one.name)
        for one in tx.session.scalars(query)
        if one.manifest is not None
        and one.manifest["tokenizer"]["sha256"] == mine["tokenizer"]["sha256"]
        and one.manifest["train"]["tokens"] > mine["train"]["tokens"]
    ]
    return max(larger)[1] if larger else None


def _speed(tx: Tx, run: Run, config: RunConfig) -> float | None:
    """Tokens/s: of the run itself, else the best that a worker has measured for its shape."""
    if run.tok_per_s:
        return run.tok_per_s
    measured = [preflight.measured_speed(config, worker.speeds) for worker in workers.list_all(tx) if worker.enabled]
    return max((speed for speed in measured if speed), default=None)


def _changed(config: RunConfig, made: Plan) -> RunConfig:
    """The configuration that is trained."""
    return RunConfig.model_validate(nested(config, made.changes))


def nested(config: RunConfig, changes: dict[str, Any]) -> dict[str, Any]:
    """The whole configuration with flat changes over it."""
    whole = config.model_dump()
    for path, value in changes.items():
        section, name = path.split(".")
        whole[section] = whole[section] | {name: value}
    return whole
