"""The figures of a sweep's page, drawn by the server from its analysis: what stands before a script runs, and in the page that is sent away."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from app.i18n import Speech
from app.pages.plot import SYMBOLS, Plot, apart, span
from app.sweeps.analysis import fitted
from app.sweeps.arms import WEIGHT_DECAY, spell

Said = Mapping[str, Any]
MAIN_GROUPS = 4
"""Groups of parameters that are drawn side by side."""


def colours(said: Said) -> dict[str, str]:
    """Arm key → colour: λ on its own scale from violet to amber, neutral for 0; anything else in the series' order."""
    main = said["main"]["field"] if said["main"] else None
    rows = said["arms"]
    if main != WEIGHT_DECAY:
        return {row["key"]: f"var(--c{index % 8 + 1})" for index, row in enumerate(rows)}
    levels = sorted({float(row["arm"][WEIGHT_DECAY]) for row in rows} - {0.0})
    places = {value: 1 + round(6 * index / max(1, len(levels) - 1)) if len(levels) > 1 else 4 for index, value in enumerate(levels)}  # fmt: skip
    return {row["key"]: f"var(--l{places.get(float(row['arm'][WEIGHT_DECAY]), 0)})" for row in rows}


def shown(said: Said) -> list[Mapping[str, Any]]:
    """The arms of the chosen slice, in order: those that are drawn."""
    keys = said["slices"][said["slice"]]["arms"] if said["slices"] else []
    return [row for row in said["arms"] if row["key"] in keys]


def label_of(said: Said, row: Mapping[str, Any]) -> str:
    """What tells the arm from its neighbours in a figure: the main factor's value."""
    main = said["main"]["field"] if said["main"] else None
    value = row["arm"].get(main)
    return (
        spell(float(f"{value:.3g}") if isinstance(value, float) else value) if main in row["arm"] else str(row["label"])
    )


def figures(said: Said, say: Speech) -> dict[str, Markup]:
    """{name: SVG}; what there is nothing to draw for is missing."""
    made = {"loss": loss(said, say), "difference": difference(said, say), "gap": gap(said, say)}
    if said["heat"]:
        made["heat"] = heat(said, say)
    for group in list(said["weights"]["groups"].get("rms", {}))[:6]:
        made[f"rms-{group}"] = weights(said, group, say)
    return {name: drawn for name, drawn in made.items() if drawn}


def places(said: Said, rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], bool]:
    """Arm → x of the loss figure, and whether the axis is logarithmic; 0 is set apart to the left."""
    main = said["main"]["field"] if said["main"] else None
    values = {row["key"]: row["arm"].get(main) for row in rows}
    numbers = all(type(value) in (int, float) for value in values.values())
    positive = sorted({float(value) for value in values.values() if numbers and value > 0})
    if not numbers or not positive or any(value < 0 for value in values.values()):
        return {key: float(index + 1) for index, key in enumerate(values)}, False
    ratio = (positive[-1] / positive[0]) ** (1 / max(1, len(positive) - 1)) if len(positive) > 1 else 10.0
    aside = positive[0] / max(3.0, min(ratio, 30.0))
    return {key: float(value) if value > 0 else aside for key, value in values.items()}, True


