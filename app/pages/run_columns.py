"""Which columns the runs list shows: its own, any field of the configuration, the newest value of any metric."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from app.contract.config import RunConfig
from app.contract.metrics import KEY, METRICS
from app.db import Tx
from app.i18n import N_, Speech
from app.pages.launch_form import FIELDS
from app.run_query import flat
from app.tables import Run

MOST = 20
MOST_DIFFERING = 8
CONFIG = frozenset(RunConfig().flat())


class Column(NamedTuple):
    key: str  #: of the list, or a field of the configuration, or a metric
    title: str
    cell: str  #: "own": the template knows it; "field", "metric"
    klass: str = "num hide3 c-ex"
    sort: str = ""  #: the list's sort key, where it has one
    first_down: bool = False


OWN = (
    Column("spark", N_("Val loss"), "own", "c-sp"),
    Column("best_val", N_("Best val"), "own", "num c-val", "best_val"),
    Column("delta", N_("Δ baseline"), "own", "num hide2 c-ex"),
    Column("weight_decay", "λ", "own", "num c-wd", "weight_decay"),
    Column("lr", N_("Peak lr"), "own", "num hide2 c-ex", "lr"),
    Column("tokens", N_("Tokens"), "own", "num hide3 c-ex"),
    Column("progress", N_("Progress"), "own", "c-pr", "step", True),
    Column("tok_per_s", "tok/s", "own", "num hide3 c-ex"),
    Column("age", N_("Age"), "own", "num hide2 c-ex", "created", True),
)
_OWN = {column.key: column for column in OWN}
DEFAULT = tuple(column.key for column in OWN)


def chosen(keys: Sequence[str], speech: Speech) -> list[Column]:
    """The columns of these keys, each once; what is none is left out, and of nothing there are the usual ones."""
    found = [column for key in dict.fromkeys(keys) if (column := _column(key, speech))]
    # what was asked for by name is shown however narrow the window is; the table scrolls
    asked = [column._replace(klass=column.klass.replace(" hide3", "").replace(" hide2", "")) for column in found]
    return asked[:MOST] or [_OWN[key]._replace(title=speech(_OWN[key].title)) for key in DEFAULT]


def _column(key: str, speech: Speech) -> Column | None:
    if key in _OWN:
        return _OWN[key]._replace(title=speech(_OWN[key].title))
    if key in CONFIG:
        return Column(key, speech(str(FIELDS[key][1].title)), "field", sort=key)
    if len(key) <= 200 and KEY.fullmatch(key):
        title = next((speech(metric.title) for metric in METRICS if metric.key == key), key)
        return Column(key, title, "metric", sort=key)
    return None


def offered(speech: Speech) -> list[tuple[str, str]]:
    """(key, title) of every field and metric that could be a column."""
    fields = [(key, speech(str(FIELDS[key][1].title))) for key in RunConfig().flat()]
    return fields + [(metric.key, speech(metric.title)) for metric in METRICS if not metric.key.endswith("/")]


def differing(runs: Iterable[Run], shown: Sequence[Column]) -> list[str]:
    """The fields in which these runs differ and that are not shown yet, in the order of the form."""
    configs = [flat(run.config) for run in runs]
    names = {"optim.weight_decay": "weight_decay", "schedule.lr": "lr"}
    there = {column.key for column in shown}
    found = []
    for key in RunConfig().flat():
        values = {repr(config.get(key)) for config in configs}
        if len(values) > 1 and key not in there and names.get(key) not in there:
            found.append(key)
    return found[:MOST_DIFFERING]


def values(tx: Tx, runs: Sequence[Run], columns: Sequence[Column]) -> Mapping[int, Mapping[str, Any]]:
    """Run number → column key → value, of the columns that the template does not know; None where there is none."""
    fields = [column.key for column in columns if column.cell == "field"]
    metrics = [column.key for column in columns if column.cell == "metric"]
    found: dict[int, dict[str, Any]] = {}
    for run in runs:
        config = flat(run.config) if fields else {}
        found[run.id] = {key: config.get(key) for key in fields}
    if metrics and runs:
        marks = f"({', '.join('?' * len(runs))}) AND key IN ({', '.join('?' * len(metrics))})"
        query = f"SELECT run_id, key, last_value FROM series WHERE run_id IN {marks}"  # noqa: S608 - question marks only
        for number, key, value in tx.raw.execute(query, (*(run.id for run in runs), *metrics)):
            found[number][key] = value
    return found
