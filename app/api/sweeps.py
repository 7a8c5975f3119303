"""Sweeps: launch an experiment of many runs, see its cost first, steer it, read what it says."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from starlette.responses import Response
from typing_extensions import TypedDict

from app import export
from app.api.body import Json, JsonResponse
from app.api.deps import BodySha256, Db, IdempotencyKey, Limit, Now, Offset, id_path
from app.api.problems import problems
from app.contract.sweep import SweepSpec
from app.db import Tx
from app.errors import Conflict, Invalid, NotFound
from app.routing import api_router
from app.shapes import iso
from app.sweeps import cost, gather, launching, members, shapes, sharing, sheets, steering
from app.sweeps.analysis import analysis
from app.sweeps.launching import Addition
from app.sweeps.steering import SweepChange

router = api_router("/sweeps", tag="sweeps")
SweepId = Annotated[str, id_path("sweep", "x-0001")]


class SweepRow(TypedDict):
    id: str
    name: str
    state: str
    priority: int
    notes: str
    runs: dict[str, Any]
    actions: list[str]
    created_at: str
    updated_at: str
    ended_at: str | None


class SweepJson(SweepRow):
    spec: dict[str, Any]
    members: list[dict[str, Any]]


class SweepList(TypedDict):
    sweeps: list[SweepRow]


EXAMPLE = {
    "preset": "tiny", "name": "λ on the built-in data", "seeds": 3,
    "factors": [{"field": "optim.weight_decay", "values": [0, 0.1, 1, 3]}],
}  # fmt: skip


@router.post(
    "", status_code=201, response_model=SweepJson, summary="Launch a sweep",
    responses={200: {"description": "The sweep that this Idempotency-Key made before."}, **problems(Invalid)},
    openapi_extra={"x-body": EXAMPLE},
)  # fmt: skip
def launch(
    spec: Annotated[SweepSpec, Json(SweepSpec)],
    body_sha256: BodySha256,
    db: Db,
    now: Now,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Every combination of the factors' values with every seed becomes a run; within a seed all arms share initial
    weights and order of data. A run that is there already, of the same configuration and data, is taken in instead of
    being trained again. Each configuration is checked first; at most 1,000 runs.
    """

    def create(tx: Tx) -> tuple[dict[str, Any], bool]:
        made, new = launching.create(tx, spec, key=idempotency_key, body_sha256=body_sha256, now=now)
        tx.session.flush()
        return shapes.sweep(tx, made), new

    shown, new = db.write(create)
    return JsonResponse(shown, 201 if new else 200, headers={"Location": f"/api/v1/sweeps/{shown['id']}"})


@router.post(
    "/cost", response_model=dict[str, Any], summary="What a sweep would take", responses=problems(Invalid),
    openapi_extra={"x-body": EXAMPLE},
)  # fmt: skip
def price(spec: Annotated[SweepSpec, Json(SweepSpec)], db: Db) -> Response:
    """The body of a launch; nothing is stored. Runs, of which how many are there already, tokens, seconds of training at
    the last measured speed, checkpoint disk; and for each arm its Λ and whether its λ can matter.
    """
    with db.read() as tx:
        return JsonResponse(cost.estimate(tx, spec))


@router.get("", response_model=SweepList, summary="List sweeps")
def find(db: Db, offset: Offset = 0, limit: Limit = 50) -> Response:
    """Newest first."""
    with db.read() as tx:
        return JsonResponse({"sweeps": [shapes.sweep(tx, row, whole=False) for row in members.listing(tx, limit, offset)]})  # fmt: skip


@router.get("/{sweep_id}", response_model=SweepJson, summary="Look at a sweep", responses=problems(NotFound))
def look(sweep_id: SweepId, db: Db) -> Response:
    """Its specification, its runs with arm, seed and final loss, and what can be asked of it."""
    with db.read() as tx:
        return JsonResponse(shapes.sweep(tx, members.get(tx, sweep_id)))


