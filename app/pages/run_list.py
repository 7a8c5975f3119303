"""The runs list: tabs by state, archive and trash, filter, sort, columns, sparklines; what is ticked is acted on as one plain form."""

from typing import Any, NamedTuple, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app import filing, runs, saved_views, series
from app.contract import ids
from app.contract.states import ACTIVE, RunState
from app.db import Database, Tx
from app.errors import Invalid
from app.filing import UNDO, Action
from app.i18n import Speech
from app.pages import diagnosis, run_columns
from app.pages.drawing import sparkline
from app.pages.forms import Form, Posted, back_to
from app.pages.rendering import now, page, speech_of
from app.pages.view import LOOKS, RunView
from app.run_query import Place, RunQuery
from app.tables import Run, Setting, Worker

router = APIRouter(include_in_schema=False)
PER_PAGE = 50
UNDO_S = 600.0
"""How long the way back is offered; the archive and the trash are open for ever."""
TABS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("running", ("starting", "running", "stopping")),
    ("queued", ("queued",)),
    ("finished", ("finished",)),
    ("failed", ("failed",)),
    ("lost", ("lost",)),
    ("paused", ("paused",)),
    ("stopped", ("stopped",)),
)
DONE: dict[str, tuple[str, str]] = {  # one, many: looked up together
    "archive": ("%(n)s run is in the archive now.", "%(n)s runs are in the archive now."),
    "unarchive": ("%(n)s run is back on the list.", "%(n)s runs are back on the list."),
    "trash": ("%(n)s run is in the trash now.", "%(n)s runs are in the trash now."),
    "restore": ("%(n)s run is back on the list.", "%(n)s runs are back on the list."),
    "tag": ("%(n)s run has this tag now.", "%(n)s runs have this tag now."),
    "untag": ("%(n)s run has lost this tag.", "%(n)s runs have lost this tag."),
}


class Address(NamedTuple):
    """The list's own address: everything that a view of it is."""

    q: str = ""
    tab: str = ""
    place: Place = "list"
    sort: str = "-created"
    col: tuple[str, ...] = ()
    differs: str = ""
    offset: int = 0

    @classmethod
    def of(cls, request: Request) -> "Address":
        """What cannot be meant is read as not given: this is a page, not the API."""
        asked = request.query_params
        offset = asked.get("offset", "")
        return cls(
            asked.get("q", "")[:500],
            asked.get("tab", "")[:20],
            next((place for place in get_args(Place) if place == asked.get("place")), "list"),
            asked.get("sort", "-created")[:200],
            tuple(asked.getlist("col")[: 2 * run_columns.MOST]),
            "1" if asked.get("differs") else "",
            min(int(offset), 10_000_000) if offset.isascii() and offset.isdigit() else 0,
        )

    @property
    def query(self) -> RunQuery:
        return RunQuery(self.q, dict(TABS).get(self.tab, ()), self.sort, self.offset, PER_PAGE, self.place)

    def parts(self, without: str = "offset") -> list[tuple[str, str]]:
        """What is not at its default, a value each, for the hidden fields of a form that changes `without`."""
        return [
            (key, str(one))
            for key, value in self._asdict().items()
            if key not in (without, "offset") and value != Address._field_defaults[key]
            for one in (value if isinstance(value, tuple) else (value,))
        ]

    def __call__(self, base: str = "/runs", **changes: Any) -> str:
        """The address with this changed, from the first row on; what stands at its default is left out."""
        new = self._replace(**{"offset": 0, **changes})
        query = urlencode([(k, v) for k, v in new._asdict().items() if v != Address._field_defaults[k]], doseq=True)
        return f"{base}?{query}" if query else base

    def sorted_by(self, column: str, descending_first: bool = False) -> str:
        first, second = (f"-{column}", column) if descending_first else (column, f"-{column}")
        return self(sort=second if self.sort == first else first)


@router.get("/")
def home() -> Response:
    return RedirectResponse("/runs", 307)


@router.get("/runs")
def run_list(request: Request) -> HTMLResponse:
    return _listing(request, "runs.html")


