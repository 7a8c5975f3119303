"""The gauge of the slope: its words never stand on each other, however steep the run."""

import re
from itertools import pairwise

import pytest

from app.pages.diagnosis_drawing import gauge

WORDS = [("improving", "plateau zone", "worse"), ("fällt noch", "Plateauzone", "schlechter")]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("slope", [-1.08, -0.5, -0.23, 0.0, 0.2])
def test_the_words_of_a_line_keep_apart(slope, words):
    drawn = str(gauge(slope, slope - 0.05, slope + 0.05, f"{slope}", "red", words, "it"))
    texts = re.findall(r'<text x="([\d.]+)" y="(\d+)"(?: text-anchor="(\w+)")?[^>]*>([^<]+)', drawn)
    spans: dict[str, list[tuple[float, float]]] = {}
    for x, y, anchor, text in texts:
        width = 6.5 * len(text)
        row_anchor = anchor or ("middle" if y == "66" else "start")
        start = float(x) - {"start": 0.0, "middle": width / 2, "end": width}[row_anchor]
        spans.setdefault(y, []).append((start, start + width))
    for row in spans.values():
        row.sort()
        assert all(one[1] <= next_[0] + 1 for one, next_ in pairwise(row)), (slope, row)