@router.patch(
    "/{sweep_id}", response_model=SweepJson, summary="Rename, annotate, change the priority",
    responses=problems(NotFound, Invalid), openapi_extra={"x-body": {"priority": 5}},
)  # fmt: skip
def patch(sweep_id: SweepId, change: Annotated[SweepChange, Json(SweepChange)], db: Db, now: Now) -> Response:
    """Only the fields given change. A priority holds for its waiting runs at once."""
    return _act(db, sweep_id, lambda tx, sweep: steering.change(tx, sweep, change, now=now))


@router.delete("/{sweep_id}", response_model=SweepJson, summary="Take off the list", responses=problems(NotFound, Conflict))  # fmt: skip
def delete(sweep_id: SweepId, db: Db, now: Now) -> Response:
    """Its runs stay. One under way is cancelled first."""
    return _act(db, sweep_id, lambda tx, sweep: steering.delete(tx, sweep, now=now))


@router.post("/{sweep_id}/pause", response_model=SweepJson, summary="Pause a sweep", responses=problems(NotFound, Conflict))  # fmt: skip
def pause(sweep_id: SweepId, db: Db, now: Now) -> Response:
    """Nothing more of it is given to workers; what trains is saved, and its device freed."""
    return _act(db, sweep_id, lambda tx, sweep: steering.pause(tx, sweep, now=now))


@router.post("/{sweep_id}/resume", response_model=SweepJson, summary="Resume a sweep", responses=problems(NotFound, Conflict))  # fmt: skip
def resume(sweep_id: SweepId, db: Db, now: Now) -> Response:
    """Its runs are queued again, each from its newest checkpoint; a cancelled sweep's too."""
    return _act(db, sweep_id, lambda tx, sweep: steering.resume(tx, sweep, now=now))


@router.post("/{sweep_id}/cancel", response_model=SweepJson, summary="Cancel a sweep", responses=problems(NotFound, Conflict))  # fmt: skip
def cancel(sweep_id: SweepId, db: Db, now: Now) -> Response:
    """What waits is dropped; what trains finishes its step, saves and ends. Nothing is deleted."""
    return _act(db, sweep_id, lambda tx, sweep: steering.cancel(tx, sweep, now=now))


@router.post(
    "/{sweep_id}/add", response_model=SweepJson, summary="Add seeds or values", responses=problems(NotFound, Conflict, Invalid),
    openapi_extra={"x-body": {"seeds": 2, "factors": [{"field": "optim.weight_decay", "values": [0.3]}]}},
)  # fmt: skip
def add(sweep_id: SweepId, addition: Annotated[Addition, Json(Addition)], db: Db, now: Now) -> Response:
    """More seeds of every arm, more values of a factor that it has, more variants, more trials of a search. Only the
    runs that are missing are made.
    """
    return _act(db, sweep_id, lambda tx, sweep: launching.add(tx, sweep, addition, now=now))


def _act(db: Db, sweep_id: str, act: Any) -> Response:
    """Do it and answer the sweep as it is then."""

    def perform(tx: Tx) -> dict[str, Any]:
        sweep = members.get(tx, sweep_id)
        act(tx, sweep)
        tx.session.flush()
        return shapes.sweep(tx, sweep)

    return JsonResponse(db.write(perform))


@router.get("/{sweep_id}/analysis", response_model=dict[str, Any], summary="What a sweep says", responses=problems(NotFound))  # fmt: skip
def read(
    sweep_id: SweepId,
    db: Db,
    reference: Annotated[str, Query(max_length=2000, description="The `key` of another arm to compare with.")] = "",
    slice: Annotated[int, Query(ge=-1, le=100_000, description="Which combination of the other factors the fit is for.")] = -1,
) -> Response:  # fmt: skip
    """Everything its page shows, from the same function: the verdict as a sentence with its numbers, a row for each arm with
    t-interval, paired differences (Holm) and Dunnett's test, the fitted minimum over λ, difference curves, weight sizes and
    their equilibrium, gaps, the heat map, and whether the arms may be compared at all.
    """
    with db.read() as tx:
        data = gather.gather(tx, members.get(tx, sweep_id))
    return JsonResponse(analysis(data, reference or None, slice))


