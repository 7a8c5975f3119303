"""Ready-made experiments on the page of a new sweep: started by one click, or opened in the form first."""

import secrets

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from app import ready_made
from app.contract import ids
from app.db import Database, Tx
from app.pages.forms import Posted
from app.pages.rendering import now
from app.sweeps import launching

router = APIRouter(include_in_schema=False)


@router.post("/sweeps/ready-made/{key}", response_model=None)
def start(request: Request, key: str, form: Posted) -> Response:
    chosen, moment = ready_made.get(key), now(request)
    given = form.one("key")[:64] or secrets.token_hex(8)
    db: Database = request.app.state.db

    def create(tx: Tx) -> str:
        sweep, _ = launching.create(
            tx, chosen.sweep(), key=f"ready-{key}-{given}", body_sha256=f"ready-made-{key}", now=moment
        )
        return ids.show("sweep", sweep.id)

    return RedirectResponse(f"/sweeps/{db.write(create)}", 303)