@router.get("/runs/fragments/table")
def run_table(request: Request) -> HTMLResponse:
    """The table alone, for the live page."""
    return _listing(request, "_runs_table.html")


def _listing(request: Request, template: str) -> HTMLResponse:
    speech, moment, link = speech_of(request), now(request), Address.of(request)
    db: Database = request.app.state.db
    with db.read() as tx:
        found, problem = _find(tx, link.query)
        baseline = runs.baseline(tx)
        rows = [RunView(run, speech, moment) for run in found.rows]
        columns = run_columns.chosen(link.col, speech)
        usual = {column.key for column in columns}
        if link.differs:
            columns += run_columns.chosen(run_columns.differing(found.rows, columns), speech) if len(rows) > 1 else []
            columns = list({column.key: column for column in columns}.values())
        if baseline is None:
            columns = [column for column in columns if column.key != "delta"]
        counts = {key: sum(found.counts.get(state, 0) for state in states) for key, states in TABS}
        context: dict[str, Any] = {
            "rows": rows,
            "columns": columns,
            "usual": usual,
            "values": run_columns.values(tx, found.rows, columns),
            "verdicts": diagnosis.badges(tx, [view.number for view in rows], speech),
            "sparks": {view.id: spark(tx, view, speech) for view in rows} if "spark" in usual else {},
            "baseline": RunView(baseline, speech, moment) if baseline else None,
            "total": found.total,
            "counts": counts,
            "all_count": sum(found.counts.values()),
            "places": _places(tx),
            "any_runs": bool(found.rows) or bool(runs.find(tx, RunQuery(limit=1)).total),
            "tabs": [(key, LOOKS[key]) for key, _ in TABS if counts[key] or key in ("running", link.tab)],
            "problem": problem,
            "per_page": PER_PAGE,
            "link": link,
        }
        if template == "runs.html":
            context |= {
                "views": saved_views.listing(tx),
                "own_columns": [column._replace(title=speech(column.title)) for column in run_columns.OWN],
                "more_columns": [column for column in columns if column.cell != "own" and column.key in usual],
                "offered": run_columns.offered(speech),
                "did": _did(tx, request.query_params.get("did", ""), speech, moment),
                "busy": _busy(tx, speech, moment),
            }
    return page(request, template, **context)


def _find(tx: Tx, query: RunQuery) -> tuple[runs.RunPage, str]:
    """The page of runs; a filter or sort that is not understood shows nothing and says why."""
    try:
        return runs.find(tx, query), ""
    except Invalid as error:
        counts = runs.find(tx, RunQuery(limit=1, place=query.place)).counts
        return runs.RunPage([], 0, counts), "; ".join(one.message for one in error.errors)


def _places(tx: Tx) -> dict[str, int]:
    """How many runs are put away, where."""
    query = """SELECT (SELECT count(*) FROM runs WHERE archived_at IS NOT NULL AND deleted_at IS NULL),
                      (SELECT count(*) FROM runs WHERE deleted_at IS NOT NULL)"""
    archive, trash = tx.raw.execute(query).fetchone()
    return {"archive": archive, "trash": trash}


def _busy(tx: Tx, speech: Speech, moment: float) -> list[tuple[str, RunView]]:
    """(worker, run) of what trains now, three at most."""
    marks = ", ".join("?" * len(ACTIVE))
    query = f"""SELECT jobs.claimed_by, jobs.run_id FROM jobs JOIN runs ON runs.id = jobs.run_id
                WHERE jobs.state = 'claimed' AND jobs.claimed_by IS NOT NULL AND runs.state IN ({marks})
                ORDER BY jobs.id LIMIT 3"""  # noqa: S608 - question marks only
    pairs = tx.raw.execute(query, tuple(ACTIVE)).fetchall()
    return [
        (tx.session.get_one(Worker, worker).name, RunView(tx.session.get_one(Run, run), speech, moment))
        for worker, run in pairs
    ]


def _did(tx: Tx, token: str, speech: Speech, moment: float) -> dict[str, Any] | None:
    """What the press that led here did, while its way back is offered."""
    kept = tx.session.get(Setting, "undo")
    if kept is None or not token or kept.value.get("token") != token or moment > kept.value["at"] + UNDO_S:
        return None
    return {**kept.value, "text": speech.plural(*DONE[kept.value["action"]], len(kept.value["runs"]))}


