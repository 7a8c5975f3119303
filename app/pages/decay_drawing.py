"""Decay over a whole run as a small SVG made by the server: the share each step takes off, and what is left of the start."""

import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup, escape

from app.decay_outlook import Outlook
from app.pages.drawing import Scale, compact, path, scale

WIDTH, HEIGHT = 440, 132
LEFT, RIGHT, TOP, BOTTOM = 52, 40, 10, 22


def outlook_chart(outlook: Outlook, label: str, rate: Callable[[float], str], now: int | None = None) -> Markup:
    """Line: a_t, left axis. Area: share of the starting weights that is left, right axis. `rate` writes an a; `now` is the
    step reached."""
    x = scale(outlook.step[0], outlook.step[-1], LEFT, WIDTH - RIGHT)
    a = scale(0.0, 1.08 * max(outlook.per_step), HEIGHT - BOTTOM, TOP)
    left = Scale(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    base = f"{HEIGHT - BOTTOM:.1f}"
    out = [
        f'<path d="M{LEFT} {left(share):.1f}H{WIDTH - RIGHT}" stroke="var(--line)"/>'
        f'<text x="{WIDTH - RIGHT + 5}" y="{left(share) + 4:.1f}">{share:.0%}</text>'
        for share in (0.0, 0.5, 1.0)
    ]
    area = _line(outlook.step, outlook.left, x, left)
    out.append(f'<path d="{area}V{base}H{LEFT}Z" fill="var(--c3)" opacity=".14"/>')
    out.append(f'<path d="{area}" fill="none" stroke="var(--c3)" stroke-width="1.5"/>')
    out.append(
        f'<path d="{_line(outlook.step, outlook.per_step, x, a)}" fill="none" stroke="var(--c1)" stroke-width="1.75"/>'
    )
    top = max(outlook.per_step)
    out += [
        f'<text x="{LEFT - 5}" y="{a(value) + 4:.1f}" text-anchor="end">{rate(value)}</text>' for value in (0.0, top)
    ]
    ticks = x.ticks(4)
    out += [
        f'<text x="{x(tick):.1f}" y="{HEIGHT - 6}" text-anchor="{"end" if tick == outlook.step[-1] else "middle"}">{compact(tick)}</text>'
        for tick in ticks
        if tick == int(tick)
    ]
    if now is not None:
        out.append(f'<path d="M{x(now):.1f} {TOP}V{base}" stroke="var(--run)" stroke-width="1"/>')
    return Markup('<svg class="outlook" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH,
        HEIGHT,
        label,
        Markup("".join(out)),  # noqa: S704 - only numbers and our own colours inside
    )


def _line(steps: Sequence[int], values: Sequence[float], x: Scale, y: Scale) -> str:
    return path((x(step), y(value)) for step, value in zip(steps, values, strict=True))


def group_chart(
    lines: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    balance: Sequence[tuple[int, float]],
    steps: int,
    label: str,
    colours: Mapping[str, str],
    *,
    log: bool,
) -> Markup:
    """One line a group with its name at its end; `balance` dashed. Values outside what the groups span are cut off."""
    shown = {group: _finite(*line, log) for group, line in lines.items()}
    values = [value for _, ys in shown.values() for value in ys]
    if not values:
        return Markup("")
    low, high = (min(values), max(values)) if log else (0.0, max(values))
    near = [value for _, value in balance if value < 1.6 * high]
    high = max([high, *near])
    x = scale(0, max(1, steps), LEFT, WIDTH - 74)
    y = _axis(low, high, log)
    out = []
    for tick in _ticks(low, high, log):
        out.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - 74}" stroke="var(--line)"/>')
        out.append(f'<text x="{LEFT - 5}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    out += [
        f'<text x="{x(tick):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{compact(tick)}</text>'
        for tick in x.ticks(4)
        if tick == int(tick)
    ]
    inside = [(x(step), y(value)) for step, value in balance if low * 0.999 <= value <= high]
    if inside:
        out.append(f'<path d="{path(inside)}" fill="none" stroke="var(--text-2)" stroke-dasharray="4 3"/>')
    ends: list[tuple[float, str, str]] = []
    for group, (xs, ys) in shown.items():
        if not ys:
            continue
        colour = colours[group]
        points = [(x(step), y(value)) for step, value in zip(xs, ys, strict=True)]
        out.append(f'<path d="{path(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        out.append(f'<circle cx="{points[-1][0]:.1f}" cy="{points[-1][1]:.1f}" r="2" fill="{colour}"/>')
        ends.append((points[-1][1], group, colour))
    out += [
        f'<text x="{WIDTH - 70}" y="{at + 4:.1f}" style="fill:{colour}">{escape(group)}</text>'
        for at, group, colour in _apart(ends)
    ]
    return Markup('<svg class="outlook" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH,
        HEIGHT,
        label,
        Markup("".join(out)),  # noqa: S704 - numbers, our own colours and escaped names
    )


def _finite(steps: Sequence[int], values: Sequence[float], log: bool) -> tuple[list[int], list[float]]:
    kept = [(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v) and (v > 0 or not log)]
    return [step for step, _ in kept], [value for _, value in kept]


def _axis(low: float, high: float, log: bool) -> Callable[[float], float]:
    if not log:
        return scale(low, 1.05 * high, HEIGHT - BOTTOM, TOP)
    inner = scale(math.log10(low) - 0.05, math.log10(high) + 0.05, HEIGHT - BOTTOM, TOP)
    return lambda value: inner(math.log10(value))


def _ticks(low: float, high: float, log: bool) -> list[float]:
    if not log:
        return [tick for tick in scale(low, 1.05 * high, 0, 1).ticks(4) if tick >= 0]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [digit * 10.0**e for e in decades for digit in (1, 3) if low * 0.99 <= digit * 10.0**e <= high * 1.01]


def _apart(ends: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Names 12 px apart at least, in the order of their lines, within the picture."""
    placed: list[tuple[float, str, str]] = []
    ordered = sorted(ends)
    least = float(TOP)
    for number, (at, group, colour) in enumerate(ordered):
        most = HEIGHT - BOTTOM - 12 * (len(ordered) - 1 - number)
        least = max(least, min(at, most))
        placed.append((least, group, colour))
        least += 12
    return placed
