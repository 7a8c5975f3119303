"""One run: head, first picture of its loss, panels, checkpoints, config, log, events; and what a person can do to it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from sqlalchemy import select

from app import checkpoints, events, extension, feed, forks, runs, samples, series
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.presets import PRESETS
from app.contract.schedule import learning_rate
from app.db import Database, Tx
from app.errors import NotFound, from_pydantic
from app.i18n import Speech
from app.pages import diagnosis, exporting, import_log, plots, run_decay
from app.pages import samples as sample_pages
from app.pages.drawing import curves
from app.pages.forms import Posted, back_to
from app.pages.launch_form import FIELDS
from app.pages.rendering import now, page, speech_of
from app.pages.view import RunView
from app.tables import Attempt, Dataset, Event, LogRow, Run, Worker

router = APIRouter(include_in_schema=False)
HEAD_KEYS = ("val/loss", "eval/train_loss", "train/step_ms", "train/mfu", "train/lr", "train/grad_norm",
             "system/device_mem_gib", "system/rss_gib")  # fmt: skip
LOG_LINES = 200
EVENTS = 60
QUIET = frozenset({"checkpoint", "checkpoint_deleted", "phase"})
"""Events of every few minutes: checkpoints have a table of their own, and phases matter until the first step."""
FACTORS = ("model.", "data.", "batch.", "schedule.", "optim.")
"""Sections whose fields change what is learnt; the rest only changes what is watched."""
VERBS: dict[str, Callable[..., None]] = {
    "stop": runs.stop,
    "terminate": runs.terminate,
    "kill": runs.kill,
    "pause": runs.pause,
    "resume": runs.resume,
    "save": runs.save,
    "evaluate": runs.evaluate,
    "sample": samples.now_from,
    "trash": runs.trash,
}


@router.get("/runs/{text_id}")
def run_page(request: Request, text_id: str) -> HTMLResponse:
    speech = speech_of(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        run = runs.get(tx, text_id)
        view = RunView(run, speech, now(request))
        context = (
            _head(tx, run, view)
            | _checkpoints(tx, run, speech)
            | _events(tx, run)
            | _config(tx, run, speech)
            | _log(tx, run)
        )
        context |= sample_pages.card(tx, run, speech) | sample_pages.form(tx, run) | import_log.card(tx, run, speech)
        context |= diagnosis.card(tx, run, speech, diagnosis.stored(tx, run)) | run_decay.card(tx, run, speech)
        context["picture"] = _picture(tx, run, view, speech)
        context["page_data"] = _page_data(tx, run, view)
    return page(request, "run.html", **context, icon_state=view.tone)


@router.get("/runs/{text_id}/fragments/{name}")
def fragment(request: Request, text_id: str, name: str) -> HTMLResponse:
    """A part of the page by itself, for the live page: the same template, the same numbers."""
    speech = speech_of(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        run = runs.get(tx, text_id)
        view = RunView(run, speech, now(request))
        match name:
            case "head":
                context = _head(tx, run, view)
            case "checkpoints":
                context = _checkpoints(tx, run, speech) | {"run": view}
            case "events":
                context = _events(tx, run) | {"run": view}
            case _:
                raise NotFound(f"The run page has no part named {name[:40]}.")
    return page(request, f"_run_{name}.html", **context)


@router.post("/runs/{text_id}/labels")
def relabel(request: Request, text_id: str, form: Posted) -> Response:
    typed = {
        "name": form.one("name") or None,
        "tags": form.one("tags").replace(",", " ").split(),
        "notes": form.one("notes"),
    }
    try:
        labels = runs.Labels.model_validate(typed)
    except ValidationError as error:
        raise from_pydantic(error, model=runs.Labels) from None

    def work(tx: Tx) -> None:
        runs.patch(tx, runs.get(tx, text_id), name=labels.name, tags=labels.tags, notes=labels.notes)

    request.app.state.db.write(work)
    return RedirectResponse(f"/runs/{text_id}", 303)


@router.post("/runs/{text_id}/note")
def note(request: Request, text_id: str, form: Posted) -> Response:
    text, moment = form.one("text")[:2000], now(request)

    def work(tx: Tx) -> None:
        run = runs.get(tx, text_id)
        if text:
            events.record(tx, run.id, "note", text, at=moment, step=run.step)

    request.app.state.db.write(work)
    return RedirectResponse(f"/runs/{text_id}#events", 303)


@router.post("/runs/{text_id}/extend")
def extend(request: Request, text_id: str, form: Posted) -> Response:
    moment = now(request)
    try:
        longer = extension.Extension.model_validate({"steps": form.one("steps")})
    except ValidationError as error:
        raise from_pydantic(error, model=extension.Extension) from None
    request.app.state.db.write(lambda tx: extension.extend(tx, runs.get(tx, text_id), longer, now=moment))
    return RedirectResponse(f"/runs/{text_id}", 303)


@router.post("/runs/{text_id}/{verb}")
def act(request: Request, text_id: str, verb: str, form: Posted) -> Response:
    moment = now(request)

    def work(tx: Tx) -> None:
        run = runs.get(tx, text_id)
        match verb:
            case "restore":
                runs.restore(tx, run)
            case "baseline":
                runs.pin_baseline(tx, run)
            case "no-baseline":
                runs.pin_baseline(tx, None)
            case _ if verb in VERBS:
                VERBS[verb](tx, run, now=moment)
            case _:
                raise NotFound(f"A run cannot be told to {verb[:40]}.")

    request.app.state.db.write(work)
    return back_to(request, form, "/runs" if verb == "trash" else f"/runs/{text_id}")


# --- what each part shows --------------------------------------------------------------------------------


def _head(tx: Tx, run: Run, view: RunView) -> dict[str, Any]:
    newest = series.summaries(tx.raw, run.id, HEAD_KEYS)
    last = {key: one.last_value for key, one in newest.items() if one.last_value is not None}
    attempts = list(tx.session.scalars(select(Attempt).where(Attempt.run_id == run.id).order_by(Attempt.number)))
    worker = tx.session.get(Worker, run.worker_id) if run.worker_id else None
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None
    baseline = runs.baseline(tx)
    train = series.read(tx.raw, run.id, "train/loss", lo=max(0, run.step - 40)).value
    finite = train[np.isfinite(train)]
    return {
        "run": view,
        "last": last,
        "train_mean": float(finite[-25:].mean()) if finite.size else None,
        "attempts": len(attempts),
        "resumes": [one.first_step for one in attempts if one.first_step and run.steps],
        "worker": worker.name if worker else None,
        "device": _device(worker),
        "dataset": dataset,
        "dataset_url": f"/datasets/{ids.show('dataset', dataset.id)}" if dataset else None,
        "parent": ids.show("run", run.cloned_from) if run.cloned_from else None,
        "origin": _origin(tx, run),
        "forks": [
            {"id": ids.show("run", one.id), "name": one.name, "step": one.telemetry.get("first_step", 0)}
            for one in forks.children(tx, run)
        ],
        "baseline": ids.show("run", baseline.id) if baseline else None,
        "warmup": run.config["schedule"]["warmup_steps"],
        "epochs": _epochs(dataset, view),
    }


def _origin(tx: Tx, run: Run) -> dict[str, Any] | None:
    origin = forks.origin_of(tx, run)
    return {"run": ids.show("run", origin.run_id), "step": origin.step} if origin else None


def _device(worker: Worker | None) -> dict[str, Any]:
    return worker.devices[0] if worker and worker.devices else {}


def _epochs(dataset: Dataset | None, view: RunView) -> float | None:
    tokens = (dataset.manifest or {}).get("train", {}).get("tokens") if dataset else None
    return view.tokens / tokens if tokens else None


def _checkpoints(tx: Tx, run: Run, speech: Speech) -> dict[str, Any]:
    saved = checkpoints.listing(tx, run.id)
    size = sum(one.bytes for one in saved)
    return {"checkpoints": saved, "checkpoint_bytes": size, "exports": exporting.shown(tx, run, speech), "ids": ids}


def _events(tx: Tx, run: Run) -> dict[str, Any]:
    quiet = QUIET if run.step else QUIET - {"phase"}
    query = select(Event).where(Event.run_id == run.id, Event.kind.not_in(quiet)).order_by(Event.id.desc())
    found = list(tx.session.scalars(query.limit(EVENTS)))
    newest_best = next((one.id for one in found if one.kind == "best"), None)
    return {"events": [one for one in found if one.kind != "best" or one.id == newest_best]}


def _log(tx: Tx, run: Run) -> dict[str, Any]:
    query = select(LogRow).where(LogRow.run_id == run.id).order_by(LogRow.id.desc()).limit(LOG_LINES)
    return {"log": list(tx.session.scalars(query))[::-1]}


def _config(tx: Tx, run: Run, speech: Speech) -> dict[str, Any]:
    """All fields, and those that differ from the baseline, else from the run it was cloned from, else from its preset."""
    mine = RunConfig.model_validate(run.config).flat()
    if (imported := run.telemetry.get("imported")) is not None:  # the rest are defaults that nobody told
        mine = {key: value for key, value in mine.items() if key in imported.get("known", ())}
    other, against, to_run = _reference(tx, run, speech)
    rows = [
        {"key": key, "title": speech(str(FIELDS[key][1].title)), "value": value, "other": other.get(key, value)}
        for key, value in mine.items()
    ]
    differ = [row for row in rows if row["value"] != row["other"]]
    return {
        "config_rows": rows,
        "differing": differ,
        "against": against,
        "factors": [row["key"] for row in differ if to_run and str(row["key"]).startswith(FACTORS)],
    }


def _reference(tx: Tx, run: Run, speech: Speech) -> tuple[dict[str, Any], str, bool]:
    """(fields, what they are of, whether that is a run)."""
    baseline = runs.baseline(tx)
    parent = tx.session.get(Run, run.cloned_from) if run.cloned_from else None
    forked = forks.parent_of(tx, run)
    words = ((baseline, speech("baseline")), (forked, speech("its parent")), (parent, speech("cloned from")))
    for known, word in words:
        if known is not None and known.id != run.id:
            return RunConfig.model_validate(known.config).flat(), f"{word} {ids.show('run', known.id)}", True
    if run.preset in PRESETS:
        flat = PRESETS[run.preset].config.flat()
        flat["data.dataset"] = run.config["data"]["dataset"]
        return flat, f"{speech('preset')} {speech(PRESETS[run.preset].title)}", False
    return {}, "", False


def _picture(tx: Tx, run: Run, view: RunView, speech: Speech) -> str:
    """The loss as SVG, on the page before any script has run."""
    lines = []
    for one, lo, hi, colour in [*_past(tx, run), (run, 0, None, "var(--c1)")]:
        train = series.read(tx.raw, one.id, "train/loss", lo, hi, 300)
        lines.append(([forks.tokens_at(one, step) for step in train.step.tolist()], train.value.tolist(), colour))
    val = series.read(tx.raw, run.id, "val/loss", buckets=300)
    return curves(
        lines,
        [([forks.tokens_at(run, step) for step in val.step.tolist()], val.value.tolist(), "var(--c2)")],
        x_end=float(view.total_tokens), label=speech("Loss against tokens: line train, dots validation"),
    )  # fmt: skip


def _past(tx: Tx, run: Run) -> list[tuple[Run, int, int | None, str]]:
    """(ancestor, first step, last step, colour) of the curves that lead to a fork's own, oldest first."""
    return [
        (one, int(one.telemetry.get("first_step", 0)), until, "var(--line-strong)")
        for one, until in reversed(forks.ancestors(tx, run))
    ]


