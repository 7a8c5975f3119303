"""What a log gives: points by metric, where it was resumed, facts it tells, and notes of what was skipped."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import PlateauError

Column = tuple[NDArray[np.int64], NDArray[np.float64]]
BUFFERED = 8192
"""Points gathered before they are handed on; a batch of the worker protocol takes 10,000."""
MOST_KEPT = 1 << 19
"""Points of one metric held in memory; a longer one keeps every 2nd, 4th, … of them."""
LOSSES = ("train/loss", "val/loss", "eval/train_loss")

NOTES = {
    "noise": "%(count)s lines hold no measurement and were skipped; the first is line %(line)s: %(text)s",
    "long": "%(count)s lines of more than 64 KiB were cut; the first is line %(line)s.",
    "damaged": "%(count)s damaged records were skipped; the first is number %(line)s.",
    "broken": "Record %(line)s is damaged where its length stands: nothing behind it could be read.",
    "cut": "The last record is not complete; the file is still being written, or was cut.",
    "cells": "%(count)s cells are no numbers and were skipped; the first is in line %(line)s: %(text)s",
    "rows": "%(count)s rows have no step and were skipped; the first is line %(line)s.",
    "columns": "Columns of these names were not taken: %(text)s",
    "runs": "The table has several runs; this is %(text)s. Export the others by themselves.",
    "ambiguous": "The column %(text)s was read as %(key)s: nothing in the table says whether it is of training or of validation.",
    "evaluated": "The training loss stands in the same rows as the validation loss; it was read as an evaluation.",
    "resume": "Resumed at step %(step)s (line %(line)s): what an earlier attempt wrote after it, up to step %(last)s, was dropped.",
    "continued": "Resumed at step %(step)s (line %(line)s).",
    "restart": "A run from the start begins in line %(line)s; the one before it, up to step %(last)s, was left out.",
    "twice": "%(count)s measurements stand there twice, with the same values; they count once.",
    "replaced": "%(count)s measurements stand there again with other values; the last one counts.",
    "nan": "%(count)s values are NaN or infinite; the first stands at step %(step)s.",
    "iter": "“iter N” is the loss of update N + 1, of its last micro-batch only and with dropout; “step N” is an evaluation.",
    "config": "%(text)s: %(value)s",
    "shape": "The log counts %(count)s parameters, which the model's shape by the config cannot have; the shape was not taken.",
    "refused": "%(text)s was not taken: %(value)s",
}
"""What a note says; the pages have it in other languages."""


class NotALog(PlateauError):
    """This is no log that can be read."""

    status, kind = 422, "not-a-log"


class Note(NamedTuple):
    kind: str  #: of NOTES
    values: dict[str, Any]

    @property
    def text(self) -> str:
        return NOTES[self.kind] % self.values


class Sink(Protocol):
    """Who takes what a log gives, in its order."""

    def take(self, columns: Mapping[str, Column]) -> None:
        """At most BUFFERED points; steps ascend within a metric, but for repetitions, of which the last counts."""

    def restart(self, after_step: int) -> None:
        """A later attempt goes on from here: what was taken of later steps is void."""


class Log:
    """Gathers what a reader finds and hands the points on, BUFFERED at a time."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.format = ""  #: nanogpt, llm.c, build-nanogpt, modded-nanogpt, table, wandb, tensorboard
        self.facts: dict[str, Any] = {}
        self.resumes: list[int] = []
        self.told: list[str] = []  #: lines of a configuration that the log repeats
        self.command = ""  #: the command line, where the log begins with it
        self.ending: tuple[str, str] | None = None  #: ("oom", the line that says so)
        self.points = 0
        self.last_step = 0
        self.keys: set[str] = set()
        self._notes: dict[str, Note] = {}
        self._columns: dict[str, tuple[list[int], list[float]]] = {}
        self._waiting = 0
        self.last_loss: float | None = None
        self.log_every: int | None = None  #: steps between two of the training losses, the fewest there were
        self._trained = 0

    def point(self, key: str, step: int, value: float) -> None:
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = ([], [])
            self.keys.add(key)
        column[0].append(step)
        column[1].append(value)
        self.points += 1
        if step > self.last_step:
            self.last_step = step
        if key in LOSSES:
            self.last_loss = value
            if key == "train/loss":
                if 0 < step - self._trained < (self.log_every or step) and self._trained:
                    self.log_every = step - self._trained
                self._trained = step
        if value - value != 0:
            self.count("nan", step=step)
        self._waiting += 1
        if self._waiting >= BUFFERED:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            columns = {
                key: (np.array(steps, np.int64), np.array(values, np.float64))
                for key, (steps, values) in self._columns.items()
            }
            self._columns, self._waiting = {}, 0
            self.sink.take(columns)

    def restart(self, after_step: int) -> None:
        self.flush()
        self.sink.restart(after_step)
        self.last_step = after_step

    def count(self, kind: str, **first: Any) -> None:
        """One more of a kind; the values are those of the first."""
        known = self._notes.get(kind)
        if known is None:
            self._notes[kind] = Note(kind, first | {"count": 1})
        else:
            known.values["count"] += 1

    def note(self, kind: str, **values: Any) -> None:
        """Something worth saying; at most 100 of a kind."""
        for place in range(100):
            if f"{kind}{place}" not in self._notes:
                self._notes[f"{kind}{place}"] = Note(kind, values)
                return

    @property
    def notes(self) -> list[Note]:
        return list(self._notes.values())

    def as_json(self) -> dict[str, Any]:
        """What it tells beside its points; app/foreign/account.py makes a run's facts of it."""
        return {
            "format": self.format, "facts": self.facts, "resumes": self.resumes[-1000:], "config": "\n".join(self.told), "command": self.command,
            "ending": list(self.ending) if self.ending else None, "last_step": self.last_step, "log_every": self.log_every,
            "finite": self.last_loss is None or math.isfinite(self.last_loss),
            "notes": [{"kind": note.kind, "values": note.values} for note in self.notes],
        }  # fmt: skip

    @property
    def has_loss(self) -> bool:
        return not self.keys.isdisjoint(LOSSES)


