"""Diagnoses: why a run's loss is as it is, and the experiments that would tell."""

from typing import Annotated

from starlette.responses import Response
from typing_extensions import TypedDict

from app import diagnoses, diagnosis_json, runs
from app.api.body import Json, JsonResponse
from app.api.deps import BodySha256, Db, IdempotencyKey, Now, RunId
from app.api.problems import problems
from app.db import Tx
from app.diagnosis_json import DiagnosisJson, ExperimentJson, OfferJson
from app.errors import Conflict, Invalid, NotFound
from app.experiments import launching
from app.experiments.launching import ExperimentLaunch
from app.routing import api_router

router = api_router("/runs", tag="diagnosis")


class ExperimentList(TypedDict):
    experiments: list[ExperimentJson]
    next: list[OfferJson]


@router.get("/{run_id}/diagnosis", response_model=DiagnosisJson, summary="Diagnose a run", responses=problems(NotFound))
def look(run_id: RunId, db: Db, now: Now) -> Response:
    """The verdict (improving, plateau, inconclusive, …), every rule's finding with its evidence, its confidence, what
    would change it and what it advises; the forecast of the final loss with a 90 % band, where the curve allows one;
    the experiments launched so far with what came of them, and those that could be launched, with their cost. It is
    made anew after each evaluation and when the run ends.
    """
    return JsonResponse(_diagnosis(db, run_id, now))


def _diagnosis(db: Db, run_id: str, now: float) -> DiagnosisJson:
    with db.read() as tx:
        number = runs.get(tx, run_id).id
    row = diagnoses.of(db, number, now=now)
    with db.read() as tx:
        return diagnosis_json.diagnosis(tx, runs.get(tx, run_id), row)


@router.get(
    "/{run_id}/experiments", response_model=ExperimentList, summary="List experiments", responses=problems(NotFound)
)
def experiments(run_id: RunId, db: Db, now: Now) -> Response:
    """Those launched from this run's diagnosis, newest first, and those that could be."""
    found = _diagnosis(db, run_id, now)
    return JsonResponse({"experiments": found["experiments"], "next": found["next"]})


@router.post(
    "/{run_id}/experiments", status_code=201, response_model=ExperimentJson, summary="Launch an experiment",
    responses={200: {"description": "The experiment that this Idempotency-Key made before."}, **problems(NotFound, Conflict, Invalid)},
    openapi_extra={"x-body": {"kind": "anneal_probe"}},
)  # fmt: skip
def launch(
    run_id: RunId, asked: Annotated[ExperimentLaunch, Json(ExperimentLaunch)], body_sha256: BodySha256, db: Db, now: Now,
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """A fork, a run or a sweep as its offer says (`next` of the diagnosis); `config` changes it further. When it is over,
    its outcome is compared with this run's loss and written to this run's diagnosis: supported, refuted or open, with
    the difference and its interval.
    """

    def create(tx: Tx) -> tuple[ExperimentJson, bool]:
        run = runs.get(tx, run_id)
        row, new = launching.create(tx, run, asked, key=idempotency_key, body_sha256=body_sha256, now=now)
        return diagnosis_json.experiment(row), new

    diagnoses.of(db, _number(db, run_id), now=now)
    shown, new = db.write(create)
    return JsonResponse(shown, 201 if new else 200)


def _number(db: Db, run_id: str) -> int:
    with db.read() as tx:
        return runs.get(tx, run_id).id