def _page_data(tx: Tx, run: Run, view: RunView) -> dict[str, Any]:
    """What the page's scripts need to draw, beyond the points themselves."""
    config = RunConfig.model_validate(run.config)
    schedule = config.schedule
    dataset = tx.session.get(Dataset, run.dataset_id) if run.dataset_id else None
    manifest = dataset.manifest if dataset else None
    first = int(run.telemetry.get("first_step", 0))
    plan = plots.ahead(config, first) if view.knows("schedule.lr") else []
    return plots.plan(tx, run) | {
        "state": run.state,
        "progress": view.progress,
        "best_val": run.best_val,
        "active": view.active or run.state in ("queued", "lost"),
        "past": [plots.plan(tx, one) | {"lo": lo, "hi": hi} for one, lo, hi, _ in _past(tx, run)],
        "clip": view.clip,
        "warmup": schedule.warmup_steps,
        "plan": {
            "step": plan,
            "lr": [_planned(config, step) for step in plan],
            "rms": plots.settling(config, plan),
        },
        "uniform": math.log(manifest["tokenizer"]["vocab_size"]) if manifest else None,
        "unigram": manifest["unigram_entropy"] if manifest else None,
        "marks": plots.marks(tx, run),
        "saved": [one.step for one in checkpoints.listing(tx, run.id)],
        "cursor": feed.head(tx.raw),
        "memory": _device(tx.session.get(Worker, run.worker_id) if run.worker_id else None).get("memory_gib"),
    }


def _planned(config: RunConfig, step: int) -> float:
    schedule = config.schedule
    return learning_rate(
        max(0, step - 1), lr=schedule.lr, min_lr=schedule.min_lr, warmup_steps=schedule.warmup_steps,
        decay_steps=schedule.decay_steps or schedule.steps, shape=schedule.shape, cooldown=schedule.cooldown,
    )  # fmt: skip