def loss(said: Said, say: Speech) -> Markup:
    rows = [row for row in shown(said) if row["n"] or row["diverged"]]
    if not any(row["n"] for row in rows):
        return Markup("")
    at, log = places(said, rows)
    hue = colours(said)
    values = [
        value for row in rows for value in (*row["finals"].values(), row["low"], row["high"]) if value is not None
    ]
    low, high = min(at.values()), max(at.values())
    x = (low / 2.2, high * 2.2) if log else (0.4, max(at.values()) + 0.6)
    plot = Plot(x, span(values, 0.12, 1e-3), log=log, height=376, top=28, bottom=44).grid()
    minimum = said["slices"][said["slice"]]["minimum"]
    zero_apart = log and any(row["arm"].get(said["main"]["field"]) == 0 for row in rows)
    if minimum and minimum["coefficients"] and log:
        positive = [value for key, value in at.items() if not (zero_apart and value == low)]
        curve = fitted(minimum, min(positive), max(positive))
        if minimum["at"] is not None:
            first, last = minimum["flat"]
            plot.rect(plot.x(first), plot.top, plot.x(last), plot.height - plot.bottom, "var(--accent)", 0.09)
            plot.line([(plot.x(minimum["at"]), plot.top), (plot.x(minimum["at"]), plot.height - plot.bottom)], "var(--accent)", 1, "2 3", pixels=True)  # fmt: skip
            text = f"{said['main']['symbol']}* {minimum['at']:.2g}  ({minimum['low']:.2g} – {minimum['high']:.2g})"
            plot.word(plot.x(minimum["at"]), 18, text, anchor="middle", colour="var(--accent)", pixels=True)
        else:
            plot.word(plot.width - plot.right, 18, say("minimum not bracketed"), anchor="end", colour="var(--warn)", bold=True, pixels=True)  # fmt: skip
        plot.line(curve, "var(--accent)", 2, "" if minimum["at"] is not None else "5 4")
    for row in rows:
        for index, (seed, value) in enumerate(sorted(row["finals"].items())):
            shift = (index - (len(row["finals"]) - 1) / 2) * 11
            plot.mark(plot.x(at[row["key"]]) + shift, plot.y(value), hue[row["key"]], SYMBOLS[index % 6], 4, f"{row['label']}, {say('seed')} {seed}: {value:.4f}", 0.75)  # fmt: skip
        if row["low"] is not None:
            centre = plot.x(at[row["key"]])
            plot.line([(centre, plot.y(row["low"])), (centre, plot.y(row["high"]))], "var(--text)", 1.5, pixels=True)
            plot.line([(centre - 9, plot.y(row["mean"])), (centre + 9, plot.y(row["mean"]))], "var(--text)", 2.5, pixels=True)  # fmt: skip
        if row["diverged"]:
            plot.mark(plot.x(at[row["key"]]), plot.top + 8, "var(--bad)", "cross", 5, say("%(n)s diverged, left out", n=row["diverged"]))  # fmt: skip
    plot.ticks([(at[row["key"]], label_of(said, row)) for row in rows])
    if zero_apart and len(at) > 1:
        rest = min(value for value in at.values() if value > low)
        middle, base = (plot.x(low) + plot.x(rest)) / 2, plot.height - plot.bottom
        for shift in (-3, 3):
            plot.line([(middle + shift - 3, base + 6), (middle + shift + 3, base - 6)], "var(--text-3)", 1.2, pixels=True)  # fmt: skip
    word = f"{said['main']['field']}, " + say("log scale; 0 set apart") if log else str(said["main"]["field"])
    plot.word((plot.left + plot.width - plot.right) / 2, plot.height - 6, word, anchor="middle", colour="var(--text-3)", pixels=True)  # fmt: skip
    return plot.markup(say("Final validation loss of every run, by arm"))


def _ends(plot: Plot, wanted: list[tuple[float, str]], words: Mapping[str, str], hue: Mapping[str, str]) -> None:
    """Each line's name where it ends."""
    for y, key in apart(wanted, 13):
        x = plot.width - plot.right + 6
        plot.line([(x, y), (x + 8, y)], hue[key], 3, pixels=True)
        plot.word(x + 12, y + 4, words[key], pixels=True)


def _tokens(said: Said) -> float:
    return float(said["tokens_per_step"] or 1)


def difference(said: Said, say: Speech) -> Markup:
    keys = {row["key"] for row in shown(said)}
    curves = [curve for curve in said["curves"] if curve["key"] in keys and len(curve["step"]) > 1]
    if not curves:
        return Markup("")
    hue, per = colours(said), _tokens(said)
    words = {row["key"]: label_of(said, row) for row in said["arms"]}
    end = max(curve["step"][-1] for curve in curves) * per
    plot = Plot((0, end), span([0.0, *(value for curve in curves for value in curve["mean"])], 0.12), right=72).grid(signed=True)  # fmt: skip
    plot.ticks(about=5)
    if said["rates"] and max(said["rates"]["lr"]) > 0:
        top = max(said["rates"]["lr"])
        low, high = plot.y(plot._y.low), plot.top
        rates = [(plot.x(min(step * per, end)), low + (high - low) * 0.96 * lr / top) for step, lr in zip(said["rates"]["step"], said["rates"]["lr"], strict=True) if step * per <= end]  # fmt: skip
        plot.line(rates, "var(--text-3)", 1.2, "2 3", pixels=True)
        plot.word(plot.left + 4, plot.top + 10, f"lr ({say('dotted')}), {spell(top)}", colour="var(--text-3)", pixels=True)  # fmt: skip
    ends = []
    for curve in curves:
        points = list(zip((step * per for step in curve["step"]), curve["mean"], strict=True))
        if all(value is not None for value in curve["low"]):
            plot.band([(x, max(a, plot._y.low), min(b, plot._y.high)) for (x, _), a, b in zip(points, curve["low"], curve["high"], strict=True)], hue[curve["key"]])  # fmt: skip
        plot.line(points, hue[curve["key"]], 2, "2 3" if hue[curve["key"]] == "var(--l0)" else "")
        ends.append((plot.y(points[-1][1]), curve["key"]))
        for step in curve["crossovers"]:
            plot.mark(plot.x(step * per), plot.y(0), hue[curve["key"]], "diamond", 4, say("crosses over at step %(step)s", step=step))  # fmt: skip
    reference = next((row for row in said["arms"] if row["key"] == said["reference"]), None)
    if reference is not None:
        plot.line([(0, 0), (end, 0)], hue[reference["key"]], 2)
        ends.append((plot.y(0), reference["key"]))
    _ends(plot, ends, words, hue)
    return plot.markup(say("Difference of the validation loss from the reference, over tokens"))


