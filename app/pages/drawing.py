"""Small drawings made by the server as SVG: sparklines, the first picture of a loss curve, the decay ruler.

Colours are the style sheet's custom properties, so the same markup serves both themes.
"""

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

Point = tuple[float, float]
LARGEST = 1e300
"""What lies beyond is not drawn: a range from end to end of float64 has no length that float64 can hold."""


def path(points: Iterable[Point]) -> str:
    """SVG path data through finite points; a gap where one is not finite."""
    parts, pen = [], "M"
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return "".join(parts)


def scale(low: float, high: float, start: float, end: float) -> "Scale":
    return Scale(low, high if high > low else low + 1.0, start, end)


class Scale:
    """A linear map from values to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, about: int) -> list[float]:
        """Round values inside the range, steps of 1, 2 or 5."""
        rough = (self.high - self.low) / max(1, about)
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough)
        return [i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def sparkline(steps: Sequence[float], values: Sequence[float], total_steps: int, colour: str, label: str) -> Markup:
    """Val loss over the planned run, 104 x 28. The width a run has not reached yet stays empty."""
    width, height = 104, 28
    finite = [v for v in values if abs(v) < LARGEST]
    if not finite:
        return Markup("")
    # the first evaluation is near ln V; clipping it to twice the median's reach keeps the rest readable
    top = min(max(finite), min(finite) + 2.5 * max(sorted(finite)[len(finite) // 2] - min(finite), 0.02))
    x, y = scale(0, max(total_steps, 1), 2, width - 4), scale(min(finite), top, height - 5, 3)
    drawn = [(x(s), y(min(v, top))) for s, v in zip(steps, values, strict=True)]
    end = next(p for p in reversed(drawn) if math.isfinite(p[1]))
    return Markup(  # noqa: S704 - numbers and our own colours, and the label escaped; Markup.format takes longer than the drawing
        f'<svg class="spark" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
        f'<path d="M2 {height - 2.5}h{width - 4}" stroke="var(--line)"/>'
        f'<path d="{path(drawn)}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-linejoin="round"/>'
        f'<circle cx="{end[0]:.1f}" cy="{end[1]:.1f}" r="2.2" fill="{colour}"/></svg>'
    )


def curves(
    lines: Sequence[tuple[Sequence[float], Sequence[float], str]],
    dots: Sequence[tuple[Sequence[float], Sequence[float], str]],
    *,
    x_end: float,
    label: str,
    width: int = 900,
    height: int = 380,
) -> Markup:
    """Loss curves before any script runs: lines (train), dots (val), a light grid. Values outside the view are left out."""
    values = sorted(v for _, ys, _ in (*lines, *dots) for v in ys if abs(v) < LARGEST)
    if not values:
        return Markup("")
    low, high = values[0], values[min(len(values) - 1, int(0.9 * len(values)))]
    pad = 0.06 * max(high - low, 0.05)
    x, y = scale(0, max(x_end, 1.0), 44, width - 16), scale(low - pad, high + pad, height - 26, 12)
    out = []
    for tick in y.ticks(6):
        out.append(f'<path d="M44 {y(tick):.1f}H{width - 16}" stroke="var(--line)"/>')
        out.append(f'<text x="38" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    for tick in x.ticks(8):
        out.append(f'<text x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">{compact(tick)}</text>')
    for xs, ys, colour in lines:
        inside = [(x(a), y(b) if b <= y.high else math.nan) for a, b in zip(xs, ys, strict=True)]
        out.append(
            f'<path d="{path(inside)}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-linejoin="round"/>'
        )
    for xs, ys, colour in dots:
        out.extend(
            f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{colour}"/>'
            for a, b in zip(xs, ys, strict=True)
            if math.isfinite(b) and b <= y.high
        )
    return Markup('<svg class="first" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width,
        height,
        escape(label),
        Markup("".join(out)),  # noqa: S704 - only numbers and our own colours inside
    )


def compact(value: float) -> str:
    """An axis number without a unit: 0, 500, 20k, 1.5M, 3B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def ruler(total_decay: float, words: tuple[str, str, str], label: str) -> Markup:
    """Where Λ = Σ lr·λ lies between inert (< 0.1), informative (0.5 to 10) and too strong (> 20); log scale, 0.01 to 50."""
    low, high, width = math.log10(0.01), math.log10(50), 440.0
    x = Scale(low, high, 0, width)
    at = max(4.0, min(width - 4, x(math.log10(total_decay)) if total_decay > 0 else 4.0))
    zones = (
        (0.01, 0.1, "var(--warn)", 0.22), (0.1, 0.5, "var(--line-strong)", 0.22), (0.5, 10, "var(--ok)", 0.3),
        (10, 20, "var(--line-strong)", 0.22), (20, 50, "var(--bad)", 0.26),
    )  # fmt: skip
    rects = "".join(
        f'<rect x="{x(math.log10(a)) + 1:.1f}" y="18" width="{x(math.log10(b)) - x(math.log10(a)) - 2:.1f}" height="12" rx="1" fill="{c}" opacity="{o}"/>'
        for a, b, c, o in zones
    )
    ticks = "".join(
        f'<text x="{x(math.log10(v)):.1f}" y="44" text-anchor="{"start" if v == 0.01 else "middle"}">{v:g}</text>'
        for v in (0.01, 0.1, 0.5, 10, 20)
    )
    pointer = f'<path d="M{at:.1f} 14v20" stroke="var(--text)" stroke-width="2"/><path d="m{at:.1f} 13-5-7h10z" fill="var(--text)"/>'
    # the pointer must not stand on a word: each word keeps its own zone, the pointer's triangle ends above the bar
    inert, informative, strong = words
    return Markup(
        '<svg class="ruler" viewBox="0 0 440 48" role="img" aria-label="{label}">{rects}<g fill="var(--text-2)">{ticks}</g>'
        '<g fill="var(--text-2)"><text x="{a}" y="12" text-anchor="middle">{inert}</text><text x="{b:.0f}" y="12" text-anchor="middle">{informative}</text>'
        '<text x="440" y="12" text-anchor="end">{strong}</text></g>{pointer}</svg>'
    ).format(
        label=label, rects=Markup(rects), ticks=Markup(ticks), pointer=Markup(pointer), inert=inert,  # noqa: S704 - numbers only
        informative=informative, strong=strong, a=24 if at > 60 else 100, b=x(math.log10(2.2)) + (70 if abs(at - x(math.log10(2.2))) < 50 else 0),
    )  # fmt: skip
