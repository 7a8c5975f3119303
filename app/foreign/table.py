"""Tables: CSV with any delimiter and decimal point, and what W&B and TensorBoard export as CSV."""

import csv
from collections.abc import Sequence
from typing import NamedTuple

from app.foreign import names
from app.foreign.log import Log, NotALog
from app.foreign.numbers import number, whole
from app.foreign.order import Order

DELIMITERS = (",", ";", "\t", "|")
MOST_COLUMNS = 200
SAMPLE = 400
"""Rows looked at before it is decided what the columns mean."""
SPARSE = 5
"""Steps between two rows, from which on a lone column “loss” is one of evaluations."""
EMPTY = frozenset({"", "nan", "null", "none", "-", "n/a", "na"})
_WRAPPED = " - "  # W&B: "run name - val/loss"


class Plan(NamedTuple):
    delimiter: str
    header: int  #: its place among the lines
    step: int  #: its column
    keys: dict[int, str]  #: column → metric
    format: str


def plan(lines: Sequence[str], log: Log) -> Plan | None:
    """How to read a table that begins so; None where it is none."""
    found = _header(lines)
    if found is None:
        return None
    place, delimiter, cells = found
    inner, run = _one_run(cells, log)
    ranked = [(rank, column) for column, name in inner.items() if (rank := names.step_rank(name)) is not None]
    step = min(ranked)[1]
    keys: dict[int, str] = {}
    dropped: list[str] = []
    for column, name in inner.items():
        key = names.metric(name) if names.step_rank(name) is None else None
        if key is None or key in keys.values() or len(keys) >= MOST_COLUMNS:
            if names.step_rank(name) is None and not name.endswith(("__MIN", "__MAX")) and name.strip():
                dropped.append(name.strip())
            continue
        keys[column] = key
    if dropped:
        log.note("columns", text=", ".join(dropped)[:200])
    made = Plan(delimiter, place, step, keys, "wandb" if run else "table")
    rows = [_cells(line, delimiter) for line in lines[place + 1 : place + 1 + SAMPLE]]
    return made._replace(keys=_meant(made, cells, rows, log))


def _header(lines: Sequence[str]) -> tuple[int, str, list[str]] | None:
    """(place, delimiter, names) of the first line that says something, if it names a column of steps among others."""
    for place, line in enumerate(lines[:50]):
        if not line.strip() or line.lstrip().startswith("#") or line.strip().lower().startswith("sep="):
            continue
        for delimiter in DELIMITERS:
            cells = _cells(line, delimiter)
            if len(cells) > 1 and any(names.step_rank(_inner(cell)[1]) is not None for cell in cells):
                return place, delimiter, cells
        return None
    return None


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def _inner(cell: str) -> tuple[str, str]:
    """(run, metric) of W&B's "run - metric"; ("", name) of any other."""
    run, wrapped, inner = cell.strip().rpartition(_WRAPPED)
    return (run, inner) if wrapped else ("", cell.strip())


def _one_run(cells: list[str], log: Log) -> tuple[dict[int, str], str]:
    """The columns of the first run, without its name, and those of none."""
    split = [_inner(cell) for cell in cells]
    runs = list(dict.fromkeys(run for run, _ in split if run))
    if len(runs) > 1:
        log.note("runs", text=runs[0][:100])
    return {place: inner for place, (run, inner) in enumerate(split) if run in ("", *runs[:1])}, runs[0] if runs else ""


def _meant(made: Plan, cells: list[str], rows: list[list[str]], log: Log) -> dict[int, str]:
    """What a column “loss” is of, and whether the training loss is one of evaluations, by the first rows."""
    keys = dict(made.keys)
    columns = {key: column for column, key in keys.items()}
    filled = {
        column: [row for row in rows if column < len(row) and row[column].strip().lower() not in EMPTY]
        for column in keys
    }
    for column in list(keys):
        name = names.tidy(_inner(cells[column])[1])
        if name not in names.AMBIGUOUS or ("train/loss" in columns and "val/loss" in columns):
            continue
        steps = [whole(row[made.step]) for row in filled[column][:3] if made.step < len(row)]
        sparse = len(steps) > 1 and None not in steps[:2] and abs(steps[1] - steps[0]) >= SPARSE  # type: ignore[operator]
        keys[column] = "val/loss" if sparse and "val/loss" not in columns else "train/loss"
        if keys[column] in columns:
            keys[column] = f"elsewhere/{name}"
            continue
        columns[keys[column]] = column
        log.note("ambiguous", text=name, key=keys[column])
    train, val = columns.get("train/loss"), columns.get("val/loss")
    if train is not None and val is not None and len(filled[train]) > 1:
        both = [row for row in filled[train] if val < len(row) and row[val].strip().lower() not in EMPTY]
        if len(both) == len(filled[train]) and "eval/train_loss" not in columns:
            keys[train] = "eval/train_loss"
            log.note("evaluated")
    return keys


class Table:
    """Takes one row after the other."""

    def __init__(self, log: Log, plan: Plan) -> None:
        if not plan.keys:
            raise NotALog("The table has a column of steps and no other column of numbers.")
        self._log, self._plan = log, plan
        self._order = Order(log)
        self._comma = plan.delimiter != ","
        log.format = plan.format

    def line(self, text: str, line: int) -> None:
        if line <= self._plan.header + 1 or not text.strip() or text.lstrip().startswith("#"):
            return
        cells = _cells(text, self._plan.delimiter)
        step = whole(cells[self._plan.step]) if self._plan.step < len(cells) else None
        if step is None:
            self._log.count("rows", line=line)
            return
        good: dict[str, float] = {}
        for column, key in self._plan.keys.items():
            if column >= len(cells):
                continue
            cell = cells[column].strip()
            if cell.lower() in EMPTY and cell.lower() != "nan":
                continue
            value = number(cell, comma=self._comma)
            if value is None:
                self._log.count("cells", line=line, text=cell[:40])
            else:
                good[key] = value / 100 if key == "train/mfu" and value > 1.5 else value
        # rows of one step may hold different metrics: each of them has its own order
        for key, value in good.items():
            if self._order.take(key, step, (value,), line):
                self._log.point(key, step, value)

    def end(self) -> None:
        return
