"""What a dataset's numbers look like, as SVG made by the server: lengths, shares, a distance against its noise.

Colours are the style sheet's custom properties. Each drawing's numbers stand beside it as text too.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from app.pages.drawing import Scale, compact

WIDTH = 400
_HATCH = (
    '<pattern id="{id}" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path d="M0 0v5" stroke="var(--surface)" stroke-width="2.4"/></pattern>'
)


class Part(NamedTuple):
    share: float  #: 0..1 of the bar
    colour: str
    hatched: bool = False  #: told apart without its colour


def _svg(height: int, label: str, inside: str) -> Markup:
    return Markup('<svg class="dg" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH,
        height,
        label,
        Markup(inside),  # noqa: S704 - numbers, our own colours, and text that is escaped
    )


def lengths(edges: Sequence[int], train: Sequence[int], val: Sequence[int], median: float, label: str) -> Markup:
    """Documents by length: train as bars, val as a stepped line, each as shares of its own documents; log scale."""
    if not train or not sum(train):
        return Markup("")
    used = [i for i in range(len(train)) if train[i] or (i < len(val) and val[i])]
    first, last = used[0], used[-1] + 1
    edges, train, val = edges[first : last + 1], train[first:last], val[first:last]
    top, base, left = 10, 150, 34
    tallest = max([count / sum(train) for count in train] + [count / max(1, sum(val)) for count in val])
    y = Scale(0, tallest, base, top)
    x = Scale(_octave(edges[0]), _octave(edges[-1]), left, WIDTH - 6)
    out = [
        f'<path d="M{left} {y(tick):.1f}H{WIDTH - 6}" stroke="var(--line)"/>'
        f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{100 * tick:.3g}%</text>'
        for tick in y.ticks(3)
    ]
    for low, high, count in zip(edges, edges[1:], train, strict=False):
        a, b, height = x(_octave(low)), x(_octave(high)), base - y(count / sum(train))
        if count:
            out.append(
                f'<rect x="{a + 0.75:.1f}" y="{base - max(height, 1):.1f}" width="{max(1.0, b - a - 1.5):.1f}" height="{max(height, 1):.1f}" rx="1" fill="var(--c1)" opacity=".75"/>'
            )
    if sum(val):
        steps = "".join(
            f"V{y(count / sum(val)):.1f}H{x(_octave(high)):.1f}" for high, count in zip(edges[1:], val, strict=False)
        )
        out.append(
            f'<path d="M{x(_octave(edges[0])):.1f} {base}{steps}V{base}" fill="none" stroke="var(--c2)" stroke-width="1.6"/>'
        )
    at = x(_octave(median))
    out.append(f'<path d="M{at:.1f} {top - 4}V{base}" stroke="var(--text-2)" stroke-dasharray="2 3"/>')
    start = math.ceil(_octave(edges[0]))
    every = max(1, math.ceil((_octave(edges[-1]) - start) / 8))
    out += [
        f'<text x="{x(power):.1f}" y="{base + 16}" text-anchor="middle">{compact(2**power) if power < 10 else f"{2 ** (power - 10)}Ki" if power < 20 else f"{2 ** (power - 20)}Mi"}</text>'
        for power in range(start, math.floor(_octave(edges[-1])) + 1, every)
    ]
    return _svg(base + 22, label, "".join(out))


def _octave(length: float) -> float:
    return math.log2(max(1.0, length))


def shares(parts: Sequence[Part], label: str, name: str) -> Markup:
    """One bar cut into parts, 2 px apart; `name` makes the ids of its patterns unique on the page."""
    out, at = [f"<defs>{_HATCH.format(id=f'h-{name}')}</defs>"], 0.0
    total = sum(part.share for part in parts) or 1.0
    for part in parts:
        width = WIDTH * part.share / total
        if part.share > 0:
            drawn = max(2.0, width - 2)  # what is there is seen, however small
            box = f'x="{min(at, WIDTH - drawn):.1f}" width="{drawn:.1f}" y="0" height="20" rx="2"'
            out.append(f'<rect {box} fill="{part.colour}"/>')
            if part.hatched:
                out.append(f'<rect {box} fill="url(#h-{name})"/>')
        at += width
    return _svg(20, label, "".join(out))


def against_noise(distance: float, noise: float, noise_sd: float, noise_99: float, label: str) -> Markup:
    """A distance on a line from 0, with the band in which chance alone would put it."""
    low = max(0.0, noise - 2.33 * noise_sd)
    x = Scale(0, 1.15 * max(distance, noise_99, 1e-9), 6, WIDTH - 12)
    colour = "var(--ok)" if distance <= noise_99 else "var(--warn)"
    at = x(distance)
    ticks = "".join(
        f'<path d="M{x(tick):.1f} 34v4" stroke="var(--line-strong)"/><text x="{x(tick):.1f}" y="50" text-anchor="{"start" if tick == 0 else "middle"}">{tick:.3g}</text>'
        for tick in x.ticks(5)
    )
    return _svg(
        54,
        label,
        f'<path d="M6 34H{WIDTH - 12}" stroke="var(--line-strong)"/>{ticks}'
        f'<rect x="{x(low):.1f}" y="18" width="{max(2.0, x(noise_99) - x(low)):.1f}" height="16" rx="2" fill="var(--line-strong)" opacity=".35"/>'
        f'<path d="M{x(noise):.1f} 18v16" stroke="var(--text-3)"/>'
        f'<path d="M{at:.1f} 14v20" stroke="{colour}" stroke-width="2.5"/><path d="m{at:.1f} 13-5-8h10z" fill="{colour}"/>',
    )


def ladder(steps: Sequence[tuple[float, str]], label: str) -> Markup:
    """Losses from high to low on one line, each a disc of its own colour."""
    x = Scale(0, 1.08 * max(value for value, _ in steps), 6, WIDTH - 12)
    ticks = "".join(
        f'<path d="M{x(tick):.1f} 16v4" stroke="var(--line-strong)"/><text x="{x(tick):.1f}" y="32" text-anchor="{"start" if tick == 0 else "middle"}">{tick:g}</text>'
        for tick in x.ticks(6)
    )
    discs = "".join(
        f'<circle cx="{x(value):.1f}" cy="16" r="6" fill="{colour}" stroke="var(--surface)" stroke-width="1.5"/>'
        for value, colour in steps
    )
    return _svg(36, label, f'<path d="M6 16H{WIDTH - 12}" stroke="var(--line-strong)"/>{ticks}{discs}')


def ranked(bars: Sequence[tuple[str, float, str]], label: str) -> Markup:
    """(what, share, its number in words), longest first: a bar each, with its name before it and its number behind."""
    row, left, right = 18, 96, 52
    most = max(share for _, share, _ in bars)
    out = [
        f'<text x="{left - 8}" y="{row * at + 13}" text-anchor="end" class="m">{escape(what)}</text>'
        f'<rect x="{left}" y="{row * at + 3}" width="{max(1.0, (WIDTH - left - right) * share / most):.1f}" height="12" rx="2" fill="var(--c1)" opacity=".75"/>'
        f'<text x="{left + (WIDTH - left - right) * share / most + 6:.1f}" y="{row * at + 13}">{escape(told)}</text>'
        for at, (what, share, told) in enumerate(bars)
    ]
    return _svg(row * len(bars) + 4, label, "".join(out))
