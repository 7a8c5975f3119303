"""The page that takes a log from elsewhere, pasted or as a file; and the run page's card of what it told and what is missing."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from app import diagnoses, foreign_runs, runs
from app.contract import ids
from app.contract.elsewhere import FactsChange, LogImport, RunFacts
from app.contract.states import ACTIVE
from app.db import Database, Tx
from app.errors import FieldError, Invalid, TooLarge, from_pydantic
from app.foreign.log import NOTES, NotALog
from app.i18n import Speech
from app.pages.forms import Form, Posted
from app.pages.launch_form import as_typed
from app.pages.rendering import now, page
from app.tables import Diagnosis, Run

router = APIRouter(include_in_schema=False)


@router.get("/runs/import/log")
def form(request: Request) -> HTMLResponse:
    return _form(request, {}, [])


@router.post("/runs/import/log")
def take_in(request: Request, posted: Posted) -> Response:
    state, moment = request.app.state, now(request)
    typed = dict(posted.pairs)
    try:
        asked, data = read(posted)
        number = foreign_runs.take_in(
            state.db, state.settings.store, asked, data=data, clock=state.clock, behind=state.behind
        )
    except ValidationError as error:
        return _form(request, typed, list(from_pydantic(error, model=LogImport).errors))
    except Invalid as error:
        return _form(request, typed, list(error.errors))
    except (NotALog, TooLarge) as error:
        return _form(request, typed, [FieldError("", error.detail)])
    _diagnose(state.db, number, moment)
    return RedirectResponse(f"/runs/{ids.show('run', number)}", 303)


def read(posted: Form) -> tuple[LogImport, bytes | None]:
    """What was asked for, and the file that came with it: one of an upload, a file of the form, pasted text."""
    given: dict[str, Any] = {key: posted.one(key) for key in ("name", "config", "args", "sha256") if posted.one(key)}
    given["facts"] = {key: posted.one(key) for key in RunFacts.model_fields if posted.one(key)}
    upload = posted.files.get("log")
    data = upload.data if upload is not None and upload.data else None
    if data is not None and upload is not None:
        given.setdefault("name", upload.filename[:200] or None)
    elif "sha256" in given:
        given.setdefault("name", posted.one("file_name")[:200] or None)
    elif text := next(iter(posted.all("text")), "").strip("\r\n"):
        given["text"] = text
    return LogImport.model_validate(given), data


def _form(request: Request, typed: dict[str, str], wrong: list[FieldError]) -> HTMLResponse:
    messages = [f"{pointer.strip('/')} {message}".strip() for pointer, message in wrong]
    typed = {key: value for key, value in typed.items() if key not in ("sha256", "file_name")}
    return page(
        request, "log_import.html", 422 if wrong else 200, typed=typed, wrong=messages, facts=fields(tuple(RunFacts.model_fields)),
        small=foreign_runs.SMALL, largest_gib=foreign_runs.LARGEST >> 30,
    )  # fmt: skip


def fields(names: tuple[str, ...]) -> list[tuple[str, FieldInfo]]:
    """(name, field) of facts a form asks for."""
    return [(name, RunFacts.model_fields[name]) for name in names if name in RunFacts.model_fields]


@router.post("/runs/{text_id}/facts")
def supply(request: Request, text_id: str, posted: Posted) -> Response:
    moment = now(request)
    given: dict[str, Any] = {key: posted.one(key) for key in RunFacts.model_fields if posted.one(key)}
    given |= {
        key: None for key in posted.all("supplied") if key in RunFacts.model_fields and key not in given
    }  # taken back
    texts = {key: posted.one(key) for key in ("config", "args") if posted.one(key)}
    try:
        change = FactsChange.model_validate({"facts": given} | texts)
    except ValidationError as error:
        raise from_pydantic(error, model=FactsChange) from None

    def work(tx: Tx) -> None:
        foreign_runs.supply(tx, runs.get(tx, text_id), change, now=moment)

    db = request.app.state.db
    db.write(work)
    with db.read() as tx:
        number = runs.get(tx, text_id).id
    _diagnose(db, number, moment)
    return RedirectResponse(f"/runs/{text_id}#imported", 303)


def _diagnose(db: Database, number: int, moment: float) -> None:
    """At once, so that the page that is shown next is of what has just been told; not while a long log is being read."""
    with db.read() as tx:
        run = tx.session.get_one(Run, number)
        made = None if run.state in ACTIVE else diagnoses.diagnose(tx, run)
    if made is not None:
        db.write(lambda tx: diagnoses.keep(tx, number, made, now=moment))


def card(tx: Tx, run: Run, speech: Speech) -> dict[str, Any]:
    """What the run page shows of a log, and for each missing fact the verdicts that wait for it."""
    told = run.telemetry.get("imported")
    if told is None or "told" not in told:
        return {"elsewhere": None}
    facts, supplied = told["facts"], told["told"]["supplied"]
    known = [
        (speech(str(info.title)), _shown(facts[name], speech), speech(unit(info)), name in supplied)
        for name, info in RunFacts.model_fields.items()
        if facts.get(name) is not None
    ]
    findings = _findings(tx, run)
    wanted = [
        name
        for one in findings
        for name in one.get("missing", ())
        if name in RunFacts.model_fields and name not in told["asks"]
    ]
    return {
        "elsewhere": {
            "format": foreign_runs.KINDS.get(told["format"], told["format"]),
            "known": known,
            "configured": len(told["known"]),
            "notes": [said(note, speech) for note in told["notes"]],
            "asks": fields((*told["asks"], *dict.fromkeys(wanted))),
            "supplied": [(name, RunFacts.model_fields[name], as_typed(value)) for name, value in supplied.items()],
            "asks_config": "config" in told["asks"],
            "waiting": _waiting(findings, speech),
            "resumes": len(told["told"]["log"]["resumes"]),
        }
    }


def unit(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _shown(value: Any, speech: Speech) -> str:
    return speech.number(value) if isinstance(value, int) else str(as_typed(value))


def _findings(tx: Tx, run: Run) -> list[dict[str, Any]]:
    """By the newest diagnosis; one from before the last fact was supplied would ask for it again."""
    kept = tx.session.get(Diagnosis, run.id)
    fresh = kept is not None and kept.signature == diagnoses.signature(tx, run)
    return kept.findings if kept is not None and fresh else diagnoses.diagnose(tx, run).findings


def _waiting(findings: list[dict[str, Any]], speech: Speech) -> list[tuple[str, list[str]]]:
    """(fact, verdicts that wait for it)."""
    verdicts: dict[str, list[str]] = {}
    for finding in findings:
        for name in finding.get("missing", ()):  # what is no fact of its own stands in the config
            asked = name if name in RunFacts.model_fields else "config"
            verdicts.setdefault(asked, []).append(speech(finding["subject"]))
    titles = {name: speech(str(info.title)) for name, info in RunFacts.model_fields.items()}
    titles["config"] = speech("Config file or command line")
    return [(titles.get(name, name), list(dict.fromkeys(subjects))) for name, subjects in verdicts.items()]


def said(note: dict[str, Any], speech: Speech) -> str:
    """A note in the reader's language."""
    return speech(NOTES[note["kind"]], **note["values"]) if note["kind"] in NOTES else str(note.get("text", ""))
