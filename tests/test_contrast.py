"""The style sheet's colours are far enough apart (WCAG 2.2 AA): text 4.5, marks and input borders 3.0, in both themes."""

import re
from pathlib import Path

import pytest

CSS = (Path(__file__).resolve().parent.parent / "static" / "tokens.css").read_text()
LIGHT = CSS[: CSS.index("@media")]
SYSTEM_DARK = CSS[CSS.index("@media") : CSS.index(":root[data-theme=dark]")]
CHOSEN_DARK = CSS[CSS.index(":root[data-theme=dark]") :]


def tokens(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+):(#[0-9a-f]{6})", block))


THEMES = {"light": tokens(LIGHT), "dark": tokens(CHOSEN_DARK)}
STATES = ("ok", "run", "warn", "bad")
PAIRS = [
    *((text, ground, 4.5) for text in ("text", "text-2", "text-3", "accent") for ground in ("bg", "surface", "sunken")),
    ("on-accent", "accent", 4.5),
    ("text", "accent-soft", 4.5),
    ("accent", "accent-soft", 4.5),
    *((state, ground, 4.5) for state in STATES for ground in ("surface", f"{state}-soft")),
    *(("text-2", f"{state}-soft", 4.5) for state in STATES),
    *(("line-strong", ground, 3.0) for ground in ("bg", "surface", "sunken")),
    *((f"c{i}", "surface", 3.0) for i in range(1, 9)),
    *((f"l{i}", "surface", 3.0) for i in range(8)),
]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_every_pair_of_colours_is_readable(theme: str) -> None:
    found = THEMES[theme]
    weak = {f"{a} on {b}": contrast(found[a], found[b]) for a, b, need in PAIRS if contrast(found[a], found[b]) < need}
    assert not weak


def test_the_dark_theme_is_the_same_whether_chosen_or_from_the_system() -> None:
    assert tokens(SYSTEM_DARK) == tokens(CHOSEN_DARK)


def test_both_themes_name_the_same_colours() -> None:
    assert THEMES["light"].keys() == THEMES["dark"].keys()