def spark(tx: Tx, view: RunView, speech: Speech) -> str:
    if view.best_val is None:
        return ""
    points = series.read(tx.raw, view.number, "val/loss", buckets=64)
    label = speech("val loss, best %(value)s", value=speech.number(view.best_val, 3))
    return sparkline(points.step.tolist(), points.value.tolist(), view.steps, _spark_colour(view), label)


def _spark_colour(view: RunView) -> str:
    return view.colour if view.tone in ("run", "bad", "warn") else "var(--text-2)"


@router.post("/runs/selected")
def act_on_selected(request: Request, form: Posted) -> Response:
    """Compare, stop, tag, pin, put away: what is ticked, or all that the list shows. What a run cannot do passes it over."""
    db: Database = request.app.state.db
    moment, action = now(request), form.one("action")
    chosen = form.all("run")[: filing.MOST_RUNS]
    if action == "compare":
        return RedirectResponse("/compare?" + urlencode([("run", text_id) for text_id in chosen]), 303)
    if action == "baseline" and len(chosen) == 1:
        db.write(lambda tx: runs.pin_baseline(tx, runs.get(tx, chosen[0])))
    elif action == "no-baseline":
        db.write(lambda tx: runs.pin_baseline(tx, None))
    known: Action | None = next((one for one in get_args(Action) if one == action), None)
    if known and (token := _file(db, form, chosen, known, moment)):
        return _back(request, form, token)
    return back_to(request, form, "/runs")


def _file(db: Database, form: Form, chosen: list[str], action: Action, moment: float) -> str:
    """Do it and keep the way back; returns the name of that, empty where there is none."""
    numbers = [number for text_id in chosen if (number := ids.parse("run", text_id)) is not None]
    if form.has("all"):
        states = dict(TABS).get(form.one("tab"), ())
        place: Place = next((one for one in get_args(Place) if one == form.one("place")), "list")
        with db.read() as tx:
            numbers = filing.matching(tx, RunQuery(text=form.one("q")[:500], states=states, place=place))
    filed = filing.act(db, numbers, action, tag=form.one("tag"), now=moment)
    if action not in UNDO or not filed.changed:
        return ""
    token = f"{action}-{moment:.3f}"
    kept = {"token": token, "action": action, "tag": form.one("tag"), "runs": filed.changed, "at": moment}
    db.write(lambda tx: tx.session.merge(Setting(key="undo", value=kept)))
    return token


def _back(request: Request, form: Form, token: str) -> Response:
    answer = back_to(request, form, "/runs")
    target = answer.headers["location"]
    answer.headers["location"] = f"{target}{'&' if '?' in target else '?'}{urlencode({'did': token})}"
    return answer


@router.post("/runs/undo")
def undo(request: Request, form: Posted) -> Response:
    """The opposite of the last press on what it changed, if nobody has pressed anything since."""
    moment = now(request)

    db: Database = request.app.state.db
    if kept := db.write(lambda tx: _taken(tx, form.one("token"))):
        numbers = [number for text_id in kept["runs"] if (number := ids.parse("run", text_id)) is not None]
        filing.act(db, numbers, UNDO[kept["action"]], tag=kept["tag"], now=moment)
    return back_to(request, form, "/runs")


def _taken(tx: Tx, token: str) -> dict[str, Any] | None:
    """The way back of this name, which is then no longer there; None where another press came between."""
    kept = tx.session.get(Setting, "undo")
    if kept is None or kept.value.get("token") != token:
        return None
    tx.session.delete(kept)
    return kept.value


@router.post("/runs/views")
def save_view(request: Request, form: Posted) -> Response:
    """Name this address of the list, or forget a name."""
    db: Database = request.app.state.db
    if form.one("delete"):
        db.write(lambda tx: saved_views.delete(tx, form.one("delete")))
    else:
        db.write(lambda tx: saved_views.save(tx, form.one("name"), form.one("query")))
    return back_to(request, form, "/runs")


assert set(dict(TABS)) <= set(RunState), "every tab is named after its first word's state"
