"""A dataset's drawings: well-formed SVG, parts that add up, nothing that is there left unseen."""

import re
from xml.etree import ElementTree

from app.pages.dataset_drawings import WIDTH, Part, against_noise, ladder, lengths, ranked, shares


def rects(drawing: str) -> list[dict[str, str]]:
    return [dict(one.attrib) for one in ElementTree.fromstring(drawing).iter("rect")]


def test_parts_fill_the_bar_and_a_tiny_one_is_still_seen() -> None:
    parts = [Part(0.9999, "var(--c1)"), Part(0.0001, "var(--c2)"), Part(0.0, "var(--c3)")]
    drawn = rects(shares(parts, "label", "x"))
    assert [one["fill"] for one in drawn] == ["var(--c1)", "var(--c2)"]
    assert float(drawn[1]["width"]) >= 2
    assert float(drawn[1]["x"]) + float(drawn[1]["width"]) <= WIDTH


def test_lengths_leave_out_the_empty_ends_and_keep_the_label_safe() -> None:
    drawing = lengths([1, 2, 4, 8, 16], [0, 3, 1, 0], [0, 0, 2, 0], 3, 'a "label" <b>')
    assert len(rects(drawing)) == 2
    assert ElementTree.fromstring(drawing).attrib["aria-label"] == 'a "label" <b>'
    assert lengths([1, 2], [0], [], 1, "") == ""


def test_a_distance_beyond_chance_changes_its_colour() -> None:
    assert "var(--ok)" in against_noise(0.010, 0.009, 0.001, 0.011, "")
    assert "var(--warn)" in against_noise(0.020, 0.009, 0.001, 0.011, "")
    assert ElementTree.fromstring(against_noise(0.0, 0.0, 0.0, 0.0, "")) is not None


def test_steps_of_the_ladder_stand_in_the_order_of_their_losses() -> None:
    at = [float(x) for x in re.findall(r'circle cx="([\d.]+)"', ladder([(10.8, "a"), (7.6, "b"), (4.4, "c")], ""))]
    assert at == sorted(at, reverse=True)
    assert max(at) < WIDTH


def test_the_bars_of_a_ranking_keep_their_proportion_and_their_names_safe() -> None:
    drawing = ranked([('<b>"', 0.4, "40 %"), ("&", 0.1, "10 %")], "label")
    first, second = (float(one["width"]) for one in rects(drawing))
    assert abs(first / second - 4) < 0.05
    assert [one.text for one in ElementTree.fromstring(drawing).iter("text")] == ['<b>"', "40 %", "&", "10 %"]
