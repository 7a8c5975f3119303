"""The slope of the validation loss on a line with the plateau's zone, as SVG made by the server."""

from markupsafe import Markup

from app.diagnosis.plateau import SLOPE
from app.pages.drawing import Scale

LOW, HIGH = -0.25, 0.12
"""nats per e-fold of tokens: healthy runs show −0.19 to −0.23; what lies outside is drawn at the edge."""


def gauge(
    slope: float, low: float, high: float, number: str, colour: str, words: tuple[str, str, str], label: str
) -> Markup:
    """`low` and `high`: the 90 % interval. An arrow stands where the interval goes on beyond the line."""
    reach = min(LOW, max(4 * LOW, low - 0.02))  # a young run falls faster: the line is let out, not the point moved
    x = Scale(reach, HIGH, 6, 354)
    at, left, right = (max(6.0, min(354.0, x(value))) for value in (slope, low, high))
    a, b, zero = x(-SLOPE), x(SLOPE), x(0)
    ends = "".join(
        f'<path d="M{place:.1f} 29v10" stroke="{colour}" stroke-width="2"/>'
        for place, value in ((left, low), (right, high))
        if reach <= value <= HIGH
    )
    middle = -0.15 if reach == LOW else reach / 2
    tight = 360 - zero < 110  # the zone's name would stand on the word at the edge, which then stands below
    right_ones = () if 360 - zero < 75 else (0.0,) if tight else (0.0, SLOPE)
    ticks = [value for value in (reach, middle, -SLOPE, *right_ones) if value == 0 or abs(x(value) - zero) > 22]
    marks = "".join(f'<text x="{max(14.0, x(value)):.1f}" y="66">{_short(value)}</text>' for value in ticks)
    point = max(18.0, min(342.0, at))
    return Markup(
        '<svg class="gauge" viewBox="0 0 360 76" role="img" aria-label="{label}">'
        '<g fill="var(--text-3)"><text x="0" y="10">{improving}</text><text x="{zero}" y="10" text-anchor="middle" fill="var(--text-2)" font-weight="600">{zone}</text>'
        '<text x="360" y="{below}" text-anchor="end">{worse}</text></g>'
        '<rect x="{a}" y="18" width="{width}" height="32" rx="3" fill="var(--sunken)" stroke="var(--line)"/>'
        '<path d="M0 34h360" stroke="var(--line-strong)" stroke-opacity=".5"/><path d="M{zero} 18v32" stroke="var(--text-3)" stroke-dasharray="2 2"/>'
        '<path d="M{left} 34H{right}" stroke="{colour}" stroke-width="2"/>{ends}<circle cx="{at}" cy="34" r="5" fill="{colour}" stroke="var(--surface)" stroke-width="2"/>'
        '<g fill="var(--text-3)" text-anchor="middle">{marks}</g>'
        '<text x="{point}" y="25" text-anchor="middle" fill="var(--text)" font-weight="600">{number}</text></svg>'
    ).format(
        label=label, improving=words[0], zone=words[1], worse=words[2], below=66 if tight else 10, a=f"{a:.1f}", width=f"{b - a:.1f}", zero=f"{zero:.1f}",
        left=f"{left:.1f}", right=f"{right:.1f}", at=f"{at:.1f}", point=f"{point:.1f}", colour=colour, number=number,
        ends=Markup(ends), marks=Markup(marks),  # noqa: S704 - numbers and our own colours only
    )  # fmt: skip


def _short(value: float) -> str:
    sign = "−" if value < 0 else "+" if value > 0 else ""
    return sign + f"{abs(value):.2f}".replace("0.", ".") if value else "0"
