"""New sweep: the form, its cost while one types, and the launch itself."""

import hashlib
import secrets
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app import datasets, ready_made, runs, workers
from app.contract import ids
from app.contract.config import RunConfig
from app.contract.presets import PRESETS
from app.contract.sweep import Search, SweepSpec
from app.db import Database, Tx
from app.errors import Invalid
from app.experiments import launching as experiments
from app.pages.forms import Form, Posted
from app.pages.launch_form import FIELDS
from app.pages.rendering import now, page, speech_of
from app.pages.sweep_form import SweepForm, settings_text
from app.pages.view import DatasetView
from app.sweeps import cost, launching, search
from app.sweeps.arms import FIXED

router = APIRouter(include_in_schema=False)
_BY_LAST_NAME = {key.split(".")[1]: key for key in reversed(FIELDS)}
VARYING = [key for key in FIELDS if key not in FIXED and not key.startswith(("system.", "eval.", "checkpoint."))]


@router.get("/sweeps/new")
def new_sweep(request: Request) -> HTMLResponse:
    """Prefilled from the address: ?preset=tiny or ?from=r-0001, ?weight_decay=0,0.1,1 or any field's values, ?seeds=5."""
    query = request.query_params
    known = ready_made.READY_MADE.get(query.get("ready", ""))
    form = SweepForm(speech_of(request), {"factors": []} | known.spec if known else None)
    if query.get("from"):
        db: Database = request.app.state.db
        with db.read() as tx:
            run = runs.get(tx, query["from"])
            form.typed["settings"] = _beyond(run.preset, RunConfig.model_validate(run.config))
            form.typed["preset"] = run.preset or ""
    elif query.get("preset") in PRESETS:
        form.typed["preset"] = query["preset"]
    form.typed |= {name: query[name] for name in form.typed if name in query and name != "preset"}
    named = {key if key in FIELDS else _BY_LAST_NAME.get(key, ""): text for key, text in query.items()}
    if "factor" in query:  # then all other settings are the base's
        form.factors = list(zip(query.getlist("factor"), query.getlist("values"), strict=False))
        more = "\n".join(f"{field} = {text}" for field, text in named.items() if field)
        form.typed["settings"] = f"{form.typed['settings']}\n{more}".strip()
    elif factors := [(field, text) for field, text in named.items() if field in VARYING]:
        form.factors = factors
    return _page(request, form)


@router.post("/sweeps/new", response_model=None)
def launch(request: Request, posted: Posted) -> Response:
    form = SweepForm(speech_of(request))
    if posted.one("action") == "begin":  # from the form of a single run
        return _page(request, _of_run_form(form, posted))
    form.read(posted)
    if posted.one("action") == "check" or (spec := form.spec()) is None:
        return _page(request, form, 200 if posted.one("action") == "check" else 422)
    digest = hashlib.sha256(repr(sorted(posted.pairs)).encode()).hexdigest()
    key = f"form-{posted.one('key')[:64]}-{digest[:32]}" if posted.one("key") else None
    db: Database = request.app.state.db
    moment = now(request)

    def create(tx: Tx) -> str:
        sweep, _ = launching.create(tx, spec, key=key, body_sha256=digest, now=moment)
        if token := form.typed["experiment"]:
            experiments.remember(tx, token, sweep=sweep, now=moment)
        return ids.show("sweep", sweep.id)

    try:
        made = db.write(create)
    except Invalid as problem:
        form.take(list(problem.errors))
        return _page(request, form, 422)
    return RedirectResponse(f"/sweeps/{made}", 303)


@router.post("/sweeps/new/fragments/cost")
def cost_fragment(request: Request, posted: Posted) -> HTMLResponse:
    """What it would take, for what is typed now."""
    form = SweepForm(speech_of(request))
    form.read(posted)
    return page(request, "_sweep_cost.html", **_priced(request, form))


def _of_run_form(form: SweepForm, posted: Form) -> SweepForm:
    """The single run's settings become the base, its λ the middle of the grid."""
    preset = posted.one("preset")
    typed = {key: posted.one(key) for key in FIELDS if posted.has(key)}
    form.typed["preset"] = preset if preset in PRESETS else ""
    base = (PRESETS[preset].config if preset in PRESETS else RunConfig()).flat()
    if posted.one("length_unit") == "steps" and posted.one("length"):
        typed["schedule.steps"] = posted.one("length")
    switches = {key: posted.has(key) for key, (_, info) in FIELDS.items() if info.annotation is bool}
    lines = [f"{key} = {text}" for key, text in typed.items() if key not in switches and key != "optim.weight_decay" and _other(text, base[key])]  # fmt: skip
    lines += [f"{key} = {'on' if on else 'off'}" for key, on in switches.items() if on is not base[key]]
    form.typed["settings"] = "\n".join(lines)
    form.typed["name"], form.typed["tags"] = posted.one("name"), posted.one("tags")
    return form


def _other(text: str, start: Any) -> bool:
    if start is None:
        return text != ""
    try:
        return float(text) != float(start)
    except (TypeError, ValueError):
        return text != str(start)


def _beyond(preset: str | None, config: RunConfig) -> str:
    """The settings that differ from the preset's, a line each; λ and the seed are the sweep's business."""
    base = (PRESETS[preset].config if preset in PRESETS else RunConfig()).flat()
    sections: dict[str, dict[str, Any]] = {}
    for key, value in config.flat().items():
        if value != base[key] and key != "optim.weight_decay":
            section, _, name = key.partition(".")
            sections.setdefault(section, {})[name] = value
    return settings_text(sections)


def _priced(request: Request, form: SweepForm) -> dict[str, Any]:
    spec, price = form.spec(), None
    if spec is not None:
        db: Database = request.app.state.db
        try:
            with db.read() as tx:
                price = cost.estimate(tx, spec)
        except Invalid as problem:
            form.take(list(problem.errors))
    try:
        script = form.yaml()
    except Invalid:
        script = ""
    return {"form": form, "price": price, "script": script, "never_early": search.NEVER_EARLY}


def _offered(request: Request) -> dict[str, ready_made.ReadyMade]:
    """The ready-made experiments, as long as nothing else has been chosen or typed."""
    return {} if request.method == "POST" or request.query_params else ready_made.READY_MADE


def _page(request: Request, form: SweepForm, status: int = 200) -> HTMLResponse:
    speech = speech_of(request)
    db: Database = request.app.state.db
    context = _priced(request, form)
    with db.read() as tx:
        choices = [DatasetView(one, speech) for one in datasets.list_all(tx)]
        machines = [(ids.show("worker", one.id), one.name) for one in workers.list_all(tx) if one.enabled]
    return page(
        request, "sweep_new.html", status, **context, datasets=choices, machines=machines, presets=PRESETS, fields=VARYING,
        about={name: (speech(str(info.title)), speech(str(info.description))) for name, info in {**SweepSpec.model_fields, **Search.model_fields}.items()},
        key=secrets.token_hex(16), refused=status == 422, ready_made=_offered(request), ready_runs=ready_made.runs(),
    )  # fmt: skip
