"""A small plot as SVG text: axes, lines, bands, points, words. Colours are the style sheet's, so both themes are served.

For pictures that have to stand without a script: before one runs, in a page that is sent away, on paper.
"""

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from app.pages.drawing import compact, path, scale

Pairs = Sequence[tuple[float, float]]
SYMBOLS = ("circle", "square", "diamond", "up", "down", "cross")


class Plot:
    """`x` and `y` are (low, high) in the values' own units; `log` puts x on a logarithmic axis."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], *, log: bool = False, width: int = 640, height: int = 360, left: int = 52, right: int = 16, top: int = 16, bottom: int = 30) -> None:  # fmt: skip
        self.width, self.height, self.left, self.right, self.top, self.bottom = width, height, left, right, top, bottom
        self.log = log
        ends = (math.log10(x[0]), math.log10(x[1])) if log else x
        self._x = scale(*ends, left, width - right)
        self._y = scale(*y, height - bottom, top)
        self._parts: list[str] = []

    def x(self, value: float) -> float:
        return self._x(math.log10(value) if self.log else value)

    def y(self, value: float) -> float:
        return self._y(value)

    def grid(self, about: int = 6, digits: int | None = None, signed: bool = False) -> "Plot":
        """Horizontal hairlines with their numbers."""
        ticks = self._y.ticks(about)
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
        places = digits if digits is not None else max(0, -math.floor(math.log10(abs(step)) + 1e-9))
        for tick in ticks:
            text = f"{tick:+.{places}f}" if signed and abs(tick) > step / 2 else f"{tick:.{places}f}"
            self.line([(self.left, self.y(tick)), (self.width - self.right, self.y(tick))], "var(--line)", 1, pixels=True)  # fmt: skip
            self.word(self.left - 6, self.y(tick) + 4, text.replace("-", "−"), anchor="end", colour="var(--text-3)", pixels=True)  # fmt: skip
        return self

    def ticks(self, places: Iterable[tuple[float, str]] | None = None, about: int = 6, unit: str = "") -> "Plot":
        """Numbers below the plot."""
        for at, text in (
            places if places is not None else [(tick, compact(tick) + unit) for tick in self._x.ticks(about)]
        ):
            self.word(self.x(at), self.height - self.bottom + 18, text, anchor="middle", colour="var(--text-3)", pixels=True)  # fmt: skip
        return self

    def line(self, points: Pairs, colour: str, width: float = 2, dash: str = "", opacity: float = 1, pixels: bool = False) -> None:  # fmt: skip
        at = points if pixels else [(self.x(x), self.y(y)) for x, y in points if y is not None and math.isfinite(y)]
        more = (f' stroke-dasharray="{dash}"' if dash else "") + (f' opacity="{opacity}"' if opacity != 1 else "")
        self._parts.append(f'<path d="{path(at)}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"{more}/>')  # fmt: skip

    def band(self, points: Sequence[tuple[float, float, float]], colour: str, opacity: float = 0.14) -> None:
        """(x, low, high)."""
        outline = [(x, low) for x, low, _ in points] + [(x, high) for x, _, high in reversed(points)]
        at = [(self.x(x), min(max(self.y(y), 0.0), float(self.height))) for x, y in outline]
        self._parts.append(f'<path d="{path(at)}Z" fill="{colour}" opacity="{opacity}"/>')

    def rect(
        self, x0: float, y0: float, x1: float, y1: float, colour: str, opacity: float = 1, title: str = ""
    ) -> None:
        """In pixels."""
        told = f"<title>{escape(title)}</title>" if title else ""
        self._parts.append(f'<rect x="{min(x0, x1):.1f}" y="{min(y0, y1):.1f}" width="{abs(x1 - x0):.1f}" height="{abs(y1 - y0):.1f}" fill="{colour}" opacity="{opacity}">{told}</rect>')  # fmt: skip

    def mark(self, x: float, y: float, colour: str, symbol: str = "circle", size: float = 4, title: str = "", opacity: float = 1) -> None:  # fmt: skip
        """In pixels; each seed has a symbol of its own."""
        told = f"<title>{escape(title)}</title>" if title else ""
        s = size
        shapes = {
            "square": f"M{x - s:.1f} {y - s:.1f}h{2 * s}v{2 * s}h{-2 * s}Z",
            "diamond": f"M{x:.1f} {y - 1.3 * s:.1f}l{1.3 * s} {1.3 * s}l{-1.3 * s} {1.3 * s}l{-1.3 * s} {-1.3 * s}Z",
            "up": f"M{x:.1f} {y - 1.2 * s:.1f}l{1.2 * s} {2.2 * s}h{-2.4 * s}Z",
            "down": f"M{x:.1f} {y + 1.2 * s:.1f}l{1.2 * s} {-2.2 * s}h{-2.4 * s}Z",
            "cross": f"M{x - s:.1f} {y - s:.1f}L{x + s:.1f} {y + s:.1f}M{x + s:.1f} {y - s:.1f}L{x - s:.1f} {y + s:.1f}",
        }
        if symbol == "circle":
            self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{s}" fill="{colour}" opacity="{opacity}">{told}</circle>')  # fmt: skip
        else:
            stroke = f' stroke="{colour}" stroke-width="1.6"' if symbol == "cross" else ""
            self._parts.append(f'<path d="{shapes[symbol]}" fill="{colour}" opacity="{opacity}"{stroke}>{told}</path>')

    def word(self, x: float, y: float, text: str, *, anchor: str = "start", colour: str = "var(--text-2)", bold: bool = False, pixels: bool = False, size: int = 11) -> None:  # fmt: skip
        at = (x, y) if pixels else (self.x(x), self.y(y))
        weight = ' font-weight="600"' if bold else ""
        larger = f' font-size="{size}"' if size != 11 else ""
        self._parts.append(f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}{larger}>{escape(text)}</text>')  # fmt: skip

    def markup(self, label: str) -> Markup:
        return Markup(
            '<svg class="drawn" viewBox="0 0 {} {}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">{}</svg>'
        ).format(
            self.width,
            self.height,
            label,
            Markup("".join(self._parts)),  # noqa: S704 - numbers, our colours, escaped words
        )


def apart(wanted: Sequence[tuple[float, str]], gap: float) -> list[tuple[float, str]]:
    """Heights of words at the end of lines, moved down where they would stand on each other."""
    found: list[tuple[float, str]] = []
    for at, key in sorted(wanted):
        found.append((max(at, found[-1][0] + gap) if found else at, key))
    return found


def span(values: Iterable[float], share: float = 0.08, least: float = 1e-4) -> tuple[float, float]:
    """The finite values' range with some air."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    air = share * max(high - low, least)
    return low - air, high + air