def weights(said: Said, group: str, say: Speech) -> Markup:
    """RMS of one group of parameters for each arm; dashed: where each arm's decay and updates balance."""
    keys = {row["key"] for row in shown(said)}
    curves = [curve for curve in said["weights"]["groups"]["rms"][group] if curve["key"] in keys and curve["step"]]
    if not curves:
        return Markup("")
    hue, per = colours(said), _tokens(said)
    end = max(curve["step"][-1] for curve in curves) * per
    top = 1.3 * max(value for curve in curves for value in curve["y"])
    plot = Plot((0, max(end, 1)), (0, top), width=360, height=200, left=44, right=60).grid(4)
    plot.ticks(about=3)
    for line in said["weights"]["equilibrium"]:
        inside = [(step * per, value) for step, value in zip(line["step"], line["y"], strict=True) if value <= top and step * per <= end]  # fmt: skip
        if line["key"] in keys and len(inside) > 1:
            plot.line(inside, hue[line["key"]], 1.2, "5 4", 0.8)
    ends = []
    for curve in curves:
        points = list(zip((step * per for step in curve["step"]), curve["y"], strict=True))
        plot.line(points, hue[curve["key"]], 1.8, "2 3" if hue[curve["key"]] == "var(--l0)" else "")
        ends.append((plot.y(points[-1][1]), curve["key"]))
    _ends(plot, ends, {row["key"]: label_of(said, row) for row in said["arms"]}, hue)
    return plot.markup(say("Weight RMS of %(group)s, by arm", group=group))


def gap(said: Said, say: Speech) -> Markup:
    """val − train over tokens, with the epochs above."""
    keys = {row["key"] for row in shown(said)}
    curves = [curve for curve in said["gaps"] if curve["key"] in keys and len(curve["step"]) > 1]
    if not curves:
        return Markup("")
    hue, per = colours(said), _tokens(said)
    end = max(curve["step"][-1] for curve in curves) * per
    plot = Plot((0, end), span([0.0, *(value for curve in curves for value in curve["mean"])], 0.15), right=72, height=300, top=30).grid(5, signed=True)  # fmt: skip
    plot.ticks(about=5)
    if unique := said["dataset"]["train_tokens"]:
        for share in (0.0, 0.5, 1.0):
            text = f"{end * share / unique:.2g} {say('epochs')}" if share == 1 else f"{end * share / unique:.2g}"
            plot.word(plot.x(end * share), 18, text, anchor="end" if share == 1 else "middle", colour="var(--text-3)", pixels=True)  # fmt: skip
    ends = []
    for curve in curves:
        xs = [step * per for step in curve["step"]]
        if all(error is not None for error in curve["se"]):
            plot.band([(x, y - e, y + e) for x, y, e in zip(xs, curve["mean"], curve["se"], strict=True)], hue[curve["key"]])  # fmt: skip
        plot.line(list(zip(xs, curve["mean"], strict=True)), hue[curve["key"]], 2, "2 3" if hue[curve["key"]] == "var(--l0)" else "")  # fmt: skip
        ends.append((plot.y(curve["mean"][-1]), curve["key"]))
    plot.line([(0, 0), (end, 0)], "var(--text-3)", 1)
    _ends(plot, ends, {row["key"]: label_of(said, row) for row in said["arms"]}, hue)
    return plot.markup(say("Validation minus training loss in eval mode, over tokens"))


