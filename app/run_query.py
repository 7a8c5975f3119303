"""The small language that filters and sorts runs: `tiny tag:demo status=running wd=0.1 lr>1e-3 val/loss<3.2`.

Terms are separated by spaces and all must hold. A term is free text (in name, tags or id), `tag:x`, or a field, a
comparison and a value; quotes hold a value with spaces together. Each term becomes one SQL condition with
bound values; nothing is evaluated.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from sqlalchemy import select

from app.contract import ids
from app.contract.config import RunConfig
from app.contract.metrics import KEY, METRICS
from app.contract.states import RunState
from app.db import Tx
from app.errors import FieldError, Invalid
from app.tables import Run

Place = Literal["list", "archive", "trash"]
_PLACES: dict[Place, str] = {
    "list": "runs.deleted_at IS NULL AND runs.archived_at IS NULL",
    "archive": "runs.deleted_at IS NULL AND runs.archived_at IS NOT NULL",
    "trash": "runs.deleted_at IS NOT NULL",
}


class RunQuery(NamedTuple):
    text: str = ""
    states: tuple[str, ...] = ()
    sort: str = "-created"  #: a key of SORTS, "-" in front for descending
    offset: int = 0
    limit: int = 50
    place: Place = "list"


class RunPage(NamedTuple):
    rows: list[Run]
    total: int  #: rows that match, on all pages
    counts: dict[str, int]  #: by state, of what the text matches, whatever `states` says


class Condition(NamedTuple):
    sql: str
    values: tuple[Any, ...] = ()


SORTS = {
    "created": "runs.id",
    "name": "runs.name COLLATE NOCASE",
    "best_val": "runs.best_val",
    "step": "runs.step",
    "updated": "runs.updated_at",
    "state": "runs.state",
    "weight_decay": "json_extract(runs.config, '$.optim.weight_decay')",
    "lr": "json_extract(runs.config, '$.schedule.lr')",
}

_WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_TERM = re.compile(r'([^\s"<>=!:]+)(<=|>=|!=|==|=|<|>|:)(.+)')
_CONFIG = RunConfig().flat()
"""{"schedule.lr": 0.001, …}: the fields that exist and, by their defaults, their types."""
_ALIASES = {
    "wd": "optim.weight_decay",
    "λ": "optim.weight_decay",
    "lambda": "optim.weight_decay",
    "layers": "model.n_layer",
    "heads": "model.n_head",
    "width": "model.n_embd",
    "context": "model.block_size",
    "batch": "batch.micro_batch",
}
_NUMBERS = {
    "steps": "runs.steps",
    "step": "runs.step",
    "best": "runs.best_val",
    "best_val": "runs.best_val",
    "val/loss": "runs.best_val",
    "tok_per_s": "runs.tok_per_s",
}
_WORDS = {
    "preset": "runs.preset", "reason": "runs.reason", "source": "runs.source", "name": "runs.name",
    "diagnosis": "(SELECT verdict FROM diagnoses WHERE diagnoses.run_id = runs.id)",
}  # fmt: skip


def find(tx: Tx, query: RunQuery) -> RunPage:
    """One page of runs. Raises Invalid for an unknown field, sort key or state."""
    where = [Condition(_PLACES[query.place]), *parse(query.text)]
    chosen = _state_in(query.states) if query.states else Condition("1")
    order = _order(query.sort)
    first, most = max(0, query.offset), max(0, query.limit)
    if (
        len(where) > 1
    ):  # such conditions read every run's row: once, in the order they lie, for the numbers and the page alike
        clause, values = _joined(where)
        both = f"SELECT runs.id, runs.state FROM runs NOT INDEXED WHERE {clause} ORDER BY {order.sql}"  # noqa: S608
        found = tx.raw.execute(both, (*values, *order.values)).fetchall()
        counts = dict(Counter(state for _, state in found))
        wanted = [number for number, state in found if not query.states or state in query.states][first : first + most]
    else:
        clause = where[0].sql
        counts = dict(tx.raw.execute(f"SELECT state, count(*) FROM runs WHERE {clause} GROUP BY state").fetchall())  # noqa: S608
        # by age SQLite takes them as they lie; any other order reads them all, which the index would only scatter
        rows_of = "runs" if query.sort.lstrip("-") == "created" else "runs NOT INDEXED"
        page = f"SELECT runs.id FROM {rows_of} WHERE {clause} AND {chosen.sql} ORDER BY {order.sql} LIMIT ? OFFSET ?"  # noqa: S608
        wanted = [row[0] for row in tx.raw.execute(page, (*chosen.values, *order.values, most, first))]
    total = sum(count for state, count in counts.items() if not query.states or state in query.states)
    rows = {run.id: run for run in tx.session.scalars(select(Run).where(Run.id.in_(wanted)))}
    return RunPage([rows[number] for number in wanted], total, counts)


def parse(text: str) -> list[Condition]:
    """The conditions a text stands for. Raises Invalid (pointer /q) naming the field that does not exist."""
    if len(text) > 1000:
        raise Invalid([FieldError("/q", "must have at most 1,000 characters")])
    return [_condition(word) for word in _WORD.findall(text)]


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """A stored config as {"schedule.lr": 0.001, …}."""
    return {f"{section}.{key}": value for section, fields in config.items() for key, value in fields.items()}


def _condition(word: str) -> Condition:
    term = _TERM.fullmatch(word)
    if term is None:
        return _free_text(word.replace('"', ""))
    field, operator, value = term[1], term[2].replace("==", "="), term[3].replace('"', "")
    if operator == ":":
        return (
            _tagged(value) if field == "tag" else _condition(f"{field}={value}") if _known(field) else _free_text(word)
        )
    if field == "tag":
        return _word_only(field, operator, value, lambda: _tagged(value))
    if field in ("status", "state"):
        return _word_only(field, operator, value, lambda: _state_in((value,)))
    if field == "dataset":
        return _word_only(field, operator, value, lambda: _of_dataset(value))
    if field == "id":
        return _word_only(field, operator, value, lambda: Condition("runs.id = ?", (ids.parse("run", value) or 0,)))
    if field in _WORDS:
        return _word_only(
            field, operator, value, lambda: Condition(f"coalesce({_WORDS[field]}, '') = ? COLLATE NOCASE", (value,))
        )
    if field in _NUMBERS:
        return _compared(_NUMBERS[field], operator, _number(field, value))
    if (path := _config_path(field)) is not None:
        return _config_compared(field, path, operator, value)
    if KEY.fullmatch(field) and _is_metric(field):
        found = _compared("last_value", operator, _number(field, value))
        newest = f"EXISTS (SELECT 1 FROM series WHERE run_id = runs.id AND key = ? AND {found.sql})"  # noqa: S608  # our own words
        return Condition(newest, (field, *found.values))
    raise Invalid([FieldError("/q", _unknown(field))])


def _known(field: str) -> bool:
    named = {"tag", "status", "state", "dataset", "id"}
    return field in named or field in _WORDS or field in _NUMBERS or _config_path(field) is not None


def _is_metric(field: str) -> bool:
    return any(field == metric.key or (metric.key.endswith("/") and field.startswith(metric.key)) for metric in METRICS)


def _config_path(field: str) -> str | None:
    """ "lr" or "schedule.lr" -> "schedule.lr". `every` is in two sections: the full name is needed there."""
    if field in _ALIASES or field in _CONFIG:
        return _ALIASES.get(field, field)
    ends = [path for path in _CONFIG if path.endswith(f".{field}")]
    return ends[0] if len(ends) == 1 else None


def _unknown(field: str) -> str:
    twice = [path for path in _CONFIG if path.endswith(f".{field}")]
    if twice:
        return f"“{field[:40]}” is ambiguous; say {' or '.join(twice)}"
    last = [path.rpartition(".")[2] for path in _CONFIG]
    known = sorted({"tag", "status", "dataset", "id", *_ALIASES, *_NUMBERS, *_WORDS, *last} - {"every"})
    near = difflib.get_close_matches(field, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"“{field[:40]}” is not a field to filter by{hint} There are: {', '.join(known)}, and metrics such as train/loss"


def _free_text(word: str) -> Condition:
    pattern = "%" + word.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_") + "%"
    number = ids.parse("run", word)
    return Condition(
        r"(runs.name LIKE ? ESCAPE '\' OR runs.id = ?"
        r" OR EXISTS (SELECT 1 FROM json_each(runs.tags) WHERE json_each.value LIKE ? ESCAPE '\'))",
        (pattern, number if number is not None else -1, pattern),
    )


def _tagged(value: str) -> Condition:
    return Condition("EXISTS (SELECT 1 FROM json_each(runs.tags) WHERE json_each.value = ? COLLATE NOCASE)", (value,))


def _state_in(states: tuple[str, ...]) -> Condition:
    if wrong := [state for state in states if state not in RunState.__members__]:
        raise Invalid([FieldError("/q", f"“{wrong[0][:40]}” is not a state; there are {', '.join(RunState)}")])
    return Condition(f"runs.state IN ({', '.join('?' * len(states))})", states)


def _of_dataset(value: str) -> Condition:
    number = ids.parse("dataset", value)
    return Condition(
        "runs.dataset_id IN (SELECT id FROM datasets WHERE id = ? OR name = ? COLLATE NOCASE)",
        (number if number is not None else -1, value),
    )


def _word_only(field: str, operator: str, value: str, condition: Callable[[], Condition]) -> Condition:
    """A condition on a word: only = and != make sense."""
    if operator not in ("=", "!="):
        raise Invalid([FieldError("/q", f"“{field}” is a word and can be compared with = and != only")])
    found = condition()
    return found if operator == "=" else Condition(f"NOT ({found.sql})", found.values)


def _compared(column: str, operator: str, number: float) -> Condition:
    if operator in ("=", "!="):  # a decimal typed by hand and one computed may differ in the last bit
        near = f"abs({column} - ?) <= 1e-9 * abs(?)"
        return Condition(near if operator == "=" else f"NOT ({near})", (number, number))
    return Condition(f"{column} {operator} ?", (number,))


def _config_compared(field: str, path: str, operator: str, value: str) -> Condition:
    column, default = f"json_extract(runs.config, '$.{path}')", _CONFIG[path]
    if isinstance(default, bool):
        truth = {"true": 1, "yes": 1, "on": 1, "1": 1, "false": 0, "no": 0, "off": 0, "0": 0}.get(value.lower())
        if truth is None:
            raise Invalid([FieldError("/q", f"“{field}” is true or false")])
        return _word_only(field, operator, value, lambda: Condition(f"{column} = ?", (truth,)))
    if isinstance(default, str):
        return _word_only(field, operator, value, lambda: Condition(f"{column} = ? COLLATE NOCASE", (value,)))
    return _compared(column, operator, _number(field, value))


def _number(field: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise Invalid([FieldError("/q", f"“{field}” is compared with a number, not with “{value[:40]}”")]) from None
    if number != number:
        raise Invalid([FieldError("/q", f"“{field}” cannot be compared with NaN")])
    return number


def _order(sort: str) -> Condition:
    """By a column, a field of the configuration or a metric's newest value. Rows without it come last either way; the
    id makes the order complete."""
    key, down = sort.removeprefix("-"), sort.startswith("-")
    values: tuple[str, ...] = ()
    if key == "created":  # the order in which they lie: no sorting, however many there are
        return Condition(f"runs.id {'DESC' if down else 'ASC'}")
    if key in SORTS:
        by = SORTS[key]
    elif key in _CONFIG:
        by = f"json_extract(runs.config, '$.{key}')"
    elif len(key) <= 200 and KEY.fullmatch(key) and _is_metric(key):
        by, values = "(SELECT last_value FROM series WHERE run_id = runs.id AND key = ?)", (key,)
    else:
        known = f"{', '.join(SORTS)}, a field such as optim.beta2 or a metric such as train/loss"
        raise Invalid([FieldError("/sort", f"must be one of {known}, with - in front for descending")])
    return Condition(f"{by} {'DESC' if down else 'ASC'} NULLS LAST, runs.id DESC", values)


def _joined(conditions: list[Condition]) -> tuple[str, tuple[Any, ...]]:
    clause = " AND ".join(f"({condition.sql})" for condition in conditions)
    return clause, tuple(value for condition in conditions for value in condition.values)


class Difference(NamedTuple):
    field: str  #: "optim.weight_decay"
    a: Any
    b: Any


def config_difference(a: Run, b: Run) -> list[Difference]:
    """The configuration fields in which two runs differ, in the order of the form."""
    mine, other = flat(a.config), flat(b.config)
    return [
        Difference(field, mine.get(field), other.get(field))
        for field in {**mine, **other}
        if mine.get(field) != other.get(field)
    ]
