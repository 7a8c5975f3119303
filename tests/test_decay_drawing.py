"""The drawings of decay: what is in the picture, what is cut off, and names that do not cover each other."""

import re

from app.contract.presets import PRESETS
from app.decay_outlook import outlook
from app.pages.decay_drawing import HEIGHT, group_chart, outlook_chart

GROUPS = {"mlp.fc": ([0, 50, 100], [0.02, 0.03, 0.04]), "attn.qkv": ([0, 50, 100], [0.02, 0.031, 0.0405])}
COLOURS = {"mlp.fc": "var(--c1)", "attn.qkv": "var(--c2)"}


def rate(value: float) -> str:
    return f"{value:.2g}"


def heights(svg: str, group: str) -> float:
    found = re.search(rf'y="([0-9.]+)" style="[^"]*">{re.escape(group)}<', svg)
    assert found, group
    return float(found[1])


def test_the_outlook_shows_decay_and_what_is_left_with_the_step_reached() -> None:
    planned = outlook(PRESETS["fineweb-40m"].config)
    svg = str(outlook_chart(planned, "a label", rate, now=5000))
    assert 'aria-label="a label"' in svg
    assert svg.count('stroke="var(--c1)"') == 1, "lr·λ"
    assert svg.count('stroke="var(--c3)"') == 1, "what is left"
    assert svg.count('stroke="var(--run)"') == 1, "the step reached"
    assert "100%" in svg
    assert ">0.0001<" in svg, "the peak, by the writer it was given"
    assert 'stroke="var(--run)"' not in outlook_chart(planned, "a label", rate)


def test_names_at_the_ends_keep_apart() -> None:
    svg = str(group_chart(GROUPS, [], 100, "RMS", COLOURS, log=False))
    assert abs(heights(svg, "mlp.fc") - heights(svg, "attn.qkv")) >= 12
    assert heights(svg, "attn.qkv") < heights(svg, "mlp.fc"), "in the order of their lines"
    many = {f"group-{i}": ([0, 100], [0.02, 0.02 + i * 1e-6]) for i in range(8)}
    colours = dict.fromkeys(many, "var(--c1)")
    places = [heights(str(group_chart(many, [], 100, "RMS", colours, log=False)), group) for group in many]
    assert max(places) <= HEIGHT
    assert min(abs(a - b) for i, a in enumerate(places) for b in places[:i]) >= 11.9


def test_the_equilibrium_is_dashed_and_left_out_where_it_is_far_away() -> None:
    near = str(group_chart(GROUPS, [(0, 0.03), (100, 0.035)], 100, "RMS", COLOURS, log=False))
    far = str(group_chart(GROUPS, [(0, 3.0), (100, 3.5)], 100, "RMS", COLOURS, log=False))
    assert "stroke-dasharray" in near
    assert "stroke-dasharray" not in far


def test_nothing_to_draw_is_no_drawing_and_a_name_is_text() -> None:
    assert group_chart({}, [], 100, "RMS", {}, log=True) == ""
    assert group_chart({"a": ([1], [float("nan")])}, [], 100, "RMS", {"a": "red"}, log=True) == ""
    svg = str(group_chart({"<b>": ([0, 9], [1.0, 2.0])}, [], 9, "RMS", {"<b>": "red"}, log=True))
    assert "&lt;b&gt;" in svg
