"""The run page's card of texts: a form to ask for some, those that were asked for, and those the run wrote while it trained."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from app import checkpoints, runs, samples
from app.contract import ids
from app.contract.sampling import Asked, SampleSettings
from app.db import Database, Tx
from app.errors import from_pydantic
from app.i18n import N_, Speech
from app.pages.forms import Posted
from app.pages.launch_form import as_typed, meant
from app.pages.rendering import now, page, speech_of
from app.pages.view import Look, RunView
from app.tables import Checkpoint, Run, Sample

router = APIRouter(include_in_schema=False)
SHOWN = 100
LOOKS: dict[str, Look] = {
    "queued": Look("t2", "queue", N_("Waiting")),
    "writing": Look("run", "run", N_("Writing")),
    "done": Look("ok", "ok", N_("Done")),
    "failed": Look("bad", "bad", N_("Failed")),
    "stopped": Look("t2", "stop", N_("Stopped")),
}


class SampleView:
    """One answer: its settings in a line, its texts with the prompt apart."""

    def __init__(self, sample: Sample, run_url: str, speech: Speech) -> None:
        told: dict[str, Any] = sample.settings
        self.id = ids.show("sample", sample.id)
        self.url = f"{run_url}/samples/{self.id}"
        self.tone, self.shape, word = LOOKS[sample.state]
        self.word = speech(word)
        self.state, self.detail, self.step, self.created_at = (
            sample.state,
            sample.detail,
            sample.step,
            sample.created_at,
        )
        self.open, self.own = sample.state in samples.OPEN, sample.checkpoint_id is None
        self.prompt = str(told.get("prompt", ""))
        self.texts = [(self.prompt, text.removeprefix(self.prompt)) for text in sample.texts]
        self.settings = [
            (speech(str(info.title)), speech.setting(told[key]))
            for key, info in SampleSettings.model_fields.items()
            if key not in ("prompt", "samples") and key in told
        ]


def card(tx: Tx, run: Run, speech: Speech) -> dict[str, Any]:
    """What the list shows: asked for, newest first; and the time line of what the run wrote, by step."""
    url = f"/runs/{ids.show('run', run.id)}"
    views = [SampleView(one, url, speech) for one in samples.listing(tx, run.id, limit=SHOWN)]
    line = sorted((one for one in views if one.own and one.state == "done"), key=lambda one: one.step)
    return {"samples": [one for one in views if one not in line], "timeline": line}


def form(tx: Tx, run: Run) -> dict[str, Any]:
    """What the form starts with."""
    saved = checkpoints.listing(tx, run.id)
    fields = [
        (key, info, as_typed(info.default), _bounds(info))
        for key, info in SampleSettings.model_fields.items()
        if key != "prompt"
    ]
    prompt = run.config.get("eval", {}).get("sample_prompt", "")
    return {"sample_fields": fields, "sample_prompt": prompt, "sample_from": _distinct(saved)}


def _distinct(saved: list[Checkpoint]) -> list[tuple[str, int]]:
    return [(ids.show("checkpoint", one.id), one.step) for one in saved]


def _bounds(info: Any) -> dict[str, Any]:
    """min, max and step of a number input."""
    low = next((m.ge for m in info.metadata if hasattr(m, "ge")), 0)
    high = next(m.le for m in info.metadata if hasattr(m, "le"))
    return {"min": low, "max": high, "step": 1 if info.annotation is int else "any"}


@router.get("/runs/{text_id}/fragments/samples")
def fragment(request: Request, text_id: str) -> HTMLResponse:
    speech = speech_of(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        run = runs.get(tx, text_id)
        context = card(tx, run, speech) | {"run": RunView(run, speech, now(request))}
    return page(request, "_run_samples.html", **context)


@router.post("/runs/{text_id}/samples")
def ask(request: Request, text_id: str, posted: Posted) -> Response:
    typed: dict[str, Any] = {
        key: meant(posted.one(key), info.annotation) for key, info in Asked.model_fields.items() if posted.has(key)
    }
    # a prompt may end in a blank or a line end that means something
    typed["prompt"] = next(iter(posted.all("prompt")), "").replace("\r\n", "\n")
    try:
        asked = Asked.model_validate(typed)
    except ValidationError as error:
        raise from_pydantic(error, model=Asked) from None
    moment, quiet_s = now(request), request.app.state.settings.lease_s
    request.app.state.db.write(lambda tx: samples.ask(tx, runs.get(tx, text_id), asked, now=moment, quiet_s=quiet_s))
    return RedirectResponse(f"/runs/{text_id}#samples", 303)


@router.post("/runs/{text_id}/samples/{sample_id}/stop")
def stop(request: Request, text_id: str, sample_id: str) -> Response:
    moment = now(request)

    def work(tx: Tx) -> None:
        samples.stop(tx, samples.get(tx, runs.get(tx, text_id).id, sample_id), now=moment)

    request.app.state.db.write(work)
    return RedirectResponse(f"/runs/{text_id}#samples", 303)
