"""The guide's figures, of the reader's own runs: weight sizes against the balance they move to, loss against λ."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from sqlalchemy import select

from app import decay_outlook, series, settings
from app.contract import ids
from app.contract.config import RunConfig
from app.db import Tx
from app.pages.drawing import Scale, compact, curves
from app.sweeps import gather
from app.tables import Run, Sweep

GROUP = "rms/mlp.fc"
MOST_RUNS = 4
BUCKETS = 60
SHIPPED = "docs/data/decay_sweep.json"


class Figure(NamedTuple):
    drawing: Markup
    runs: tuple[tuple[str, str], ...]  #: (id, name) of what is drawn, for links
    built_in: bool = False


def sizes(tx: Tx, label: str) -> Figure | None:
    """RMS of the MLP's first matrices of the newest finished runs, each with its balance as dots; λ = 0 has none."""
    query = (
        select(Run)
        .where(Run.state == "finished", Run.deleted_at.is_(None), Run.source == "worker")
        .order_by(Run.ended_at.desc())
        .limit(20)
    )
    lines, dots = [], []
    shown: list[tuple[str, str]] = []
    for run in tx.session.scalars(query):
        points = series.read(tx.raw, run.id, GROUP, buckets=BUCKETS)
        if len(points.step) < 3 or len(shown) == MOST_RUNS:
            continue
        colour = f"var(--c{len(shown) + 1})"
        steps = [int(step) for step in points.step]
        lines.append((steps, points.value.tolist(), colour))
        config = RunConfig.model_validate(run.config)
        balance = [decay_outlook.settles_at(config, max(0, step - 1)) for step in steps]
        inside = [(s, b) for s, b in zip(steps, balance, strict=True) if b is not None and math.isfinite(b)]
        # a balance far above the weights is not reached in the run, and would make them flat
        most = 3 * float(points.value.max())
        kept = [(s, b) for s, b in inside if b < most]
        dots.append(([s for s, _ in kept], [b for _, b in kept], colour))
        shown.append((ids.show("run", run.id), f"{run.name} (λ = {config.optim.weight_decay:g})"))
    if not shown:
        return None
    end = max(steps[-1] for steps, _, _ in lines)
    return Figure(curves(lines, dots, x_end=end, label=label, height=300), tuple(shown))


def losses(tx: Tx, label: str) -> Figure | None:
    """Final validation loss against λ of the newest sweep over λ; else of the sweep that was run for this guide."""
    query = select(Sweep).where(Sweep.deleted_at.is_(None)).order_by(Sweep.created_at.desc()).limit(10)
    for sweep in tx.session.scalars(query):
        data = gather.gather(tx, sweep)
        if drawing := _scatter(data, label):
            return Figure(drawing, ((data["sweep"]["id"], sweep.name),))
    path = settings.assets() / SHIPPED
    if path.is_file() and (drawing := _scatter(json.loads(path.read_text()), label)):
        return Figure(drawing, (), built_in=True)
    return None


def _scatter(data: Mapping[str, Any], label: str) -> Markup | None:
    points = [
        (float(run["arm"]["optim.weight_decay"]), float(run["final"]))
        for run in data["runs"]
        if run.get("final") is not None and "optim.weight_decay" in run["arm"] and math.isfinite(run["final"])
    ]
    if len({decay for decay, _ in points}) < 2:
        return None
    return against_decay(points, label)


def against_decay(points: Sequence[tuple[float, float]], label: str) -> Markup:
    """λ on a log axis, 0 on a place of its own at its left; every run a point, each λ's mean a line."""
    width, height = 900, 300
    positive = sorted({decay for decay, _ in points if decay > 0})
    low, high = math.log10(positive[0]), math.log10(positive[-1])
    zero = any(decay == 0 for decay, _ in points)
    left = low - (0.25 * (high - low) or 0.5) if zero else low
    x = Scale(left - 0.05, max(high, left + 0.1) + 0.05, 60, width - 16)
    values = [loss for _, loss in points]
    pad = 0.08 * max(max(values) - min(values), 1e-3)
    y = Scale(min(values) - pad, max(values) + pad, height - 28, 10)

    def at(decay: float) -> float:
        return x(math.log10(decay) if decay > 0 else left)

    out = [
        f'<path d="M60 {y(tick):.1f}H{width - 16}" stroke="var(--line)"/><text x="54" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
        for tick in y.ticks(5)
    ]
    each = {decay: [loss for other, loss in points if other == decay] for decay in sorted({one for one, _ in points})}
    out += [
        f'<text x="{at(decay):.1f}" y="{height - 8}" text-anchor="middle">{compact(decay)}</text>' for decay in each
    ]
    means = " ".join(f"{at(decay):.1f},{y(sum(some) / len(some)):.1f}" for decay, some in each.items())
    out.append(f'<polyline points="{means}" fill="none" stroke="var(--c1)" stroke-width="1.5"/>')
    out += [
        f'<circle cx="{at(decay):.1f}" cy="{y(loss):.1f}" r="3.5" fill="var(--c1)" fill-opacity=".6"/>'
        for decay, loss in points
    ]
    return Markup('<svg class="first" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width,
        height,
        label,
        Markup("".join(out)),  # noqa: S704 - only numbers inside
    )
