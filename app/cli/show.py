"""What the command line prints: tables for people, JSON for programs, numbers in the same shape everywhere."""

import itertools
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer

BARS = "▁▂▃▄▅▆▇█"
COLOURS = {
    "running": "green", "starting": "green", "finished": "bold green", "failed": "bold red", "lost": "red",
    "queued": "yellow", "stopping": "yellow", "paused": "yellow", "ready": "green", "preparing": "yellow",
}  # fmt: skip


def as_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Aligned on a terminal, tab-separated in a pipe, so that cut and awk work."""
    import sys

    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    if not rows:
        typer.echo(empty)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, header_style="dim", pad_edge=False)
    for column in columns:
        made.add_column(column, no_wrap=column not in ("name", "detail"))
    for row in rows:
        made.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    Console().print(made)


def runs(found: Sequence[dict[str, Any]]) -> None:
    rows = [
        [
            run["id"], run["state"], run["name"], f"{run['step']}/{run['steps']}", loss(run.get("best_val")),
            number(run["config"]["schedule"]["lr"]), number(run["config"]["optim"]["weight_decay"]),
            number(run.get("tok_per_s")), age(run["created_at"]),
        ]
        for run in found
    ]  # fmt: skip
    table(
        ["run", "state", "name", "step", "best val", "lr", "λ", "tok/s", "age"],
        rows,
        "No runs. Start one with: plateau launch",
    )


def datasets(found: Sequence[dict[str, Any]]) -> None:
    rows = [[one["id"], one["state"], one["name"], one["spec"]["kind"], one["detail"]] for one in found]
    table(["dataset", "state", "name", "source", "detail"], rows, "No datasets. Add one with: plateau dataset add")


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits, without exponents between a thousandth and a million; "–" where there is none."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
    return f"{value:.{digits}g}"


def loss(value: float | None) -> str:
    """Four decimals: the third is what people compare, the fourth shows that it is not rounded."""
    return "–" if value is None else f"{value:.4f}"


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min" if whole < 172_800 else f"{whole // 86_400} days"


def age(iso: str) -> str:
    return duration((datetime.now(UTC) - datetime.fromisoformat(iso)).total_seconds())


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """The newest state of a curve in `width` characters: means of equal stretches, scaled to their own range."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    count = min(width, len(finite))
    edges = [len(finite) * i // count for i in range(count + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(BARS[int((mean - low) / span * (len(BARS) - 1))] if span else BARS[0] for mean in means)
