"""A checkpoint as another project's files, from the run page: two buttons a row, what became of it, and links to the files."""

from typing import Any, get_args

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app import checkpoints, exports, runs
from app.contract import ids
from app.contract.exchange import Format
from app.db import Tx
from app.errors import FieldError, Invalid, NotFound
from app.i18n import N_, Speech
from app.pages.forms import Posted
from app.pages.rendering import now
from app.pages.view import Look
from app.tables import Job, Run

router = APIRouter(include_in_schema=False)
NAMES: dict[str, str] = {"nanogpt": N_("nanoGPT's ckpt.pt"), "gpt2": N_("GPT-2's safetensors")}
LOOKS: dict[str, Look] = {
    "queued": Look("t2", "queue", N_("Waiting")),
    "writing": Look("run", "run", N_("Writing")),
    "done": Look("ok", "ok", N_("Done")),
    "failed": Look("bad", "bad", N_("Failed")),
}


class ExportView:
    """One export: which format, how far it is, its files."""

    def __init__(self, job: Job, state: str, speech: Speech) -> None:
        self.name = speech(NAMES[job.payload["format"]])
        self.tone, self.shape, word = LOOKS[state]
        self.word = speech(word)
        self.open = state in ("queued", "writing")
        self.detail = str(job.payload.get("detail", ""))
        self.files = [
            (file["name"], file["bytes"], f"/api/v1/artifacts/{file['sha256']}?name={file['name']}")
            for file in job.payload.get("files", ())
        ]


def shown(tx: Tx, run: Run, speech: Speech) -> dict[int, list[ExportView]]:
    """Of each checkpoint the newest export in each format; those whose files are deleted can be asked for again."""
    found: dict[int, list[ExportView]] = {}
    seen = set()
    for job in exports.of_run(tx, run.id):
        key = job.payload["checkpoint"], job.payload["format"]
        if key in seen:
            continue
        seen.add(key)
        state: Any = exports.state(tx, job)
        if state in LOOKS:
            found.setdefault(key[0], []).append(ExportView(job, state, speech))
    return found


@router.post("/runs/{text_id}/checkpoints/{checkpoint_id}/export")
def ask(request: Request, text_id: str, checkpoint_id: str, posted: Posted) -> Response:
    format: Any = posted.one("format")
    if format not in get_args(Format):
        raise Invalid([FieldError("/format", f"must be one of {', '.join(get_args(Format))}")])
    moment, quiet_s = now(request), request.app.state.settings.lease_s

    def work(tx: Tx) -> None:
        run, checkpoint = runs.get(tx, text_id), checkpoints.get(tx, checkpoint_id)
        if checkpoint.run_id != run.id:
            raise NotFound(f"{checkpoint_id} is no checkpoint of {ids.show('run', run.id)}.")
        exports.ask(tx, checkpoint, format, now=moment, quiet_s=quiet_s)

    request.app.state.db.write(work)
    return RedirectResponse(f"/runs/{text_id}#checkpoints", 303)