class Curves:
    """A Sink in memory: at most MOST_KEPT points a metric, however long the log is."""

    def __init__(self) -> None:
        self._blocks: dict[str, list[Column]] = {}
        self._count: dict[str, int] = {}
        self.stride: dict[str, int] = {}  #: above 1: only every so many-th point is there

    def take(self, columns: Mapping[str, Column]) -> None:
        for key, (steps, values) in columns.items():
            every = self.stride.get(key, 1)
            block = (steps[::every], values[::every])
            self._blocks.setdefault(key, []).append(block)
            self._count[key] = self._count.get(key, 0) + len(block[0])
            if self._count[key] > MOST_KEPT:
                whole_steps, whole_values = self[key]
                self._blocks[key] = [(whole_steps[::2], whole_values[::2])]
                self._count[key] = len(whole_steps[::2])
                self.stride[key] = 2 * every

    def restart(self, after_step: int) -> None:
        for key, blocks in self._blocks.items():
            kept = [(steps[steps <= after_step], values[steps <= after_step]) for steps, values in blocks]
            self._blocks[key] = [block for block in kept if len(block[0])]
            self._count[key] = sum(len(block[0]) for block in self._blocks[key])

    def __getitem__(self, key: str) -> Column:
        """Steps ascending, each once; of repetitions the last."""
        blocks = self._blocks.get(key) or [(np.empty(0, np.int64), np.empty(0))]
        steps = np.concatenate([block[0] for block in blocks])
        values = np.concatenate([block[1] for block in blocks])
        unique, places = np.unique(steps[::-1], return_index=True)
        return unique, values[::-1][places]

    def all(self) -> dict[str, Column]:
        return {key: self[key] for key, blocks in self._blocks.items() if blocks}
