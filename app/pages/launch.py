"""New run: the form made from the contract, its pre-flight panel, a pasted nanoGPT config, and the launch itself."""

import hashlib
import secrets
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from app import datasets, decay, nanogpt, preflight, runs, workers
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.dataset import Manifest
from app.contract.presets import MODEL_DECAY, PRESETS
from app.db import Database, Tx
from app.errors import FieldError, Invalid, NotFound
from app.experiments import launching as experiments
from app.memory import GIB
from app.pages import decay_words, fork_form, scripts
from app.pages.decay_drawing import outlook_chart
from app.pages.drawing import ruler
from app.pages.forms import Form, Posted
from app.pages.launch_form import FIELDS, LaunchForm, as_typed, preset_config
from app.pages.rendering import now, page, speech_of
from app.pages.view import DatasetView

router = APIRouter(include_in_schema=False)
FIRST_PRESET = "tiny"
OPTIONS = ("from", "preset", "name", "fork", "experiment")
_BY_LAST_NAME = {key.split(".")[1]: key for key in reversed(FIELDS)}  # schedule.lr answers to lr


@router.get("/runs/new")
def new_run(request: Request) -> HTMLResponse:
    """Prefilled from the address: ?preset=tiny or ?from=r-0001, then any setting by its dotted or last name."""
    query = request.query_params
    if fork := query.get("fork", ""):
        db: Database = request.app.state.db
        with db.read() as tx:
            form = fork_form.start(tx, fork, query.get("cooldown", ""), speech_of(request))
    else:
        form = _start(request, query.get("preset", ""), query.get("from", ""))
    form.experiment = query.get("experiment", "")
    form.name = query.get("name", form.name)
    given = {key: value for key, value in query.items() if not (form.origin and key == "cooldown")}
    found = {key if key in FIELDS else _BY_LAST_NAME.get(key, ""): value for key, value in given.items()}
    form.fill({key: _switched(key, value) for key, value in found.items() if key})
    form.ignored += [
        (key, form.speech("not a setting"))
        for key in query
        if key not in FIELDS and key not in _BY_LAST_NAME and key not in OPTIONS
    ]
    return _form_page(request, form)


@router.post("/runs/new", response_model=None)
def launch(request: Request, posted: Posted) -> Response:
    form = _posted(request, posted)
    match posted.one("action"):
        case "preset":
            fresh = _start(request, posted.one("preset"), "")
            fresh.name, fresh.tags, fresh.notes = form.name, form.tags, form.notes
            fresh.fill({"data.dataset": form.typed["data.dataset"]})
            return _form_page(request, fresh)
        case "paste":
            values, form.ignored = nanogpt.parse(posted.one("pasted"))
            form.fill({f"{section}.{key}": value for section, part in values.items() for key, value in part.items()})
            return _form_page(request, form, pasted=posted.one("pasted"))
        case "check":
            return _form_page(request, form)
    config = form.valid()
    if config is None:
        return _form_page(request, form, status=422)
    labels = {
        "name": form.name or None,
        "tags": [tag for tag in form.tags.replace(",", " ").split() if tag],
        "notes": form.notes,
        "worker": form.worker or None,
    }
    body = {
        **labels, "preset": form.preset or None, "config": form.config(), "cloned_from": form.source or None,
    }  # fmt: skip
    digest = hashlib.sha256(repr(sorted(posted.pairs)).encode()).hexdigest()
    moment = now(request)
    db: Database = request.app.state.db
    key = _key(posted, digest)

    def queue(tx: Tx) -> str:
        if form.origin is not None:
            made = fork_form.launch(tx, form, labels, key=key, digest=digest, now=moment)
        else:
            asked = runs.Launch.model_validate(body)
            made = ids.show("run", runs.create(tx, asked, key=key, body_sha256=digest, now=moment)[0].id)
        if form.experiment:
            experiments.remember(tx, form.experiment, child=runs.get(tx, made), now=moment)
        return made

    try:
        url = db.write(queue)
    except Invalid as problem:
        form.take(list(problem.errors))
        return _form_page(request, form, status=422)
    except ValidationError as error:
        form.take([FieldError("/" + str(one["loc"][0]), one["msg"]) for one in error.errors() if one["loc"]])
        return _form_page(request, form, status=422)
    return RedirectResponse(f"/runs/{url}", 303)


