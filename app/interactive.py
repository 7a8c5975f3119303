"""Curves as one HTML file that needs no server: Plotly's, with its JavaScript from the installed package inside."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from app.axes import Axis

TITLES: dict[Axis, str] = {
    "step": "step", "tokens": "tokens", "wall_s": "seconds of training", "clock": "time", "epochs": "epochs", "flops": "FLOPs",
}  # fmt: skip
PALETTE = ("#3b6fd4", "#c8622f", "#2c8a63", "#9456b8", "#b8862b", "#c2467a", "#4f8ea8", "#6d6f78")

ERROR = "_se"
"""What ends the key of a metric's standard error, which is drawn as bars, two errors either way, and has no chart of its own."""


def page(curves: Mapping[str, Any], names: Mapping[str, str], axis: Axis) -> str:
    """The file. `curves`: the runs of app.figures.chart's answer, {run: {key: curve}}; `names`: {run: its name}.

    A curve for each run and key, a row of charts for each key, one x axis for all of them. About 4.6 MB, nearly all of it Plotly.
    """
    import plotly.io  # a quarter of a second that only this file costs

    every = list(dict.fromkeys(key for of_run in curves.values() for key in of_run))
    keys = [key for key in every if key.removesuffix(ERROR) not in every or not key.endswith(ERROR)]
    data = [
        _trace(run, names[run], PALETTE[number % len(PALETTE)], place, of_run[key], of_run.get(key + ERROR), axis)
        for number, (run, of_run) in enumerate(curves.items())
        for place, key in enumerate(keys)
        if key in of_run
    ]
    gap = 0.06 / max(1, len(keys) - 1)
    height = (1 - gap * (len(keys) - 1)) / max(1, len(keys))
    layout: dict[str, Any] = {
        "height": 120 + 320 * max(1, len(keys)),
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "margin": {"l": 72, "r": 24, "t": 32, "b": 56},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom"},
        "xaxis": {"title": {"text": TITLES[axis]}, "anchor": _axis("y", len(keys) - 1)}
        | ({"type": "date"} if axis == "clock" else {}),
    }
    for place, key in enumerate(keys):
        top = 1 - place * (height + gap)
        layout[_axis("yaxis", place)] = {"title": {"text": escape(key)}, "domain": [max(0.0, top - height), top]}
    figure = {"data": data, "layout": layout}
    return str(plotly.io.to_html(figure, include_plotlyjs=True, validate=False, config={"responsive": True}))


def _trace(
    run: str, name: str, colour: str, place: int, curve: Mapping[str, Any], errors: Mapping[str, Any] | None, axis: Axis
) -> dict[str, Any]:
    x: Sequence[float | None] = curve.get("x", curve["step"])
    if axis == "clock":
        x = [None if at is None else at * 1000 for at in x]  # Plotly's dates are milliseconds
    error = dict(zip(errors["step"], errors["y"], strict=True)) if errors else {}
    twice = [2 * (error.get(step) or 0) for step in curve["step"]]  # as on the run's page
    bars = {"error_y": {"array": twice, "width": 2, "thickness": 1}}
    return (bars if errors else {}) | {
        "type": "scatter",
        "mode": "lines+markers" if len(curve["step"]) < 60 else "lines",
        "name": escape(f"{run} {name}"),
        "legendgroup": run,
        "showlegend": place == 0,
        "line": {"color": colour, "width": 1.6},
        "x": list(x),
        "y": curve["y"],
        "xaxis": "x",
        "yaxis": _axis("y", place),
    }


def _axis(name: str, place: int) -> str:
    return name if place == 0 else f"{name}{place + 1}"