@router.get("/{sweep_id}/data", response_model=dict[str, Any], summary="A sweep's numbers", responses=problems(NotFound))  # fmt: skip
def numbers(sweep_id: SweepId, db: Db) -> Response:
    """What the analysis is made from, whole: every run's configuration, evaluations, weight sizes and final losses window by
    window. The same content repeats the analysis anywhere.
    """
    with db.read() as tx:
        return JsonResponse(gather.gather(tx, members.get(tx, sweep_id)))


@router.get(
    "/{sweep_id}/tables/{table}", summary="Download a table", responses=problems(NotFound), response_model=None,
)  # fmt: skip
def table(
    sweep_id: SweepId,
    table: Annotated[str, Path(max_length=40, description=", ".join(sheets.SHEETS), examples=["arms"])],
    db: Db,
    form: Annotated[Literal["csv", "parquet", "json"], Query(alias="format", description="Of the file.")] = "csv",
) -> Response:
    """One of the page's tables: arms, runs, differences, weights, gaps, heat."""
    with db.read() as tx:
        data = gather.gather(tx, members.get(tx, sweep_id))
    rows = sheets.sheet(analysis(data), table)
    name = {"Content-Disposition": f'attachment; filename="{sweep_id}-{table}.{form}"'}
    if form == "json":
        return JsonResponse({"rows": rows}, headers=name)
    kind = export.MEDIA_TYPES[form]
    return Response(export.rows(rows, form), headers=name, media_type=kind)


class SharedLink(TypedDict):
    id: int
    path: str
    created_at: str


class SharedLinks(TypedDict):
    shares: list[dict[str, Any]]


@router.post("/{sweep_id}/shares", status_code=201, response_model=SharedLink, summary="Make a public link", responses=problems(NotFound))  # fmt: skip
def share(sweep_id: SweepId, db: Db, now: Now) -> Response:
    """A page without a sign-in, for anybody who has the link: read-only, not for search engines, revocable. The link is
    shown this once; only its hash is kept.
    """

    def make(tx: Tx) -> dict[str, Any]:
        made, secret = sharing.make(tx, members.get(tx, sweep_id), now=now)
        return {"id": made.id, "path": f"/share/{secret}", "created_at": iso(made.created_at)}

    return JsonResponse(db.write(make), 201)


@router.get("/{sweep_id}/shares", response_model=SharedLinks, summary="List public links", responses=problems(NotFound))
def shares(sweep_id: SweepId, db: Db) -> Response:
    """Those that still work; their secrets are known to nobody here."""
    with db.read() as tx:
        found = sharing.listing(tx, members.get(tx, sweep_id))
        return JsonResponse({"shares": [{"id": one.id, "created_at": iso(one.created_at)} for one in found]})


@router.delete("/{sweep_id}/shares/{share}", response_model=SharedLinks, summary="Revoke a public link", responses=problems(NotFound))  # fmt: skip
def revoke(
    sweep_id: SweepId,
    share: Annotated[int, Path(ge=1, le=2**62, description="The link's number, from the list.")],
    db: Db,
    now: Now,
) -> Response:
    """From now on it shows nothing."""

    def forget(tx: Tx) -> dict[str, Any]:
        sweep = members.get(tx, sweep_id)
        sharing.revoke(tx, sweep, share, now=now)
        tx.session.flush()
        return {"shares": [{"id": one.id, "created_at": iso(one.created_at)} for one in sharing.listing(tx, sweep)]}

    return JsonResponse(db.write(forget))