def _key(posted: Form, digest: str) -> str | None:
    """The form's own key: pressing the button twice launches once; going back and changing a value launches anew."""
    key = posted.one("key")
    return f"form-{key[:64]}-{digest[:32]}" if key else None


@router.post("/runs/new/fragments/preflight")
def preflight_fragment(request: Request, posted: Posted) -> HTMLResponse:
    """The panel, the script and the fields' marks for what is typed now."""
    form = _posted(request, posted)
    context = _panel(request, form)
    return page(request, "_launch_live.html", **context, marks={**form.marks(), "length": context["length_hint"]})


def _posted(request: Request, posted: Form) -> LaunchForm:
    if fork := posted.one("fork"):
        db: Database = request.app.state.db
        with db.read() as tx:
            form = fork_form.start(tx, fork, "", speech_of(request))
    else:
        form = _start(request, posted.one("preset"), posted.one("source"))
    form.read(posted)
    return form


def _start(request: Request, preset: str, source: str) -> LaunchForm:
    speech = speech_of(request)
    if source:
        db: Database = request.app.state.db
        with db.read() as tx:
            run = runs.get(tx, source)
            form = LaunchForm(
                RunConfig.model_validate(run.config),
                speech,
                preset=run.preset or "",
                name=run.name,
                source=ids.show("run", run.id),
            )
            form.tags = " ".join(run.tags)
            return form
    preset = preset if preset in PRESETS else FIRST_PRESET
    return LaunchForm(preset_config(preset), speech, preset=preset)


def _switched(key: str, value: str) -> str | bool:
    return value.lower() in ("1", "true", "on", "yes") if FIELDS[key][1].annotation is bool else value


def _panel(request: Request, form: LaunchForm) -> dict[str, Any]:
    """What the pre-flight panel, the script block and the live marks show; numbers only while the values are valid."""
    config = form.valid()
    db: Database = request.app.state.db
    with db.read() as tx:
        dataset = _dataset(tx, str(form.typed["data.dataset"]))
        manifest = Manifest.model_validate(dataset.manifest) if dataset is not None and dataset.manifest else None
        speed = _fastest(tx, config) if config else None
        shown = DatasetView(dataset, form.speech) if dataset else None
        devices = workers.devices(tx, form.worker or None)
        kind = config.system.device if config else "auto"
        most = workers.most_devices(tx, form.worker or None, kind, now=now(request))
    speeds = {speed[2]: speed[1]} if speed else None
    first_step = form.origin.step if form.origin else 0
    flight = preflight.preflight(config, manifest, speeds, devices, first_step, most) if config else None
    words = (form.speech("inert"), form.speech("informative"), form.speech("too strong"))
    label = form.speech("Total decay %(value)s", value=form.speech.setting(flight.total_decay)) if flight else ""
    origin = str(request.base_url).rstrip("/")
    return {
        "form": form,
        "config": config,
        "flight": flight,
        "length_hint": _length_hint(flight, form) if flight else "",
        "memory": _memory(flight, devices) if flight else None,
        "most_devices": most,
        "ruler": ruler(flight.total_decay, words, label) if flight else "",
        "outlook": _outlook(flight, form),
        "sweep_url": _sweep_url(flight, form),
        "words": decay_words.WORDS,
        "word_keys": decay_words.PREFLIGHT,
        "inert_difference": decay.INERT_DIFFERENCE,
        "speed_worker": speed[0] if speed else None,
        "chosen": shown,
        "informative_decay": _round_up(flight, form) if flight else None,
        "script": {"cli": scripts.cli(form, origin), "curl": scripts.curl(form, origin), "json": scripts.body(form)},
    }


def _length_hint(flight: preflight.Preflight, form: LaunchForm) -> str:
    say = form.speech
    steps, tokens = say.number(flight.steps), say.short(flight.total_tokens)
    if form.origin is not None:
        return say("%(steps)s more steps, %(tokens)s tokens", steps=steps, tokens=tokens)
    return say("%(steps)s steps, %(tokens)s tokens", steps=steps, tokens=tokens)