def heat(said: Said, say: Speech) -> Markup:
    """Final loss over lr × λ; hatched: one run only; lines: equal timescale 1/(lr·λ)."""
    found = said["heat"]
    columns, lines = len(found["weight_decay"]), len(found["lr"])
    plot = Plot((-0.5, columns - 0.5), (-0.5, lines - 0.5), height=max(240, 64 + 58 * lines), left=62, bottom=44)
    means = [value for row in found["mean"] for value in row if value is not None]
    if not means:
        return Markup("")
    low, high = min(means), max(means)
    for i, row in enumerate(found["mean"]):
        for j, value in enumerate(row):
            x0, x1, y0, y1 = plot.x(j - 0.5) + 1, plot.x(j + 0.5) - 1, plot.y(i - 0.5) - 1, plot.y(i + 0.5) + 1
            if value is None:
                plot.rect(x0, y0, x1, y1, "var(--sunken)")
                plot.word((x0 + x1) / 2, (y0 + y1) / 2 + 4, say("diverged") if found["diverged"][i][j] else "–", anchor="middle", colour="var(--bad)" if found["diverged"][i][j] else "var(--text-3)", pixels=True)  # fmt: skip
                continue
            share = ((value - low) / (high - low)) ** 0.6 if high > low else 0.0
            plot.rect(x0, y0, x1, y1, f"color-mix(in oklab,var(--heat-hi) {100 * share:.0f}%,var(--heat-lo))", title=f"{value:.4f}")  # fmt: skip
            if found["n"][i][j] == 1:
                for k in range(int(x0) + 8, int(x1 + abs(y1 - y0)), 14):
                    a, b = max(x0, k - abs(y1 - y0)), min(x1, k)
                    if a < b:
                        plot.line([(a, min(y0, y1) + (k - a)), (b, min(y0, y1) + (k - b))], "var(--text)", 1, opacity=0.14, pixels=True)  # fmt: skip
            plot.word((x0 + x1) / 2, (y0 + y1) / 2 + 4, f"{value:.3f}", anchor="middle", colour=f"var(--heat-ink-{_ink(share)})", bold=value == low, pixels=True, size=12)  # fmt: skip
    for line in found["lines"]:
        at = _iso(found, line["product"])
        if len(at) > 1:
            plot.line(at, "var(--c2)", 1.5, "4 3")
            plot.word(*_gap_of(at), f"τ {line['share']:g}", anchor="middle", colour="var(--c2)", bold=True)
    if (law := found["kaplan_lr"]) and found["lr"][0] < law < found["lr"][-1]:
        at_law = _between(found["lr"], law)
        plot.line([(-0.5, at_law), (columns - 0.5, at_law)], "var(--text)", 1, "1 4")
    plot.ticks([(index, spell(value)) for index, value in enumerate(found["weight_decay"])])
    for index, value in enumerate(found["lr"]):
        plot.word(plot.left - 6, plot.y(index) + 4, spell(value), anchor="end", colour="var(--text-3)", pixels=True)
    plot.word((plot.left + plot.width - plot.right) / 2, plot.height - 6, say("λ across, lr upwards"), anchor="middle", colour="var(--text-3)", pixels=True)  # fmt: skip
    return plot.markup(say("Final validation loss over learning rate and λ"))


def _ink(share: float) -> str:
    """Which of black and white stands out on a cell; the themes change over at different shades."""
    return "lo" if share < 0.3 else "mid" if share < 0.42 else "hi"


def _gap_of(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where a line crosses from one row of cells to the next, near its middle: no number stands there."""
    middle = len(points) / 2
    return min(points, key=lambda one: (round(abs(one[1] % 1 - 0.5), 1), abs(points.index(one) - middle)))


def _between(values: Sequence[float], wanted: float) -> float:
    """The place of `wanted` between neighbours, as an index with a fraction, in log."""
    for index, (low, high) in enumerate(itertools.pairwise(values)):
        if low <= wanted <= high:
            return index + (math.log(wanted / low) / math.log(high / low) if low > 0 else 0.5)
    return -1.0


def _iso(found: Mapping[str, Any], product: float) -> list[tuple[float, float]]:
    """Where lr·λ has this value, in cells."""
    points = []
    positive = [(index, value) for index, value in enumerate(found["weight_decay"]) if value > 0]
    for k in range(41):
        if len(positive) < 2:
            break
        j = (len(positive) - 1) * k / 40
        a = min(int(j), len(positive) - 2)
        (i0, v0), (_, v1) = positive[a], positive[a + 1]
        value = v0 * (v1 / v0) ** (j - a)
        y = _between(found["lr"], product / value)
        if y >= 0:
            points.append((i0 + (j - a), y))
    return points