def _sweep_url(flight: preflight.Preflight | None, form: LaunchForm) -> str:
    """The sweep form with λ around the three rules, everything else as it is typed here."""
    if flight is None or flight.decay_priors is None or form.origin is not None:
        return ""
    grid = ", ".join(form.speech.setting(value) for value in flight.decay_priors.grid)
    base = {"preset": form.preset, "factor": "optim.weight_decay", "values": grid}
    rest = {key: "" if value is None else value for key, value in form.beyond_preset().items()}
    return "/sweeps/new?" + urlencode(base | {key: rest[key] for key in rest if key != "optim.weight_decay"})


def _outlook(flight: preflight.Preflight | None, form: LaunchForm) -> str:
    if flight is None or not flight.total_decay:
        return ""
    label = form.speech(
        "lr·λ over the run, up to %(peak)s per step, and what is left of the start: %(left)s at the end",
        peak=form.speech.rate(max(flight.decay_outlook.per_step)), left=form.speech.percent(flight.init_keep, 1),
    )  # fmt: skip
    return outlook_chart(flight.decay_outlook, label, form.speech.rate)


def _memory(flight: preflight.Preflight, devices: list[dict[str, Any]]) -> dict[str, Any]:
    """The step's memory by part, on the device where the run sits best; GiB."""
    fit = min(flight.memory_fits, key=lambda one: one.total_gib / one.free_gib, default=None)
    parts = fit.parts_gib if fit else {name: size / GIB for name, size in flight.memory.parts().items()}
    total = fit.total_gib if fit else flight.memory_bytes / GIB
    kinds = {one["kind"] for one in devices if fit and one["name"] == fit.device} or {flight.memory_device}
    return {
        "fit": fit,
        "gpu": "cpu" not in kinds,
        "parts": {name: size for name, size in parts.items() if size > 0},
        "total": total,
        "scale": max(total, fit.free_gib) if fit else total,
    }


def _round_up(flight: preflight.Preflight, form: LaunchForm) -> str | None:
    """The smallest 1, 2, 3 or 5 × 10^n whose Λ reaches the informative zone."""
    at = float(flight.total_decay) / w if (w := _number(form.typed["optim.weight_decay"])) else 0.0
    if at <= 0:
        return None
    needed = 0.5 / at
    for exponent in range(-6, 4):
        for digit in (1, 2, 3, 5):
            if (value := digit * 10.0**exponent) >= needed:
                return form.speech.setting(value)
    return None


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return 0.0


def _dataset(tx: Tx, text: str) -> Any:
    try:
        return datasets.get(tx, datasets.BUILTIN if text == "builtin" else text)
    except NotFound:
        return None


def _fastest(tx: Tx, config: RunConfig) -> tuple[str, float, str] | None:
    """(worker's name, tokens/s, shape) of the best measured speed for this shape on an enabled worker."""
    found = []
    for worker in workers.list_all(tx):
        if worker.enabled and (speed := preflight.measured_speed(config, worker.speeds)):
            shape = next(key for key, value in worker.speeds.items() if value == speed)
            found.append((worker.name, speed, shape))
    return max(found, key=lambda one: one[1], default=None)


def _form_page(request: Request, form: LaunchForm, status: int = 200, pasted: str = "") -> HTMLResponse:
    errors = dict(form.errors)
    context = _panel(request, form)
    form.errors = errors if status == 422 else form.errors
    db: Database = request.app.state.db
    with db.read() as tx:
        experiment = experiments.asked_by(tx, form.experiment) if form.experiment else None
        choices = [DatasetView(one, form.speech) for one in datasets.list_all(tx)]
        machines = [(ids.show("worker", one.id), one.name, one.devices) for one in workers.list_all(tx) if one.enabled]
    return page(
        request, "run_new.html", status,
        **context, experiment=experiment, presets=PRESETS, datasets=choices, machines=machines, sections=form.sections(),
        lr=form.field("schedule.lr"), weight_decay=form.field("optim.weight_decay"), seed=form.field("system.seed"),
        builtin=datasets.BUILTIN, model_decay=MODEL_DECAY, pasted=pasted, key=secrets.token_hex(16), refused=status == 422,
        page_data={"presets": {key: _flat(preset.config) for key, preset in PRESETS.items()}},
    )  # fmt: skip


def _flat(config: RunConfig) -> dict[str, Any]:
    return {key: as_typed(value) for key, value in config.flat().items()}
